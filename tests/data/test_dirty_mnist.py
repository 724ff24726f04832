"""The ambiguous images stand behind MNIST's, once for each of their labels; the test set is MNIST's own."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from src.config import Config
from src.data import availability, dataset_info, load_dataset
from src.data.dirty_mnist import LABELS, NOISE, SAMPLES, read_ambiguous
from src.data.mnist import STEMS, IdxDataset, Mnist
from src.utils.errors import UserError

IMAGES = 6_100
"""More than the 6,000 that ten labels each make 60,000 of."""


@pytest.fixture(scope="module")
def published() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    samples_N_1_28_28 = torch.rand(IMAGES, 1, 28, 28, generator=generator)
    return samples_N_1_28_28, torch.randint(10, (IMAGES, 10), generator=generator)


def write(place: Path, samples: Any, labels: Any) -> None:
    place.mkdir(parents=True, exist_ok=True)
    torch.save(samples, place / SAMPLES)
    torch.save(labels, place / LABELS)


def config(root: Path) -> Config:
    return Config.model_validate({"name": "test", "data": {"dataset": "dirty_mnist", "path": str(root)}})


@pytest.mark.parametrize("place", ["AmbiguousMNIST", "."])
def test_ambiguous_images_follow_mnists_and_the_test_set_is_mnists(
    place: str, tmp_path: Path, published: tuple[Tensor, Tensor], small_mnist: dict[str, np.ndarray]
) -> None:
    write(tmp_path / place, *published)
    bundle = load_dataset(config(tmp_path), "cpu")
    assert len(bundle.train) == 12 + 60_000
    assert np.array_equal(bundle.train.images_N_C_H_W[:12, 0], small_mnist[STEMS[0]])
    assert np.array_equal(bundle.train.labels_N[:12], small_mnist[STEMS[1]])
    assert np.array_equal(bundle.test.images_N_C_H_W[:, 0], small_mnist[STEMS[2]])
    assert np.array_equal(bundle.test.labels_N, small_mnist[STEMS[3]])

    samples, labels = (values.numpy() for values in published)
    for at in (0, 9, 10, 12_345, 59_999):
        image, label = divmod(at, 10)
        assert bundle.train.labels_N[12 + at] == labels[image, label]
        noise = bundle.train.images_N_C_H_W[12 + at].numpy() - samples[image] * 255
        assert 0 < np.abs(noise).max() < 6 * NOISE
    again = load_dataset(config(tmp_path), "cpu")
    assert torch.equal(again.train.images_N_C_H_W, bundle.train.images_N_C_H_W)


def test_copies_of_an_image_differ_by_the_authors_noise(tmp_path: Path) -> None:
    """0.05 of MNIST's standard deviation 0.3081: 3.928 grey levels, and 1 / 12 is the variance of rounding."""
    shades = torch.tensor([0.5, 0.0, 1.0])
    write(tmp_path, shades.repeat(2034)[:6100, None, None, None].expand(-1, 1, 28, 28), torch.zeros(6100, 10))
    images_A_1_28_28, _ = read_ambiguous(tmp_path)
    assert len(images_A_1_28_28[:1000].unique(dim=0)) == 1000
    grey, black, white = (images_A_1_28_28.view(-1, 10, 784)[shade::3].double() for shade in range(3))
    assert (grey - 127.5).std().item() == pytest.approx((3.928**2 + 1 / 12) ** 0.5, rel=0.01)
    assert grey.mean().item() == pytest.approx(127.5, abs=0.01)
    # Half of the noise, and what is less than half a grey level, is cut off or rounded away.
    for edge, value in ((black, 0), (white, 255)):
        assert (edge == value).double().mean().item() == pytest.approx(0.5506, abs=0.002)


def test_sizes_are_known_without_files_and_absent_files_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dataset: IdxDataset) -> None:
        raise AssertionError("MNIST is not to be downloaded for a dataset that cannot be had")

    monkeypatch.setattr(Mnist, "_download", refuse)
    info = dataset_info(config(tmp_path))
    assert (info.train_size, info.test_size) == (120_000, 10_000)
    assert "dirty_mnist is absent" in availability(config(tmp_path))
    with pytest.raises(UserError) as caught:
        load_dataset(config(tmp_path), "cpu")
    message = str(caught.value)
    assert message.startswith(f"data.path: no amnist_samples.pt, amnist_labels.pt in {tmp_path}")
    assert f"put them into {tmp_path / 'AmbiguousMNIST'}" in message


def test_availability_tells_of_both_parts(tmp_path: Path, small_mnist: dict[str, np.ndarray]) -> None:
    write(tmp_path, 0, 0)
    found = availability(config(tmp_path))
    assert (
        found
        == f"dirty_mnist's ambiguous images found at {tmp_path}; mnist found at {tmp_path / 'MNIST' / 'raw'}"
    )


SPOILED: list[tuple[str, Callable[[Tensor, Tensor], tuple[Any, Any]], str]] = [
    (SAMPLES, lambda samples, labels: (samples[:, 0], labels), "holds torch.float32 of shape 6100×28×28"),
    (SAMPLES, lambda samples, labels: ((samples * 255).byte(), labels), "holds torch.uint8"),
    (SAMPLES, lambda samples, labels: (samples * 255, labels), "other values than grey ones from 0 to 1"),
    (SAMPLES, lambda samples, labels: (samples / 0, labels), "other values than grey ones"),
    (SAMPLES, lambda samples, labels: ([samples], labels), "holds list, not a tensor"),
    (LABELS, lambda samples, labels: (samples, labels[:-1]), "not a row for each of 6100 images"),
    (LABELS, lambda samples, labels: (samples, labels[:, 0]), "not a row for each of 6100 images"),
    (LABELS, lambda samples, labels: (samples, labels / 10), "holds fractions, not class numbers"),
    (LABELS, lambda samples, labels: (samples[:90], labels[:90]), "holds 900 labels and at least 60000"),
    (LABELS, lambda samples, labels: (samples, labels + 1), "has the classes 0 … 9"),
]


@pytest.mark.parametrize(("name", "spoil", "message"), SPOILED)
def test_tensors_that_are_not_as_published_are_refused(
    name: str,
    spoil: Callable[[Tensor, Tensor], tuple[Any, Any]],
    message: str,
    tmp_path: Path,
    published: tuple[Tensor, Tensor],
) -> None:
    write(tmp_path, *spoil(*published))
    with pytest.raises(UserError, match=f"^{re.escape(str(tmp_path / name))} .*{re.escape(message)}"):
        read_ambiguous(tmp_path)


class Harmful:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("content", ["cut", "empty", "text", "code", "directory"])
def test_a_damaged_file_is_named_and_no_code_in_it_runs(content: str, tmp_path: Path) -> None:
    samples = tmp_path / SAMPLES
    write(
        tmp_path,
        Harmful(tmp_path / "ran") if content == "code" else torch.rand(9, 1, 28, 28),
        torch.zeros(9, 10),
    )
    if content == "cut":
        samples.write_bytes(samples.read_bytes()[:-50])
    elif content == "directory":
        samples.unlink()
        samples.mkdir()
    elif content != "code":
        samples.write_bytes(b"" if content == "empty" else b"<!DOCTYPE html>")
    with pytest.raises(UserError, match=f"^{re.escape(str(samples))} "):
        read_ambiguous(tmp_path)
    assert not (tmp_path / "ran").exists()
