"""Images whose pixels are class ids: from a file to the train ids that a loss is computed with.
Which ids a dataset has is in its own file; how scenes are resized and kept is in ``scene_cache``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from src.data.decoding import load_image
from src.utils.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

VOID = 255
"""The train id of pixels that belong to no class, in files and in every mask held as bytes."""

UNKNOWN = 254
"""In a table: an id that a label image of the dataset cannot hold."""

MEND_IDS = "put the right label image in its place"
"""What to do about an id that is none, where a dataset knows no more."""


def id_table(train_id_of: Mapping[int, int]) -> np.ndarray:
    """table_256: for each byte in a label image, the one it stands for, or UNKNOWN where it is none of the keys.

    A negative number becomes the byte of the same bits, as it does in a file. 255 stays void unless it is a key.
    """
    table_256 = np.full(256, UNKNOWN, np.uint8)
    table_256[VOID] = VOID
    for id_, train_id in train_id_of.items():
        table_256[id_ % 256] = train_id % 256
    return table_256


def identity(nb_classes: int) -> dict[int, int]:
    """For ``id_table``: label images that hold train ids already."""
    return {train_id: train_id for train_id in range(nb_classes)}


def read_mask(path: Path, table_256: np.ndarray, mend_ids: str = MEND_IDS) -> np.ndarray:
    """uint8 mask_H_W: the bytes of a grey or indexed image, each through the table.

    Raises UserError, naming the file, where it is no such image or holds a byte that the table does not know, for which
    ``mend_ids`` is what to do.
    """

    def decoded(opened: "Image") -> "Image":
        if opened.mode not in ("L", "P"):
            raise UserError(
                f"{path} is {_kind(opened.mode)}, and a label image has a single channel of class ids, grey or "
                "indexed; put that in its place (in Cityscapes *_labelIds.png, not *_color.png)"
            )
        return opened.copy()  # which decodes it while the file is open

    ids_H_W = np.asarray(load_image(path, decoded))
    mask_H_W = table_256[ids_H_W]
    unknown_H_W = mask_H_W == UNKNOWN
    if unknown_H_W.any():
        row, column = np.argwhere(unknown_H_W)[0]
        known = np.flatnonzero(table_256 != UNKNOWN)[:-1]
        raise UserError(
            f"{path} holds the id {ids_H_W[row, column]} at row {row}, column {column}, which is none of "
            f"{known[0]} … {known[-1]} and {VOID}; {mend_ids}"
        )
    return mask_H_W


def _kind(mode: str) -> str:
    """What a mode of PIL's is, in words."""
    if mode in ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"):
        return f"in colour ({mode})"
    return f"of mode {mode}"
