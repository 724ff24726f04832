import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.models.density.coarse import (
    CoarseSearch,
    DistanceSearch,
    ProductSearch,
    group_count,
    leading_axes,
    not_above,
    smallest,
)
from tests.models.density.samples import HARD, hard_features

DTYPES = (torch.bfloat16, torch.float32, torch.float64)
laws = settings(max_examples=60, deadline=None, derandomize=True)


def scores_of(search: CoarseSearch, centred_N_D: Tensor) -> Tensor:
    out_N_P = torch.full((len(centred_N_D), search.columns), torch.nan, dtype=search.dtype)
    return search.scores(search.queries(centred_N_D), out_N_P)


def room_of_pairs(search: CoarseSearch, centred_N_D: Tensor, exact_N_M: Tensor) -> Tensor:
    """room_N_M: by how much each row's own score is below the cut that its own true value gives."""
    queries, rows = search.queries(centred_N_D), exact_N_M.shape[1]
    cuts_N_M = torch.stack([search.cut(queries, exact_N_M[:, m]) for m in range(rows)], dim=1)
    return cuts_N_M - scores_of(search, centred_N_D).double()[:, :rows]


@laws
@given(
    kind=st.sampled_from(HARD),
    dtype=st.sampled_from(DTYPES),
    width=st.sampled_from([None, 0, 1, 5, 40]),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_row_scores_above_the_cut_of_its_true_distance_in_products(
    kind: str, dtype: torch.dtype, width: int | None, seed: int
) -> None:
    features_N_D = hard_features(kind, 60, 40, seed).double()
    centred_N_D = features_N_D - features_N_D[:50].mean(dim=0)
    bank_M_D, queries_N_D = centred_N_D[:50], centred_N_D[40:]
    axes_D_D = torch.linalg.eigh(bank_M_D.T @ bank_M_D).eigenvectors
    axes_D_R = None if width is None else axes_D_D[:, 40 - width :]
    search = ProductSearch([(bank_M_D, torch.zeros(50, dtype=torch.float64))], 50, 64, dtype, axes_D_R)
    exact_N_M = (queries_N_D[:, None] - bank_M_D).square().sum(dim=2)
    assert (room_of_pairs(search, queries_N_D, exact_N_M) >= 0).all()


@laws
@given(
    kind=st.sampled_from(HARD),
    dtype=st.sampled_from(DTYPES[1:]),
    order=st.sampled_from([1.0, math.inf]),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_row_scores_above_the_cut_of_its_true_distance_in_distances(
    kind: str, dtype: torch.dtype, order: float, seed: int
) -> None:
    features_N_D = hard_features(kind, 60, 40, seed).double()
    centred_N_D = features_N_D - features_N_D[:50].mean(dim=0)
    search = DistanceSearch([(centred_N_D[:50], torch.zeros(50))], 50, 64, dtype, order)
    exact_N_M = torch.linalg.vector_norm(centred_N_D[40:, None] - centred_N_D[:50], ord=order, dim=2)
    assert (room_of_pairs(search, centred_N_D[40:], exact_N_M) >= 0).all()


@pytest.mark.parametrize(("dtype", "share"), [(torch.bfloat16, 0.03), (torch.float32, 1e-4)])
def test_cuts_are_not_far_above(dtype: torch.dtype, share: float) -> None:
    """Infinity would keep the laws above, and would certify nothing."""
    bank_M_D = torch.randn(50, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    search = ProductSearch([(bank_M_D, torch.zeros(50, dtype=torch.float64))], 50, 64, dtype, None)
    exact_N_M = (bank_M_D[:, None] - bank_M_D).square().sum(dim=2)
    assert room_of_pairs(search, bank_M_D, exact_N_M).max() < share * 2 * exact_N_M.mean()


@pytest.mark.parametrize("scale", [1e-30, 1e20])
@pytest.mark.parametrize("dtype", DTYPES[:2])
def test_scores_that_leave_the_range_of_float32_certify_nothing(dtype: torch.dtype, scale: float) -> None:
    bank_M_D = scale * torch.randn(50, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    search = ProductSearch([(bank_M_D, torch.zeros(50, dtype=torch.float64))], 50, 64, dtype, None)
    cut_N = search.cut(search.queries(bank_M_D), (bank_M_D[0] - bank_M_D).square().sum(dim=1))
    assert not (scores_of(search, bank_M_D)[:, :50].double() > cut_N[:, None]).any()


def test_axes_that_hold_all_the_variance_lose_nothing() -> None:
    flat_M_D = hard_features("low rank", 50, 40, 0).double()
    flat_M_D -= flat_M_D.mean(dim=0)
    axes_D_D = torch.linalg.eigh(flat_M_D.T @ flat_M_D).eigenvectors
    zero_M = torch.zeros(50, dtype=torch.float64)
    full, reduced = (
        ProductSearch([(flat_M_D, zero_M)], len(flat_M_D), 64, torch.float64, a)
        for a in (None, axes_D_D[:, -4:])
    )
    whole_N_P, part_N_P = scores_of(full, flat_M_D), scores_of(reduced, flat_M_D)
    torch.testing.assert_close(part_N_P, whole_N_P, rtol=1e-9, atol=1e-9)


def test_what_is_left_of_a_query_in_the_span_of_the_axes_is_not_underrated() -> None:
    """|q|² − |kept|² is then nothing but rounding, where the rest may still point at a row of the bank."""
    generator = torch.Generator().manual_seed(0)
    axes_D_D = torch.linalg.qr(torch.randn(40, 40, dtype=torch.float64, generator=generator)).Q
    kept_N_R = torch.randn(50, 5, dtype=torch.float64, generator=generator)
    queries_N_D = kept_N_R @ axes_D_D[:, :5].T + 3e-9 * axes_D_D[:, 5]
    zero_1 = torch.zeros(1, dtype=torch.float64)
    search = ProductSearch([(axes_D_D[None, :, 5], zero_1)], 1, 64, torch.float64, axes_D_D[:, :5])
    exact_N_1 = (queries_N_D - axes_D_D[:, 5]).square().sum(dim=1, keepdim=True)
    assert (room_of_pairs(search, queries_N_D, exact_N_1) >= 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_beyond_the_bank_scores_are_infinite(dtype: torch.dtype) -> None:
    bank_M_D = torch.randn(70, 3, dtype=torch.float64)
    searches: list[CoarseSearch] = [DistanceSearch([(bank_M_D, torch.zeros(70))], 70, 64, torch.float32, 1.0)]
    searches.append(ProductSearch([(bank_M_D, torch.zeros(70, dtype=torch.float64))], 70, 64, dtype, None))
    for search in searches:
        scores_N_P = scores_of(search, bank_M_D)
        assert scores_N_P.shape == (70, 128)
        assert scores_N_P[:, :70].isfinite().all()
        assert (scores_N_P[:, 70:] == math.inf).all()


@laws
@given(
    groups=st.integers(1, 9),
    sizes=st.integers(1, 9),
    data=st.data(),
    dtype=st.sampled_from(DTYPES),
)
def test_smallest_is_what_sorting_gives(
    groups: int, sizes: int, data: st.DataObject, dtype: torch.dtype
) -> None:
    count = data.draw(st.integers(1, groups * sizes))
    scores_N_P = torch.stack([torch.randperm(groups * sizes) for _ in range(7)]).to(dtype)
    least_N_G, worst_N, columns_N_C = smallest(scores_N_P, groups, count)
    expected_N_P = scores_N_P.argsort(dim=1)
    assert torch.equal(columns_N_C.sort(dim=1).values, expected_N_P[:, :count].sort(dim=1).values)
    assert torch.equal(worst_N, scores_N_P.sort(dim=1).values[:, count - 1])
    assert torch.equal(least_N_G[:, 0], scores_N_P[:, ::groups].min(dim=1).values)


@laws
@given(groups=st.integers(1, 9), sizes=st.integers(1, 9), limit=st.integers(0, 9), seed=st.integers(0, 99))
def test_not_above_is_what_comparing_gives(groups: int, sizes: int, limit: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores_N_P = torch.randint(20, (7, groups * sizes), generator=generator).float()
    cut_N = torch.randint(20, (7,), generator=generator).double()
    wanted_N = torch.arange(7) != 3
    least_N_G, _, _ = smallest(scores_N_P, groups, 1)
    positions_T, columns_T = not_above(scores_N_P, least_N_G, cut_N, wanted_N, limit)
    few_N = (least_N_G <= cut_N[:, None]).sum(dim=1) <= limit
    expected = (scores_N_P <= cut_N[:, None]) & (wanted_N & few_N)[:, None]
    assert torch.equal(torch.stack([positions_T, columns_T], dim=1), expected.nonzero())


@pytest.mark.parametrize("rows", [1, 100, 10_000, 1_000_000])
def test_groups_keep_rows_of_scores_aligned(rows: int) -> None:
    assert group_count(rows, 8) % 64 == 0


def test_leading_axes_are_orthonormal_and_halve_in_number() -> None:
    """Those that together hold nearly everything come first; the wider ones would not be cheaper."""
    features_N_D = torch.randn(300, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    features_N_D[:, 40:] *= 0.01
    axes = list(leading_axes(features_N_D))
    assert [axes_D_R.shape for axes_D_R in axes] == [(200, 50), (200, 25)]
    for axes_D_R in axes:
        eye_R_R = torch.eye(axes_D_R.shape[1], dtype=torch.float64)
        torch.testing.assert_close(axes_D_R.T @ axes_D_R, eye_R_R)
    left_out_N_D = features_N_D - features_N_D @ axes[0] @ axes[0].T
    assert left_out_N_D.square().sum() < features_N_D.square().sum() / 50


def test_white_noise_has_no_leading_axes() -> None:
    noise_N_D = torch.randn(5000, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert list(leading_axes(noise_N_D)) == []
