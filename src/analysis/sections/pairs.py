"""Which method beats which: paired tests over seeds at every budget, and how often each is beaten."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from src.analysis.figures import heatmap
from src.analysis.page import LeftOut, Picture, Section, Table
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


@dataclass(frozen=True)
class Comparison:
    """Methods ``one`` and ``other`` (places in the study) at a budget; ``adjusted`` is Holm's p over all pairs that are
    tested there."""

    one: int
    other: int
    budget: int
    test: PairedTest
    adjusted: float


def compare(study: Study) -> list[Comparison]:
    """All pairs at all budgets that both have, budget after budget; a budget's pairs are one family for Holm.

    A method's first round is none of them: it has the initial labels, so that it has not chosen anything yet.
    """
    counts = [method.curves[study.measure].labels_R for method in study.methods]
    found = []
    for budget in sorted({int(count) for labels_R in counts for count in labels_R}):
        chosen = [place for place, labels_R in enumerate(counts) if labels_R.size and labels_R.min() < budget]
        found += _family(study, chosen, budget, study.differences)
    return found


def compare_areas(study: Study) -> list[Comparison]:
    """All pairs in the area up to each of the study's budgets; a budget's pairs are one family for Holm."""
    everyone = range(len(study.methods))
    return [
        found
        for budget in study.budgets()
        for found in _family(study, everyone, budget, study.area_differences)
    ]


def _family(
    study: Study,
    places: Sequence[int],
    budget: int,
    differences: Callable[[Method, Method, int], NDArray[np.float64]],
) -> list[Comparison]:
    pairs = list(combinations(places, 2))
    tests = [
        paired_t_test(differences(study.methods[one], study.methods[other], budget)) for one, other in pairs
    ]
    adjusted = holm([test.p for test in tests])
    return [
        Comparison(*pair, budget, test, p)
        for pair, test, p in zip(pairs, tests, adjusted, strict=True)
        if test.n >= 2
    ]


def penalties(methods: int, comparisons: list[Comparison], corrected: bool) -> NDArray[np.float64]:
    """BADGE's penalty matrix: at which share of the budgets the row's method beats the column's; NaN without a test."""
    wins, tests = np.zeros((methods, methods)), np.zeros((methods, methods))
    for comparison in comparisons:
        one, other = comparison.one, comparison.other
        tests[one, other] += 1
        tests[other, one] += 1
        if (comparison.adjusted if corrected else comparison.test.p) < ALPHA:
            wins[(one, other) if comparison.test.mean > 0 else (other, one)] += 1
    return np.divide(wins, tests, out=np.full_like(wins, math.nan), where=tests > 0)


def pairwise(study: Study) -> Section:
    """The penalty matrices and the tests behind them."""
    if len(study.methods) < 2:
        raise LeftOut("there is one method only, and nothing to compare it with")
    comparisons = compare(study)
    if not comparisons:
        raise LeftOut(
            "no two methods have two runs that are pairs at a budget after their first round, and a paired test "
            "needs two"
        )
    areas = compare_areas(study)
    matrices = {
        "each test at 5 %, as in BADGE": penalties(len(study.methods), comparisons, corrected=False),
        "Holm's correction over a budget's pairs": penalties(len(study.methods), comparisons, corrected=True),
    }
    return Section(
        "pairs",
        "Pairwise comparison",
        [
            f"At every budget after the first round, {study.measure.name} of each two methods is compared by a "
            f"two-sided paired t-test over runs. {pairing(study)} The penalty matrix (J. Ash et al. 2020, “Deep "
            "batch active learning by diverse, uncertain gradient lower bounds”, BADGE) holds the share of budgets "
            "at which the row's method beats the column's; the last row is the mean of a column, and lower is "
            "better.",
            "A budget has as many tests as there are pairs of methods, so that some are significant by chance at 5 "
            "%; with Holm's correction one or more such finding has at most 5 % at each budget. Budgets are not "
            "corrected for: those of one run follow each other and are no repetitions.",
            *tests_remarks(study, comparisons),
            *(["Areas up to the tables' budgets are tested in the same way."] if areas else []),
            *power_remarks(study, comparisons),
        ],
        [
            Picture(
                "penalty_matrix",
                "Share of budgets at which the row's method beats the column's; last row: mean of the column.",
                "Two matrices of methods by methods: the share of budgets at which the row's method beats the "
                "column's, without correction and with Holm's. The table below has the numbers.",
                _matrices(study, matrices),
            )
        ],
        [
            _penalty_table(study, matrices),
            _difference_table("differences", study.measure.name, study, comparisons, "at"),
            *(
                [
                    _difference_table(
                        "area_differences",
                        f"the normalised area under {study.measure.name}",
                        study,
                        areas,
                        "to",
                    )
                ]
                if areas
                else []
            ),
        ],
    )


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


def _matrices(study: Study, matrices: dict[str, NDArray[np.float64]]) -> Figure:
    names = [method.name for method in study.methods]
    return heatmap(
        {title: np.vstack([matrix, column_means(matrix)]) for title, matrix in matrices.items()},
        [*names, "mean"],
        names,
        "share of budgets",
        limits=(0, 1),
        written=True,
    )


def column_means(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """How often each method is beaten: the mean over the others; NaN where it was held against none."""
    others = np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix)
    known = np.isfinite(others)
    sums, counts = np.where(known, others, 0).sum(axis=0), known.sum(axis=0)
    return np.divide(sums, counts, out=np.full(len(matrix), math.nan), where=counts > 0)


def _penalty_table(study: Study, matrices: dict[str, NDArray[np.float64]]) -> Table:
    plain, corrected = matrices.values()
    names = [method.name for method in study.methods]
    plain, corrected = (np.vstack([matrix, column_means(matrix)]) for matrix in (plain, corrected))
    rows = [
        [
            name,
            *(
                "–" if math.isnan(raw) else f"{raw:.2f} ({holms:.2f})"
                for raw, holms in zip(*line, strict=True)
            ),
        ]
        for name, *line in zip([*names, "mean"], plain, corrected, strict=True)
    ]
    places = [(one, other) for one in range(len(names)) for other in range(len(names)) if one != other]
    experiments = [method.experiment for method in study.methods]
    numbers = [
        ["winner", "loser", "penalty", "penalty_holm"],
        *(
            [experiments[one], experiments[other], plain[one, other], corrected[one, other]]
            for one, other in places
        ),
    ]
    caption = (
        "Penalty matrix: share of budgets at which the row's method beats the column's; in brackets with Holm's "
        "correction."
    )
    return Table("penalty_matrix", caption, ["", *names], rows, numbers)


def _difference_table(
    name: str, of: str, study: Study, comparisons: list[Comparison], at_or_to: str
) -> Table:
    """The differences at the study's budgets for people; those of all comparisons in the numbers."""
    budgets, names = study.budgets(), [method.name for method in study.methods]
    at = {(found.one, found.other, found.budget): found for found in comparisons}
    rows = [
        [
            f"{names[one]} − {names[other]}",
            *(difference_cell(study, at.get((one, other, budget))) for budget in budgets),
        ]
        for one, other in combinations(range(len(names)), 2)
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
