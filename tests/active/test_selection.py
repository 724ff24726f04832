import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from src.active.selection import rank, select, shuffle_ranks


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.lists(st.floats(-5, 5, width=16), min_size=1, max_size=50))
def test_higher_scores_come_first_and_ties_keep_their_order(scores: list[float]) -> None:
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
    assert rank(torch.tensor(scores)).tolist() == expected


@given(st.integers(1, 60), st.floats(0, 1), st.integers(0, 1000))
def test_shuffling_permutes_and_never_repeats(count: int, proportion: float, seed: int) -> None:
    ranks = torch.arange(count).flip(0)
    assert shuffle_ranks(ranks, proportion, generator(seed)).sort().values.tolist() == list(range(count))


def test_no_shuffle_takes_exactly_the_top() -> None:
    scores = torch.tensor([0.1, 0.9, 0.5, 0.7])
    assert select(scores, 2, 0.0, generator()).tolist() == [1, 3]


def test_full_shuffle_is_a_uniform_draw() -> None:
    first = [select(torch.arange(5.0), 1, 1.0, generator(seed)).item() for seed in range(2000)]
    assert np.bincount(first, minlength=5) == pytest.approx([400] * 5, abs=80)


def test_each_rank_moves_with_about_the_given_probability() -> None:
    ranks = torch.arange(20_000)
    moved = (shuffle_ranks(ranks, 0.2, generator()) != ranks).double().mean()
    assert moved.item() == pytest.approx(0.2, abs=0.01)


def test_asking_for_more_than_there_is_gives_all() -> None:
    assert select(torch.rand(4), 9, 0.2, generator()).sort().values.tolist() == [0, 1, 2, 3]


def test_asking_for_nothing_gives_nothing() -> None:
    assert len(select(torch.rand(4), 0, 0.2, generator())) == 0
