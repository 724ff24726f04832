"""The decoder of a residual network's features: from the last feature map back to the input, twice as large a stage."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from src.layers.member_axis import with_member_axis

STAGE_CHANNELS = (256, 128, 64, 64, 64)
"""ResNet-18's in reverse."""


class ResNetDecoder(nn.Module):
    """features_M_N_D → inputs_M_N_C_H_W: residual blocks by transposed convolution, a stage for each halving.

    ``map_sizes`` are the (rows, columns) of the input and after each halving, as the encoder met them; odd ones come
    back too. A stage is one block that doubles its map and ``blocks`` − 1 that keep it.
    """

    def __init__(
        self,
        map_channels: int,
        map_sizes: Sequence[tuple[int, int]],
        input_channels: int,
        batch_norm: bool,
        blocks: int,
    ) -> None:
        super().__init__()
        self.map_shape = (map_channels, *map_sizes[-1])
        layers: list[nn.Module] = []
        stages = list(zip(pairwise(reversed(map_sizes)), STAGE_CHANNELS, strict=False))
        self.largest_map = max(outputs * rows * cols for (_, (rows, cols)), outputs in stages)
        """Values in the largest feature map of one input."""
        channels = map_channels
        for (small, large), outputs in stages:
            layers.append(_doubling_block(channels, outputs, small, large, batch_norm))
            layers += [_block(outputs, batch_norm) for _ in range(blocks - 1)]
            channels = outputs
        layers.append(nn.Conv2d(channels, input_channels, 3, padding=1))  # linear: inputs may be normalised
        self.layers = with_member_axis(nn.Sequential(*layers))

    def forward(self, features_M_N_D: Tensor) -> Tensor:
        return self.layers(features_M_N_D.unflatten(-1, self.map_shape))


class _Residual(nn.Module):
    def __init__(self, branch: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch, self.shortcut, self.relu = branch, shortcut, nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.branch(x) + self.shortcut(x))


def _doubling_block(
    inputs: int, outputs: int, small: tuple[int, int], large: tuple[int, int], batch_norm: bool
) -> nn.Module:
    # Stride 2 makes 2n − 1 pixels of n; the output padding is the one that an even size has more.
    rows, cols = (after - (2 * before - 1) for before, after in zip(small, large, strict=True))

    def up(kernel_size: int) -> nn.Module:
        return nn.ConvTranspose2d(
            inputs,
            outputs,
            kernel_size,
            stride=2,
            padding=kernel_size // 2,
            output_padding=(rows, cols),
            bias=not batch_norm,
        )

    branch = nn.Sequential(*_normed(up(3), outputs, batch_norm), nn.ReLU(), *_conv(outputs, batch_norm))
    return _Residual(branch, nn.Sequential(*_normed(up(1), outputs, batch_norm)))


def _block(channels: int, batch_norm: bool) -> nn.Module:
    branch = nn.Sequential(*_conv(channels, batch_norm), nn.ReLU(), *_conv(channels, batch_norm))
    return _Residual(branch, nn.Identity())


def _conv(channels: int, batch_norm: bool) -> list[nn.Module]:
    return _normed(nn.Conv2d(channels, channels, 3, padding=1, bias=not batch_norm), channels, batch_norm)


def _normed(conv: nn.Module, channels: int, batch_norm: bool) -> list[nn.Module]:
    return [conv, nn.BatchNorm2d(channels)] if batch_norm else [conv]
