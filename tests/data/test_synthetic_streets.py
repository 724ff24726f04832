"""Generated streets are the same in every run, unequal in their classes and redundant from frame to frame."""

from pathlib import Path

import numpy as np
import pytest
import torch

from src.data import DataBundle, availability, load_dataset
from src.data.synthetic_streets import FRAMES
from tests.data.scene_files import config


def streets(**data: object) -> DataBundle:
    return load_dataset(config(Path("nowhere"), "synthetic_streets", **data), "cpu")


@pytest.fixture(scope="module")
def default() -> DataBundle:
    return streets()


def pixels(bundle: DataBundle) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of the training and the test split: grey_N_H_W in 0 … 1 and masks_N_H_W."""
    return [
        (split.inputs(split.indices).mean(1).numpy(), split.labels(split.indices).numpy())
        for split in (bundle.train, bundle.test)
    ]


def test_they_are_the_same_each_time(default: DataBundle) -> None:
    again = streets()
    for one, other in ((default.train, again.train), (default.test, again.test)):
        assert torch.equal(one.inputs(one.indices), other.inputs(other.indices))
        assert torch.equal(one.labels(one.indices), other.labels(other.indices))


def test_sizes_are_as_told_and_may_be_others(default: DataBundle) -> None:
    for bundle, size in ((default, (64, 128)), (streets(img_rows=21, img_cols=34), (21, 34))):
        assert (bundle.info.rows, bundle.info.cols) == size
        for split, count in ((bundle.train, 200), (bundle.test, 50)):
            assert split.inputs(split.indices).shape == (count, 3, *size)
            assert split.labels(split.indices).shape == (count, *size)
    assert (default.info.train_size, default.info.test_size) == (200, 50)
    assert availability(config(Path("nowhere"), "synthetic_streets")).endswith("nothing to download")


def test_they_are_the_same_streets_in_any_size(default: DataBundle) -> None:
    small = streets(img_rows=32, img_cols=64)
    (_, masks), _ = pixels(default)
    (_, small_masks), _ = pixels(small)
    # A pixel of the small one is a corner of four of the large one.
    assert (small_masks == masks[:, 1::2, 1::2]).mean() > 0.85


def test_every_class_and_void_occur_in_both_splits_and_few_fill_most(default: DataBundle) -> None:
    names = default.info.class_names
    for _, masks in pixels(default):
        share = dict(
            zip(names, np.bincount(masks.ravel(), minlength=256)[:19] / (masks < 255).sum(), strict=True)
        )
        assert min(share.values()) > 0
        most = ["road", "building", "vegetation", "sky"]
        assert sum(share[name] for name in most) > 0.75
        assert min(share[name] for name in most) > 10 * max(
            share[name] for name in ("rider", "bicycle", "motorcycle")
        )
        with_any = {name: (masks == label).any((1, 2)).mean() for label, name in enumerate(names)}
        assert all(
            with_any[name] < 0.5 for name in ("rider", "train", "bicycle", "motorcycle", "bus", "truck")
        )
        assert 0.01 < (masks == 255).mean() < 0.1
        assert set(np.unique(masks)) == {*range(19), 255}


def test_neighbouring_frames_are_alike_and_streets_are_not(default: DataBundle) -> None:
    for _, masks in pixels(default):
        same = (masks[1:] == masks[:-1]).mean((1, 2))
        within = np.arange(1, len(masks)) % FRAMES != 0
        assert same[within].min() > same[~within].mean()
        assert same[within].mean() > 0.85 > 0.75 > same[~within].mean()
        assert (same < 1).all()


def test_light_differs_between_streets_and_noise_between_frames(default: DataBundle) -> None:
    for grey, masks in pixels(default):
        brightness = grey.reshape(len(grey) // FRAMES, FRAMES, -1).mean(2)
        assert brightness.mean(1).max() > 1.8 * brightness.mean(1).min()
        assert brightness.std(1).max() < brightness.mean(1).std()
        sky = (masks[:-1] == 10) & (masks[1:] == 10)
        assert 0.02 < np.abs(np.diff(grey, axis=0))[sky].mean() < 0.3


def test_a_colour_does_not_give_its_class_away(default: DataBundle) -> None:
    """The best guess by the nearest mean colour of a class is far from right, and better than chance."""
    split = default.train
    colours = split.inputs(split.indices).permute(0, 2, 3, 1)
    masks = split.labels(split.indices)
    means = torch.stack([colours[masks == label].mean(0) for label in range(19)])
    guess = torch.cdist(colours[::2].reshape(-1, 3), means).argmin(1)
    truth = masks[::2].flatten()
    hits = [(guess[truth == label] == label).float().mean() for label in range(19)]
    assert 1 / 19 < float(torch.stack(hits).mean()) < 0.5
