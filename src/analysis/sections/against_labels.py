"""What the sections share that show something against labels: the axis, the mean of runs with its interval, the table
of curves, and how label counts are listed in a sentence."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from src.analysis.page import Table
from src.analysis.rounds import Curve, Measure
from src.analysis.statistics import t_interval
from src.analysis.study import Method, Study

INTERVAL = "mean and 95 % interval (Student's t over runs)"


def label_scale(study: Study) -> str:
    """The axis of labels: a logarithm where they span a decade and more."""
    labels = [count for method in study.methods for count in method.curves[study.measure].labels_R]
    return "log" if labels and max(labels) >= 10 * min(labels) > 0 else "linear"


def count_list(labels: Sequence[int]) -> str:
    """Sorted label counts, to be read on: all where they are few, else how many and from where to where."""
    if len(labels) <= 6:
        return ", ".join(f"{count:,}" for count in labels)
    return f"{len(labels)} counts from {labels[0]:,} to {labels[-1]:,}"


def curve_table(curves: Mapping[Method, Curve], measure: Measure) -> Table:
    """The curves of a measure: a row a label count, a column a method."""
    counts = sorted({int(count) for curve in curves.values() for count in curve.labels_R})
    at = [dict(zip(curve.labels_R.tolist(), curve.values_K_R.T, strict=True)) for curve in curves.values()]
    nothing = np.array([])
    rows = [
        [f"{count:,}", *(mean_cell(values.get(count, nothing), measure) for values in at)] for count in counts
    ]
    numbers: list[list[object]] = [["method", "labels", "mean", "low", "high", "runs"]]
    for method, values in zip(curves, at, strict=True):
        numbers += [[method.experiment, count, *mean_numbers(values_K)] for count, values_K in values.items()]
    return Table(
        measure.metric,
        f"{measure.title[0].upper()}{measure.title[1:]} by labels: {INTERVAL}.",
        ["labels", *(method.name for method in curves)],
        rows,
        numbers,
    )


def mean_cell(values_K: NDArray[np.float64], measure: Measure) -> str:
    """Mean ± half the interval, in the measure's unit."""
    mean, low, high, runs = mean_numbers(values_K)
    if not runs:
        return "–"
    digits = 2 if measure.percent else 3
    half = f" ± {measure.scale * (high - low) / 2:.{digits}f}" if runs > 1 else ""
    return f"{measure.scale * mean:.{digits}f}{half}"


def mean_numbers(values_K: NDArray[np.float64]) -> tuple[float, float, float, int]:
    """Mean, the interval's low and high, and of how many runs; NaN where there are too few."""
    known = values_K[np.isfinite(values_K)]
    return float(known.mean()) if known.size else math.nan, *t_interval(known), len(known)
