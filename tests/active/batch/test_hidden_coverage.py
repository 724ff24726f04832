"""Hidden coverage against brute force, scikit-learn and the law of single draws."""

from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from sklearn.cluster import KMeans

from src.active.batch import DoubtfulFeatures, hidden_coverage
from src.active.batch.geometry import Points
from src.models.density import memory
from src.utils.errors import NonFiniteError
from tests.active.evidence import blobs, evidence, generator, run


def left(given_: dict[str, Any], positions_Q: torch.Tensor) -> float:
    """Σ (doubt · distance to the nearest labelled or picked input)², of all distances."""
    features_N_D, doubt_N = (tensor.double() for tensor in given_["doubtful_features"])
    covering = torch.cat([given_["labelled_features"].double(), features_N_D[positions_Q]])
    return float((doubt_N * torch.cdist(features_N_D, covering).amin(dim=1)).square().sum())


@given(seed=st.integers(0, 10**6), count=st.integers(8, 20))
@settings(max_examples=25)
def test_less_is_left_than_by_chance(seed: int, count: int) -> None:
    given_ = evidence(200, seed)
    picked = run("hidden_coverage", given_, count, seed).positions_Q
    chance = [left(given_, torch.randperm(200, generator=generator(draw))[:count]) for draw in range(20)]
    assert left(given_, picked) < np.mean(chance)


def islands(sizes: tuple[int, ...], dims: int = 6) -> torch.Tensor:
    draw = generator(0)
    corners = 100 * torch.eye(len(sizes), dims)
    return torch.cat(
        [
            corner + torch.randn(size, dims, generator=draw)
            for corner, size in zip(corners, sizes, strict=True)
        ]
    )


@pytest.mark.parametrize("seed", range(5))
def test_of_islands_each_that_has_no_label_gives_its_middle_and_the_largest_first(seed: int) -> None:
    pool_N_D = islands((40, 30, 60, 20))
    given_ = {
        "doubtful_features": DoubtfulFeatures(pool_N_D, torch.full((150,), 0.5)),
        "labelled_features": pool_N_D[:1],
    }
    picks = run("hidden_coverage", given_, 3, seed).positions_Q.tolist()
    for pick, start, end in zip(picks, (70, 40, 130), (130, 70, 150), strict=True):
        assert start <= pick < end
        to_mean = (pool_N_D[start:end] - pool_N_D[start:end].mean(dim=0)).norm(dim=1)
        assert to_mean[pick - start] == to_mean.min()


@pytest.mark.parametrize("seed", range(5))
def test_a_small_island_in_doubt_comes_before_a_large_one_that_is_sure(seed: int) -> None:
    pool_N_D = islands((1, 80, 20))
    doubt_N = torch.cat([torch.full((81,), 0.2), torch.full((20,), 0.9)])
    given_ = {"doubtful_features": DoubtfulFeatures(pool_N_D, doubt_N), "labelled_features": pool_N_D[:1]}
    first, second = run("hidden_coverage", given_, 2, seed).positions_Q.tolist()
    assert second < 81 <= first


def test_an_island_without_doubt_is_left_alone() -> None:
    doubt_N = torch.ones(90)
    doubt_N[30:60] = 0
    pool_N_D = islands((30, 30, 30))
    given_ = {
        "doubtful_features": DoubtfulFeatures(pool_N_D, doubt_N),
        "labelled_features": pool_N_D[:1] + 50,
    }
    batch = run("hidden_coverage", given_, 20)
    assert not set(batch.positions_Q.tolist()) & set(range(30, 60))
    assert (batch.pool_scores_N[30:60] == 0).all()


def test_scores_are_parts_of_the_sum_before_any_pick() -> None:
    given_ = evidence(80)
    batch = run("hidden_coverage", given_, 80)  # all of them, twins too, which are drawn by chance
    features_N_D, doubt_N = (tensor.double() for tensor in given_["doubtful_features"])
    nearest_N = torch.cdist(features_N_D, given_["labelled_features"].double()).amin(dim=1)
    torch.testing.assert_close(batch.pool_scores_N, (doubt_N * nearest_N).square(), rtol=1e-4, atol=1e-4)
    assert torch.equal(batch.scores_Q, batch.pool_scores_N[batch.positions_Q])


def test_features_whose_squares_overflow_are_refused() -> None:
    given_ = evidence(20)
    given_["labelled_features"] = given_["labelled_features"] * 1e30
    with pytest.raises(NonFiniteError, match="20 of 20 pool inputs"):
        run("hidden_coverage", given_, 5)


def test_many_draws_at_once_have_the_law_of_single_ones() -> None:
    """Three draws of six inputs, each in proportion to what those before it leave uncovered."""
    pool_N_D = torch.randn(6, 2, generator=generator(1)).double()
    weight_N, labelled_1_D = torch.linspace(0.2, 1, 6).double(), torch.zeros(1, 2).double()
    pool = Points.of(pool_N_D)
    uncovered_N = pool.nearest_squares(labelled_1_D)

    def chance(order: tuple[int, ...]) -> float:
        covering, product = labelled_1_D, 1.0
        for position in order:
            weights = weight_N * torch.cdist(pool_N_D, covering).square().amin(dim=1)
            product *= float(weights[position] / weights.sum())
            covering = torch.cat([covering, pool_N_D[position, None]])
        return product

    orders, draw, times = list(permutations(range(6), 3)), generator(2), 6000
    found = Counter(tuple(hidden_coverage._draw(pool, weight_N, uncovered_N, 3, draw)) for _ in range(times))
    expected = [times * chance(order) for order in orders]
    assert sum(expected) == pytest.approx(times)
    assert chisquare([found[order] for order in orders], expected).pvalue > 0.001


def test_centres_move_as_scikit_learns_where_nothing_is_labelled_nearby() -> None:
    draw = generator(3)
    pool_N_D, _ = blobs(300, 5, draw)
    weight_N = torch.rand(300, generator=draw)
    pool = Points.of(pool_N_D)
    far_N = torch.full((300,), torch.inf)
    centres_M_D = hidden_coverage._move(pool, weight_N, far_N, pool.features_N_D[:8], 10)
    theirs = KMeans(8, init=pool.features_N_D[:8].numpy(), n_init=1, max_iter=10)
    theirs.fit(pool.features_N_D.numpy(), sample_weight=weight_N.numpy())
    np.testing.assert_allclose(centres_M_D.numpy(), theirs.cluster_centers_, rtol=1e-3, atol=1e-4)


def test_what_hardly_any_weight_lies_on_is_left_out_unless_it_is_needed() -> None:
    weight_N = torch.tensor([1e-6, 0.5, 1e-6, 0.25, 0.3, 1e-6], dtype=torch.float64)
    assert hidden_coverage._weighty(weight_N, 1e-3, 1).tolist() == [1, 3, 4]
    borderline_N = torch.tensor([1.5e-3, 0.5, 0.5e-3, 0.5], dtype=torch.float64)
    assert hidden_coverage._weighty(borderline_N, 1e-3, 1).tolist() == [0, 1, 3], "a thousandth together"
    assert hidden_coverage._weighty(weight_N, 1e-3, 5).tolist() == [1, 2, 3, 4, 5]
    assert hidden_coverage._weighty(weight_N, 1e-3, 60).tolist() == list(range(6))
    assert hidden_coverage._weighty(torch.zeros(4), 1e-3, 2).tolist() == [2, 3]


def test_the_least_doubted_are_left_out_but_for_ten_a_pick() -> None:
    given_ = evidence(300)
    doubt_N = torch.where(torch.arange(300) < 100, 1.0, 1e-3)
    given_["doubtful_features"] = DoubtfulFeatures(given_["doubtful_features"].features_N_D, doubt_N)
    scores_N = run("hidden_coverage", given_, 5).pool_scores_N
    assert (scores_N[:100] > 0).all() and (scores_N[100:] == 0).all()
    assert (run("hidden_coverage", given_, 15).pool_scores_N > 0).sum() == 150


def test_as_many_are_drawn_anew_as_cells_ran_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though all centres move to one place, none is picked by chance among those without doubt."""

    def to_one_place(pool: Points, weight_N: Any, uncovered_N: Any, centres_M_D: Any, rounds: int) -> Any:
        return centres_M_D[:1].expand_as(centres_M_D)

    monkeypatch.setattr(hidden_coverage, "_move", to_one_place)
    given_ = evidence(60)
    doubt_N = (torch.arange(60) < 20).float()
    given_["doubtful_features"] = DoubtfulFeatures(given_["doubtful_features"].features_N_D, doubt_N)
    assert (run("hidden_coverage", given_, 10).positions_Q < 20).all()


def test_picks_do_not_depend_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = evidence(80)
    given_ = {
        "doubtful_features": DoubtfulFeatures(*(v.double() for v in drawn["doubtful_features"])),
        "labelled_features": drawn["labelled_features"].double(),
    }
    expected = run("hidden_coverage", given_, 10)
    monkeypatch.setattr(memory, "CPU_CACHE_BYTES", 1000)
    small = run("hidden_coverage", given_, 10)
    assert torch.equal(small.positions_Q, expected.positions_Q)
    torch.testing.assert_close(small.pool_scores_N, expected.pool_scores_N)
