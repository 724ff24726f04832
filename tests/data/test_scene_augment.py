"""A batch is cropped and mirrored as scene by scene would do it, image and mask together, from draws of its own."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import functional as slow

from src.config import Config
from src.data.augment import augmentation
from src.data.bundle import DataBundle, DatasetInfo
from src.data.scene_augment import Crops, SceneAugmentation, crop, draw_crops
from src.data.scenes import SceneSplit

INFO = DatasetInfo("streets", "segmentation", 5, 3, 4, 4, 1, 1, tuple("abcde"))
MEAN, STD, VOID = (0.2, 0.4, 0.6), (0.5, 0.25, 2.0), 255


def some_scenes(n: int = 6, rows: int = 7, cols: int = 10) -> tuple[Tensor, Tensor]:
    """Images whose pixels are all different, and masks that number the pixels likewise."""
    masks_N_H_W = 1000 + torch.arange(n * rows * cols).view(n, rows, cols)
    inputs_N_C_H_W = torch.stack([masks_N_H_W, masks_N_H_W + 10_000, masks_N_H_W + 20_000], 1).float()
    return inputs_N_C_H_W, masks_N_H_W


def augmentation_of(
    crop_size: int, ignore_label: int = VOID, normalised: bool = False, device: str = "cpu"
) -> SceneAugmentation:
    """That of a split whose own scenes are not looked at."""
    scenes = torch.zeros(1, 3, 4, 4).byte(), torch.zeros(1, 4, 4).byte()
    split = SceneSplit(
        *scenes, device, *((MEAN, STD) if normalised else (None, None)), ignore_label=ignore_label
    )
    return SceneAugmentation(split, crop_size)


def generator(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=60)
@given(
    crops=st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9), st.booleans()), min_size=1, max_size=5),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    crop_size=st.integers(1, 12),
)
def test_a_batch_is_cropped_as_torchvision_crops_each_alone(
    crops: list[tuple[int, int, bool]], size: tuple[int, int], crop_size: int
) -> None:
    inputs, _ = some_scenes(len(crops), *size)
    fits = crop_size <= min(size)  # then no crop that is drawn reaches out of its scene; and never wholly

    def within(first: int, length: int) -> int:
        return min(max(first, 0), length - crop_size) if fits else min(max(first, 1 - crop_size), length - 1)

    crops = [(within(top, size[0]), within(left, size[1]), flip) for top, left, flip in crops]
    draws = Crops(*(torch.tensor(column) for column in zip(*crops, strict=True)))
    got = crop(inputs, draws, crop_size, torch.zeros(1, 1, 1))
    for scene, cropped, (top, left, flip) in zip(inputs, got, crops, strict=True):
        expected = slow.crop(scene, top, left, crop_size, crop_size)
        assert torch.equal(cropped, slow.hflip(expected) if flip else expected)


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 14), st.integers(0, 1000))
def test_image_and_mask_stay_on_top_of_each_other(rows: int, cols: int, crop_size: int, seed: int) -> None:
    inputs, masks = some_scenes(4, rows, cols)
    out, out_masks = augmentation_of(crop_size)(inputs, masks, [generator(seed)])
    assert out.shape == (4, 3, crop_size, crop_size) and out_masks.shape == (4, crop_size, crop_size)
    assert (out.dtype, out_masks.dtype) == (torch.float32, torch.int64)
    void = out_masks == VOID
    for channel in range(3):
        expected = torch.where(void, 0, out_masks + 10_000 * channel).float()
        assert torch.equal(out[:, channel], expected)
    # Each axis is within the scene, or has all of it within the crop; and no scene borrows from another.
    kept = min(rows, crop_size) * min(cols, crop_size)
    assert ((~void).flatten(1).sum(1) == kept).all()
    for scene, cropped in zip(masks, out_masks, strict=True):
        assert set(cropped[cropped != VOID].tolist()) <= set(scene.flatten().tolist())


def test_every_position_and_both_sides_are_as_likely() -> None:
    crops = draw_crops(20_000, 7, 9, 5, generator())
    counts = torch.bincount((crops.top_B * 5 + crops.left_B) * 2 + crops.flip_B).numpy()
    expected = 20_000 / 30
    assert len(counts) == 30
    assert np.abs(counts - expected).max() < 5 * math.sqrt(expected)


def test_a_scene_smaller_than_the_crop_lies_anywhere_in_it() -> None:
    crops = draw_crops(5_000, 3, 9, 5, generator())
    assert sorted(crops.top_B.unique().tolist()) == [-2, -1, 0]
    assert sorted(crops.left_B.unique().tolist()) == [0, 1, 2, 3, 4]


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    scenes = some_scenes()
    first, again, other = (augmentation_of(4)(*scenes, [generator(seed)]) for seed in (7, 7, 8))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])


def test_each_generator_augments_its_own_share_as_it_would_alone() -> None:
    inputs, masks = some_scenes(n=12)
    augment = augmentation_of(4)
    together = augment(inputs, masks, [generator(1), generator(2), generator(3)])
    for member, seed in enumerate((1, 2, 3)):
        share = slice(4 * member, 4 * member + 4)
        alone = augment(inputs[share], masks[share], [generator(seed)])
        assert torch.equal(together[0][share], alone[0]) and torch.equal(together[1][share], alone[1])


def test_equal_scenes_of_a_batch_come_out_different() -> None:
    inputs, masks = some_scenes(n=1, rows=30, cols=30)
    _, out = augmentation_of(8)(inputs.expand(8, -1, -1, -1), masks.expand(8, -1, -1), [generator()])
    assert len({mask.numpy().tobytes() for mask in out}) > 6


def test_what_is_given_stays_as_it_was() -> None:
    inputs, masks = some_scenes()
    before = inputs.clone(), masks.clone()
    augmentation_of(12)(inputs, masks, [generator()])
    assert torch.equal(inputs, before[0]) and torch.equal(masks, before[1])


@pytest.mark.parametrize("void", [255, -1, 0])
def test_outside_is_void_and_black_before_normalisation(void: int) -> None:
    images = torch.rand(3, 3, 4, 6, generator=generator())
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    masks = torch.ones(3, 4, 6, dtype=torch.int64)
    plain, _ = augmentation_of(9, void)(images, masks, [generator()])
    normal, out_masks = augmentation_of(9, void, normalised=True)((images - mean) / std, masks, [generator()])
    torch.testing.assert_close(normal, (plain - mean) / std, atol=1e-6, rtol=1e-6)
    assert ((plain == 0).all(1) == (out_masks == void)).all()
    assert (out_masks == void).sum() == 3 * (81 - 24)


def test_the_config_decides() -> None:
    scenes = SceneSplit(torch.zeros(1, 3, 4, 4).byte(), torch.zeros(1, 4, 4).byte(), "cpu")
    bundle = DataBundle(INFO, scenes, scenes)
    content = {"name": "test", "training": {"crop_size": 5}}
    assert augmentation(Config.model_validate(content), bundle) is None
    augment = augmentation(Config.model_validate({**content, "data": {"augmentation": True}}), bundle)
    assert isinstance(augment, SceneAugmentation)
    inputs, masks = augment(torch.ones(1, 3, 4, 4), torch.ones(1, 4, 4, dtype=torch.int64), [generator()])
    assert inputs.shape == (1, 3, 5, 5) and masks.shape == (1, 5, 5)


@pytest.mark.cuda
def test_a_gpu_augments_as_the_cpu_does() -> None:
    inputs, masks = some_scenes()
    on_cpu = augmentation_of(8, normalised=True)(inputs, masks, [generator()])
    on_gpu = augmentation_of(8, normalised=True, device="cuda")(inputs.cuda(), masks.cuda(), [generator()])
    assert on_gpu[0].is_cuda and on_gpu[1].is_cuda
    assert torch.equal(on_gpu[0].cpu(), on_cpu[0]) and torch.equal(on_gpu[1].cpu(), on_cpu[1])
