"""What the densities of hidden features did: the dimension that greedy search chose, and how far they overfit."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from src.analysis.figures import panels, style
from src.analysis.page import LeftOut, Picture, Section, Table
from src.analysis.rounds import by_labels, curve_of, density_entries
from src.analysis.sections.against_labels import label_scale
from src.analysis.study import Method, Study
from src.utils.records import Row


@dataclass(frozen=True)
class Likelihood:
    """Mean log-likelihoods of samples under their own class, in nats, in so many dimensions."""

    dimension: int
    train: float
    val: float

    @property
    def gap(self) -> float:
        """Train − validation, in nats per dimension: those of different dimensions can be compared."""
        return (self.train - self.val) / self.dimension


def chosen_dimensions(study: Study) -> Section:
    """The k of every greedy search by round: median and extremes over runs, and classes where each has its own."""
    searching = [method for method in study.recorded if method.searches]
    if not searching:
        raise LeftOut("no records of a greedy dimension search")
    figure, (axes,) = panels(xscale=label_scale(study))
    cells: dict[int, dict[str, str]] = {}
    numbers: list[list[object]] = [["method", "run", "labels", "class", "dimension"]]
    for method in searching:
        chosen: dict[int, list[int]] = {}
        for search in method.searches:
            chosen.setdefault(search.labels, []).append(search.chosen)
            label = "" if search.label is None else search.label
            numbers.append(
                [method.experiment, search.run.removeprefix("run_"), search.labels, label, search.chosen]
            )
        labels = sorted(chosen)
        medians = [float(np.median(chosen[count])) for count in labels]
        lows, highs = ([extreme(chosen[count]) for count in labels] for extreme in (min, max))
        color, marker = style(study.methods.index(method))
        axes.plot(labels, medians, color=color, marker=marker, markersize=5, label=method.name)
        axes.fill_between(labels, lows, highs, color=color, alpha=0.15, linewidth=0)
        for count, median, low, high in zip(labels, medians, lows, highs, strict=True):
            cells.setdefault(count, {})[method.name] = f"{median:g} ({low}–{high})"
    axes.set(xlabel="labels", ylabel="chosen k (dimensions)")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
    names = [method.name for method in searching]
    return Section(
        "dimensions",
        "Dimension chosen by greedy search",
        ["Median and extremes over runs, and over classes where each class chooses its own."],
        [
            Picture(
                "dimensions",
                "Chosen dimension k against labels: median, and a band from the least to the most.",
                "Line chart of the chosen dimension against labels, a line with a band for each of "
                f"{', '.join(names)}.",
                figure,
            )
        ],
        [
            Table(
                "dimensions",
                "Chosen dimension by labels: median (least–most).",
                ["labels", *names],
                [[f"{count:,}", *(cells[count].get(name, "–") for name in names)] for count in sorted(cells)],
                numbers,
            )
        ],
    )


def likelihood_gap(study: Study) -> Section:
    """How much likelier the density finds what it was fitted to than validation samples."""
    with_gap = [method for method in study.recorded if any(True for _ in _of_method(method))]
    if not with_gap:
        raise LeftOut("no records of a density with log-likelihoods of train and validation")
    figure, (axes,) = panels(xscale=label_scale(study))
    numbers: list[list[object]] = [
        ["method", "run", "labels", "class", "dimension", "train_nats", "val_nats"]
    ]
    gaps: dict[str, dict[int, float]] = {}
    for method in with_gap:
        runs: dict[int, dict[int, list[float]]] = {run.number: {} for run in method.runs}
        for run, labels, class_, likelihood in _of_method(method):
            runs[run].setdefault(labels, []).append(likelihood.gap)
            numbers.append(
                [
                    method.experiment,
                    run,
                    labels,
                    class_,
                    likelihood.dimension,
                    likelihood.train,
                    likelihood.val,
                ]
            )
        curve = curve_of(
            [{labels: float(np.mean(found)) for labels, found in run.items()} for run in runs.values()]
        )
        color, marker = style(study.methods.index(method))
        axes.plot(curve.labels_R, curve.mean_R, color=color, marker=marker, markersize=4, label=method.name)
        gaps[method.name] = dict(zip(curve.labels_R.tolist(), curve.mean_R.tolist(), strict=True))
    drawn = [gap for found in gaps.values() for gap in found.values() if math.isfinite(gap)]
    if not drawn:
        raise LeftOut("no density has a finite log-likelihood of both training and validation samples")
    # Gaussians of few samples in many dimensions find validation samples impossible: then the gap spans decades.
    if max(map(abs, drawn)) > 10:
        axes.set_yscale("log" if min(drawn) > 0 else "symlog")
    axes.set(xlabel="labels", ylabel="train − validation (nats per dimension)")
    axes.legend(fontsize="small")
    counts = sorted({count for found in gaps.values() for count in found})
    return Section(
        "likelihoods",
        "Log-likelihood gap of the densities",
        [
            "Mean log-likelihood of training samples under their own class less that of validation samples, per "
            "dimension of the density; mean over runs, and over classes where each has its own dimension. It is what "
            "the density overfits: near 0 it tells new samples as well as old ones."
        ],
        [
            Picture(
                "likelihood_gap",
                "Train − validation log-likelihood in nats per dimension against labels, mean over runs.",
                f"Line chart of the log-likelihood gap against labels, a line for each of {', '.join(gaps)}.",
                figure,
            )
        ],
        [
            Table(
                "likelihood_gap",
                "Train − validation log-likelihood by labels, nats per dimension.",
                ["labels", *gaps],
                [
                    [
                        f"{count:,}",
                        *(f"{found[count]:.3g}" if count in found else "–" for found in gaps.values()),
                    ]
                    for count in counts
                ],
                numbers,
            )
        ],
    )


def _of_method(method: Method) -> Iterator[tuple[int, int, object, Likelihood]]:
    """Run, labels, class ("" where all have one density) and what was found."""
    for run in method.runs:
        for labels, row in by_labels(run.rows).items():
            for entry in density_entries(row):
                if likelihood := of_entry(entry):
                    yield run.number, labels, entry.get("label", ""), likelihood


def of_entry(entry: Row) -> Likelihood | None:
    """What a density's diagnostics tell, at the chosen dimension where a list has all; None without validation."""
    train, val, dimension = (
        entry.get(key) for key in ("train_log_likelihood", "val_log_likelihood", "dimension")
    )
    if train is None or val is None or not dimension:
        return None
    if isinstance(train, list):
        place = entry["dimensions"].index(dimension)
        train, val = train[place], val[place]
    return Likelihood(dimension, float(train), float(val))
