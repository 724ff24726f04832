"""Each image stands three times with its label and a little noise; the test images are untouched."""

from pathlib import Path

import numpy as np
import pytest
import torch

from src.config import Config
from src.data import availability, dataset_info, load_dataset
from src.data.mnist import STEMS
from src.data.repeated_mnist import NOISE, repeat
from src.utils.errors import UserError


def config(root: Path, **data: object) -> Config:
    keys = {"dataset": "repeated_mnist", "path": str(root), **data}
    return Config.model_validate({"name": "test", "data": keys})


@pytest.mark.parametrize(("asked", "distinct"), [(None, 12), (5, 5)])
def test_copies_of_the_first_images_stand_together(
    asked: int | None, distinct: int, tmp_path: Path, small_mnist: dict[str, np.ndarray]
) -> None:
    asked_for = config(tmp_path, distinct_images=asked)
    bundle = load_dataset(asked_for, "cpu")
    assert dataset_info(asked_for).train_size == len(bundle.train) == 3 * distinct
    images, labels = small_mnist[STEMS[0]].astype(int), small_mnist[STEMS[1]]
    for at in range(3 * distinct):
        assert bundle.train.labels_N[at] == labels[at // 3]
        difference = bundle.train.images_N_C_H_W[at, 0].int().numpy() - images[at // 3]
        assert 0 < np.abs(difference).max() < 6 * NOISE
    assert np.array_equal(bundle.test.images_N_C_H_W[:, 0], small_mnist[STEMS[2]])
    assert np.array_equal(bundle.test.labels_N, small_mnist[STEMS[3]])
    again = load_dataset(asked_for, "cpu")
    assert torch.equal(again.train.images_N_C_H_W, bundle.train.images_N_C_H_W)


def test_noise_is_a_tenth_of_mnists_standard_deviation_and_stays_within_a_byte() -> None:
    grey, black, white = (torch.full((50, 1, 28, 28), value, dtype=torch.uint8) for value in (128, 0, 255))
    for images in (grey, black, white):
        copies = repeat(images).double()
        assert len(copies) == 150
        assert not torch.equal(copies[0], copies[1])
    # 117,600 draws, rounded to whole grey levels, whose variance is 1 / 12.
    copies = repeat(grey).double() - 128
    assert copies.std().item() == pytest.approx((7.857**2 + 1 / 12) ** 0.5, rel=0.01)
    assert abs(copies.mean().item()) < 5 * 7.857 / 117_600**0.5
    assert (repeat(black).double() == 0).double().mean().item() == pytest.approx(0.525, abs=0.01)
    assert (repeat(white).double() == 255).double().mean().item() == pytest.approx(0.525, abs=0.01)


def test_more_images_than_mnist_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^data\.distinct_images: 60001 of MNIST's 60000"):
        dataset_info(config(tmp_path, distinct_images=60_001))
    assert dataset_info(config(tmp_path, distinct_images=60_000)).train_size == 180_000


def test_availability_is_mnists(tmp_path: Path) -> None:
    assert availability(config(tmp_path)).startswith("repeated_mnist is made of mnist: mnist is absent")
