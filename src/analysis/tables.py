"""Tables for people: rounds of one run or of several as text, several methods beside published numbers as Markdown."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from src.analysis.rounds import ACCURACY, Curve, Measure
from src.utils.records import Row, metric_title

# These are fractions on disk and read in percent; other metrics (nats, for instance) are shown as they are.
PERCENT_METRICS = ("accuracy", "miou")


def round_table(rows: Sequence[Row], metric: str = "accuracy") -> str:
    """One line a round of a run: labels, `metric` on the three splits, what else the test says, seconds.

    That is NLL (nats) of a classifier, AUROC of the uncertainty of a segmentation, and ECE of both.
    """
    second = "auroc" if metric == "miou" else "nll"
    parts = ("train", "val", "test")
    titles = [
        "round",
        "labels",
        *(f"{part} {metric_title(metric)}" for part in parts),
        f"test {second.upper()}",
        "test ECE",
        "seconds",
    ]
    lines = [titles]
    for row in rows:
        values = [row[part][metric] for part in parts]
        lines.append(
            [
                str(row["round"] + 1),
                str(row["labelled"]),
                *(f"{value:.2%}" if metric in PERCENT_METRICS else f"{value:.4f}" for value in values),
                *(
                    "–" if value is None else f"{value:.4f}"
                    for value in (row["test"][second], row["test"]["ece"])
                ),
                f"{sum(row['seconds'].values()):.1f}",
            ]
        )
    return _aligned(lines)


def runs_table(curve: Curve, metric: str = "accuracy") -> str:
    """One line a number of labels: the test `metric`'s mean and sample standard deviation over the runs that have it,
    and how many these are."""
    lines = [["labels", f"test {metric_title(metric)}", "runs"]]
    show = "{:.2%}".format if metric in PERCENT_METRICS else "{:.4f}".format
    runs_R = np.isfinite(curve.values_K_R).sum(axis=0)
    for count, mean, std, runs in zip(curve.labels_R, curve.mean_R, curve.std_R, runs_R, strict=True):
        lines.append([str(count), show(mean) + (f" ± {show(std)}" if runs > 1 else ""), str(runs)])
    return _aligned(lines)


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )


def phase_summary(rows: Sequence[Row]) -> str:
    """One line: wall-clock seconds of a run's phases over all its rounds, the longest first, and their total."""
    totals: Counter[str] = Counter()
    for row in rows:
        totals.update(row["seconds"])
    phases = ", ".join(f"{name} {seconds:.1f}" for name, seconds in totals.most_common())
    return f"{phases}; total {sum(totals.values()):.1f}"


def method_table(
    curves: Mapping[str, Curve],
    labels: Mapping[str, str],
    reference: Mapping[str, Mapping[int, float]],
    measure: Measure = ACCURACY,
) -> str:
    """`measure` as a Markdown table: a row for each label count, a column for each method.

    All are keyed by experiment; `labels` heads its column. Under ours (mean ± sample standard deviation over
    runs) stand the published mean at the same number of labels, if any, and how far ours is from it.
    """
    counts = sorted({int(count) for curve in curves.values() for count in curve.labels_R})
    lines = [["labels", *(labels[name] for name in curves)], ["---:"] * (1 + len(curves))]
    for count in counts:
        cells = [
            _cell(curve, count, reference.get(name, {}).get(count), measure) for name, curve in curves.items()
        ]
        lines.append([f"{count:,}", *cells])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def reach_table(
    curves: Mapping[str, Curve],
    labels: Mapping[str, str],
    values: Sequence[float],
    measure: Measure = ACCURACY,
) -> str:
    """Labels needed for a `measure`, as a Markdown table: a row for each of `values` (in its unit).

    Keyed as `method_table`. A cell holds the mean ± sample standard deviation over runs of the labels in the first
    round that reached it, and how many runs did where not all have.
    """
    lines = [[measure.name, *(labels[name] for name in curves)], ["---:"] * (1 + len(curves))]
    unit = " %" if measure.percent else ""
    for value in values:
        needed = (curve.labels_to_reach(value / measure.scale) for curve in curves.values())
        lines.append([f"{value:g}{unit}", *map(labels_needed_cell, needed)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def labels_needed_cell(labels_K: NDArray[np.float64]) -> str:
    """``Curve.labels_to_reach`` in words: mean ± sample standard deviation of the runs that did, and how many did."""
    reached = labels_K[np.isfinite(labels_K)]
    if not reached.size:
        return "–"
    spread = f" ± {reached.std(ddof=1):.0f}" if reached.size > 1 else ""
    missing = f" ({reached.size} of {labels_K.size} runs)" if reached.size < labels_K.size else ""
    return f"{reached.mean():.0f}{spread}{missing}"


def _cell(curve: Curve, count: int, published: float | None, measure: Measure) -> str:
    at = np.flatnonzero(curve.labels_R == count)
    if not at.size:
        return "–"
    digits = 2 if measure.percent else 3
    mean, std = measure.scale * curve.mean_R[at[0]], measure.scale * curve.std_R[at[0]]
    ours = f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if np.isfinite(std) else "")
    if published is None:
        return ours
    theirs = measure.scale * published
    return f"{ours}<br>{theirs:.{digits}f} ({mean - theirs:+.{digits}f})"
