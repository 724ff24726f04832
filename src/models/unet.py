"""The U-Net (Ronneberger et al. 2015) with batch norm and padded convolutions, so that maps keep their sizes."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.layers.member_axis import with_member_axis
from src.models.dense import DenseNetwork, area, conv_bn_relu, dropout_after, initialized, shrunk
from src.models.dense_loss import DenseLoss

CHANNELS = (16, 32, 64, 128, 256, 512, 1024)
"""Of the seven levels, each with maps half as large as those of the one before."""
STRIDE = 2 ** (len(CHANNELS) - 1)


class UNet(DenseNetwork):
    """inputs_M_N_I_H_W → down to the seventh level and back up → hidden_M_N_16_H_W, the last map → logits_M_N_C_H_W.

    Each of the 13 levels is two convolutions of 3×3, with dropout after it. Sizes that are no multiples of 64 are
    padded with zeros at the right and lower border (the mean colour where inputs are normalised), and the last map is
    cropped to the input's size. Its features are the last map's.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        nb_classes: int,
        dropout_probability: float = 0.0,
        objective: DenseLoss | None = None,
    ) -> None:
        super().__init__(CHANNELS[0], nb_classes, "hidden", objective)
        channels, *size = input_shape
        self.encoder = with_member_axis(_DownAndUp(channels, dropout_probability))
        self.head = with_member_axis(initialized(nn.Conv2d(CHANNELS[0], nb_classes, 1)))
        padded = area(size, STRIDE) * STRIDE**2
        self.largest_map = max(2 * CHANNELS[0] * padded, nb_classes * area(size))

    def hidden_map(self, inputs_M_N_I_H_W: Tensor) -> Tensor:
        rows, cols = inputs_M_N_I_H_W.shape[-2:]
        small_rows, small_cols = shrunk((rows, cols), STRIDE)
        padding = (0, small_cols * STRIDE - cols, 0, small_rows * STRIDE - rows)
        return self.encoder(F.pad(inputs_M_N_I_H_W, padding))[..., :rows, :cols]


class _DownAndUp(nn.Module):
    """x_S_I_H_W → y_S_16_H_W for sizes that halve six times. Leading axes may be members too."""

    def __init__(self, channels: int, dropout_probability: float) -> None:
        super().__init__()

        def level(inputs: int, outputs: int) -> nn.Module:
            convs = nn.Sequential(*conv_bn_relu(inputs, outputs, 3), *conv_bn_relu(outputs, outputs, 3))
            return dropout_after(convs, dropout_probability)

        self.pool = nn.MaxPool2d(2)
        self.down = nn.ModuleList(level(*widths) for widths in pairwise((channels, *CHANNELS)))
        upwards = list(pairwise(reversed(CHANNELS)))
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(low, high, 2, stride=2) for low, high in upwards)
        self.up = nn.ModuleList(level(2 * high, high) for _, high in upwards)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for position, level in enumerate(self.down):
            x = level(self.pool(x) if position else x)
            skips.append(x)
        for enlarge, level, skip in zip(self.enlarge, self.up, reversed(skips[:-1]), strict=True):
            x = level(torch.cat([skip, enlarge(x)], -3))
        return x
