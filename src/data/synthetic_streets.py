"""Generated street scenes in the 19 classes of Cityscapes: no files and no download, the same in every run.
What stands in a street is in ``street_scenes``, how it is seen in ``street_camera``."""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from src.data.bundle import DatasetInfo
from src.data.cityscapes_labels import CLASS_NAMES, COLOURS
from src.data.registry import DATASETS, Dataset, Normalisation
from src.data.scenes import SceneSplit
from src.data.street_camera import photograph
from src.data.street_scenes import KINDS, draw_street
from src.utils.seeding import seed

TRAIN_STREETS, TEST_STREETS = 40, 10
FRAMES = 5
"""Scenes of each street, one after the other as a camera in a moving car sees them."""

ROWS, COLS = 64, 128


@DATASETS.register("synthetic_streets")
class SyntheticStreets(Dataset):
    """Drives along streets that are drawn with a fixed seed: 200 scenes of 40 streets, and 50 of 10 others for testing.

    They are what makes real street scenes hard to choose from. Classes are unequal: road, building, vegetation and sky
    fill most of an image, and few streets have a train, a rider or a bicycle. The pool is redundant: five neighbouring
    frames show nearly the same. Streets differ in light, shadows, noise and the colours of all things. What is seen
    of the own car is void. ``data.img_rows`` and ``data.img_cols`` are the size they are drawn in, 64 × 128 if null.
    """

    task = "segmentation"

    @cached_property
    def info(self) -> DatasetInfo:
        return DatasetInfo(
            name="synthetic_streets",
            task="segmentation",
            nb_classes=len(CLASS_NAMES),
            channels=3,
            rows=self.config.data.img_rows or ROWS,
            cols=self.config.data.img_cols or COLS,
            train_size=TRAIN_STREETS * FRAMES,
            test_size=TEST_STREETS * FRAMES,
            class_names=CLASS_NAMES,
            palette=COLOURS,
        )

    def splits(
        self, device: torch.device | str, mean: Normalisation, std: Normalisation
    ) -> tuple[SceneSplit, SceneSplit]:
        size = self.info.rows, self.info.cols
        train, test = (
            SceneSplit(*drive(streets, size, part), device, mean, std, self.config.data.ignore_label)
            for part, streets in (("train", TRAIN_STREETS), ("test", TEST_STREETS))
        )
        return train, test

    def availability(self) -> str:
        return "synthetic_streets is generated; nothing to download"


def drive(streets: int, size: tuple[int, int], part: str) -> tuple[Tensor, Tensor]:
    """images_N_3_H_W and masks_N_H_W as uint8: FRAMES of each street, street by street."""
    rng = np.random.default_rng(seed(0, 0, f"synthetic streets to {part}"))
    # As many streets as its share says have a kind, neither more nor fewer by chance.
    has_K_S = [rng.permutation(streets) < max(1, round(kind.share * streets)) for kind in KINDS]
    # All before the first photograph, whose noise is drawn a pixel: so they are the same streets in any size.
    drawn = [
        draw_street([kind for kind, has_S in zip(KINDS, has_K_S, strict=True) if has_S[number]], rng)
        for number in range(streets)
    ]
    images_N_3_H_W = np.empty((streets * FRAMES, 3, *size), np.uint8)
    masks_N_H_W = np.empty((streets * FRAMES, *size), np.uint8)
    for at in range(streets * FRAMES):
        street, frame = drawn[at // FRAMES], at % FRAMES
        images_N_3_H_W[at], masks_N_H_W[at] = photograph(street, frame, size, rng)
    return torch.from_numpy(images_N_3_H_W), torch.from_numpy(masks_N_H_W)
