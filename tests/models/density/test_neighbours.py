import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.models.density import neighbours
from src.models.density.neighbours import NeighbourIndex
from tests.models.density.samples import HARD, hard_features

laws = settings(max_examples=40, deadline=None, derandomize=True)
COARSE = [(dtype, axes) for dtype in (torch.bfloat16, torch.float32) for axes in (None, 1, 6)]


def slow_twin(bank_M_D: Tensor, queries_N_D: Tensor, metric: str) -> Tensor:
    """distances_N_M in float64, a vector at a time."""
    bank_M_D, queries_N_D = bank_M_D.double(), queries_N_D.double()
    if metric == "cosine":
        cosine_N_M = torch.nn.functional.cosine_similarity(queries_N_D[:, None], bank_M_D, dim=2)
        return 1 - cosine_N_M
    order = {"euclidean": 2, "manhattan": 1, "chebyshev": math.inf}[metric]
    return torch.stack([torch.linalg.vector_norm(q - bank_M_D, ord=order, dim=1) for q in queries_N_D])


def assert_nearest(found: tuple[Tensor, Tensor], bank_M_D: Tensor, queries_N_D: Tensor, metric: str) -> None:
    distances_N_K, rows_N_K = found
    expected_N_M = slow_twin(bank_M_D, queries_N_D, metric)
    sorted_N_K = expected_N_M.sort(dim=1).values[:, : distances_N_K.shape[1]]
    tolerance = {"rtol": 1e-9, "atol": 1e-9 * float(bank_M_D.abs().max()) + 1e-14}
    torch.testing.assert_close(distances_N_K, sorted_N_K, **tolerance)
    torch.testing.assert_close(expected_N_M.gather(1, rows_N_K), distances_N_K, **tolerance)
    assert all(len(set(rows)) == len(rows) for rows in rows_N_K.tolist())


def with_cheap_search(index: NeighbourIndex, dtype: torch.dtype, axes: int | None) -> NeighbourIndex:
    """The same index, made to begin with this search on a bank so small that it would not."""
    centred_M_D = torch.cat([block for block, _ in index._bank_blocks()])
    axes_D_D = torch.linalg.eigh(centred_M_D.T @ centred_M_D).eigenvectors
    index._cheap = [index._coarse(dtype, None if axes is None else axes_D_D[:, -axes:])]
    return index


@pytest.mark.parametrize("kind", HARD)
@laws
@given(
    metric=st.sampled_from(["euclidean", "cosine"]),
    coarse=st.sampled_from(COARSE),
    rows=st.sampled_from([1, 2, 30, 300]),
    count=st.integers(1, 7),
    double=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_whatever_the_cheap_search_neighbours_are_the_slow_twins(
    kind: str,
    metric: str,
    coarse: tuple[torch.dtype, int | None],
    rows: int,
    count: int,
    double: bool,
    seed: int,
) -> None:
    features_N_D = hard_features(kind, rows + 9, 20, seed)
    features_N_D = features_N_D.double() if double else features_N_D
    bank_M_D, queries_N_D = features_N_D[:rows], features_N_D[rows // 2 :]
    index = with_cheap_search(NeighbourIndex(bank_M_D, metric, count), *coarse)
    assert_nearest(index(queries_N_D), bank_M_D, queries_N_D, metric)


@pytest.mark.parametrize("kind", HARD)
@pytest.mark.parametrize("metric", ["manhattan", "chebyshev"])
def test_norms_without_products_have_the_slow_twins_neighbours(metric: str, kind: str) -> None:
    features_N_D = hard_features(kind, 320, 20, 0)
    bank_M_D, queries_N_D = features_N_D[:300], features_N_D[280:]
    assert_nearest(NeighbourIndex(bank_M_D, metric, 5)(queries_N_D), bank_M_D, queries_N_D, metric)


@laws
@given(
    coarse=st.sampled_from(COARSE),
    kind=st.sampled_from([k for k in HARD if k not in ("constant", "duplicates")]),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=5),
    seed=st.integers(0, 2**32 - 1),
)
def test_neither_the_search_nor_the_split_into_calls_changes_a_bit(
    coarse: tuple[torch.dtype, int | None], kind: str, sizes: list[int], seed: int
) -> None:
    features_N_D = hard_features(kind, 300 + sum(sizes), 20, seed)
    bank_M_D, queries_N_D = features_N_D[:300], features_N_D[300:]
    distances_N_K, rows_N_K = NeighbourIndex(bank_M_D, "euclidean", 3)(queries_N_D)
    cheap = with_cheap_search(NeighbourIndex(bank_M_D, "euclidean", 3), *coarse)
    parts = [cheap(part) for part in queries_N_D.split(sizes)]
    assert torch.equal(torch.cat([distances for distances, _ in parts]), distances_N_K)
    assert torch.equal(torch.cat([rows for _, rows in parts]), rows_N_K)


def tried(index: NeighbourIndex) -> set[str]:
    """Which of the searches that come after the cheap ones were needed."""
    return {"_single", "_double"} & set(vars(index))


@pytest.mark.parametrize("bfloat16", [False, True])
def test_few_axes_do_where_the_spectrum_falls(bfloat16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "bfloat16_pays", lambda: bfloat16)
    scales_D = torch.arange(1, 257).float().pow(-1.5)
    features_N_D = hard_features("classes", 4540, 256, 0) * scales_D
    index = NeighbourIndex(features_N_D[:4500], "euclidean", 5)
    dtypes = [search.dtype for search in index._cheap]
    assert dtypes == ([torch.bfloat16, torch.bfloat16] if bfloat16 else [torch.float32])
    assert len(index._cheap[0]._factors_E_P) < 140
    assert_nearest(index(features_N_D[4500:]), features_N_D[:4500], features_N_D[4500:], "euclidean")


@pytest.mark.parametrize("bfloat16", [False, True])
def test_all_axes_are_searched_where_none_leads(bfloat16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "bfloat16_pays", lambda: bfloat16)
    features_N_D = hard_features("noise", 4540, 64, 0)
    index = NeighbourIndex(features_N_D[:4500], "euclidean", 5)
    assert [search.dtype for search in index._cheap] == ([torch.bfloat16] if bfloat16 else [])
    assert_nearest(index(features_N_D[4500:]), features_N_D[:4500], features_N_D[4500:], "euclidean")
    assert "_double" not in tried(index)


def test_ties_are_left_to_the_last_search() -> None:
    bank_M_D = hard_features("duplicates", 1000, 20, 0)
    index = NeighbourIndex(bank_M_D, "euclidean", 3)
    assert_nearest(index(bank_M_D[:9]), bank_M_D, bank_M_D[:9], "euclidean")
    assert tried(index) == {"_single", "_double"}


def test_rows_that_tie_come_by_position() -> None:
    """Eight copies each are fewer than the candidates, more than the neighbours."""
    bank_M_D = torch.cat([hard_features("noise", 50, 20, 0)] * 8)
    for coarse in COARSE:
        index = with_cheap_search(NeighbourIndex(bank_M_D, "euclidean", 3), *coarse)
        distances_N_K, rows_N_K = index(bank_M_D[:50])
        assert rows_N_K.tolist() == [[row, row + 50, row + 100] for row in range(50)]
        assert (distances_N_K == 0).all()


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_features_whose_squares_leave_float32_keep_their_neighbours(scale: float) -> None:
    features_N_D = hard_features("noise", 300, 20, 0)
    distances_N_K, rows_N_K = NeighbourIndex(features_N_D[:250], "euclidean", 3)(features_N_D[250:])
    scaled = with_cheap_search(NeighbourIndex(scale * features_N_D[:250], "euclidean", 3), torch.bfloat16, 6)
    scaled_N_K, scaled_rows_N_K = scaled(scale * features_N_D[250:])
    torch.testing.assert_close(scaled_N_K / scale, distances_N_K, rtol=1e-6, atol=0)
    assert torch.equal(scaled_rows_N_K, rows_N_K)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan", "chebyshev"])
@pytest.mark.parametrize("scale", [1e-30, 1e15, 1e18, 1e19, 1e25, 1e37])
@pytest.mark.parametrize("rows", [3, 8, 12, 70, 300, 5000])
def test_scores_that_overflow_cost_no_neighbour(rows: int, scale: float, metric: str) -> None:
    """All of them, some of them, or the padding that banks of some sizes have beside them."""
    features_N_D = hard_features("noise", rows + 20, 5, rows)
    index = NeighbourIndex(scale * features_N_D[:rows], metric, 5)
    distances_N_K, rows_N_K = index(scale * features_N_D[rows:])
    expected_N_M = slow_twin(features_N_D[:rows], features_N_D[rows:], metric)
    expected_N_K = expected_N_M.sort(dim=1).values[:, : distances_N_K.shape[1]]
    unit = 1 if metric == "cosine" else scale
    torch.testing.assert_close(distances_N_K / unit, expected_N_K, rtol=1e-5, atol=1e-7)
    assert all(len(set(found)) == len(found) for found in rows_N_K.tolist())


def test_no_queries_have_no_neighbours() -> None:
    bank_M_D = hard_features("noise", 30, 4, 0)
    distances_N_K, rows_N_K = NeighbourIndex(bank_M_D, "euclidean", 3)(bank_M_D[:0])
    assert distances_N_K.shape == rows_N_K.shape == (0, 3)
