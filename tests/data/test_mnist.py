"""Four idx files make a dataset, wherever they lie; none that is there is ever downloaded over."""

import gzip
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from src.config import Config
from src.data import availability, load_dataset
from src.data.bundle import DatasetInfo
from src.data.mnist import STEMS, IdxDataset
from src.utils.errors import UserError
from tests.data.spoiling import empty, into_a_dangling_link, into_a_directory


class Tiny(IdxDataset):
    """MNIST's layout at a size that a test can write."""

    folder = "MNIST"
    first_labels = (2, 0, 1)
    info = DatasetInfo("tiny", "classification", 3, 1, 3, 2, 12, 5, ("a", "b", "c"))


CONTENT = {
    "train-images-idx3-ubyte": np.arange(72, dtype=np.uint8).reshape(12, 3, 2),
    "train-labels-idx1-ubyte": np.array([2, 0, 1] * 4, dtype=np.uint8),
    "t10k-images-idx3-ubyte": np.arange(100, 130, dtype=np.uint8).reshape(5, 3, 2),
    "t10k-labels-idx1-ubyte": np.array([1, 1, 0, 2, 2], dtype=np.uint8),
}


def tiny(root: Path) -> Tiny:
    return Tiny(Config.model_validate({"name": "test", "data": {"path": str(root)}}))


def write(place: Path, stem: str, gzipped: bool = False, values: np.ndarray | None = None) -> Path:
    values = CONTENT[stem] if values is None else values
    content = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{stem}.gz" if gzipped else place / stem
    path.write_bytes(gzip.compress(content) if gzipped else content)
    return path


def write_all(place: Path, gzipped: bool = False) -> None:
    for stem in STEMS:
        write(place, stem, gzipped)


def holds_content(dataset: Tiny) -> None:
    (train_images, train_labels), (test_images, test_labels) = dataset.read()
    assert np.array_equal(train_images.numpy(), CONTENT["train-images-idx3-ubyte"][:, None])
    assert np.array_equal(train_labels.numpy(), CONTENT["train-labels-idx1-ubyte"])
    assert np.array_equal(test_images.numpy(), CONTENT["t10k-images-idx3-ubyte"][:, None])
    assert np.array_equal(test_labels.numpy(), CONTENT["t10k-labels-idx1-ubyte"])
    assert train_labels.dtype == test_labels.dtype == torch.int64


@pytest.fixture(autouse=True)
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No test reaches the network: a download fails as it does offline, and is noted."""
    asked: list[str] = []

    def offline(root: str, download: bool) -> None:
        asked.append(root)
        raise RuntimeError("Error downloading:\nName or service not known")

    for name in ("MNIST", "FashionMNIST"):
        monkeypatch.setattr(torchvision.datasets, name, offline)
    return asked


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, downloads: list[str]) -> list[str]:
    """A download brings all files, gzipped and unpacked, as torchvision's does."""

    def serve(root: str, download: bool) -> None:
        downloads.append(root)
        for gzipped in (True, False):
            write_all(Path(root) / "MNIST" / "raw", gzipped)

    monkeypatch.setattr(torchvision.datasets, "MNIST", serve)
    return downloads


@pytest.mark.parametrize("place", ["MNIST/raw", "MNIST", "."])
@pytest.mark.parametrize("gzipped", [False, True])
def test_files_are_found_in_every_place_raw_or_gzipped(
    place: str, gzipped: bool, tmp_path: Path, downloads: list[str]
) -> None:
    write_all(tmp_path / place, gzipped)
    holds_content(tiny(tmp_path))
    assert tiny(tmp_path).availability() == f"tiny found at {tmp_path / place}"
    assert downloads == []


def test_raw_and_gzipped_files_may_mix_and_raw_goes_first(tmp_path: Path) -> None:
    for stem in STEMS:
        write(tmp_path, stem, gzipped="labels" in stem)
    (tmp_path / f"{STEMS[0]}.gz").write_bytes(b"not looked at")
    holds_content(tiny(tmp_path))


def test_a_whole_place_is_taken_before_a_part_of_an_earlier_one(tmp_path: Path, downloads: list[str]) -> None:
    write_all(tmp_path)
    write(tmp_path / "MNIST" / "raw", STEMS[0], values=np.zeros((12, 3, 2), dtype=np.uint8))
    holds_content(tiny(tmp_path))
    assert downloads == []


def test_data_path_may_be_the_folder_above_raw(tmp_path: Path, downloads: list[str]) -> None:
    write_all(tmp_path / "MNIST" / "raw")
    holds_content(tiny(tmp_path / "MNIST"))
    assert downloads == []


def test_a_mistyped_path_leaves_no_folders_behind(tmp_path: Path, downloads: list[str]) -> None:
    with pytest.raises(UserError, match="downloading failed"):
        tiny(tmp_path / "dta" / "images").read()
    assert list(tmp_path.iterdir()) == []


def test_absent_files_are_named_with_where_they_were_looked_for_and_what_to_do(
    tmp_path: Path, downloads: list[str]
) -> None:
    for stem in STEMS[:2]:
        write(tmp_path / "MNIST" / "raw", stem)
    with pytest.raises(UserError) as caught:
        tiny(tmp_path).read()
    message, raw = str(caught.value), tmp_path / "MNIST" / "raw"
    assert message.startswith("data.path: no t10k-images-idx3-ubyte[.gz], t10k-labels-idx1-ubyte[.gz] in ")
    assert (
        f"in {raw}, {tmp_path / 'MNIST'}, {tmp_path}, {tmp_path / 'raw'}, and downloading failed" in message
    )
    assert "Name or service not known" in message
    assert f"put the four tiny files, raw or .gz, into {raw}, or set data.path" in message
    assert not any(stem in message for stem in STEMS[:2])
    assert "\n" not in message
    assert len(downloads) == 1
    assert "is absent: no t10k-images" in tiny(tmp_path).availability()


def test_a_failed_download_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        tiny(tmp_path).read()
    assert [path for path in tmp_path.rglob("*") if path.is_file() or path.name.startswith(".")] == []


def test_a_root_that_cannot_be_made_is_an_error_of_data_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^data\.path.*downloading failed .*Not a directory"):
        tiny(tmp_path / "file").read()


def test_absent_data_is_downloaded_into_torchvisions_layout_once(tmp_path: Path, served: list[str]) -> None:
    for _ in range(2):
        holds_content(tiny(tmp_path))
    assert len(served) == 1
    assert {path.name for path in (tmp_path / "MNIST" / "raw").iterdir()} == set(STEMS)


@pytest.mark.parametrize("gzipped", [False, True])
def test_a_download_fills_gaps_and_keeps_what_is_there(
    gzipped: bool, tmp_path: Path, served: list[str]
) -> None:
    own = write(tmp_path / "MNIST" / "raw", STEMS[2], gzipped, values=np.zeros((5, 3, 2), dtype=np.uint8))
    before = own.read_bytes()
    (train_images, _), (test_images, _) = tiny(tmp_path).read()
    assert own.read_bytes() == before
    assert test_images.count_nonzero() == 0
    assert np.array_equal(train_images.numpy(), CONTENT[STEMS[0]][:, None])
    assert len(served) == 1


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-4])


@pytest.mark.parametrize("spoil", [cut, empty, into_a_directory, into_a_dangling_link])
@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("gzipped", [False, True])
def test_a_bad_file_is_named_and_never_downloaded_over(
    spoil: Callable[[Path], None], stem: str, gzipped: bool, tmp_path: Path, served: list[str]
) -> None:
    write_all(tmp_path / "MNIST" / "raw", gzipped)
    path = tmp_path / "MNIST" / "raw" / (f"{stem}.gz" if gzipped else stem)
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(UserError, match=f"^{re.escape(str(path))} "):
        tiny(tmp_path).read()
    assert served == []
    assert before is None or path.read_bytes() == before


def test_deleting_the_bad_file_mends_it_as_the_error_says(tmp_path: Path, served: list[str]) -> None:
    write_all(tmp_path / "MNIST" / "raw")
    path = tmp_path / "MNIST" / "raw" / STEMS[1]
    cut(path)
    with pytest.raises(UserError, match="delete it"):
        tiny(tmp_path).read()
    path.unlink()
    holds_content(tiny(tmp_path))


@pytest.mark.parametrize("stem", [STEMS[1], STEMS[3]])
def test_fewer_labels_than_images_are_refused(stem: str, tmp_path: Path) -> None:
    write_all(tmp_path)
    path = write(tmp_path, stem, values=CONTENT[stem][:-1])
    size = len(CONTENT[stem])
    with pytest.raises(
        UserError, match=f"{re.escape(str(path))} holds {size - 1} values where the dataset has {size}"
    ):
        tiny(tmp_path).read()


def test_a_label_out_of_range_is_refused_with_its_position(tmp_path: Path) -> None:
    write_all(tmp_path)
    path = write(tmp_path, STEMS[3], values=np.array([1, 1, 7, 2, 9], dtype=np.uint8))
    with pytest.raises(
        UserError, match=f"{re.escape(str(path))} is corrupt: label 2 is 7, and tiny has the classes 0 … 2"
    ):
        tiny(tmp_path).read()


def test_files_of_another_dataset_are_refused(tmp_path: Path) -> None:
    write_all(tmp_path)
    path = write(tmp_path, STEMS[1], values=np.roll(CONTENT[STEMS[1]], 1))
    with pytest.raises(UserError, match=f"{re.escape(str(path))} is not of tiny: its labels begin with"):
        tiny(tmp_path).read()


def config(dataset: str, path: Path) -> Config:
    return Config.model_validate({"name": "test", "data": {"dataset": dataset, "path": str(path)}})


def test_real_mnist_is_read_as_torchvision_reads_it(real_mnist: Path, tmp_path: Path) -> None:
    raw = real_mnist / "MNIST" / "raw"
    assert availability(config("mnist", real_mnist)) == f"mnist found at {raw}"
    bundle = load_dataset(config("mnist", real_mnist), "cpu")
    read = torchvision.datasets.mnist
    for split, part in ((bundle.train, "train"), (bundle.test, "t10k")):
        for kind, ours, reader in (
            ("images-idx3", split.images_N_C_H_W[:, 0], read.read_image_file),
            ("labels-idx1", split.labels_N, read.read_label_file),
        ):
            published = raw / f"{part}-{kind}-ubyte"
            if not published.exists():
                packed = published.with_name(f"{published.name}.gz").read_bytes()
                published = tmp_path / "unpacked"
                published.write_bytes(gzip.decompress(packed))
            assert torch.equal(ours, reader(str(published)))


def test_real_mnist_has_its_published_mean_and_deviation(real_mnist: Path) -> None:
    train = load_dataset(config("mnist", real_mnist), "cpu").train
    inputs = train.inputs(torch.arange(len(train)))
    assert inputs.mean().item() == pytest.approx(0.1307, abs=1e-4)
    assert inputs.std().item() == pytest.approx(0.3081, abs=1e-4)


def test_mnist_is_not_taken_for_fashion_mnist(real_mnist: Path) -> None:
    with pytest.raises(UserError, match="is not of fashion_mnist"):
        load_dataset(config("fashion_mnist", real_mnist / "MNIST" / "raw"), "cpu")
