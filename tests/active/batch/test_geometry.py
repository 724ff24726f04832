import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from src.active.batch.geometry import Points, draw_in_proportion, k_means
from src.models.density import memory
from tests.active.evidence import blobs, generator


@given(seed=st.integers(0, 10**6), shift=st.sampled_from([0.0, 100.0]))
def test_squared_distances_are_scipys(seed: int, shift: float) -> None:
    draw = generator(seed)
    pool_N_D, outside_M_D = (
        shift + torch.randn(20, 4, generator=draw),
        shift + torch.randn(7, 4, generator=draw),
    )
    points = Points.of(pool_N_D)
    within = cdist(pool_N_D.double(), pool_N_D.double(), "sqeuclidean")
    np.testing.assert_allclose(points.squares_to(points.features_N_D[3]), within[:, 3], atol=1e-4)
    rows = torch.tensor([4, 9])
    np.testing.assert_allclose(points.squares_between(rows, points.features_N_D), within[rows], atol=1e-4)
    block = slice(4, 9)
    np.testing.assert_allclose(points.squares_between(block, points.features_N_D), within[block], atol=1e-4)
    only = points.only(rows)
    np.testing.assert_allclose(only.squares_to(points.features_N_D[3]), within[rows, 3], atol=1e-4)
    nearest = cdist(pool_N_D.double(), outside_M_D.double(), "sqeuclidean").min(1)
    np.testing.assert_allclose(points.nearest_squares(outside_M_D), nearest, atol=1e-3)


@pytest.mark.parametrize("budget", [1, 400, 10**6])
def test_blocks_have_every_row_once_and_fit_the_budget(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "CPU_CACHE_BYTES", budget)
    points, rows_R = Points.of(torch.randn(23, 6)), torch.randperm(23)[:17]
    blocks = [torch.arange(23)[block] for block in points.blocks(5)]
    assert torch.cat(blocks).tolist() == list(range(23))
    assert all(len(block) == 1 or 4 * len(block) * 2 * 5 <= budget for block in blocks)
    scattered = points.scattered_blocks(rows_R, 5)
    assert torch.equal(torch.cat(scattered), rows_R)
    assert all(len(rows_B) == 1 or 4 * len(rows_B) * (2 * 5 + 6) <= budget for rows_B in scattered)


def test_draws_are_in_proportion_and_never_of_weight_zero() -> None:
    weights = torch.tensor([0.0, 1.0, 0.0, 3.0, 0.0])
    draw = generator()
    counts = np.bincount([draw_in_proportion(weights, draw) for _ in range(4000)], minlength=5)
    assert counts[[0, 2, 4]].sum() == 0
    assert counts[3] == pytest.approx(3000, abs=120)


def test_k_means_finds_what_is_apart() -> None:
    features_N_D, labels_N = blobs(90, 4, generator(1))
    cluster_N = k_means(Points.of(20 * features_N_D[labels_N < 3] + 400 * labels_N[:, None]), 3, generator())
    assert len({(int(a), int(b)) for a, b in zip(cluster_N, labels_N, strict=True)}) == 3


@given(seed=st.integers(0, 10**6))
def test_k_means_ends_where_no_input_is_nearer_to_another_mean(seed: int) -> None:
    points = Points.of(blobs(60, 4, generator(seed))[0].double())
    cluster_N = k_means(points, 5, generator(seed))
    means = np.stack([points.features_N_D[cluster_N == c].mean(0) for c in range(5)])
    assert cdist(points.features_N_D, means).argmin(1).tolist() == cluster_N.tolist()


def test_k_means_of_fewer_distinct_inputs_than_clusters() -> None:
    same = torch.ones(6, 2)
    same[0] = 5
    assert len(k_means(Points.of(same), 4, generator()).unique()) == 2
