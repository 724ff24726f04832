"""Many small images on one sheet, in groups, with words under each. Which images and which words is the caller's
choice."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from src.utils.files import write_atomically
from src.utils.panels import pictures

COLUMNS = 8
INCHES = 1.25
FONT_SIZE = 6
LINE_INCHES = 1.3 * FONT_SIZE / 72
DPI = 150


class SheetGroup(NamedTuple):
    """Images under a title: pixels_N_C_H_W as ``save_panels`` takes them, and N captions."""

    title: str
    images_N_C_H_W: Tensor
    captions: Sequence[str]


def save_contact_sheet(path: Path, groups: Sequence[SheetGroup]) -> None:
    """Replace the PNG at ``path`` by the groups, one below the other, ``COLUMNS`` images in a row; at least one image.

    The same images and words give the same bytes (by one version of matplotlib). Raises UserError where the system
    will not write.
    """
    # Imported where it is used: checking a config needs no pictures.
    from matplotlib.figure import Figure

    groups = [group for group in groups if group.captions]
    rows = [-(-len(group.captions) // COLUMNS) for group in groups]
    lines = max(caption.count("\n") + 1 for group in groups for caption in group.captions)
    row_height = INCHES + LINE_INCHES * lines + 0.05
    heights = [row_height * count + 0.4 for count in rows]
    # A Figure of its own, not pyplot's: no global state, no window, no display needed.
    figure = Figure(figsize=(COLUMNS * INCHES, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(groups), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, group, count in zip(parts, groups, rows, strict=True):
        part.suptitle(group.title, fontsize="medium")
        cells = part.subplots(count, COLUMNS, squeeze=False).flatten()
        for axes in cells:
            axes.set_axis_off()
        images = pictures(group.images_N_C_H_W)
        for axes, image, caption in zip(cells, images, group.captions, strict=False):
            axes.imshow(image, interpolation="nearest")
            axes.text(
                0.5, -0.04, caption, transform=axes.transAxes, ha="center", va="top", fontsize=FONT_SIZE
            )
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
    write_atomically(path, picture.getvalue())
