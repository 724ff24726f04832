"""Pictures of segmented scenes: the image, its labels, what was predicted and how uncertain that is, side by side.
Only given maps are drawn; which scenes and which uncertainty is the caller's choice."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from src.utils.files import write_atomically

VOID_COLOUR = (255, 255, 255)
"""White, which no palette here has; black is the background of one."""

PANEL_INCHES = 3.2
LEGEND_COLUMNS = 7
DPI = 150


def save_panels(
    path: Path,
    images_N_C_H_W: Tensor,
    masks_N_H_W: Tensor,
    predicted_N_H_W: Tensor | None,
    uncertainty_N_H_W: Tensor | None,
    palette: Sequence[Sequence[int]],
    class_names: Sequence[str],
    ignore_label: int,
    captions: Sequence[str] = (),
) -> None:
    """Replace the PNG at ``path`` by N rows of four panels each, with a legend of all classes; N ≥ 1.

    What is None has no panel; ``captions``, if any, stand at the left of the rows.

    Images are uint8, or floats from 0 to 1 that are not normalised, in colour or grey; labels are classes or
    ``ignore_label`` (void, in white); the palette has a colour (red, green, blue, 0 … 255) a class. One scale of
    uncertainty, in its own unit, serves all rows, so that scenes can be compared. The same maps give the same bytes
    (by one version of matplotlib). Raises UserError where the system will not write.
    """
    # Imported where it is used: checking a config needs no pictures.
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    colours_C_3 = np.array([*palette, VOID_COLOUR], dtype=np.uint8)
    columns = {
        "image": pictures(images_N_C_H_W),
        "labels": _coloured(masks_N_H_W, colours_C_3, ignore_label),
    }
    if predicted_N_H_W is not None:
        columns["prediction"] = _coloured(predicted_N_H_W, colours_C_3, ignore_label)
    limits: tuple[float, float] | tuple[None, None] = (None, None)
    if uncertainty_N_H_W is not None:
        columns["uncertainty"] = uncertainty = uncertainty_N_H_W.float().cpu().numpy()
        limits = (uncertainty.min(), uncertainty.max())
    scenes, rows, cols = masks_N_H_W.shape
    legend_rows = -(-len(colours_C_3) // LEGEND_COLUMNS)
    height = scenes * PANEL_INCHES * rows / cols + 0.3 * legend_rows + 0.6
    # A Figure of its own, not pyplot's: no global state, no window, no display needed.
    figure = Figure(figsize=(len(columns) * PANEL_INCHES + 0.8, height), layout="constrained")
    grid = figure.subplots(scenes, len(columns), squeeze=False)
    for place, (title, maps) in enumerate(columns.items()):
        grid[0, place].set_title(title)
        for axes, one in zip(grid[:, place], maps, strict=True):
            drawn = axes.imshow(one, cmap="viridis", vmin=limits[0], vmax=limits[1], interpolation="nearest")
            axes.set_axis_off()
    if uncertainty_N_H_W is not None:
        figure.colorbar(drawn, ax=list(grid[:, -1]), shrink=0.9)
    for axes, caption in zip(grid[:, 0], captions, strict=bool(captions)):
        axes.text(
            -0.03,
            0.5,
            caption,
            transform=axes.transAxes,
            rotation=90,
            ha="right",
            va="center",
            fontsize="small",
        )
    figure.legend(
        handles=[
            Patch(facecolor=colour / 255, edgecolor="black", linewidth=0.5, label=name)
            for colour, name in zip(colours_C_3, [*class_names, "void"], strict=True)
        ],
        loc="outside lower center",
        ncols=LEGEND_COLUMNS,
        fontsize="small",
        frameon=False,
    )
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
    write_atomically(path, picture.getvalue())


def pictures(images_N_C_H_W: Tensor) -> np.ndarray:
    """uint8 N,H,W,3 of images as ``save_panels`` takes them."""
    images_N_C_H_W = images_N_C_H_W.cpu()
    if images_N_C_H_W.dtype != torch.uint8:
        images_N_C_H_W = (images_N_C_H_W.clamp(0, 1) * 255).round().to(torch.uint8)
    return images_N_C_H_W.expand(-1, 3, -1, -1).movedim(1, -1).numpy()


def _coloured(labels_N_H_W: Tensor, colours_C_3: np.ndarray, ignore_label: int) -> np.ndarray:
    void = len(colours_C_3) - 1
    return colours_C_3[labels_N_H_W.where(labels_N_H_W != ignore_label, void).cpu().numpy()]
