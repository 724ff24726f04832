"""Statistics against scipy's and statsmodels', against enumeration, and against simulation."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import integrate, stats

from src.analysis.rounds import read_wide_csv
from src.analysis.statistics import (
    can_decide,
    detectable_effect,
    holm,
    normalised_area,
    paired_t_test,
    power_function,
    smallest_exact_p,
    t_interval,
)
from tests.experiments import SHIPPED_OUTPUTS

COMMITTED = sorted((SHIPPED_OUTPUTS / "final_runs").glob("mnist_*.csv"))
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(arrays(np.float64, st.integers(2, 9), elements=st.floats(0, 1), unique=True))
def test_interval_is_scipys(values_K: np.ndarray) -> None:
    expected = stats.t.interval(0.95, len(values_K) - 1, values_K.mean(), stats.sem(values_K))
    assert t_interval(values_K) == pytest.approx(expected, abs=1e-12)
    assert t_interval(np.append(values_K, np.nan)) == t_interval(values_K)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_interval_covers_the_mean_as_often_as_it_says(n: int) -> None:
    draws = np.random.default_rng(n).normal(0.8, 0.02, (4000, n))
    intervals = np.array([t_interval(values_K) for values_K in draws])
    covered = ((intervals[:, 0] <= 0.8) & (intervals[:, 1] >= 0.8)).mean()
    assert covered == pytest.approx(0.95, abs=0.014)  # four standard errors of the share


@given(arrays(np.float64, st.tuples(st.just(2), st.integers(2, 9)), elements=st.floats(0, 1), unique=True))
def test_paired_test_is_scipys(values_2_K: np.ndarray) -> None:
    differences_K = values_2_K[0] - values_2_K[1]
    if differences_K.std() < 1e-6:
        return
    expected = stats.ttest_rel(*values_2_K)
    found = paired_t_test(differences_K)
    assert (found.n, found.mean) == (len(differences_K), pytest.approx(differences_K.mean()))
    assert (found.t, found.p) == pytest.approx((expected.statistic, expected.pvalue), rel=1e-6, abs=1e-12)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)), abs=1e-9)


@pytest.mark.parametrize(
    "pair", list(itertools.combinations(COMMITTED, 2)), ids=lambda pair: f"{pair[0].stem}-{pair[1].stem}"
)
def test_tests_of_the_committed_curves_are_scipys(pair: tuple[Path, Path]) -> None:
    one_K_R, other_K_R = (read_wide_csv(path).values_K_R for path in pair)
    for one_K, other_K in zip(one_K_R.T, other_K_R.T, strict=True):
        found = paired_t_test(one_K - other_K)
        if found.std < 1e-9:  # of the first round, whose methods share labels and weights
            assert found.p == 1
        else:
            assert found.p == pytest.approx(stats.ttest_rel(one_K, other_K).pvalue, rel=1e-9)


def test_differences_without_spread_are_no_finding() -> None:
    assert paired_t_test(np.zeros(3)).p == 1
    assert paired_t_test(np.full(3, 0.9) - np.array([0.8, 0.1 + 0.7, 0.8])).p == 1  # 0.1 + 0.7 is not 0.8


@pytest.mark.parametrize("values", [[], [0.5], [0.5, math.nan]])
def test_one_pair_is_no_test(values: list[float]) -> None:
    found = paired_t_test(np.array(values))
    assert found.n == np.isfinite(values).sum()
    assert math.isnan(found.p) and math.isnan(found.low) and math.isnan(found.high)


@settings(max_examples=25, deadline=None)  # theirs collects garbage every time
@given(P_VALUES)
def test_holm_is_statsmodels(p_values: list[float]) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    assert holm(p_values) == pytest.approx(multitest.multipletests(p_values, method="holm")[1], abs=1e-12)


@given(P_VALUES, st.integers(0, 30))
def test_holm_leaves_what_was_not_tested_out(p_values: list[float], place: int) -> None:
    place %= len(p_values) + 1
    adjusted = holm([*p_values[:place], math.nan, *p_values[place:]])
    assert math.isnan(adjusted.pop(place))
    assert adjusted == holm(p_values)


@pytest.mark.parametrize("n", range(1, 9))
def test_smallest_p_is_that_of_all_sign_flips(n: int) -> None:
    differences = np.linspace(1, 2, n)  # of one sign, which is the most they can say
    flipped = [abs(np.dot(signs, differences)) for signs in itertools.product([-1, 1], repeat=n)]
    p = np.mean(np.array(flipped) >= differences.sum() - 1e-9)
    assert smallest_exact_p(n) == pytest.approx(p)
    assert can_decide(n) == (p <= 0.05)


@pytest.mark.parametrize(("n", "alpha"), [(2, 0.05), (3, 0.05), (3, 0.05 / 21), (6, 0.05), (10, 0.01)])
def test_power_is_statsmodels(n: int, alpha: float) -> None:
    peers = pytest.importorskip("statsmodels.stats.power").TTestPower()
    ours = power_function(n, alpha)
    for effect in (0.0, 0.3, 1.0, 2.0):
        theirs = peers.power(effect, n, alpha)
        if math.isfinite(theirs):  # scipy's noncentral t is NaN for some
            assert ours(effect) == pytest.approx(theirs, abs=2e-4)


def test_detectable_effect_is_found_in_four_studies_of_five() -> None:
    effect = detectable_effect(3)
    draws = np.random.default_rng(0).normal(effect, 1, (20_000, 3))
    found = stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.012)
    assert math.isnan(detectable_effect(1))


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(1, 500), st.floats(0, 1)),
        min_size=2,
        max_size=8,
        unique_by=lambda pair: pair[0],
    ),
    st.floats(0.01, 1),
)
def test_area_is_the_integral_of_the_curve(points: list[tuple[int, float]], share: float) -> None:
    labels, values = (np.array(column) for column in zip(*sorted(points), strict=True))
    budget = float(labels[0] + share * (labels[-1] - labels[0]))
    # Slowly: the mean of so many points of the curve.
    at = np.linspace(labels[0], budget, 40_001)
    expected = integrate.trapezoid(np.interp(at, labels, values), at) / (budget - labels[0])
    assert normalised_area(labels, values, budget) == pytest.approx(expected, abs=1e-4)


def test_area_of_a_constant_is_the_constant_whatever_the_rounds() -> None:
    assert normalised_area(np.array([10, 20, 1000]), np.full(3, 0.7), 500) == pytest.approx(0.7)


@pytest.mark.parametrize("budget", [10, 5, 31])
def test_area_to_a_budget_outside_the_curve_is_not_made_up(budget: int) -> None:
    assert math.isnan(normalised_area(np.array([10, 20, 30, 40]), np.array([0.1, 0.2, 0.3, np.nan]), budget))
