"""A batch is warped as image by image and step by step would do it, from draws that are each image's own."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as slow

from src.config import Config
from src.data import DATASETS
from src.data.augment import MAX_DEGREES, PADDING, Augmentation, Draws, augmentation, draw, warp
from src.data.bundle import DataBundle, Split

MEAN, STD = (0.2, 0.4, 0.6), (0.5, 0.25, 2.0)


def some_images(channels: int = 3, n: int = 12, rows: int = 9, cols: int = 14) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (n, channels, rows, cols), dtype=torch.uint8, generator=generator)


def split_of(images_N_C_H_W: Tensor, normalised: bool = False) -> Split:
    labels_N = torch.zeros(len(images_N_C_H_W), dtype=torch.int64)
    channels = images_N_C_H_W.shape[1]
    return Split(images_N_C_H_W, labels_N, *((MEAN[:channels], STD[:channels]) if normalised else ()))


def generator(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def augmented(split: Split, seed: int = 7) -> Tensor:
    """All inputs of the split, augmented from one generator."""
    indices = split.indices
    return Augmentation(split)(split.inputs(indices), split.labels(indices), [generator(seed)])[0]


def augmented_slowly(image_C_H_W: Tensor, shift: tuple[int, int], flip: bool, degrees: float) -> Tensor:
    """Pad, crop, mirror and turn one image with torchvision, on a canvas that no step can push it out of."""
    rows, cols = image_C_H_W.shape[1:]
    margin = PADDING + rows + cols
    canvas = slow.pad(image_C_H_W, [margin] * 4)
    # The crop's window, with all that is around it.
    canvas = slow.crop(
        slow.pad(canvas, [PADDING] * 4),
        PADDING + shift[0],
        PADDING + shift[1],
        rows + 2 * margin,
        cols + 2 * margin,
    )
    if flip:
        canvas = slow.hflip(canvas)
    canvas = slow.rotate(canvas, degrees, InterpolationMode.BILINEAR)
    return slow.crop(canvas, margin, margin, rows, cols)


@pytest.mark.parametrize("channels", [1, 3])
@settings(max_examples=40)
@given(
    warps=st.lists(
        st.tuples(st.integers(-4, 4), st.integers(-4, 4), st.booleans(), st.floats(-15, 15, width=32)),
        min_size=1,
        max_size=6,
    ),
    size=st.tuples(st.integers(2, 13), st.integers(2, 13)),
)
def test_a_batch_is_warped_as_each_image_alone_with_the_same_draws(
    channels: int, warps: list[tuple[int, int, bool, float]], size: tuple[int, int]
) -> None:
    images = some_images(channels, len(warps), *size).double() / 255
    down, right, flip, degrees = zip(*warps, strict=True)
    draws = Draws(
        torch.tensor([down, right]).T, torch.tensor(flip), torch.tensor(degrees, dtype=torch.float64)
    )
    for image, warped, (down_, right_, flip_, degrees_) in zip(
        images, warp(images, draws), warps, strict=True
    ):
        expected = augmented_slowly(image, (down_, right_), flip_, degrees_)
        # torchvision builds its grid in float32.
        torch.testing.assert_close(warped, expected, atol=2e-5, rtol=0)


def test_without_rotation_pixels_move_whole_and_zeros_come_in() -> None:
    image = torch.arange(1.0, 13.0).reshape(1, 1, 3, 4)

    def moved(down: int, right: int, flip: bool) -> np.ndarray:
        draws = Draws(torch.tensor([[down, right]]), torch.tensor([flip]), torch.zeros(1))
        return warp(image, draws)[0, 0].numpy()

    np.testing.assert_allclose(moved(0, 0, False), image[0, 0], atol=1e-5)
    np.testing.assert_allclose(moved(0, 0, True), image[0, 0].flip(1), atol=1e-5)
    np.testing.assert_allclose(moved(1, 0, False), [[5, 6, 7, 8], [9, 10, 11, 12], [0, 0, 0, 0]], atol=1e-5)
    np.testing.assert_allclose(moved(0, -3, False), [[0, 0, 0, 1], [0, 0, 0, 5], [0, 0, 0, 9]], atol=1e-5)
    np.testing.assert_allclose(moved(0, -3, True), [[1, 0, 0, 0], [5, 0, 0, 0], [9, 0, 0, 0]], atol=1e-5)


def test_draws_are_each_images_own_and_fill_their_ranges() -> None:
    shift_B_2, flip_B, degrees_B = draw(20_000, generator())
    counts = torch.stack([(shift_B_2 == value).sum(0) for value in range(-4, 5)]).numpy()
    # Each of 9 shifts: within five standard deviations of 20,000 / 9; none lies outside.
    assert counts.sum() == 2 * 20_000
    assert np.abs(counts - 20_000 / 9).max() < 5 * math.sqrt(20_000 * 8 / 81)
    assert abs(flip_B.float().mean() - 0.5) < 5 * 0.5 / math.sqrt(20_000)
    assert degrees_B.abs().max() <= MAX_DEGREES
    assert degrees_B.min() < -14.9 and degrees_B.max() > 14.9 and abs(degrees_B.mean()) < 0.4
    assert len(degrees_B.unique()) > 19_900
    together = torch.stack([*shift_B_2.T.float(), flip_B.float(), degrees_B])
    assert (torch.corrcoef(together) - torch.eye(4)).abs().max() < 0.05


def test_equal_images_of_a_batch_come_out_different() -> None:
    images = some_images(n=1).expand(16, -1, -1, -1)
    split = split_of(images)
    out = augmented(split)
    assert len({image.numpy().tobytes() for image in out}) == 16


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    split = split_of(some_images(), normalised=True)
    first, again, other = (augmented(split, seed) for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_each_generator_augments_its_own_share_as_it_would_alone() -> None:
    split = split_of(some_images(n=12))
    augment, inputs = Augmentation(split), split.inputs(split.indices)
    labels = torch.arange(12)
    together, kept = augment(inputs, labels, [generator(1), generator(2), generator(3)])
    assert torch.equal(kept, labels), "no image changes its class"
    for member, seed in enumerate((1, 2, 3)):
        share = slice(4 * member, 4 * member + 4)
        assert torch.equal(together[share], augment(inputs[share], labels[share], [generator(seed)])[0])


@pytest.mark.parametrize("channels", [1, 3])
def test_padding_is_black_before_normalisation(channels: int) -> None:
    images = some_images(channels, n=40)
    plain, normal = split_of(images), split_of(images, normalised=True)
    black = augmented(plain)
    mean, std = (torch.tensor(values[:channels]).view(-1, 1, 1) for values in (MEAN, STD))
    expected = (black - mean) / std
    got = augmented(normal)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert (black == 0).all(1).flatten(1).any(1).float().mean() > 0.5, "padding should show in most"


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_stay_between_0_and_1_in_shape_and_type_and_the_inputs_as_they_were(channels: int) -> None:
    split = split_of(some_images(channels, n=60))
    inputs = split.inputs(split.indices)
    before = inputs.clone()
    out, _ = Augmentation(split)(inputs, split.labels(split.indices), [generator()])
    assert torch.equal(inputs, before)
    assert (out.shape, out.dtype) == (inputs.shape, torch.float32)
    assert out.min() == 0 and out.max() <= 1 + 1e-6
    assert out.max() > 0.9


@pytest.mark.parametrize("wanted", [False, True])
def test_the_config_decides(wanted: bool) -> None:
    config = Config.model_validate({"name": "test", "data": {"augmentation": wanted}})
    split = split_of(some_images())
    augment = augmentation(config, DataBundle(DATASETS.get("digits").info, split, split))
    assert isinstance(augment, Augmentation) if wanted else augment is None


@pytest.mark.cuda
def test_a_gpu_augments_as_the_cpu_does() -> None:
    on_cpu = split_of(some_images(), normalised=True)
    on_gpu = Split(on_cpu.images_N_C_H_W.cuda(), on_cpu.labels_N.cuda(), MEAN, STD)
    first, second = (augmented(split) for split in (on_cpu, on_gpu))
    assert second.is_cuda
    torch.testing.assert_close(second.cpu(), first, atol=1e-4, rtol=1e-4)
