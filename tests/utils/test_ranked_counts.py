"""The streamed AUROC against scikit-learn's on the whole array, whatever the values, the batches and the room."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor

from src.utils.ranked_counts import RankedCounts

finite_float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
some_values = st.lists(st.tuples(finite_float32, st.booleans()), min_size=2, max_size=60)
few_values = st.lists(st.tuples(st.sampled_from([-1.5, -0.0, 0.0, 1e-45, 3e38]), st.booleans()), min_size=2)


def counted(values: Tensor, positive: Tensor, capacity: int = 2**20, batch: int = 10**9) -> RankedCounts:
    counts = RankedCounts("cpu", capacity)
    for values_N, positive_N in zip(values.split(batch), positive.split(batch), strict=True):
        counts.add(values_N, positive_N)
    return counts


def noisy(n: int, offset: float = 0.0, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Values of which the positive ones tend to be larger."""
    generator = torch.Generator().manual_seed(0)
    positive_N = torch.rand(n, generator=generator) < 0.3
    return (torch.randn(n, generator=generator) + positive_N) * scale + offset, positive_N


@settings(max_examples=60)
@given(st.one_of(some_values, few_values))
def test_any_finite_values_give_the_exact_area(pairs: list[tuple[float, bool]]) -> None:
    values, positive = (torch.tensor(column) for column in zip(*pairs, strict=True))
    area = counted(values, positive).area()
    if len(positive.unique()) == 1:
        assert area is None
    else:
        assert area is not None
        assert area.auroc == pytest.approx(roc_auc_score(positive, values), abs=1e-12)
        assert area.bound == 0


@settings(max_examples=60)
@given(some_values, st.integers(2, 12))
def test_short_of_room_the_area_is_within_the_bound(pairs: list[tuple[float, bool]], capacity: int) -> None:
    values, positive = (torch.tensor(column) for column in zip(*pairs, strict=True))
    counts = counted(values, positive, capacity)
    area = counts.area()
    assert len(counts) <= max(capacity, 4)  # the least room there is
    if area is not None:
        assert abs(area.auroc - roc_auc_score(positive, values)) <= area.bound + 1e-12


@settings(max_examples=40)
@given(some_values, st.integers(4, 40), st.integers(1, 20))
def test_batches_and_their_order_change_no_bit(
    pairs: list[tuple[float, bool]], capacity: int, batch: int
) -> None:
    values, positive = (torch.tensor(column) for column in zip(*pairs, strict=True))
    whole = counted(values, positive, capacity)
    parts = counted(values.flip(0), positive.flip(0), capacity, batch)
    assert whole.area() == parts.area()
    assert whole.dropped_bits == parts.dropped_bits


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (-1e5, 5.0), (3e7, 100.0), (0.0, 1e-42)])
def test_a_hundred_times_more_values_than_room_cost_little(offset: float, scale: float) -> None:
    values, positive = noisy(200_000, offset, scale)
    counts = counted(values, positive, capacity=2_000, batch=7_000)
    area = counts.area()
    assert area is not None and len(counts) <= 2_000
    assert abs(area.auroc - roc_auc_score(positive, values)) <= area.bound + 1e-12
    assert area.bound < 2e-3


def test_what_is_kept_does_not_grow_with_the_stream() -> None:
    values, positive = noisy(20_000)
    counts = RankedCounts("cpu", capacity=500)
    for values_N, positive_N in zip(values.split(90), positive.split(90), strict=True):
        counts.add(values_N, positive_N)
        assert len(counts._codes_K) <= 500
        assert sum(map(len, counts._waiting)) < 500


@given(some_values, st.sampled_from([np.exp, np.cbrt, np.arctan]))
def test_a_strictly_monotone_transform_changes_nothing(
    pairs: list[tuple[float, bool]], transform: Callable[[np.ndarray], np.ndarray]
) -> None:
    values, positive = (np.array(column) for column in zip(*pairs, strict=True))
    # Ranks stand for the values, so that no transform rounds two of them to the same float32.
    ranks = np.unique(values, return_inverse=True)[1].astype(float) / len(values)
    before = counted(torch.tensor(ranks), torch.tensor(positive)).area()
    assert counted(torch.tensor(transform(ranks)), torch.tensor(positive)).area() == before


@given(some_values)
def test_negated_values_give_the_complement(pairs: list[tuple[float, bool]]) -> None:
    values, positive = (torch.tensor(column) for column in zip(*pairs, strict=True))
    area, turned = counted(values, positive).area(), counted(-values, positive).area()
    if area is not None and turned is not None:
        assert turned.auroc == pytest.approx(1 - area.auroc, abs=1e-12)


@given(some_values, finite_float32)
def test_a_split_counts_what_is_above_and_what_is_not(
    pairs: list[tuple[float, bool]], threshold: float
) -> None:
    values, positive = (np.array(column) for column in zip(*pairs, strict=True))
    for at in (threshold, float(values[0])):
        expected = [
            [int((values[positive == group] <= at).sum()), int((values[positive == group] > at).sum())]
            for group in (False, True)
        ]
        assert counted(torch.tensor(values), torch.tensor(positive)).split(at) == expected


def test_no_values_have_no_area() -> None:
    counts = RankedCounts("cpu")
    assert counts.area() is None
    assert counts.split(0.0) == [[0, 0], [0, 0]]


@pytest.mark.cuda
def test_a_gpu_counts_as_the_cpu_does() -> None:
    values, positive = noisy(50_000)
    on_gpu = RankedCounts("cuda", capacity=1_000)
    on_gpu.add(values.cuda(), positive.cuda())
    assert on_gpu.area() == counted(values, positive, capacity=1_000).area()
