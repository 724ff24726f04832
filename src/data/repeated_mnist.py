"""Repeated MNIST: each of MNIST's training images several times with a little noise, so that a pool is redundant on
purpose. How MNIST itself is read is in ``mnist``."""

from functools import cached_property

import torch
from torch import Tensor

from src.data.bundle import DatasetInfo
from src.data.mnist import Mnist
from src.data.noise import noisy
from src.data.registry import DATASETS, ArrayDataset, Arrays

COPIES = 3
NOISE = 0.1 * 0.3081 * 255
"""Standard deviation in grey levels of 0 … 255: a tenth of MNIST's own, which is 0.3081 of its range."""


@DATASETS.register("repeated_mnist")
class RepeatedMnist(ArrayDataset):
    """A. Kirsch, J. van Amersfoort, Y. Gal, 2019, "BatchBALD: Efficient and Diverse Batch Acquisition for Deep Bayesian
    Active Learning", section 4.1: MNIST three times over, with Gaussian noise of standard deviation 0.1 on images
    that are normalised.

    Copies of one image stand together, in MNIST's order. The noise is the same in every run; pixels stay bytes, so
    that it is rounded, and cut off at black and white. ``data.distinct_images`` takes MNIST's first images only, which
    makes a pool that a CPU scores in seconds. Test images are MNIST's. Copies of a held-out image are in the pool:
    validation stops the training and chooses nothing else.
    """

    @cached_property
    def info(self) -> DatasetInfo:
        published = vars(Mnist.info)
        return DatasetInfo(**{**published, "name": "repeated_mnist", "train_size": COPIES * self._distinct})

    def read(self) -> tuple[Arrays, Arrays]:
        (images_N_1_28_28, labels_N), test = Mnist(self.config).read()
        distinct = self._distinct
        return (repeat(images_N_1_28_28[:distinct]), labels_N[:distinct].repeat_interleave(COPIES)), test

    def availability(self) -> str:
        return f"repeated_mnist is made of mnist: {Mnist(self.config).availability()}"

    @property
    def _distinct(self) -> int:
        asked, published = self.config.data.distinct_images, Mnist.info.train_size
        if asked is not None and asked > published:
            raise self.config.error(
                "data.distinct_images",
                f"{asked} of MNIST's {published} training images; lower it, or null to take all",
            )
        return asked or published


def repeat(images_N_C_H_W: Tensor) -> Tensor:
    """COPIES of each uint8 image, one after the other, each with noise of its own."""
    rows_A = torch.arange(len(images_N_C_H_W)).repeat_interleave(COPIES)
    return noisy(images_N_C_H_W, rows_A, NOISE, "noise of repeated MNIST")
