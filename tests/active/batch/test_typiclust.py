import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.active.batch import typiclust
from src.active.batch.geometry import Points, k_means
from src.models.density import memory
from tests.active.evidence import blobs, evidence, generator, run


def twin(
    features: np.ndarray, cluster_N: list[int], labelled_clusters: list[int], sizes: list[int], count: int
):
    """The authors' loop over clusters and inputs, one at a time, from the same clusters."""
    clusters = [m for m in range(len(sizes)) if sizes[m] > 5]
    clusters.sort(key=lambda m: (labelled_clusters.count(m), -sizes[m], m))
    cluster_N, picked = list(cluster_N), []
    turn = 0
    while len(picked) < count and any(m in clusters for m in cluster_N):
        m = clusters[turn % len(clusters)]
        turn += 1
        rows = [i for i, own in enumerate(cluster_N) if own == m]
        if not rows:
            continue
        neighbours = min(20, len(rows) // 2)
        typical = []
        for i in rows:
            others = sorted(np.linalg.norm(features[i] - features[j]) for j in rows if j != i)
            typical.append(1 / np.mean(others[:neighbours]) if neighbours else 1.0)
        picked.append(rows[int(np.argmax(typical))])
        cluster_N[picked[-1]] = -1
    return picked


@given(seed=st.integers(0, 10**6), count=st.integers(1, 14))
@settings(max_examples=25)
def test_picks_are_those_of_the_obvious_loop(seed: int, count: int) -> None:
    draw = generator(seed)
    pool_N_D, labelled_L_D = blobs(80, 4, draw)[0].double(), blobs(3, 4, draw)[0].double()
    points = Points.of(torch.cat([pool_N_D, labelled_L_D]))
    cluster_P = k_means(points, 3 + count, generator(seed))
    expected = twin(
        pool_N_D.numpy(),
        cluster_P[:80].tolist(),
        cluster_P[80:].tolist(),
        cluster_P.bincount().tolist(),
        count,
    )
    batch = run("typiclust", {"features": pool_N_D, "labelled_features": labelled_L_D}, count, seed)
    assert batch.positions_Q.tolist()[: len(expected)] == expected


def test_clusters_without_a_label_come_first_and_give_their_densest_input() -> None:
    draw = generator(0)
    corners_3_D = 100 * torch.eye(3, 4)
    sizes = (40, 30, 20)
    pool_N_D = torch.cat(
        [
            corner + torch.randn(size, 4, generator=draw)
            for corner, size in zip(corners_3_D, sizes, strict=True)
        ]
    )
    given_ = {"features": pool_N_D, "labelled_features": corners_3_D[:1]}
    picked = run("typiclust", given_, 2).positions_Q
    assert 40 <= picked[0] < 70 <= picked[1]
    distance_to_corner = torch.cdist(pool_N_D[40:70], corners_3_D[1:2])[:, 0]
    assert distance_to_corner[picked[0] - 40] < distance_to_corner.median()


def test_no_cluster_is_measured_twice_before_it_gives_an_input(monkeypatch: pytest.MonkeyPatch) -> None:
    measured, original = [], typiclust._typicality

    def noted(points: Points, rows_R: torch.Tensor) -> torch.Tensor:
        measured.append(tuple(rows_R.tolist()))
        return original(points, rows_R)

    monkeypatch.setattr(typiclust, "_typicality", noted)
    monkeypatch.setattr(typiclust, "MOST_CLUSTERS", 4)
    run("typiclust", evidence(80), 12)
    assert len(measured) == len(set(measured)) == 4 + (12 - 4)


def test_typicality_does_not_depend_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = evidence(80)
    given_ = {kind: drawn[kind].double() for kind in ("features", "labelled_features")}
    expected = run("typiclust", given_, 10)
    monkeypatch.setattr(memory, "CPU_CACHE_BYTES", 1000)
    small = run("typiclust", given_, 10)
    assert torch.equal(small.positions_Q, expected.positions_Q)
    torch.testing.assert_close(small.pool_scores_N, expected.pool_scores_N)
