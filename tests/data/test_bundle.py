"""A split gives the same inputs as the obvious arithmetic does."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.data.bundle import DataBundle, Split
from src.data.mnist import Mnist


def some_images(channels: int = 3, n: int = 20) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images_N_C_H_W = torch.randint(256, (n, channels, 5, 4), dtype=torch.uint8, generator=generator)
    return images_N_C_H_W, torch.randint(10, (n,), generator=generator)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 19), max_size=40))
def test_inputs_are_the_chosen_images_in_order_over_255(indices: list[int]) -> None:
    images_N_C_H_W, labels_N = some_images()
    inputs = Split(images_N_C_H_W, labels_N).inputs(torch.tensor(indices, dtype=torch.int64))
    assert inputs.dtype == torch.float32
    expected = images_N_C_H_W.numpy()[np.array(indices, dtype=int)] / 255
    np.testing.assert_allclose(inputs.numpy(), expected, rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 19), max_size=40))
def test_labels_are_those_of_the_chosen_images_in_order(indices: list[int]) -> None:
    images_N_C_H_W, labels_N = some_images()
    labels_B = Split(images_N_C_H_W, labels_N).labels(torch.tensor(indices, dtype=torch.int64))
    assert labels_B.dtype == torch.int64
    assert labels_B.tolist() == [labels_N.tolist()[index] for index in indices]


def test_normalisation_is_per_channel_after_division_by_255() -> None:
    images_N_C_H_W, labels_N = some_images()
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 2.0)
    inputs = Split(images_N_C_H_W, labels_N, mean, std).inputs(torch.arange(20)).numpy()
    for channel in range(3):
        expected = (images_N_C_H_W[:, channel].numpy() / 255 - mean[channel]) / std[channel]
        np.testing.assert_allclose(inputs[:, channel], expected, rtol=1e-5, atol=1e-6)


def test_taking_inputs_leaves_the_split_as_it_was() -> None:
    images_N_C_H_W, labels_N = some_images()
    before = images_N_C_H_W.clone()
    split = Split(images_N_C_H_W, labels_N, (0.5,) * 3, (0.5,) * 3)
    first = split.inputs(torch.arange(20))
    first.zero_()
    assert torch.equal(split.images_N_C_H_W, before)
    assert torch.equal(split.inputs(torch.arange(20)), split.inputs(torch.arange(20)))


def test_an_index_outside_the_split_raises() -> None:
    split = Split(*some_images())
    for outside in (20, -1):
        for take in (split.inputs, split.labels):
            with pytest.raises((IndexError, RuntimeError)):
                take(torch.tensor([outside]))


def test_images_of_any_layout_are_held_contiguous() -> None:
    images_N_C_H_W, labels_N = some_images()
    channels_last = images_N_C_H_W.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    split = Split(channels_last, labels_N)
    assert split.images_N_C_H_W.is_contiguous()
    assert len(split) == 20 and split.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda images, labels: (images.float(), labels), "images must be uint8"),
        (lambda images, labels: (images[:, 0], labels), "images must be uint8 N,C,H,W"),
        (lambda images, labels: (images, labels.int()), "labels must be int64"),
        (lambda images, labels: (images, labels[:-1]), "one an image"),
        (lambda images, labels: (images, labels, (0.5,), (0.5,)), "1 normalisation values for 3 channels"),
    ],
)
def test_tensors_of_another_kind_are_refused(spoil: Callable[..., tuple[Any, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Split(*spoil(*some_images()))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_split_on_the_gpu_gives_the_same_inputs() -> None:
    images_N_C_H_W, labels_N = some_images()
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 2.0)
    on_cpu = Split(images_N_C_H_W, labels_N, mean, std).inputs(torch.arange(20))
    on_gpu = Split(images_N_C_H_W.cuda(), labels_N.cuda(), mean, std).inputs(torch.arange(20))
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), on_cpu)


def fingerprint(labels: list[int], tested: list[int], names: tuple[str, ...] = ()) -> str:
    splits = [
        Split(torch.zeros(len(of), 1, 2, 2, dtype=torch.uint8), torch.tensor(of)) for of in (labels, tested)
    ]
    return DataBundle(Mnist.info, *splits, names).fingerprint()


def test_fingerprints_differ_by_sizes_labels_their_order_and_names_alone() -> None:
    others = [
        fingerprint(*arguments)
        for arguments in (
            ([3, 1, 2], [4]),
            ([3, 1], [2, 4]),
            ([1, 3, 2], [4]),
            ([3, 1, 2], [4, 4]),
            ([3, 1, 2], [4], ("a", "b", "c", "d")),
            ([3, 1, 2], [4], ("a", "b", "d", "c")),
            ([3, 1, 2], [4], ("a", "bc", "", "d")),
            ([3, 1, 2], [4], ("a", "b", "c", "\udcff")),  # a name that is no UTF-8
        )
    ]
    assert len(set(others)) == len(others)
    assert fingerprint([3, 1, 2], [4]) == others[0]
