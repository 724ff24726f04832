import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from src.models.density import KNN
from src.models.density.neighbours import NeighbourIndex
from src.utils.errors import UserError
from tests.models.density.samples import blobs, halves

METRICS = ("euclidean", "cosine", "manhattan", "chebyshev")
WEIGHTS = ("uniform", "distance")
laws = settings(max_examples=20, deadline=None, derandomize=True)


def fitted(features_N_D: Tensor, labels_N: Tensor, **options: int | str) -> KNN:
    head = KNN(**options)
    head.fit(features_N_D, labels_N, features_N_D[:0], labels_N[:0])
    return head


def sklearn_neighbourhood(
    bank_M_D: Tensor, labels_M: Tensor, queries_N_D: Tensor, neighbours: int, weights: str, metric: str
) -> tuple[Tensor, Tensor]:
    """surprise_N and label_N by scikit-learn's neighbours and votes."""
    tree = "brute" if metric == "cosine" else "kd_tree"  # trees take no difference of large squares
    peer = KNeighborsClassifier(neighbours, weights=weights, metric=metric, algorithm=tree)
    peer.fit(bank_M_D.numpy(), labels_M.numpy())
    winner_N = peer.predict(queries_N_D.numpy())
    distances_N_K, rows_N_K = peer.kneighbors(queries_N_D.numpy())
    agrees_N_K = labels_M.numpy()[rows_N_K] == winner_N[:, None]
    return torch.from_numpy(np.average(distances_N_K, axis=1, weights=agrees_N_K)), torch.from_numpy(winner_N)


@pytest.mark.parametrize("neighbours", [1, 4, 15])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("metric", METRICS)
def test_surprise_and_vote_are_scikit_learns(metric: str, weights: str, neighbours: int) -> None:
    """Even k and overlapping classes make ties, which the smallest label wins in both."""
    bank_M_D, labels_M, queries_N_D, _ = halves(*blobs(4, 200, 5, spread=3))
    head = fitted(bank_M_D, labels_M + 3, neighbours=neighbours, weights=weights, metric=metric)
    surprise_N, label_N = head.neighbourhood(queries_N_D)
    expected_N, winner_N = sklearn_neighbourhood(
        bank_M_D, labels_M + 3, queries_N_D, neighbours, weights, metric
    )
    assert torch.equal(label_N, winner_N)
    torch.testing.assert_close(surprise_N, expected_N, rtol=1e-9, atol=1e-12)
    assert torch.equal(head.surprise(queries_N_D), surprise_N)


@pytest.mark.parametrize("metric", METRICS)
def test_only_exact_matches_vote_under_distance_weights(metric: str) -> None:
    bank_M_D = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.1], [1.0, 0.1], [1.0, 0.1], [0.0, 5.0]])
    labels_M = torch.tensor([7, 7, 2, 2, 2, 2])
    uniform, distance = (
        fitted(bank_M_D, labels_M, neighbours=5, metric=metric, weights=w).neighbourhood(bank_M_D[:1])
        for w in WEIGHTS
    )
    assert (uniform[1].item(), distance[1].item()) == (2, 7)
    assert uniform[0].item() > 0
    assert distance[0].item() == 0


def test_a_scaled_copy_coincides_in_direction() -> None:
    bank_M_D, labels_M = blobs(2, 20, 3)
    head = fitted(bank_M_D, labels_M, neighbours=1, metric="cosine")
    torch.testing.assert_close(
        head.surprise(8 * bank_M_D), torch.zeros(40, dtype=torch.float64), rtol=0, atol=1e-15
    )


def test_a_zero_vector_has_cosine_distance_one_to_everything() -> None:
    bank_M_D = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    labels_M = torch.arange(3)
    queries_N_D = torch.tensor([[0.0, 0.0], [-1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    surprise_N, label_N = fitted(bank_M_D, labels_M, neighbours=1, metric="cosine").neighbourhood(queries_N_D)
    torch.testing.assert_close(surprise_N, torch.tensor([1, 1, 1 - 0.5**0.5], dtype=torch.float64))
    assert label_N.tolist() == [0, 2, 0]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_all_are_neighbours_where_fewer_are_labelled(weights: str) -> None:
    bank_M_D, labels_M = blobs(2, 3, 4)
    queries_N_D = blobs(2, 10, 4, seed=1)[0]
    surprise_N = fitted(bank_M_D, labels_M, neighbours=100, weights=weights).surprise(queries_N_D)
    expected_N, _ = sklearn_neighbourhood(bank_M_D, labels_M, queries_N_D, 6, weights, "euclidean")
    torch.testing.assert_close(surprise_N, expected_N)


def kept_rows(head: KNN, features_N_D: Tensor) -> list[int]:
    """The rows of the training features that are their own nearest neighbour, hence in the bank."""
    return (head.surprise(features_N_D) == 0).nonzero().flatten().tolist()


def test_max_samples_caps_each_class_by_a_seeded_draw() -> None:
    features_N_D, labels_N = blobs(3, 40, 4)
    kept = torch.arange(120) > 60  # makes the counts unequal
    features_N_D, labels_N = features_N_D[kept], torch.where(labels_N == 2, 5, labels_N)[kept]
    before = torch.get_rng_state()
    draws = [
        fitted(features_N_D, labels_N, neighbours=1, max_samples=cap, seed=seed)
        for cap, seed in ((20, 0), (20, 0), (20, 1), (-1, 0))
    ]
    assert torch.equal(torch.get_rng_state(), before)
    first, again, other, everything = (kept_rows(head, features_N_D) for head in draws)
    counts = labels_N.bincount()[[0, 1, 5]]
    assert counts.min() < 20 < counts.max()
    assert labels_N[first].bincount()[[0, 1, 5]].tolist() == counts.clamp(max=20).tolist()
    assert draws[0].diagnostics() == {"bank_per_class": counts.clamp(max=20).tolist()}
    assert first == again != other
    assert len(everything) == len(labels_N)
    assert draws[3].diagnostics() == {"bank_per_class": counts.tolist()}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1.0, 1e-4, 0.0], ids=["spread", "tight", "collapsed"])
def test_float32_features_give_float64s_surprise(metric: str, scale: float) -> None:
    """Tight clusters far from the origin are where |a|² − 2ab + |b|² would cancel in float32."""
    features_N_D, labels_N = blobs(3, 200, 8, spread=scale)
    bank_M_D, labels_M, queries_N_D, _ = halves((features_N_D + 20).float(), labels_N)
    queries_N_D = torch.cat([queries_N_D, queries_N_D + 1e-3])
    single = fitted(bank_M_D, labels_M, metric=metric).surprise(queries_N_D)
    double = fitted(bank_M_D.double(), labels_M, metric=metric).surprise(queries_N_D.double())
    assert single.dtype == torch.float64
    assert double.max() > 0
    torch.testing.assert_close(single, double, rtol=1e-5, atol=1e-15)


def test_a_collapsed_bank_in_float32_has_scikit_learns_neighbours() -> None:
    """All distances fall below the resolution of the fast search, so that only the second one can tell them."""
    bank_M_D, labels_M, queries_N_D, _ = (
        x.float() if x.is_floating_point() else x for x in halves(*blobs(1, 800, 8))
    )
    bank_M_D, queries_N_D = 300 + 1e-4 * bank_M_D, 300 + 1e-4 * queries_N_D
    bank_M_D[0] = -300.0
    surprise_N = fitted(bank_M_D, labels_M, neighbours=3).surprise(queries_N_D)
    expected_N, _ = sklearn_neighbourhood(
        bank_M_D.double(), labels_M, queries_N_D.double(), 3, "distance", "euclidean"
    )
    torch.testing.assert_close(surprise_N, expected_N, rtol=1e-9, atol=1e-12)


@laws
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    metric=st.sampled_from(METRICS),
    weights=st.sampled_from(WEIGHTS),
)
def test_splitting_rows_into_calls_does_not_matter(
    seed: int, sizes: list[int], metric: str, weights: str
) -> None:
    bank_M_D, labels_M = blobs(3, 20, 4, seed)
    head = fitted(bank_M_D.float(), labels_M, metric=metric, weights=weights)
    queries_N_D = blobs(3, 15, 4, seed ^ 1)[0][: sum(sizes)].float()
    parts_N = torch.cat([head.surprise(part) for part in queries_N_D.split(sizes)])
    torch.testing.assert_close(parts_N, head.surprise(queries_N_D), rtol=1e-10, atol=0)


@laws
@given(seed=st.integers(0, 2**32 - 1), metric=st.sampled_from(METRICS), weights=st.sampled_from(WEIGHTS))
def test_the_order_of_the_bank_does_not_matter_without_equal_distances(
    seed: int, metric: str, weights: str
) -> None:
    bank_M_D, labels_M = blobs(3, 20, 4, seed)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    queries_N_D = blobs(3, 5, 4, seed ^ 1)[0]
    surprise_N, permuted_N = (
        fitted(bank_M_D[rows], labels_M[rows], metric=metric, weights=weights).surprise(queries_N_D)
        for rows in (torch.arange(60), order)
    )
    torch.testing.assert_close(permuted_N, surprise_N, rtol=1e-9, atol=0)


def test_equally_near_rows_are_taken_by_position() -> None:
    bank_M_D = torch.cat([torch.tensor([1.0, -1.0]).repeat(6), 2 + torch.rand(200)])[:, None]
    index = NeighbourIndex(bank_M_D, "euclidean", 3)
    distances_N_K, rows_N_K = index(torch.zeros(1, 1))
    assert distances_N_K.tolist() == [[1, 1, 1]]
    assert rows_N_K.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbours": 0}, "knn_neighbours 0"),
        ({"weights": "gaussian"}, "unknown knn_weights 'gaussian'; choices: uniform, distance"),
        ({"metric": "hamming"}, "unknown knn_metric 'hamming'; choices: euclidean, cosine"),
        ({"max_samples": 0}, "max_samples 0"),
        ({"max_samples": -2}, "max_samples -2"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, int | str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        KNN(**options)


def test_names_are_case_insensitive() -> None:
    bank_M_D, labels_M = blobs(2, 20, 3)
    upper = fitted(bank_M_D, labels_M, metric="Cosine", weights="UNIFORM")
    lower = fitted(bank_M_D, labels_M, metric="cosine", weights="uniform")
    assert torch.equal(upper.surprise(bank_M_D), lower.surprise(bank_M_D))


def test_an_empty_bank_is_the_users_error() -> None:
    with pytest.raises(UserError, match="no sample is labelled"):
        fitted(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
