"""What all figures share: their panels, and how a picture and its numbers reach the disk. What is drawn is the
matter of the module that draws it."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from numpy.typing import NDArray

from src.utils.files import write_atomically

# Fonts as outlines of their own (TrueType) in a PDF: many venues refuse matplotlib's default, Type 3.
rcParams["pdf.fonttype"] = 42

# Told apart by shape as well as by colour.
MARKERS = "osD^vPX<>*"


def panels(count: int = 1, xscale: str = "linear") -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels in a row; x is a count of something, on an axis of that scale."""
    # A Figure of its own, not pyplot's: no global state, no window, no display needed.
    figure = Figure(figsize=(8 if count == 1 else 6.5 * count, 5), layout="constrained")
    row = [figure.add_subplot(1, count, place + 1, xscale=xscale) for place in range(count)]
    for axes in row:
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, row


def heatmap(
    matrices: Mapping[str, NDArray[np.float64]],
    row_names: Sequence[str],
    column_names: Sequence[str],
    what: str,
    limits: tuple[float, float] | None = None,
    written: bool = False,
) -> Figure:
    """Matrices beside each other, by their titles, in one colour scale named ``what``; NaN is left white.

    ``limits`` are those of the scale (None: from 0 to the largest number); ``written`` puts the numbers in the cells.
    """
    rows, columns = len(row_names), len(column_names)
    size = (2.8 + len(matrices) * (0.4 + max(0.5 * columns, 2.5)), 1.6 + max(0.32 * rows, 2))
    figure = Figure(figsize=size, layout="constrained")
    largest = max(
        (float(matrix[np.isfinite(matrix)].max(initial=0)) for matrix in matrices.values()), default=0
    )
    low, high = limits or (0.0, largest or 1.0)
    drawn = []
    for place, (title, matrix) in enumerate(matrices.items()):
        axes = figure.add_subplot(1, len(matrices), place + 1)
        image = axes.imshow(matrix, cmap="Blues", vmin=low, vmax=high, aspect="auto")
        axes.set_title(title, fontsize="medium")
        axes.set_xticks(range(columns), column_names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(rows), row_names if place == 0 else [""] * rows)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        if written:
            for (row, column), value in np.ndenumerate(matrix):
                color = "white" if value > low + 0.6 * (high - low) else "black"
                if np.isfinite(value):
                    axes.text(
                        column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize="small"
                    )
        drawn.append(axes)
    figure.colorbar(image, ax=drawn, label=what, shrink=0.9)
    return figure


def style(number: int) -> tuple[str, str]:
    """Colour and marker of the line of that number; they repeat together only after a hundred lines."""
    return f"C{number % 10}", MARKERS[(number + number // 10) % len(MARKERS)]


def save_picture(figure: Figure, path: Path) -> None:
    """Replace the PNG at `path`; UserError where the system will not write."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    write_atomically(path, picture.getvalue())


def save_numbers(rows: Iterable[Sequence[object]], path: Path) -> None:
    """Replace the CSV at `path` by `rows`, the header among them; UserError where the system will not write."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    write_atomically(path, text.getvalue().encode())
