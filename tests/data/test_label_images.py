"""Label images become train ids pixel by pixel, and an id that is none is named with its place."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.data.cityscapes_labels import TRAIN_ID_OF_ID
from src.data.label_images import UNKNOWN, VOID, id_table, identity, read_mask
from src.utils.errors import UserError
from tests.data.scene_files import save
from tests.data.test_cityscapes_labels import EXPECTED

CITYSCAPES = id_table(TRAIN_ID_OF_ID)


def test_every_id_of_cityscapes_becomes_its_train_id(tmp_path: Path) -> None:
    ids = np.array([[row[1] for row in EXPECTED]]).astype(np.uint8)
    expected = np.array([[row[2] for row in EXPECTED]]).astype(np.uint8)
    assert ids[0, -1] == expected[0, -1] == 255  # the bytes that −1 becomes
    assert np.array_equal(read_mask(save(tmp_path / "a.png", ids), CITYSCAPES), expected)


def test_bytes_that_are_no_key_are_unknown_but_for_void() -> None:
    table_256 = id_table(identity(3))
    assert table_256[:3].tolist() == [0, 1, 2]
    assert table_256[VOID] == VOID
    assert (table_256[3:VOID] == UNKNOWN).all()


def test_an_indexed_image_is_read_by_its_indices(tmp_path: Path) -> None:
    ids = np.array([[0, 20], [255, 3]], np.uint8)
    image = Image.fromarray(ids, "P")
    image.putpalette([channel for index in range(256) for channel in (index, 0, 255 - index)])
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png", id_table(identity(21))), ids)


def test_the_first_unknown_id_is_named_with_its_place(tmp_path: Path) -> None:
    ids = np.zeros((5, 7), np.uint8)
    ids[2, 3], ids[4, 0] = 34, 99
    path = save(tmp_path / "a.png", ids)
    message = (
        f"{path} holds the id 34 at row 2, column 3, which is none of 0 … 33 and 255; put the right label"
    )
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        read_mask(path, CITYSCAPES)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (
            np.zeros((3, 4, 3), np.uint8),
            "is in colour (RGB), and a label image has a single channel of class ids",
        ),
        (np.zeros((3, 4, 4), np.uint8), "is in colour (RGBA), and a label image has a single channel"),
        (np.zeros((3, 4, 2), np.uint8), "is of mode LA, and a label image has a single channel"),
        (np.zeros((3, 4), np.uint16), "cannot be read as an image (its pixels have more than 8 bits"),
    ],
)
def test_an_image_of_something_else_is_refused(pixels: np.ndarray, message: str, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", pixels)
    with pytest.raises(UserError, match=f"^{re.escape(f'{path} {message}')}.*; .*put "):
        read_mask(path, CITYSCAPES)
