"""Fitted laws find what costs were made of, also behind noise, and foretell sizes that they have not seen."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._laws import TERMS, Law, Point, exponent, fit_law

SIZES = (1_000, 2_000, 4_000, 8_000)
OTHERS = (10, 50, 200)


def measured(law: Law, others: tuple[int, ...] = (1,), noise: float = 0.0, seed: int = 0) -> list[Point]:
    generator = np.random.default_rng(seed)
    return [Point(n, m, law(n, m) * (1 + noise * generator.uniform(-1, 1))) for m in others for n in SIZES]


@pytest.mark.parametrize("term", ["n", "n·log n", "n²"])
@pytest.mark.parametrize("seed", range(5))
def test_one_term_is_found_among_others_behind_noise(term: str, seed: int) -> None:
    points = measured(Law({term: 3e-6}), noise=0.02, seed=seed)
    found = fit_law(points, ("1", "n", "n·log n", "n²"))
    # Within a decade n·log n is much like n and a little more, and either may be taken for the other.
    assert found(32_000) == pytest.approx(Law({term: 3e-6})(32_000), rel=0.1)
    assert ("n²" in found.factors) == (term == "n²")


@given(st.floats(1e-7, 1e-3), st.floats(1e-9, 1e-5))
def test_inputs_and_picks_are_told_apart(each: float, each_pick: float) -> None:
    law = Law({"n": each, "n·m": each_pick})
    found = fit_law(measured(law, OTHERS), ("1", "m", "n", "n·m", "n²"))
    assert found(32_000, 200) == pytest.approx(law(32_000, 200), rel=0.15)


def test_a_constant_is_kept_where_it_matters() -> None:
    law = Law({"1": 0.5, "n": 1e-4})
    found = fit_law(measured(law), ("1", "n", "n²"))
    assert found.factors == pytest.approx(law.factors)


@pytest.mark.parametrize("seed", [0, 35, 43])
def test_a_good_law_gets_no_terms_for_the_noise(seed: int) -> None:
    found = fit_law(measured(Law({"n": 1.0}), noise=0.04, seed=seed), ("1", "n", "n·log n", "n²"))
    assert list(found.factors) == ["n"]


@pytest.mark.parametrize("seed", [4, 5, 15])
def test_terms_are_judged_by_points_that_they_were_not_fitted_to(seed: int) -> None:
    """Of three terms each would follow four noisy points well."""
    found = fit_law(measured(Law({"n": 1.0}), noise=0.3, seed=seed), ("1", "n", "n·log n", "n²"))
    assert len(found.factors) == 1


@pytest.mark.parametrize("seed", [0, 18, 22])
def test_a_term_that_helps_a_little_is_not_taken(seed: int) -> None:
    law = Law({"n": 1.0})
    points = [point for draw in range(3) for point in measured(law, noise=0.3, seed=100 * seed + draw)]
    assert len(fit_law(points, ("1", "n", "n·log n", "n²")).factors) == 1


def test_factors_are_never_negative() -> None:
    points = [Point(n, 1, 5 - n / 2_000) for n in SIZES]
    assert all(factor >= 0 for factor in fit_law(points, tuple(TERMS)[:4]).factors.values())


@pytest.mark.parametrize("term", list(TERMS))
@given(n=st.integers(1, 10**10), m=st.integers(1, 1_000))
def test_no_term_falls_as_inputs_grow(term: str, n: int, m: int) -> None:
    assert TERMS[term](n + 1, m) >= TERMS[term](n, m) >= 0


@pytest.mark.parametrize(("law", "power"), [(Law({"n": 2.0}), 1.0), (Law({"n²": 2.0}), 2.0)])
def test_the_exponent_is_the_power_of_n(law: Law, power: float) -> None:
    assert exponent(measured(law)) == pytest.approx(power)


def test_terms_are_what_their_names_say() -> None:
    values = {name: term(8.0, 5.0) for name, term in TERMS.items()}
    assert values == {"1": 1, "m": 5, "m²": 25, "n": 8, "n·log n": 8 * math.log2(8), "n²": 64, "n·m": 40}
