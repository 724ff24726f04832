"""What all figures share: their panels, and how a picture and its numbers reach the disk. What is drawn is the
matter of the module that draws it."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from src.utils.files import write_atomically

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
