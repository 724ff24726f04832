"""Images become the pixels that PIL shows, once; a change of the folder is seen, and a bad image is named."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from src.data import decoding
from src.data.byte_file import ByteFile
from src.data.decoding import CACHE_FOLDER, PixelCache, decode
from src.utils.errors import UserError
from tests.data.kept import kept
from tests.data.spoiling import empty, into_a_dangling_link, into_a_directory

COLOURS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
GREY = COLOURS[..., 0]


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


# ---- one image ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "bmp", "ppm", "tiff", "webp", "gif"])
def test_a_lossless_colour_image_is_read_pixel_by_pixel(ending: str, tmp_path: Path) -> None:
    pixels = COLOURS if ending != "gif" else COLOURS // 128 * 128  # a gif has at most 256 colours
    path = save(tmp_path / f"a.{ending}", pixels, **({"lossless": True} if ending == "webp" else {}))
    assert np.array_equal(decode(path, 3), pixels.transpose(2, 0, 1))


def test_grey_and_colour_are_brought_to_the_channels_asked_for(tmp_path: Path) -> None:
    grey, colour = save(tmp_path / "grey.png", GREY), save(tmp_path / "colour.png", COLOURS)
    assert np.array_equal(decode(grey, 1), GREY[None])
    assert np.array_equal(decode(grey, 3), np.stack([GREY] * 3))
    # ITU-R 601 luma.
    luma = COLOURS @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decode(colour, 1)[0] - luma).max() <= 1


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "CMYK"])
def test_other_kinds_of_pixels_become_rgb_and_grey(mode: str, tmp_path: Path) -> None:
    path = tmp_path / ("a.tiff" if mode == "CMYK" else "a.png")
    Image.fromarray(COLOURS).convert(mode).save(path)
    assert decode(path, 3).shape == (3, 4, 6)
    assert decode(path, 1).shape == (1, 4, 6)


def test_a_photograph_stands_as_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    path = save(tmp_path / "a.png", COLOURS, exif=exif)
    assert np.array_equal(decode(path, 3), np.rot90(COLOURS, -1).transpose(2, 0, 1))


def test_resizing_by_a_whole_factor_averages(tmp_path: Path) -> None:
    flat = np.kron(np.array([[0, 100], [200, 60]], dtype=np.uint8), np.ones((8, 8), dtype=np.uint8))
    path = save(tmp_path / "a.png", flat)
    assert decode(path, 1, (4, 2)).shape == (1, 4, 2)
    corners = decode(path, 1, (4, 4))[0][::3, ::3]
    assert np.array_equal(corners, [[0, 100], [200, 60]])
    assert np.array_equal(decode(path, 1, (16, 16))[0], flat)


def test_more_than_eight_bits_are_refused_rather_than_cut(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", GREY.astype(np.uint16) * 257)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))} .*more than 8 bits"):
        decode(path, 1)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def into_text(path: Path) -> None:
    path.write_text("<!DOCTYPE html>")


@pytest.mark.parametrize("spoil", [cut, empty, into_text, into_a_directory, into_a_dangling_link])
@pytest.mark.parametrize("ending", ["png", "jpg", "bmp"])
def test_an_unreadable_image_is_named(ending: str, spoil: Callable[[Path], None], tmp_path: Path) -> None:
    path = save(tmp_path / f"a.{ending}", COLOURS)
    spoil(path)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))} cannot be read as an image .*remove it"):
        decode(path, 3)


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=150)
@given(ending=st.sampled_from(["png", "jpg", "gif", "tiff", "webp", "bmp"]), data=st.data())
def test_damage_of_any_kind_gives_pixels_or_the_one_error(
    ending: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = save(tmp_path_factory.mktemp("damage") / f"a.{ending}", COLOURS)
    content = bytearray(path.read_bytes())
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=8)):
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # so that no damaged size takes all memory
        try:
            assert decode(path, 3, (4, 6)).shape == (3, 4, 6)
        except UserError as error:
            assert str(path) in str(error)


# ---- many images and their cache ----------------------------------------------------------------------------------


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    shades = np.arange(5, dtype=np.uint8)
    return [save(tmp_path / f"{shade}.png", np.full((4, 6, 3), shade, np.uint8)) for shade in shades]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the images that were decoded."""
    names: list[str] = []
    original = decode

    def noted(path: Path, channels: int, size: tuple[int, int] | None = None) -> np.ndarray:
        names.append(path.name)
        return original(path, channels, size)

    monkeypatch.setattr(decoding, "decode", noted)
    return names


def pixels(paths: list[Path], size: tuple[int, int] = (4, 6), resize: bool = False) -> torch.Tensor:
    return PixelCache(paths[0].parent, paths, (3, *size), resize).pixels()


def test_images_are_in_order_and_decoded_once(paths: list[Path], decoded: list[str]) -> None:
    for _ in range(2):
        images_N_C_H_W = pixels(paths)
        assert images_N_C_H_W.dtype == torch.uint8
        assert images_N_C_H_W.shape == (5, 3, 4, 6)
        assert images_N_C_H_W[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert sorted(decoded) == [path.name for path in paths]


@pytest.mark.parametrize(
    "change",
    [
        lambda paths: os.utime(paths[2], ns=(0, 0)),
        lambda paths: save(paths[2], COLOURS),
        lambda paths: paths.pop(),
        lambda paths: paths.reverse(),
        lambda paths: paths.append(save(paths[0].parent / "new.png", COLOURS)),
        lambda paths: paths.insert(0, paths.pop(0).rename(paths[0].parent / "renamed.png")),
    ],
    ids=["time", "content", "removed", "order", "added", "renamed"],
)
def test_a_change_of_the_images_is_seen_and_replaces_the_cache(
    change: Callable[[list[Path]], object], paths: list[Path], decoded: list[str]
) -> None:
    pixels(paths)
    decoded.clear()
    folder = paths[0].parent / CACHE_FOLDER
    (before,) = kept(folder)
    change(paths)
    expected = torch.stack([torch.tensor(decode(path, 3)) for path in paths])
    assert torch.equal(pixels(paths), expected)
    assert len(decoded) == len(paths)
    (after,) = kept(folder)
    assert after != before


def test_the_cache_is_written_from_the_pixels_themselves(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    monkeypatch.setattr(ByteFile, "fill", lambda _, write: write(SimpleNamespace(write=written.append)))
    images_N_C_H_W = pixels(paths)
    assert np.shares_memory(np.asarray(written[0]), images_N_C_H_W.numpy())


def test_each_size_has_its_own_cache(paths: list[Path], decoded: list[str]) -> None:
    for _ in range(2):
        assert pixels(paths, (2, 2), resize=True).shape == (5, 3, 2, 2)
        assert pixels(paths, (4, 6), resize=True).shape == (5, 3, 4, 6)
        assert pixels(paths).shape == (5, 3, 4, 6)
    assert len(decoded) == 3 * len(paths)


def test_a_cache_that_was_cut_off_is_not_believed(paths: list[Path], decoded: list[str]) -> None:
    whole = pixels(paths)
    (file,) = kept(paths[0].parent / CACHE_FOLDER)
    cut(file)
    assert torch.equal(pixels(paths), whole)
    assert len(decoded) == 2 * len(paths)


def test_a_folder_that_cannot_be_written_to_serves_without_a_cache(
    paths: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (paths[0].parent / CACHE_FOLDER).write_text("a file where the folder would be")
    assert pixels(paths)[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert f"cannot keep decoded images in {paths[0].parent / CACHE_FOLDER}" in capsys.readouterr().err


def test_bad_images_are_named_in_order_and_nothing_is_kept(paths: list[Path]) -> None:
    for path in paths[1:4]:
        cut(path)
    with pytest.raises(UserError, match=f"^3 of 5 images .*\n  {re.escape(str(paths[1]))} cannot be read"):
        pixels(paths)
    assert not (paths[0].parent / CACHE_FOLDER).exists()


def test_images_of_differing_sizes_need_a_size(paths: list[Path]) -> None:
    save(paths[3], COLOURS[:3])
    with pytest.raises(UserError) as caught:
        pixels(paths)
    assert (
        str(caught.value)
        == f"{paths[3]} has 3 rows and 6 columns, where {paths[0]} has 4 and 6; set data.img_rows "
        "and data.img_cols to the size that all are resized to"
    )
    assert pixels(paths, resize=True).shape == (5, 3, 4, 6)


def test_an_image_that_went_away_is_named(paths: list[Path]) -> None:
    paths[2].unlink()
    with pytest.raises(UserError, match=f"^{re.escape(str(paths[2]))} cannot be read .*No such file"):
        pixels(paths)
