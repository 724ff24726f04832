"""Scenes are decoded once, into a file that is whole or absent whatever happens, and seen anew when they change."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from PIL import Image

from src.data import scene_cache
from src.data.byte_file import ByteFile
from src.data.cityscapes_labels import TRAIN_ID_OF_ID
from src.data.label_images import id_table, identity
from src.data.scene_cache import CACHE_FOLDER, Scene, SceneCache
from src.utils.errors import UserError
from tests.data.kept import kept
from tests.data.scene_files import SIZE, grow, image_path, label_path, save
from tests.data.spoiling import empty, into_a_dangling_link, into_a_directory
from tests.experiments import ROOT, environment

TABLE = id_table(TRAIN_ID_OF_ID)


def scenes(root: Path, count: int = 5) -> list[Scene]:
    return [
        Scene(image_path(root, "train", f"f{at}"), label_path(root, "train", f"f{at}")) for at in range(count)
    ]


def cache(
    root: Path,
    of: list[Scene] | None = None,
    size: tuple[int, int] = SIZE,
    resize: bool = False,
    **own: object,
) -> SceneCache:
    arguments = {"title": "test", "table_256": TABLE, "verbose": False, **own}
    return SceneCache(root, scenes=of or scenes(root), size=size, resize=resize, **arguments)


def files(root: Path) -> list[Path]:
    return kept(root / CACHE_FOLDER)


@pytest.fixture
def written(tmp_path: Path) -> np.ndarray:
    """scenes_N_4_H_W as they are to be read from the files below the path."""
    scenes_N_H_W_4 = grow(tmp_path)["train"]
    scenes_N_H_W_4[..., 3] = TABLE[scenes_N_H_W_4[..., 3]]
    return scenes_N_H_W_4.transpose(0, 3, 1, 2)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all files that PIL opened."""
    names: list[str] = []
    original = Image.open

    def noted(path: Path) -> Image.Image:
        names.append(Path(path).name)
        return original(path)

    monkeypatch.setattr(Image, "open", noted)
    return names


def test_scenes_are_read_pixel_by_pixel_and_opened_once(
    tmp_path: Path, written: np.ndarray, opened: list[str]
) -> None:
    assert not cache(tmp_path).exists()
    for _ in range(2):
        scenes_N_4_H_W = cache(tmp_path).bytes()
        assert scenes_N_4_H_W.dtype == torch.uint8
        assert np.array_equal(scenes_N_4_H_W.numpy(), written)
    assert cache(tmp_path).exists()
    assert sorted(opened) == sorted(path.name for scene in scenes(tmp_path) for path in scene)


def test_a_block_ends_nowhere_in_particular(
    tmp_path: Path, written: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene_cache, "BLOCK", 2)
    assert np.array_equal(cache(tmp_path).bytes().numpy(), written)


def test_images_are_resized_bilinearly_and_labels_to_the_nearest(tmp_path: Path, written: np.ndarray) -> None:
    rows, cols = 7, 9
    resized = cache(tmp_path, size=(rows, cols), resize=True).bytes().numpy()
    assert resized.shape == (5, 4, rows, cols)
    for scene_4_H_W, expected_4_H_W in zip(resized, written, strict=True):
        image = Image.fromarray(expected_4_H_W[:3].transpose(1, 2, 0).copy())
        bilinear = np.asarray(image.resize((cols, rows), Image.Resampling.BILINEAR))
        assert np.array_equal(scene_4_H_W[:3], bilinear.transpose(2, 0, 1))
        # The label of the pixel in which the middle of the new one lies.
        at = np.floor((np.arange(rows) + 0.5) * SIZE[0] / rows).astype(int)
        beside = np.floor((np.arange(cols) + 0.5) * SIZE[1] / cols).astype(int)
        assert np.array_equal(scene_4_H_W[3], expected_4_H_W[3][at][:, beside])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="mappings are read from Linux's /proc")
def test_the_file_is_mapped_for_reading_only_so_that_it_need_not_fit_into_memory(
    tmp_path: Path, written: np.ndarray
) -> None:
    kept = cache(tmp_path).bytes()
    (path,) = tmp_path.rglob("*.u8")
    (mapping,) = (line for line in Path("/proc/self/maps").read_text().splitlines() if path.name in line)
    assert mapping.split()[1] == "r--s"
    assert np.array_equal(kept.numpy(), written)


def test_a_file_that_vanishes_before_it_is_mapped_is_no_reason_to_stop(
    tmp_path: Path, written: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = ByteFile.fill

    def fill_and_lose(self: ByteFile, write: Callable[[BinaryIO], object]) -> None:
        fill(self, write)
        self.path.unlink()

    monkeypatch.setattr(ByteFile, "fill", fill_and_lose)
    assert np.array_equal(cache(tmp_path).bytes().numpy(), written)


def test_a_mask_without_any_valid_pixel_is_kept(tmp_path: Path, written: np.ndarray) -> None:
    save(label_path(tmp_path, "train", "f1"), np.zeros(SIZE, np.uint8))
    assert (cache(tmp_path).bytes()[1, 3] == 255).all()


def change_the_time(root: Path) -> None:
    os.utime(label_path(root, "train", "f2"), ns=(0, 0))


def change_an_image(root: Path) -> None:
    save(image_path(root, "train", "f2"), np.zeros((*SIZE, 3), np.uint8))


def change_a_label(root: Path) -> None:
    save(label_path(root, "train", "f2"), np.zeros(SIZE, np.uint8))


@pytest.mark.parametrize("change", [change_the_time, change_an_image, change_a_label])
def test_a_change_of_a_file_is_seen_and_replaces_the_cache(
    change: Callable[[Path], None], tmp_path: Path, written: np.ndarray, opened: list[str]
) -> None:
    before = cache(tmp_path).bytes().clone()
    (stale,) = files(tmp_path)
    change(tmp_path)
    opened.clear()
    after = cache(tmp_path).bytes()
    assert len(opened) == 10
    assert torch.equal(after, before) == (change is change_the_time)
    (fresh,) = files(tmp_path)
    assert fresh != stale


def test_order_size_title_and_the_meaning_of_ids_each_have_a_cache_of_their_own(
    tmp_path: Path, written: np.ndarray
) -> None:
    cache(tmp_path).bytes()
    others = [
        cache(tmp_path, size=(3, 5), resize=True),
        cache(tmp_path, resize=True),
        cache(tmp_path, title="other"),
    ]
    for other in others:
        assert not other.exists()
        other.bytes()
    assert len(files(tmp_path)) == 4
    assert not cache(tmp_path, scenes(tmp_path)[::-1]).exists()
    assert not cache(tmp_path, table_256=id_table(identity(34))).exists()
    assert all(other.exists() for other in [cache(tmp_path), *others])


def test_a_dataset_may_move_with_its_cache(tmp_path: Path, opened: list[str]) -> None:
    grow(tmp_path / "before")
    cache(tmp_path / "before").bytes()
    opened.clear()
    (tmp_path / "before").rename(tmp_path / "after")
    cache(tmp_path / "after").bytes()
    assert not opened


def test_a_cache_that_was_cut_off_is_not_believed(tmp_path: Path, written: np.ndarray) -> None:
    cache(tmp_path).bytes()
    (file,) = files(tmp_path)
    file.write_bytes(file.read_bytes()[:-1])
    assert np.array_equal(cache(tmp_path).bytes().numpy(), written)


def test_a_folder_that_cannot_be_written_to_serves_without_a_cache(
    tmp_path: Path, written: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / CACHE_FOLDER).write_text("a file where the folder would be")
    assert np.array_equal(cache(tmp_path).bytes().numpy(), written)
    assert f"cannot keep decoded images in {tmp_path / CACHE_FOLDER}" in capsys.readouterr().err


def test_a_full_disk_leaves_nothing_behind_and_serves_without_a_cache(
    tmp_path: Path, written: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert np.array_equal(cache(tmp_path).bytes().numpy(), written)
    assert "No space left on device" in capsys.readouterr().err
    assert files(tmp_path) == []


# ---- bad files ----------------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("spoil", [cut, empty, into_a_directory])
@pytest.mark.parametrize("kind", [image_path, label_path])
def test_a_file_that_is_no_image_is_named_and_nothing_is_kept(
    kind: Callable[..., Path], spoil: Callable[[Path], None], tmp_path: Path, written: np.ndarray
) -> None:
    for frame in ("f2", "f3"):
        spoil(kind(tmp_path, "train", frame))
    with pytest.raises(
        UserError, match=f"^{re.escape(str(kind(tmp_path, 'train', 'f2')))} cannot be read as an"
    ):
        cache(tmp_path).bytes()
    assert files(tmp_path) == []


@pytest.mark.parametrize("spoil", [Path.unlink, into_a_dangling_link])
@pytest.mark.parametrize("kind", [image_path, label_path])
def test_a_file_that_went_away_is_named(
    kind: Callable[..., Path], spoil: Callable[[Path], None], tmp_path: Path, written: np.ndarray
) -> None:
    spoil(kind(tmp_path, "train", "f2"))
    with pytest.raises(
        UserError, match=f"^{re.escape(str(kind(tmp_path, 'train', 'f2')))} cannot be read .*No such"
    ):
        cache(tmp_path).bytes()


@pytest.mark.parametrize("resize", [False, True])
def test_an_id_that_is_none_is_named_whatever_the_size(
    resize: bool, tmp_path: Path, written: np.ndarray
) -> None:
    ids = np.zeros(SIZE, np.uint8)
    ids[0, 1] = 77  # a pixel that resizing would lose
    path = save(label_path(tmp_path, "train", "f2"), ids)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))} holds the id 77 at row 0, column 1"):
        cache(tmp_path, size=(2, 2) if resize else SIZE, resize=resize).bytes()
    assert files(tmp_path) == []


@pytest.mark.parametrize("resize", [False, True])
def test_an_image_and_a_label_of_different_sizes_are_named(
    resize: bool, tmp_path: Path, written: np.ndarray
) -> None:
    path = save(label_path(tmp_path, "train", "f2"), np.zeros((6, 10), np.uint8))
    image = image_path(tmp_path, "train", "f2")
    message = f"{path} has 6 rows and 10 columns, and its image {image} has 12 rows and 20 columns"
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        cache(tmp_path, resize=resize).bytes()


def test_scenes_of_different_sizes_need_one_to_be_resized_to(tmp_path: Path, written: np.ndarray) -> None:
    path = save(image_path(tmp_path, "train", "f2"), np.zeros((6, 10, 3), np.uint8))
    save(label_path(tmp_path, "train", "f2"), np.zeros((6, 10), np.uint8))
    message = (
        f"{path} has 6 rows and 10 columns, where the first scene has 12 rows and 20 columns; set data.resize"
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        cache(tmp_path).bytes()
    assert cache(tmp_path, resize=True).bytes().shape == (5, 4, *SIZE)


# ---- several processes --------------------------------------------------------------------------------------------

SLOW_WRITER = """
import sys, time
from pathlib import Path
from src.data import scene_cache
from tests.data.test_scene_cache import cache

decode = scene_cache.SceneCache._decode
def slow(self, scene):
    print("decoding", flush=True)
    time.sleep(60)
    return decode(self, scene)
scene_cache.SceneCache._decode = slow
scene_cache.BLOCK = 1
cache(Path(sys.argv[1])).bytes()
"""


def test_a_writer_that_was_killed_leaves_nothing_that_is_believed_or_stays(
    tmp_path: Path, written: np.ndarray
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_WRITER, str(tmp_path)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdout.readline() == b"decoding\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (part,) = files(tmp_path)
    assert part.name.endswith(".part")
    assert not cache(tmp_path).exists()
    assert np.array_equal(cache(tmp_path).bytes().numpy(), written)
    assert [path.suffix for path in files(tmp_path)] == [".u8"]


def test_of_two_writers_one_decodes_and_the_other_waits(
    tmp_path: Path, written: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    original = SceneCache._decode

    def slowly(self: SceneCache, scene: Scene) -> np.ndarray:
        decoded.append(scene.image.name)
        time.sleep(0.05)
        return original(self, scene)

    monkeypatch.setattr(SceneCache, "_decode", slowly)
    # A lock is one opening's of the file, not one process's: threads wait for each other as processes do.
    with ThreadPoolExecutor(2) as executor:
        both = list(executor.map(lambda _: cache(tmp_path).bytes().numpy(), range(2)))
    assert sorted(decoded) == sorted(scene.image.name for scene in scenes(tmp_path))
    assert all(np.array_equal(one, written) for one in both)
