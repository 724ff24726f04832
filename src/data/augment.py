"""Random crop, flip and rotation of training batches, for a whole batch at once on its device.
Which batches are augmented is up to the training; validation, densities and the pool never come here."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from src.config import Config
from src.data.bundle import DataBundle, Split, normalised
from src.data.scene_augment import SceneAugmentation
from src.data.scenes import SceneSplit

PADDING = 4
"""Pixels of black around the image before it is cropped back to its size."""

MAX_DEGREES = 15.0


class Draws(NamedTuple):
    """One warp an image, on the CPU."""

    shift_B_2: Tensor
    """Whole pixels (down, right) from the image's corner to the crop's, −4 … 4."""

    flip_B: Tensor
    """Whether the crop is mirrored left to right."""

    degrees_B: Tensor
    """By how much it is then turned about its centre, counter-clockwise, −15 … 15."""


def draw(count: int, generator: torch.Generator) -> Draws:
    """``count`` independent warps from a CPU generator, which draws the same whatever device trains."""
    return Draws(
        torch.randint(-PADDING, PADDING + 1, (count, 2), generator=generator),
        # Mirrored digits are no digits, and yet these datasets are flipped too where a config asks for augmentation.
        torch.randint(2, (count,), generator=generator).bool(),
        (2 * torch.rand(count, generator=generator) - 1) * MAX_DEGREES,
    )


def warp(images_B_C_H_W: Tensor, draws: Draws) -> Tensor:
    """Crop, flip and turn each image by its own draws, in one bilinear interpolation; zero where nothing was.

    The three are one affine map, so a turn brings back the corners that a crop by itself would have cut off.
    """
    rows, cols = images_B_C_H_W.shape[2:]
    angle_B = torch.deg2rad(draws.degrees_B)
    cosine_B, sine_B = angle_B.cos(), angle_B.sin()
    mirror_B = 1 - 2 * draws.flip_B.float()
    down_B, right_B = draws.shift_B_2.float().unbind(1)
    # From an output pixel back to where it comes from, about the centres: turned, mirrored, shifted.
    across_B_3 = torch.stack([mirror_B * cosine_B, -mirror_B * sine_B, right_B], 1)
    along_B_3 = torch.stack([sine_B, cosine_B, down_B], 1)
    across_B_3, along_B_3 = across_B_3.to(images_B_C_H_W.device), along_B_3.to(images_B_C_H_W.device)
    x_W, y_H = _from_centre(cols, images_B_C_H_W), _from_centre(rows, images_B_C_H_W)

    def source(map_B_3: Tensor, size: int) -> Tensor:
        """In grid_sample's units, in which an image reaches from −1 to 1."""
        x_B_1_1, y_B_1_1, offset_B_1_1 = map_B_3[:, :, None, None].unbind(1)
        return (x_B_1_1 * x_W + y_B_1_1 * y_H[:, None] + offset_B_1_1) * (2 / size)

    grid_B_H_W_2 = torch.stack([source(across_B_3, cols), source(along_B_3, rows)], -1)
    return grid_sample(images_B_C_H_W, grid_B_H_W_2, align_corners=False)


class Augmentation:
    """Augments inputs of one split. Padding is black, as in an image that is padded before it is normalised."""

    def __init__(self, split: Split) -> None:
        zeros_C_1_1 = torch.zeros(split.images_N_C_H_W.shape[1], 1, 1, device=split.device)
        self.black_C_1_1 = normalised(zeros_C_1_1, split.mean_C_1_1, split.std_C_1_1)

    def __call__(
        self, inputs_B_C_H_W: Tensor, labels_B: Tensor, generators: Sequence[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        """New inputs of the same shape, an equal share of them, in order, from the draws of each generator; the labels
        are as they were, since no image changes its class."""
        share = len(inputs_B_C_H_W) // len(generators)
        drawn = [draw(share, generator) for generator in generators]
        draws = Draws(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
        # Normalisation is affine and interpolation linear, so they change places if black is the origin.
        return warp(inputs_B_C_H_W - self.black_C_1_1, draws).add_(self.black_C_1_1), labels_B


def augmentation(config: Config, data: DataBundle) -> Augmentation | SceneAugmentation | None:
    """What ``fit`` does to training batches; None where the config asks for nothing."""
    if not config.data.augmentation:
        return None
    if isinstance(data.train, Split):
        return Augmentation(data.train)
    assert isinstance(data.train, SceneSplit)
    return SceneAugmentation(data.train, config.training.crop_size)


def _from_centre(size: int, like: Tensor) -> Tensor:
    """Pixels from the centre of an axis to each pixel's centre."""
    return torch.arange(size, device=like.device, dtype=like.dtype) - (size - 1) / 2
