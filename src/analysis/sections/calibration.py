"""Whether the probabilities hold what they say: calibration error by labels, and reliability diagrams."""

import math

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from src.analysis.figures import panels, style
from src.analysis.page import LeftOut, Picture, Section, Table
from src.analysis.rounds import Curve, Measure, by_labels, curve_of, number
from src.analysis.sections.against_labels import curve_table, label_scale
from src.analysis.study import Method, Study

BINS = ("bin_inputs", "bin_right", "bin_confidence")
ECE = Measure("test ECE", "ece", "", "", percent=False)


def calibration(study: Study) -> Section:
    """Expected calibration error, and reliability where the rows hold its bins."""
    curves = {method: _curve(method) for method in study.recorded}
    curves = {method: curve for method, curve in curves.items() if curve.labels_R.size}
    if not curves:
        raise LeftOut("no records with an ECE; CSVs hold none")
    figure, (axes,) = panels(xscale=label_scale(study))
    for place, method in enumerate(study.methods):
        if method in curves:
            curve, (color, marker) = curves[method], style(place)
            axes.plot(
                curve.labels_R, curve.mean_R, color=color, marker=marker, markersize=4, label=method.name
            )
    axes.set(xlabel="labels", ylabel=ECE.title)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
    names = ", ".join(method.name for method in curves)
    section = Section(
        "calibration",
        "Calibration",
        [
            "The expected calibration error of the test set (15 equal bins of the largest probability): how far "
            "confidence is from accuracy, on average."
        ],
        [
            Picture(
                "ece",
                "Test ECE against labels, mean over runs.",
                f"Line chart of the expected calibration error against labels, a line for each of {names}.",
                figure,
            )
        ],
        [curve_table(curves, ECE)],
    )
    _add_reliability(section, study)
    return section


def _curve(method: Method) -> Curve:
    return curve_of(
        [
            {labels: number(row["test"].get("ece")) for labels, row in by_labels(run.rows).items()}
            for run in method.runs
        ]
    )


def _add_reliability(section: Section, study: Study) -> None:
    """Diagrams at the study's budgets, if rows there have bins: those before the list was recorded have none."""
    bins = {
        budget: {
            method: bins_B_3
            for method in study.recorded
            if (bins_B_3 := reliability_bins(method, budget)) is not None
        }
        for budget in study.budgets()
    }
    bins = {budget: methods for budget, methods in bins.items() if methods}
    if not bins:
        section.text.append(
            "No reliability diagram: no row at the tables' budgets holds the bins that it takes."
        )
        return
    section.pictures.append(
        Picture(
            "reliability",
            "Reliability: accuracy against mean confidence of the bins of the test set, all runs together. On the "
            "dashed line probabilities are right; below it they are too high. Bins under 0.5 % of the inputs are not "
            "drawn.",
            f"Reliability diagrams at {', '.join(f'{budget:,}' for budget in bins)} labels: accuracy against "
            f"confidence, a line for each of {', '.join(method.name for method in _having_bins(study, bins))}.",
            _diagrams(study, bins),
        )
    )
    section.tables.append(
        Table(
            "reliability",
            "Mean confidence and accuracy of the test set at the budgets, all runs together: over-confidence is the "
            "gap.",
            ["method", *(f"at {budget:,} labels" for budget in bins)],
            [
                [method.name, *(_gap_cell(bins[budget].get(method)) for budget in bins)]
                for method in study.recorded
            ],
            [
                ["method", "labels", "bin", "inputs", "right", "confidence_sum"],
                *(
                    [method.experiment, budget, place, int(count), int(right), confidence]
                    for budget, methods in bins.items()
                    for method, bins_B_3 in methods.items()
                    for place, (count, right, confidence) in enumerate(bins_B_3.tolist())
                ),
            ],
        )
    )


def reliability_bins(method: Method, count: int) -> NDArray[np.float64] | None:
    """bins_B_3: inputs, those that were right, and their summed confidence, of all runs; None where rows have none."""
    found = [
        np.array([row["test"][key] for key in BINS], dtype=float).T
        for run in method.runs
        if (row := by_labels(run.rows).get(count)) and all(row["test"].get(key) for key in BINS)
    ]
    return np.sum(found, axis=0) if found else None


def _having_bins(study: Study, bins: dict[int, dict[Method, NDArray[np.float64]]]) -> list[Method]:
    """The methods that have a line in some diagram."""
    return [method for method in study.methods if any(method in methods for methods in bins.values())]


def _diagrams(study: Study, bins: dict[int, dict[Method, NDArray[np.float64]]]) -> Figure:
    figure, row = panels(len(bins))
    shown = _having_bins(study, bins)
    figure.set_size_inches(5 * len(bins), 4.8)
    for axes, (budget, methods) in zip(row, bins.items(), strict=True):
        axes.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=0.9)
        for place, method in enumerate(study.methods):
            if method in shown:
                # Without bins at this budget it is a line of nothing, so that the legend names it.
                count_B, right_B, confidence_B = methods.get(method, np.empty((0, len(BINS)))).T
                shown_B = count_B >= max(1, 0.005 * count_B.sum())
                color, marker = style(place)
                axes.plot(
                    confidence_B[shown_B] / count_B[shown_B],
                    right_B[shown_B] / count_B[shown_B],
                    color=color,
                    marker=marker,
                    markersize=4,
                    label=method.name,
                )
        axes.xaxis.set_major_formatter("{x:.1f}")
        axes.set(title=f"{budget:,} labels", xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
    row[0].legend(fontsize="small")
    return figure


def _gap_cell(bins_B_3: NDArray[np.float64] | None) -> str:
    if bins_B_3 is None or not math.isfinite(total := bins_B_3[:, 0].sum()) or not total:
        return "–"
    _, right, confidence = bins_B_3.sum(axis=0) / total
    return f"{confidence:.3f} − {right:.3f} = {confidence - right:+.3f}".replace("-", "−")
