"""How good the methods are: learning curves with intervals, areas under them, labels that an accuracy took."""

import math

import numpy as np
from numpy.typing import NDArray

from src.analysis.figures import panels, style
from src.analysis.page import LeftOut, Picture, Section, Table
from src.analysis.rounds import Curve
from src.analysis.sections.against_labels import INTERVAL, curve_table, label_scale, mean_cell, mean_numbers
from src.analysis.statistics import t_interval
from src.analysis.study import Study
from src.analysis.tables import labels_needed_cell


def learning_curves(study: Study) -> Section:
    """Every measure against labels."""
    section = Section("curves", "Learning curves")
    titles = " and ".join(measure.name for measure in study.measures)
    names = ", ".join(method.name for method in study.methods)
    figure, row = panels(len(study.measures), xscale=label_scale(study))
    for axes, measure in zip(row, study.measures, strict=True):
        for number, method in enumerate(study.methods):
            curve = method.curves[measure]
            color, marker = style(number)
            mean_R, (low_R, high_R) = measure.scale * curve.mean_R, measure.scale * intervals(curve)
            axes.plot(curve.labels_R, mean_R, color=color, marker=marker, markersize=4, label=method.name)
            axes.fill_between(curve.labels_R, low_R, high_R, color=color, alpha=0.07, linewidth=0)
        # A wide interval of few runs must not flatten the curves; nor is there an accuracy above 1.
        means = measure.scale * np.concatenate([method.curves[measure].mean_R for method in study.methods])
        if means.size:
            margin = 0.25 * (np.ptp(means) or 0.1 * measure.scale)
            axes.set_ylim(max(0, means.min() - margin), min(measure.scale, means.max() + margin))
        axes.set(xlabel="labels", ylabel=measure.title)
    row[0].legend(fontsize="small")
    section.text.append(
        "An interval is that of one method's mean. Methods with the same seed share split, initial labels and "
        "initial weights, so that intervals may overlap although the differences by seed are clear; those are tested "
        "below."
    )
    section.pictures.append(
        Picture(
            "learning_curves",
            f"{titles[0].upper()}{titles[1:]} against labels: {INTERVAL}; wide ones go beyond the axis.",
            f"Line chart of {titles} against the number of labels, a line with a shaded interval for each of "
            f"{names}.",
            figure,
        )
    )
    section.tables += [
        curve_table({method: method.curves[measure] for method in study.methods}, measure)
        for measure in study.measures
    ]
    return section


def areas(study: Study) -> Section:
    """The mean of each method's curve up to several budgets."""
    budgets, measure = study.budgets(), study.measure
    if not budgets:
        raise LeftOut("most methods have one round in common at most, and no area under one point")
    start = study.start()
    header = ["method", *(f"to {budget:,} labels" for budget in budgets)]
    rows: list[list[str]] = []
    numbers: list[list[object]] = [["method", "budget", "mean", "low", "high", "runs"]]
    for method in study.methods:
        cells = [method.name]
        for budget in budgets:
            areas_K = study.areas(method, budget)
            cells.append(mean_cell(areas_K, measure))
            numbers.append([method.experiment, budget, *mean_numbers(areas_K)])
        rows.append(cells)
    return Section(
        "areas",
        "Area under the budget curve",
        [
            f"The area under {measure.name} from {start:,} labels to a budget, divided by the labels between: its "
            "mean over the budget. Between rounds the curve is taken as straight, so that a method with other label "
            "counts has an area too; it has a dash where its curve does not span the stretch. Late rounds of many "
            "labels weigh most in the large budgets.",
        ],
        tables=[
            Table(
                "areas", f"Normalised area in the unit of {measure.title}: {INTERVAL}.", header, rows, numbers
            )
        ],
    )


def labels_needed(study: Study, levels: list[float] | None = None) -> Section:
    """Labels to reach each of ``levels``, in the measure's unit; None: what methods reach at the study's budgets."""
    measure = study.measure
    levels = levels or default_levels(study)
    if not levels:
        raise LeftOut("most methods have one round in common at most; --reach names what is to be reached")
    unit = " %" if measure.percent else ""
    rows: list[list[str]] = []
    numbers: list[list[object]] = [["method", "level", "run", "labels"]]
    for method in study.methods:
        cells = [method.name]
        for level in levels:
            labels_K = method.curves[measure].labels_to_reach(level / measure.scale)
            cells.append(labels_needed_cell(labels_K))
            for run, count in zip(method.numbers, labels_K, strict=True):
                numbers.append([method.experiment, level, run, "" if math.isnan(count) else int(count)])
        rows.append(cells)
    return Section(
        "labels-needed",
        f"Labels needed for a {measure.name}",
        [
            "The labels of the first round that reached it: mean ± sample standard deviation over the runs that did, "
            "and how many did where not all. A mean over some runs is too low: the others needed more than they had."
        ],
        tables=[
            Table(
                "labels_needed",
                f"Labels of the first round at or above a {measure.name}.",
                ["method", *(f"{level:g}{unit}" for level in levels)],
                rows,
                numbers,
            )
        ],
    )


def default_levels(study: Study) -> list[float]:
    """What the methods that have the study's budgets reach there on average, rounded down to half a unit."""
    step = 0.5 if study.measure.percent else 0.01
    curves = [method.curves[study.measure] for method in study.methods]
    means = (
        np.concatenate([curve.mean_R[curve.labels_R == budget][:1] for curve in curves]).mean()
        for budget in study.budgets()
    )
    return sorted({round(math.floor(study.measure.scale * mean / step) * step, 2) for mean in means})


def intervals(curve: Curve) -> NDArray[np.float64]:
    """Of every round: low and high, shape (2, R)."""
    return np.array([t_interval(values_K) for values_K in curve.values_K_R.T]).reshape(-1, 2).T
