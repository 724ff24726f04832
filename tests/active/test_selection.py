import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from src.active.selection import PERTURBATIONS, mix, perturb, rank, select, shuffle_ranks


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


# What an input's chance to be drawn first is in proportion to, by the paper's table 1.
CHANCES = {
    "softmax": lambda scores, coldness: np.exp(coldness * scores),
    "power": lambda scores, coldness: scores**coldness,
    "softrank": lambda scores, coldness: (1.0 + len(scores) - rankdata(scores)) ** -coldness,
}


@pytest.mark.parametrize("coldness", [1.0, 2.5])
@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_inputs_are_drawn_in_proportion_to_their_powers(kind: str, coldness: float) -> None:
    scores, draw = torch.tensor([0.3, 1.2, 0.7, 0.1]), generator()
    first = [int(rank(perturb(scores, kind, coldness, draw))[0]) for _ in range(4000)]
    weights = CHANCES[kind](scores.double().numpy(), coldness)
    expected = 4000 * weights / weights.sum()
    assert np.bincount(first, minlength=4) == pytest.approx(expected, abs=120)


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_cold_draws_are_the_highest_scores_and_warm_ones_are_chance(kind: str) -> None:
    scores = torch.rand(50, generator=generator(1))
    assert torch.equal(rank(perturb(scores, kind, 1e6, generator())), rank(scores))
    warm = [perturb(scores, kind, 1e-9, generator(seed)).argmax().item() for seed in range(200)]
    assert len(set(warm)) > 40


@pytest.mark.parametrize("coldness", [1.0, 1e-3, 1e-9])
def test_power_leaves_inputs_without_a_score_to_the_end_in_any_order(coldness: float) -> None:
    scores, drawn = torch.tensor([0.0, 1e-6, 0.0, 2.0, -1e-9]), set()
    for seed in range(50):
        order = rank(perturb(scores, "power", coldness, generator(seed))).tolist()
        assert set(order[:2]) == {1, 3}
        drawn.add(tuple(order[2:]))
    assert len(drawn) == 6
    assert perturb(torch.zeros(0), "power", coldness, generator()).shape == (0,)


@given(st.lists(st.tuples(st.integers(-3, 3), st.floats(-5, 5, width=16)), min_size=2, max_size=30))
def test_mixed_scores_are_the_weighted_mean_of_scipys_ranks(rows: list[tuple[int, float]]) -> None:
    scores_N_H = torch.tensor(rows, dtype=torch.float64)
    ranks = [(rankdata(column) - 1) / (len(rows) - 1) for column in scores_N_H.T.numpy()]
    mixed = mix(scores_N_H, torch.tensor([1.0, 3.0], dtype=torch.float64))
    np.testing.assert_allclose(mixed, 0.25 * ranks[0] + 0.75 * ranks[1], atol=1e-12)


def test_mixing_does_not_depend_on_units() -> None:
    scores_N_H = torch.rand(30, 2, generator=generator())
    other_units_N_H = torch.stack([7 * scores_N_H[:, 0] - 3, scores_N_H[:, 1] ** 3], dim=1)
    weights_H = torch.tensor([0.5, 0.5], dtype=torch.float64)
    assert torch.equal(mix(scores_N_H, weights_H), mix(other_units_N_H, weights_H))
