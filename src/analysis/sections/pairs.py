"""Which method beats which at every budget, and how often each is beaten; or how one does against each of the others.
The tests behind both are ``paired_tests``'."""

import math

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from src.analysis.figures import heatmap
from src.analysis.page import LeftOut, Picture, Section, Table
from src.analysis.sections.paired_tests import (
    Comparison,
    compare,
    compare_areas,
    difference_tables,
    pairing,
    power_remarks,
    tests_remarks,
)
from src.analysis.statistics import ALPHA
from src.analysis.study import Study


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
            *difference_tables("", study, None, comparisons, areas),
        ],
    )


def against_one(study: Study, experiment: str) -> Section:
    """The tests of that experiment's method with each of the others, which are then all there are."""
    one = next(place for place, method in enumerate(study.methods) if method.experiment == experiment)
    comparisons, areas = compare(study, one), compare_areas(study, one)
    if not comparisons:
        raise LeftOut(
            f"{experiment} has no two runs that are pairs with those of another at a budget after their first round"
        )
    name, others = study.methods[one].name, len(study.methods) - 1
    return Section(
        "against-one",
        f"{name} against each of the others",
        [
            f"The same tests, of {name} with each of the {others} others alone, so that Holm's correction at a budget "
            f"is over {others} tests at most and not over all pairs of methods. That is fair where the comparison was "
            "planned so; for a method that was picked because it does well here the p-values are too small.",
            *power_remarks(study, comparisons),
        ],
        tables=difference_tables("against_one_", study, one, comparisons, areas),
    )


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
