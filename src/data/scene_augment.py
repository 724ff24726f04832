"""Random crop and flip of training scenes, image and mask together, for a whole batch at once on its device.
What is done to images of one label each is in ``augment``; validation, densities and the pool never come here."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from src.data.bundle import normalised
from src.data.scenes import SceneSplit


class Crops(NamedTuple):
    """A square window and a mirror for each scene, on the CPU."""

    top_B: Tensor
    """Row of the scene that is the crop's first; negative where the crop begins above the scene."""

    left_B: Tensor
    """Its column, before mirroring."""

    flip_B: Tensor
    """Whether the crop is mirrored left to right."""


def draw_crops(count: int, rows: int, cols: int, crop_size: int, generator: torch.Generator) -> Crops:
    """``count`` independent crops from a CPU generator, which draws the same whatever device trains.

    Along either axis every position is as likely where the whole crop lies in the scene or, of a larger crop, the
    whole scene in the crop.
    """

    def first(size: int) -> Tensor:
        spare = size - crop_size
        return torch.randint(min(spare, 0), max(spare, 0) + 1, (count,), generator=generator)

    return Crops(first(rows), first(cols), torch.randint(2, (count,), generator=generator).bool())


def crop(maps_B_C_H_W: Tensor, crops: Crops, crop_size: int, outside_C_1_1: Tensor) -> Tensor:
    """New maps_B_C_S_S, S = ``crop_size``, of any type: each map's window, ``outside_C_1_1`` where it has no pixel."""
    device, (rows, cols) = maps_B_C_H_W.device, maps_B_C_H_W.shape[2:]
    steps_S = torch.arange(crop_size, device=device)
    top_B_1, left_B_1, flip_B_1 = (draws_B.to(device)[:, None] for draws_B in crops)
    row_B_S = top_B_1 + steps_S
    column_B_S = left_B_1 + torch.where(flip_B_1, crop_size - 1 - steps_S, steps_S)
    pixel_B_S_S = row_B_S.clamp(0, rows - 1)[:, :, None] * cols + column_B_S.clamp(0, cols - 1)[:, None]
    pixel_B_C_SS = pixel_B_S_S.flatten(1)[:, None].expand(-1, maps_B_C_H_W.shape[1], -1)
    cropped = maps_B_C_H_W.flatten(2).gather(2, pixel_B_C_SS).unflatten(2, (crop_size, crop_size))
    if crop_size <= min(rows, cols):
        return cropped
    inside_B_S_S = _within(row_B_S, rows)[:, :, None] & _within(column_B_S, cols)[:, None]
    return cropped.where(inside_B_S_S[:, None], outside_C_1_1)


class SceneAugmentation:
    """Crops squares of ``crop_size`` pixels from inputs of one split. Where a crop is larger than the scene, what is
    outside is void in the mask, and black in the image as it was before it was normalised."""

    def __init__(self, split: SceneSplit, crop_size: int) -> None:
        self.crop_size = crop_size
        self.void_1_1_1 = torch.full((1, 1, 1), split.ignore_label, device=split.device)
        zeros_C_1_1 = torch.zeros(split.images_N_C_H_W.shape[1], 1, 1, device=split.device)
        self.black_C_1_1 = normalised(zeros_C_1_1, split.mean_C_1_1, split.std_C_1_1)

    def __call__(
        self, inputs_MB_C_H_W: Tensor, masks_MB_H_W: Tensor, generators: Sequence[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        """New inputs_MB_C_S_S and masks_MB_S_S, an equal share of them, in order, from the draws of each generator."""
        share, (rows, cols) = len(inputs_MB_C_H_W) // len(generators), masks_MB_H_W.shape[1:]
        drawn = [draw_crops(share, rows, cols, self.crop_size, generator) for generator in generators]
        crops = Crops(*(torch.cat(parts) for parts in zip(*drawn, strict=True)))
        inputs_MB_C_S_S = crop(inputs_MB_C_H_W, crops, self.crop_size, self.black_C_1_1)
        return inputs_MB_C_S_S, crop(masks_MB_H_W[:, None], crops, self.crop_size, self.void_1_1_1)[:, 0]


def _within(positions: Tensor, size: int) -> Tensor:
    return (positions >= 0) & (positions < size)
