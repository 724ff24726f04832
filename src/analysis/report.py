"""A report on the experiments that match a pattern: one page that opens offline, its figures and its tables.

    python3 -m src.analysis.report 'mnist_*'

Reads finished or running experiments only, and wide CSVs where that is all there is. What a section says is in
``sections/``; what few seeds can tell is in ``statistics.py``.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from src.analysis.naming import method_of
from src.analysis.page import LeftOut, Page, Section, Table, write_page
from src.analysis.sections.against_labels import count_list
from src.analysis.sections.calibration import calibration
from src.analysis.sections.costs import wall_clock
from src.analysis.sections.density import chosen_dimensions, likelihood_gap
from src.analysis.sections.learning import areas, labels_needed, learning_curves
from src.analysis.sections.paired_tests import pairing
from src.analysis.sections.pairs import against_one, pairwise
from src.analysis.sections.queries import class_balance, overlap
from src.analysis.statistics import can_decide, smallest_exact_p
from src.analysis.study import Method, Study, spread_budgets
from src.analysis.study_files import read_study
from src.utils.errors import UserError

AGAINST = "One against the others"


def write_report(
    pattern: str,
    outputs: Path,
    out: Path,
    levels: list[float] | None = None,
    budgets: Sequence[int] = (),
    against: str | None = None,
) -> list[Path]:
    """Write ``out``/<pattern>.html and its folder; all paths, the page's first. ``budgets`` and errors as for
    ``read_study``, ``levels`` and ``against`` as for ``make_page``. That experiments do not match, and that
    ``against`` cannot be tested, is said on stderr, too."""
    stem = "_".join(one.replace("*", "").strip("_") for one in pattern.split()).strip("_") or "methods"
    study = read_study(pattern, outputs, budgets)
    page = make_page(f"Active learning: {pattern}", study, levels, against)
    written = write_page(out / f"{stem}.html", page)
    untested = [reason for reason in page.left_out if reason.startswith(AGAINST)]
    for remark in (*_mismatches(study), *untested):
        print(f"note: {remark}", file=sys.stderr)
    return written


def make_page(
    title: str, study: Study, levels: list[float] | None = None, against: str | None = None
) -> Page:
    """All sections that can be made of what there is; ``levels`` as for ``labels_needed``, and a section in which the
    experiment ``against`` is held against the others. UserError where the study has no such experiment."""
    names = [method.experiment for method in study.methods]
    if against and against not in names:
        raise UserError(f"--against {against}: is none of the experiments; choose of {', '.join(names)}")
    sections: list[Section] = []
    left_out = []
    makers: dict[str, Callable[[Study], Section]] = {
        "Learning curves": learning_curves,
        "Area under the budget curve": areas,
        "Labels needed": partial(labels_needed, levels=levels),
        "Pairwise comparison": pairwise,
        **({AGAINST: partial(against_one, experiment=against)} if against else {}),
        "Calibration": calibration,
        "Class balance of the queries": class_balance,
        "Overlap of the queries": overlap,
        "Dimension chosen by greedy search": chosen_dimensions,
        "Log-likelihood gap of the densities": likelihood_gap,
        "Wall-clock time": wall_clock,
    }
    for name, make in makers.items():
        try:
            sections.append(make(study))
        except LeftOut as reason:
            left_out.append(f"{name}: {reason}.")
    return Page(title, _overview(study), _remarks(study), sections, left_out)


def _overview(study: Study) -> Table:
    """What each method's numbers come from."""
    rows: list[list[str]] = []
    numbers: list[list[object]] = [
        ["method", "name", "source", "runs", "seeds", "rounds", "first_labels", "last_labels"]
    ]
    for method in study.methods:
        labels = method.curves[study.measure].labels_R.tolist()
        first, last = (labels[0], labels[-1]) if labels else (0, 0)
        runs = len(method.numbers)
        seeds = ", ".join(map(str, method.seeds)) if method.seeds else "not known"
        rows.append(
            [
                method.name,
                method.experiment,
                method.source,
                str(runs),
                seeds,
                _rounds(method, study),
                f"{first:,} to {last:,}",
            ]
        )
        numbers.append([method.experiment, method.name, method.source, runs, seeds, len(labels), first, last])
    header = ["method", "experiment", "read from", "runs", "seeds", "rounds", "labels"]
    return Table("methods", "What is compared, and what it was read from.", header, rows, numbers)


def _rounds(method: Method, study: Study) -> str:
    """How many rounds its runs have: more than one number where some are not finished."""
    counts = sorted({int(count) for count in (method.curves[study.measure].values_K_R > -1).sum(axis=1)})
    return "–".join(map(str, counts))


def _remarks(study: Study) -> list[str]:
    """What a reader has to know before any number."""
    runs = max(len(method.numbers) for method in study.methods)
    remarks = [pairing(study)]
    if runs == 1:
        remarks.append("One seed decides nothing: there are no intervals and no tests.")
    elif not can_decide(runs):
        remarks.append(
            f"{runs} seeds decide little. The smallest p that an exact paired test of {runs} seeds can give is "
            f"{smallest_exact_p(runs):.3g}, so that nothing on this page is starred as significant. The section on "
            "pairwise comparison says what differences could have been found."
        )
    for method in study.methods:
        if method.unfinished:
            remarks.append(f"{method.name} is not finished: {method.unfinished}.")
    remarks += _mismatches(study)
    alone = [method.name for method in study.methods if not method.runs]
    if alone and study.recorded:
        remarks.append(
            f"Of {', '.join(alone)} there is a CSV alone: no seconds, queries, calibration or densities, so that the "
            "sections on these are without."
        )
    return remarks


def _mismatches(study: Study) -> list[str]:
    """Why some of the experiments cannot be compared like the rest, and what to do; nothing where all match."""
    remarks = []
    lacking, complete = study.lacking(), study.complete_labels()
    if lacking and not study.budgets_are_everyones():
        few_first = sorted(lacking.items(), key=lambda found: len(found[1]))
        gaps = "; ".join(f"{', '.join(who)} (none at {count_list(counts)})" for counts, who in few_first)
        tables = (
            "Tables stop at counts that most methods have"
            if study.budgets()
            else "Most methods have no count after the first in common, so that tables have no budgets"
        )
        others = " ".join(map(str, spread_budgets(complete)))
        remarks.append(
            f"Not all have a value at every label count: {gaps}. {tables}; cells and tests are of the runs with a "
            "value there, areas of those whose curves span the stretch, and a dash means too few. To compare all "
            "alike finish what is behind or leave out what has other counts (name the rest)"
            + (f", or give --budgets {others}, which all runs have." if others else ".")
        )
    names = [method.experiment for method in study.methods]
    series = sorted({name.removesuffix(f"_{ending}") for name in names if (ending := method_of(name))})
    if len(series) > 1 and not study.paired_by_seed:  # where config.yaml is, seeds and the dataset are known
        remarks.append(
            "CSVs, and records without their config.yaml, do not say their dataset, and the experiments' names begin "
            f"in different ways ({', '.join(series)}): compare them only if all are of one dataset; else name those of "
            "one."
        )
    return remarks


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report; the exit status, 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python3 -m src.analysis.report",
        description="Compare experiments: one HTML page, figures as PDF and PNG, tables as CSV and LaTeX.",
    )
    parser.add_argument(
        "pattern", nargs="+", help="experiment names, with * for any text; quote them: 'mnist_*'"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("report"), help="folder to write into (default: %(default)s)"
    )
    parser.add_argument(
        "--outputs",
        type=Path,
        default=Path("experiment_outputs"),
        help="where the experiments and final_runs/ are (default: %(default)s)",
    )
    parser.add_argument(
        "--reach",
        type=float,
        nargs="+",
        metavar="PERCENT",
        help="test accuracies (or mIoUs) to tell the labels needed for (default: chosen from the curves)",
    )
    parser.add_argument(
        "--budgets",
        type=int,
        nargs="+",
        metavar="LABELS",
        default=[],
        help="label counts that tables stop at, which most methods have (default: three of them)",
    )
    parser.add_argument(
        "--against",
        metavar="EXPERIMENT",
        help="test this one against each of the others alone, beside the tests of all pairs",
    )
    options = parser.parse_args(arguments)
    pattern, levels = " ".join(options.pattern), sorted(set(options.reach or []))
    if levels and not 0 < levels[0] <= levels[-1] <= 100:
        parser.error("--reach takes percents, above 0 and up to 100")
    try:
        page, *others = write_report(
            pattern, options.outputs, options.out, levels or None, options.budgets, options.against
        )
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {page} and {len(others)} files in {page.with_suffix('')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
