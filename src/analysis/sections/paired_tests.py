"""Paired tests between methods over their seeds, with Holm's correction, and how sections say what came of them. Who is
beaten how often is ``pairs``'."""

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from src.analysis.page import Table
from src.analysis.sections.against_labels import count_list
from src.analysis.statistics import (
    ALPHA,
    PairedTest,
    can_decide,
    detectable_effect,
    holm,
    paired_t_test,
    smallest_exact_p,
)
from src.analysis.study import Method, Study

Pair = tuple[int, int]
"""Places of two methods in the study: the second's values are taken from the first's."""
Differences = Callable[[Method, Method, int], NDArray[np.float64]]


@dataclass(frozen=True)
class Comparison:
    """Methods ``one`` and ``other`` (places in the study) at a budget; ``adjusted`` is Holm's p over all pairs that are
    tested there."""

    one: int
    other: int
    budget: int
    test: PairedTest
    adjusted: float


def compare(study: Study, one: int | None = None) -> list[Comparison]:
    """All pairs at all budgets that both have, budget after budget; a budget's pairs are one family for Holm.

    With ``one`` only the pairs of that method with each of the others. A method's first round is none of the budgets:
    it has the initial labels, so that it has not chosen anything yet.
    """
    counts = [method.curves[study.measure].labels_R for method in study.methods]
    found = []
    for budget in sorted({int(count) for labels_R in counts for count in labels_R}):
        chosen = [place for place, labels_R in enumerate(counts) if labels_R.size and labels_R.min() < budget]
        found += _family(study, pairs_of(chosen, one), budget, study.differences)
    return found


def compare_areas(study: Study, one: int | None = None) -> list[Comparison]:
    """As ``compare``, the areas up to each of the study's budgets."""
    pairs = pairs_of(range(len(study.methods)), one)
    return [
        found for budget in study.budgets() for found in _family(study, pairs, budget, study.area_differences)
    ]


def pairs_of(places: Iterable[int], one: int | None = None) -> list[Pair]:
    """All pairs of these methods, or those of ``one`` of them with each of the others."""
    if one is None:
        return list(combinations(places, 2))
    others = {*places}
    return [(one, other) for other in sorted(others - {one})] if one in others else []


def _family(study: Study, pairs: list[Pair], budget: int, differences: Differences) -> list[Comparison]:
    tests = [
        paired_t_test(differences(study.methods[one], study.methods[other], budget)) for one, other in pairs
    ]
    adjusted = holm([test.p for test in tests])
    return [
        Comparison(*pair, budget, test, p)
        for pair, test, p in zip(pairs, tests, adjusted, strict=True)
        if test.n >= 2
    ]


def pairing(study: Study) -> str:
    """How pairs are made, in a sentence."""
    if study.paired_by_seed:
        return "Pairs are runs with the same seed (random_state in config.yaml, by run)."
    return (
        "Pairs are runs with the same number, since CSVs do not hold seeds: they are pairs only if all methods had "
        "the same random_state."
    )


def tests_remarks(study: Study, comparisons: list[Comparison]) -> list[str]:
    """How many pairs each budget's family has, where it is not all of them everywhere."""
    pairs = math.comb(len(study.methods), 2)
    tested = Counter(found.budget for found in comparisons)
    counts = {int(count) for method in study.methods for count in method.curves[study.measure].labels_R}
    budgets: dict[int, list[int]] = {}
    for budget in sorted(counts)[1:]:
        budgets.setdefault(tested[budget], []).append(budget)
    if budgets.keys() == {pairs}:
        return []
    families = "; ".join(f"{tests} at {count_list(at)} labels" for tests, at in sorted(budgets.items()))
    return [
        f"Not every pair of methods can be tested at every budget: of {pairs}, {families}. Holm's correction at a "
        "budget is over the pairs that are tested there, and the penalty matrix has the share of the budgets at which "
        "the two are."
    ]


def power_remarks(study: Study, comparisons: list[Comparison]) -> list[str]:
    """What so few pairs cannot show."""
    n = max(comparison.test.n for comparison in comparisons)
    family = max(
        sum(other.budget == budget for other in comparisons) for budget in {one.budget for one in comparisons}
    )
    alone, first_step = detectable_effect(n), detectable_effect(n, ALPHA / family)
    spread = study.measure.scale * float(np.median([comparison.test.std for comparison in comparisons]))
    unit = "points" if study.measure.percent else "units"
    remarks = [
        f"{n} pairs find a difference with a probability of 80 % at 5 % only if its mean is {alone:.1f} times the "
        f"standard deviation of the differences by seed, {first_step:.3g} times in the first step of Holm's "
        f"correction over {family} tests. That deviation is {spread:.2g} {unit} here (median), so that these are "
        f"differences of {alone * spread:.2g} and {first_step * spread:.2g} {unit}."
    ]
    if not can_decide(n):
        remarks.append(
            f"{n} pairs decide little: where nothing is assumed of the differences but symmetry, the smallest p they "
            f"can give is {smallest_exact_p(n):.3g} (exact sign-flip test). A smaller p of the t-test rests on their "
            f"being normal, which {n} numbers cannot show. So nothing is starred here, and the matrices are to be "
            "read as descriptions. Six seeds are the fewest that can do with less."
        )
    return remarks


def difference_tables(
    prefix: str, study: Study, one: int | None, at_budgets: list[Comparison], areas: list[Comparison]
) -> list[Table]:
    """What ``compare`` and ``compare_areas`` found with this ``one``: a table each, of areas where there are any."""
    name, pairs = study.measure.name, pairs_of(range(len(study.methods)), one)
    tables = [_difference_table(f"{prefix}differences", name, study, pairs, at_budgets, "at")]
    if areas:
        under = f"the normalised area under {name}"
        tables.append(_difference_table(f"{prefix}area_differences", under, study, pairs, areas, "to"))
    return tables


def _difference_table(
    name: str, of: str, study: Study, pairs: list[Pair], comparisons: list[Comparison], at_or_to: str
) -> Table:
    """The differences at the study's budgets for people; those of all comparisons in the numbers."""
    budgets, names = study.budgets(), [method.name for method in study.methods]
    at = {(found.one, found.other, found.budget): found for found in comparisons}
    rows = [
        [
            f"{names[one]} − {names[other]}",
            *(difference_cell(study, at.get((one, other, budget))) for budget in budgets),
        ]
        for one, other in pairs
    ]
    numbers: list[list[object]] = [
        ["one", "other", "labels", "pairs", "difference", "low", "high", "t", "p", "p_holm"]
    ]
    for found in comparisons:
        test, pair = found.test, (study.methods[found.one].experiment, study.methods[found.other].experiment)
        numbers.append(
            [*pair, found.budget, test.n, test.mean, test.low, test.high, test.t, test.p, found.adjusted]
        )
    unit = "points" if study.measure.percent else study.measure.name
    starred = any(can_decide(found.test.n) for found in comparisons)
    caption = (
        f"Mean difference in {of} ({unit}) with its 95 % interval, and Holm's p over the pairs of "
        "the budget" + (f"; ⋆ under {ALPHA:g}." if starred else ".")
    )
    header = ["difference", *(f"{at_or_to} {budget:,} labels" for budget in budgets)]
    return Table(name, caption, header, rows, numbers)


def difference_cell(study: Study, found: Comparison | None) -> str:
    """Difference, interval and p; starred only where so many pairs can decide at all."""
    if found is None:
        return "–"
    test, scale = found.test, study.measure.scale
    digits = 2 if study.measure.percent else 3
    star = "⋆" if can_decide(test.n) and found.adjusted < ALPHA else ""
    low, high, mean = (f"{scale * value:+.{digits}f}" for value in (test.low, test.high, test.mean))
    return f"{mean} [{low}, {high}], p {found.adjusted:.2g}{star}".replace("-", "−")
