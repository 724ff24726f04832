"""Bilinear resampling as two small matrix products: float32 under autocast too, and gradients that are the same bits in
every run without scattered additions. How large a map has to become is the network's business."""

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor


def bilinear(x_S_h_w: Tensor, size: Sequence[int]) -> Tensor:
    """y_S_H_W in float32 (float64 from float64): what ``F.interpolate(mode="bilinear", align_corners=False)`` gives.

    Beyond the outermost pixels' centres a map keeps its value. Any leading axes.
    """
    rows_H_h, cols_W_w = (
        _weights(_centres(large, small / large, x_S_h_w).clamp(0, small - 1), small)
        for large, small in zip(size, x_S_h_w.shape[-2:], strict=True)
    )
    return _resampled(x_S_h_w, rows_H_h, cols_W_w)


def bilinear_transposed(x_S_h_w: Tensor, factor: int) -> Tensor:
    """y_S_H_W, ``factor`` times as large: a transposed convolution by the fixed bilinear kernel, channel by channel.

    The kernel spans 2·factor pixels, the stride is ``factor`` (even), the padding half of it (Long et al. 2015). It
    equals ``bilinear`` but within half a ``factor`` of the border, where it fades towards zero.
    """
    rows_H_h, cols_W_w = (
        _weights(_centres(factor * small, 1 / factor, x_S_h_w), small) for small in x_S_h_w.shape[-2:]
    )
    return _resampled(x_S_h_w, rows_H_h, cols_W_w)


def _centres(large: int, scale: float, like: Tensor) -> Tensor:
    """Where the centres of the ``large`` pixels lie, in pixels of the small map."""
    return (torch.arange(large, dtype=torch.float64, device=like.device) + 0.5) * scale - 0.5


def _weights(positions_L: Tensor, small: int) -> Tensor:
    """weights_L_S: what each of the S pixels has to say at each position, from 1 at its centre to 0 at the next."""
    pixels_S = torch.arange(small, dtype=torch.float64, device=positions_L.device)
    return (1 - (positions_L[:, None] - pixels_S).abs()).clamp(min=0)


def _resampled(x_S_h_w: Tensor, rows_H_h: Tensor, cols_W_w: Tensor) -> Tensor:
    # Autocast would round to bfloat16 what is to become probabilities. Tensors without memory have none.
    device = x_S_h_w.device.type
    with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
        x_S_h_w = x_S_h_w if x_S_h_w.dtype == torch.float64 else x_S_h_w.float()
        return rows_H_h.to(x_S_h_w.dtype) @ (x_S_h_w @ cols_W_w.to(x_S_h_w.dtype).mT)
