"""Both layouts give the same images in the same order; damaged, strange or dangerous files are refused by name."""

import hashlib
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from src.config import Config
from src.data import DATASETS, availability, load_dataset
from src.data.bundle import DatasetInfo
from src.data.cifar import Cifar10, Cifar100, CifarDataset
from src.utils.errors import UserError
from tests.data.spoiling import empty, into_a_directory


class Tiny10(Cifar10):
    """CIFAR-10's layout with ten training and four test images of two classes, 2×3 pixels each."""

    info = DatasetInfo("tiny", "classification", 2, 3, 2, 3, 10, 4, ("a", "b"))


class Tiny100(Cifar100):
    """CIFAR-100's layout at the same size."""

    info = Tiny10.info


TINY: list[type[CifarDataset]] = [Tiny10, Tiny100]
PIXELS = np.random.default_rng(0).integers(0, 256, (14, 3, 2, 3), dtype=np.uint8)
LABELS = np.array([1, 0, 0, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0])
COARSE = 9
"""A coarse label, which is out of the fine ones' range and so shows if it is taken for one."""


def batches(kind: type[CifarDataset]) -> dict[str, slice]:
    """Which images each file holds."""
    size = 10 // len(kind.train_names)
    train = {name: slice(at * size, at * size + size) for at, name in enumerate(kind.train_names)}
    return {**train, kind.test_names[0]: slice(10, 14)}


def write_binary(kind: type[CifarDataset], place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name, part in batches(kind).items():
        labels = LABELS[part, None].astype(np.uint8)
        coarse = [np.full_like(labels, COARSE)] if kind.label_bytes == 2 else []
        table = np.concatenate([*coarse, labels, PIXELS[part].reshape(len(labels), -1)], axis=1)
        (place / f"{name}.bin").write_bytes(table.tobytes())


def write_pickled(kind: type[CifarDataset], place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name, part in batches(kind).items():
        labels = LABELS[part].tolist()
        batch = {"data": PIXELS[part].reshape(len(labels), -1), kind.label_key: labels}
        if kind.label_key == "fine_labels":
            batch["coarse_labels"] = [COARSE] * len(labels)
        (place / name).write_bytes(pickle.dumps(batch, protocol=2))


def tiny(kind: type[CifarDataset], root: Path) -> CifarDataset:
    return kind(Config.model_validate({"name": "test", "data": {"path": str(root)}}))


def holds_content(dataset: CifarDataset) -> None:
    train, test = dataset.read()
    for (images, labels), part in ((train, slice(0, 10)), (test, slice(10, 14))):
        assert np.array_equal(images.numpy(), PIXELS[part])
        assert np.array_equal(labels.numpy(), LABELS[part])
        assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)


@pytest.fixture(autouse=True)
def published(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """torchvision's classes with the MD5s of the small files; a download brings them, and is noted."""
    asked: list[str] = []
    for kind in TINY:
        reference = tmp_path_factory.mktemp("reference")
        write_pickled(kind, reference)

        def md5s(names: tuple[str, ...], reference: Path = reference) -> list[list[str]]:
            return [[name, hashlib.md5((reference / name).read_bytes()).hexdigest()] for name in names]

        def serve(root: str, download: bool, kind: type[CifarDataset] = kind) -> None:
            asked.append(root)
            write_pickled(kind, Path(root) / kind.pickled_folder)

        fake: Any = serve
        fake.train_list, fake.test_list = md5s(kind.train_names), md5s(kind.test_names)
        monkeypatch.setattr(torchvision.datasets, kind.published, fake)
    return asked


def offline(monkeypatch: pytest.MonkeyPatch, kind: type[CifarDataset]) -> None:
    def fail(root: str, download: bool) -> None:
        raise RuntimeError("Error downloading:\nName or service not known")

    monkeypatch.setattr(torchvision.datasets, kind.published, fail)


BOTH = pytest.mark.parametrize("kind", TINY, ids=["10", "100"])


@BOTH
@pytest.mark.parametrize("place", ["folder", "."])
def test_binary_files_are_found_in_their_folder_and_in_the_path_itself(
    kind: type[CifarDataset], place: str, tmp_path: Path, published: list[str]
) -> None:
    folder = tmp_path / (kind.binary_folder if place == "folder" else place)
    write_binary(kind, folder)
    holds_content(tiny(kind, tmp_path))
    assert tiny(kind, tmp_path).availability() == f"tiny found at {folder}"
    assert published == []


@BOTH
def test_pickled_files_give_the_same(kind: type[CifarDataset], tmp_path: Path, published: list[str]) -> None:
    write_pickled(kind, tmp_path / kind.pickled_folder)
    holds_content(tiny(kind, tmp_path))
    assert tiny(kind, tmp_path).availability() == f"tiny found at {tmp_path / kind.pickled_folder}"
    assert published == []


@BOTH
def test_data_path_may_be_the_folder_of_the_pickled_files(
    kind: type[CifarDataset], tmp_path: Path, published: list[str]
) -> None:
    write_pickled(kind, tmp_path / kind.pickled_folder)
    holds_content(tiny(kind, tmp_path / kind.pickled_folder))
    assert published == []


@BOTH
def test_folders_of_the_files_names_are_no_files(kind: type[CifarDataset], tmp_path: Path) -> None:
    """As those of an image folder, train and test."""
    for name in batches(kind):
        (tmp_path / name).mkdir()
    assert "tiny is absent" in tiny(kind, tmp_path).availability()


@BOTH
def test_absent_data_is_downloaded_once(
    kind: type[CifarDataset], tmp_path: Path, published: list[str]
) -> None:
    for _ in range(2):
        holds_content(tiny(kind, tmp_path))
    assert len(published) == 1
    assert {path.name for path in (tmp_path / kind.pickled_folder).iterdir()} == set(batches(kind))


@BOTH
def test_absent_data_offline_is_explained(
    kind: type[CifarDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline(monkeypatch, kind)
    write_binary(kind, tmp_path / kind.binary_folder)
    missing = next(iter(batches(kind))) + ".bin"
    (tmp_path / kind.binary_folder / missing).unlink()
    assert f"tiny is absent: no {missing} in " in tiny(kind, tmp_path).availability()
    with pytest.raises(UserError) as caught:
        tiny(kind, tmp_path).read()
    message = str(caught.value)
    assert message.startswith(f"data.path: no {missing} in {tmp_path / kind.binary_folder}, {tmp_path}, and ")
    assert "downloading failed (Error downloading: Name or service not known)" in message
    assert f"unpack {kind.archive}binary.tar.gz to {tmp_path / kind.binary_folder} or" in message
    assert f"{kind.archive}python.tar.gz to {tmp_path / kind.pickled_folder}" in message


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


SPOIL = pytest.mark.parametrize("spoil", [cut, lengthen, empty, into_a_directory])


@BOTH
@SPOIL
def test_a_binary_file_of_another_size_is_named(
    kind: type[CifarDataset], spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    write_binary(kind, tmp_path)
    for name in batches(kind):
        path = tmp_path / f"{name}.bin"
        before = path.read_bytes()
        spoil(path)
        with pytest.raises(UserError, match=f"^{re.escape(str(path))} (has|cannot be read)"):
            tiny(kind, tmp_path).read()
        if path.is_dir():
            path.rmdir()
        path.write_bytes(before)
    holds_content(tiny(kind, tmp_path))


@BOTH
@SPOIL
def test_a_pickled_file_that_is_not_the_published_one_is_named_and_never_downloaded_over(
    kind: type[CifarDataset], spoil: Callable[[Path], None], tmp_path: Path, published: list[str]
) -> None:
    folder = tmp_path / kind.pickled_folder
    write_pickled(kind, folder)
    path = folder / kind.test_names[0]
    spoil(path)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))} (is not the published|cannot be read)"):
        tiny(kind, tmp_path).read()
    assert published == []


class Harmful:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_an_altered_pickle_is_never_unpickled(tmp_path: Path) -> None:
    write_pickled(Tiny10, tmp_path / Tiny10.pickled_folder)
    path = tmp_path / Tiny10.pickled_folder / "data_batch_1"
    path.write_bytes(pickle.dumps(Harmful(tmp_path / "ran"), protocol=2))
    with pytest.raises(UserError, match="is not the published file: its MD5 is"):
        tiny(Tiny10, tmp_path).read()
    assert not (tmp_path / "ran").exists()


@BOTH
def test_a_binary_label_out_of_range_is_named_with_its_position(
    kind: type[CifarDataset], tmp_path: Path
) -> None:
    write_binary(kind, tmp_path)
    path = tmp_path / f"{kind.test_names[0]}.bin"
    content = bytearray(path.read_bytes())
    record = kind.label_bytes + 18
    content[2 * record + kind.label_bytes - 1] = 2
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=f"{re.escape(str(path))} is corrupt: label 2 is 2, and tiny has the classes 0 … 1"
    ):
        tiny(kind, tmp_path).read()


def test_a_batch_that_stands_in_for_another_is_noticed(tmp_path: Path) -> None:
    write_binary(Tiny10, tmp_path)
    first, *others = ((tmp_path / f"data_batch_{number}.bin") for number in range(1, 6))
    # Batch 1 has the labels 1, 0; a file whose classes are not in balance betrays itself in the whole.
    content = bytearray(first.read_bytes())
    content[19] = 1
    first.write_bytes(content)
    with pytest.raises(UserError, match=r"classes have 4 to 6 images, where each of tiny has 5") as caught:
        tiny(Tiny10, tmp_path).read()
    assert all(str(path) in str(caught.value) for path in (first, *others))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_published_facts(name: str) -> None:
    info = DATASETS.get(name).info
    assert (info.train_size, info.test_size, info.channels, info.rows, info.cols) == (
        50_000,
        10_000,
        3,
        32,
        32,
    )  # type: ignore[attr-defined]
    assert list(info.class_names) == sorted(info.class_names)  # type: ignore[attr-defined]


def test_normalisation_of_three_channels_reaches_the_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cifar10, "info", Tiny10.info)
    write_binary(Tiny10, tmp_path)
    mean, std = [0.2, 0.4, 0.6], [0.5, 0.25, 2.0]
    data = {"dataset": "cifar10", "path": str(tmp_path), "rgb_normalization": True, "mean": mean, "std": std}
    config = Config.model_validate({"name": "test", "data": data})
    assert availability(config) == f"tiny found at {tmp_path}"
    test = load_dataset(config, "cpu").test
    expected = (PIXELS[10:].transpose(0, 2, 3, 1) / 255 - mean) / std
    np.testing.assert_allclose(test.inputs(test.indices).numpy().transpose(0, 2, 3, 1), expected, atol=1e-5)
