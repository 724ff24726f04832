"""torchvision reads the .mat files; they are found, checked and downloaded, and label 10 is the digit 0."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import torchvision

from src.config import Config
from src.data import availability, load_dataset
from src.data.svhn import FILES, Svhn
from src.utils.errors import UserError
from tests.data.spoiling import into_a_dangling_link, into_a_directory

PIXELS = {
    split: np.random.default_rng(seed).integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
    for split, seed, count in (("train", 0, 5), ("test", 1, 3))
}
# As published, 10 stands for the digit 0.
LABELS = {"train": np.array([1, 10, 9, 10, 2], dtype=np.uint8), "test": np.array([10, 5, 1], dtype=np.uint8)}
DIGITS = {"train": [1, 0, 9, 0, 2], "test": [0, 5, 1]}


def write(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for split, name in FILES.items():
        scipy.io.savemat(place / name, {"X": PIXELS[split], "y": LABELS[split][:, None]})
        # The header of a .mat file begins with the time at which it was written.
        path = place / name
        path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + path.read_bytes()[116:])


def config(root: Path) -> Config:
    return Config.model_validate({"name": "test", "data": {"dataset": "svhn", "path": str(root)}})


@pytest.fixture(autouse=True)
def published(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """torchvision knows the small files' MD5s, and downloads them, which is noted."""
    reference = tmp_path_factory.mktemp("reference")
    write(reference)
    asked: list[str] = []

    def serve(url: str, root: str, filename: str, md5: str) -> None:
        asked.append(filename)
        (Path(root) / filename).write_bytes((reference / filename).read_bytes())

    known = {
        split: [f"http://nowhere/{name}", name, hashlib.md5((reference / name).read_bytes()).hexdigest()]
        for split, name in FILES.items()
    }
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", known)
    monkeypatch.setattr(torchvision.datasets.svhn, "download_url", serve)
    return asked


def holds_content(root: Path) -> None:
    bundle = load_dataset(config(root), "cpu")
    for split, part in ((bundle.train, "train"), (bundle.test, "test")):
        assert np.array_equal(split.images_N_C_H_W.numpy(), PIXELS[part].transpose(3, 2, 0, 1))
        assert split.labels_N.tolist() == DIGITS[part]
        assert split.images_N_C_H_W.dtype == torch.uint8


@pytest.mark.parametrize("place", ["SVHN", "svhn", "."])
def test_files_are_found_in_every_place(place: str, tmp_path: Path, published: list[str]) -> None:
    write(tmp_path / place)
    holds_content(tmp_path)
    assert availability(config(tmp_path)) == f"svhn found at {tmp_path / place}"
    assert published == []


def test_absent_data_is_downloaded_once(tmp_path: Path, published: list[str]) -> None:
    for _ in range(2):
        holds_content(tmp_path)
    assert published == list(FILES.values())
    assert {path.name for path in (tmp_path / "SVHN").iterdir()} == set(FILES.values())


def test_absent_data_offline_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr(torchvision.datasets.svhn, "download_url", offline)
    with pytest.raises(UserError) as caught:
        load_dataset(config(tmp_path), "cpu")
    message = str(caught.value)
    assert message.startswith(f"data.path: no train_32x32.mat, test_32x32.mat in {tmp_path / 'SVHN'}, ")
    assert "downloading failed (Name or service not known)" in message
    assert f"put train_32x32.mat and test_32x32.mat into {tmp_path / 'SVHN'}, or set data.path" in message


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def into_another(path: Path) -> None:
    path.write_bytes(b"<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (cut, "is not the published file: its MD5 is another; put a good copy in its place"),
        (into_another, "is not the published file: its MD5 is another; put a good copy in its place"),
        (into_a_directory, "cannot be read (Is a directory)"),
        (into_a_dangling_link, "cannot be read (No such file or directory)"),
    ],
)
@pytest.mark.parametrize("name", FILES.values())
def test_a_bad_file_is_named_and_never_downloaded_over(
    spoil: Callable[[Path], None], message: str, name: str, tmp_path: Path, published: list[str]
) -> None:
    write(tmp_path)
    spoil(tmp_path / name)
    with pytest.raises(UserError, match=f"^{re.escape(f'{tmp_path / name} {message}')}"):
        Svhn(config(tmp_path)).read()
    assert published == []
