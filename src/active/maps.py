"""Scores of maps: a pixel is scored as an input is, and an image's pixels are reduced to one number.
What a pixel's score means is the heuristic's or the density's affair."""

from collections.abc import Callable

import torch
from torch import Tensor

BLOCK_BYTES = 2**24
"""Evidence of the pixels that are scored at once."""

Reduction = Callable[[Tensor], Tensor]
"""scores_B_H_W → scores_B, over the whole map of each image."""


def per_pixel(score: Callable[[Tensor], Tensor], evidence_B_S_H_W: Tensor) -> Tensor:
    """scores_B_H_W of ``score``, which takes evidence_P_S of any number of pixels, a few rows of the maps at a time."""
    pixels_B_H_W_S = evidence_B_S_H_W.movedim((-2, -1), (1, 2))
    row_bytes = pixels_B_H_W_S[:, :1].numel() * pixels_B_H_W_S.element_size()
    blocks = []
    for block_B_h_W_S in pixels_B_H_W_S.split(max(1, BLOCK_BYTES // row_bytes), dim=1):
        blocks.append(score(block_B_h_W_S.flatten(0, 2)).view(block_B_h_W_S.shape[:3]))
    return torch.cat(blocks, dim=1)


def top_mean(scores_B_P: Tensor, fraction: float) -> Tensor:
    """Mean of the highest ``fraction`` of each row, of one score at least."""
    count = max(1, round(fraction * scores_B_P.shape[1]))
    return scores_B_P.topk(count, dim=1, sorted=False).values.mean(1)


def reduction(name: str, top_fraction: float) -> Reduction:
    """``training.reduction`` in float64: max, min, mean, sum, or ``top``, the mean of the highest ``top_fraction``."""
    of_rows: Reduction = {
        "max": lambda scores_B_P: scores_B_P.amax(1),
        "min": lambda scores_B_P: scores_B_P.amin(1),
        "mean": lambda scores_B_P: scores_B_P.mean(1),
        "sum": lambda scores_B_P: scores_B_P.sum(1),
        "top": lambda scores_B_P: top_mean(scores_B_P, top_fraction),
    }[name]
    return lambda scores_B_H_W: of_rows(scores_B_H_W.double().flatten(1))
