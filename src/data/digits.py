"""The handwritten digits that scikit-learn embeds: 8×8 greyscale, no files and no download.
A real dataset small enough that a whole active-learning run takes seconds."""

import numpy as np
import torch

from src.data.bundle import DatasetInfo
from src.data.registry import DATASETS, ArrayDataset, Arrays

EVERY = 5
"""Of each class, in the published order, the 5th, 10th, 15th … image is a test image."""


@DATASETS.register("digits")
class Digits(ArrayDataset):
    """1,797 digits of 13 writers, the test part of UCI's "Optical Recognition of Handwritten Digits"
    (E. Alpaydin and C. Kaynak, 1998, https://doi.org/10.24432/C50P49), as sklearn.datasets.load_digits has it.

    It has no split of its own. Every fifth image of each class is taken for the test, which is stratified, mixes the
    writers, and depends neither on the run's seed nor on a library's random generator: 1,442 and 355 images.
    """

    info = DatasetInfo(
        name="digits",
        task="classification",
        nb_classes=10,
        channels=1,
        rows=8,
        cols=8,
        train_size=1442,
        test_size=355,
        class_names=tuple("0123456789"),
    )

    def read(self) -> tuple[Arrays, Arrays]:
        # Imported where it is used: scikit-learn takes most of a second, and no other dataset needs it.
        from sklearn.datasets import load_digits

        digits = load_digits()
        # Grey values are 0 … 16, the count of ink pixels in a 4×4 block.
        images_N_1_8_8 = torch.from_numpy(np.rint(digits.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
        labels_N = torch.from_numpy(digits.target).long()
        is_test_N = torch.zeros(len(labels_N), dtype=torch.bool)
        for label in range(self.info.nb_classes):
            of_class = (labels_N == label).nonzero().squeeze(1)
            is_test_N[of_class[EVERY - 1 :: EVERY]] = True
        train, test = ~is_test_N, is_test_N
        return (images_N_1_8_8[train], labels_N[train]), (images_N_1_8_8[test], labels_N[test])

    def availability(self) -> str:
        return "digits is embedded in scikit-learn; nothing to download"
