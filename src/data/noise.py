"""Gaussian noise that tells copies of an image apart, the same in every run.
How many copies there are, and how strong their noise is, each dataset of such copies says itself."""

import torch
from torch import Tensor

from src.utils.seeding import seed


def noisy(grey_N_C_H_W: Tensor, rows_A: Tensor, deviation: float, purpose: str) -> Tensor:
    """images_A_C_H_W as uint8: the images of these rows, in order, each with noise of its own.

    ``grey_N_C_H_W`` and the standard deviation are in grey levels of 0 … 255, to which sums are rounded and cut off.
    Another ``purpose`` is another noise.
    """
    images_A_C_H_W = torch.empty(len(rows_A), *grey_N_C_H_W.shape[1:], dtype=torch.uint8)
    generator = torch.Generator().manual_seed(seed(0, 0, purpose))
    # Float noise for all of them at once would take gigabytes.
    for images_B, rows_B in zip(images_A_C_H_W.split(10_000), rows_A.split(10_000), strict=True):
        noise_B = torch.empty(images_B.shape).normal_(0, deviation, generator=generator)
        images_B.copy_((grey_N_C_H_W[rows_B] + noise_B).round_().clamp_(0, 255))
    return images_A_C_H_W
