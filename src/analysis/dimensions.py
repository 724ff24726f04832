"""The greedy dimension search as a figure: what each round's search tried, how it judged it and what it chose.

Reads finished or running experiments only; the search itself is in `src/models/density/greedy.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from src.analysis.figures import panels, save_numbers, save_picture, style
from src.analysis.rounds import DimensionSearch, read_dimension_searches

Lines = dict[str, list[DimensionSearch]]


def plot_dimension_search(experiment_dir: Path) -> Path | None:
    """Draw the discrepancy m(k) over the tried dimensions k, and the chosen k against labels.

    m(k) is drawn for the rounds of the first run, the chosen k for every run. Where each class has a search of
    its own, both are drawn by class and for the first run, m(k) in its last round; classes whose k was not
    searched, for want of validation samples, are not drawn. Writes dimension_search.png and all runs' numbers as
    dimension_search.csv into `experiment_dir`, and returns the picture's path; writes nothing and returns None
    where no round searched. UserError where the record of a search is incomplete.
    """
    searches = read_dimension_searches(experiment_dir)
    if not searches:
        return None
    figure, (left, right) = panels(2, xscale="log")
    first = [search for search in searches if search.run == searches[0].run]
    if first[0].label is None:
        _draw_rounds(figure, left, first)
        _draw_chosen(right, _grouped(searches, lambda search: search.run))
    else:
        by_class = _grouped(sorted(first, key=_class), lambda search: f"class {search.label}")
        _draw_last_round(left, by_class)
        _draw_chosen(right, by_class)
    figure.suptitle(experiment_dir.resolve().name)
    path = experiment_dir / "dimension_search.png"
    save_picture(figure, path)
    save_numbers(_numbers(searches), path.with_suffix(".csv"))
    return path


def _grouped(searches: Sequence[DimensionSearch], name: Callable[[DimensionSearch], str]) -> Lines:
    lines: Lines = {}
    for search in searches:
        lines.setdefault(name(search), []).append(search)
    return lines


def _class(search: DimensionSearch) -> int:
    return search.label if search.label is not None else -1


def _draw_rounds(figure: Figure, axes: Axes, searches: Sequence[DimensionSearch]) -> None:
    """A curve per round. Colours go by the round, not by its labels: most rounds may lie at few labels."""
    rounds = len(searches)
    shades = colormaps["viridis"].resampled(rounds)
    _draw_discrepancy(axes, searches, [shades(number) for number in range(rounds)])
    bar = figure.colorbar(ScalarMappable(Normalize(-0.5, rounds - 0.5), shades), ax=axes)
    named = range(0, rounds, 1 + rounds // 16)
    bar.set_ticks(named, labels=[f"{searches[number].labels:,}" for number in named])
    bar.ax.set_title("labels", fontsize="medium")
    axes.set_title(f"each round of {searches[0].run}")


def _draw_last_round(axes: Axes, by_class: Lines) -> None:
    """A curve per class, in the colours of `_draw_chosen`."""
    last = max(line[-1].labels for line in by_class.values())
    newest = {number: line[-1] for number, line in enumerate(by_class.values()) if line[-1].labels == last}
    _draw_discrepancy(axes, list(newest.values()), [style(number)[0] for number in newest])
    axes.set_title(f"each class at {last:,} labels")


def _draw_discrepancy(axes: Axes, searches: Sequence[DimensionSearch], colors: Sequence[object]) -> None:
    minima = [search.discrepancy[search.dimensions.index(search.chosen)] for search in searches]
    for search, minimum, color in zip(searches, minima, colors, strict=True):
        axes.plot(search.dimensions, search.discrepancy, color=color, linewidth=1.2)
        axes.plot(search.chosen, minimum, "o", color=color, markeredgecolor="black", zorder=3)
    axes.plot([], [], "o", color="white", markeredgecolor="black", label="chosen k")
    # m(k) spans many decades where Gaussians degenerate. Where it may be negative, rounds are compared at their
    # minima, so up to the size of those the axis stays linear.
    threshold = float(np.median(np.abs(minima))) or 1.0
    if max(np.abs(search.discrepancy).max() for search in searches) > 100 * threshold:
        if min(minima) > 0:
            axes.set_yscale("log")
        else:
            axes.set_yscale("symlog", linthresh=threshold)
    axes.set_ylabel("discrepancy m(k) (from nats per dimension)")
    _count_axis(axes, "dimensions k", [k for search in searches for k in search.dimensions])
    axes.legend()


def _draw_chosen(axes: Axes, lines: Lines) -> None:
    for number, (name, searches) in enumerate(lines.items()):
        labels = [search.labels for search in searches]
        chosen = [search.chosen for search in searches]
        color, marker = style(number)
        axes.plot(labels, chosen, color=color, marker=marker, markersize=5, alpha=0.8, label=name)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.set_ylim(bottom=0)
    axes.set_ylabel("chosen k (dimensions)")
    _count_axis(axes, "labels", [search.labels for line in lines.values() for search in line])
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), ncols=1 + (len(lines) - 1) // 16)


def _count_axis(axes: Axes, name: str, counts: Sequence[int]) -> None:
    """A log axis of counts that names more than the powers of ten, of which it may cover none."""
    low, high = min(counts), max(counts)
    axes.set_xlabel(name)
    axes.set_xlim(0.9 * low, 1.1 * high)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1, 3)))
    if low == high:
        axes.set_xticks([low])


def _numbers(searches: Sequence[DimensionSearch]) -> Iterator[list[object]]:
    curves = ("discrepancy", "train_log_likelihood", "val_log_likelihood")
    yield ["run", "labels", "class", "k", *curves, "chosen"]
    for search in searches:
        label = "" if search.label is None else search.label
        values = zip(search.dimensions, *(getattr(search, curve) for curve in curves), strict=True)
        for k, *row in values:
            yield [search.run, search.labels, label, k, *row, int(k == search.chosen)]
