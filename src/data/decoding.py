"""From image files to one uint8 tensor, in parallel, kept on disk for the next time.
Which files there are and what they show is ``image_folder``'s affair; scenes have a cache of their own."""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from src.data.byte_file import ByteFile, fingerprint
from src.utils.errors import UserError, in_a_line

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
TOLD = 10
"""Of bad images, how many an error names."""
CACHE_FOLDER = ".image_folder_cache"


def decode(path: Path, channels: int, size: tuple[int, int] | None = None) -> np.ndarray:
    """The image as uint8 pixels_C_H_W: grey for 1 channel, RGB for 3, upright by its EXIF orientation.

    ``size`` (rows, columns) resizes it bilinearly, averaging where it shrinks. Of an animation the first frame is
    taken, and transparency is ignored. Raises UserError, naming the file, where there is no such image in it.
    """
    from PIL import Image, ImageOps

    def upright(opened: "Image.Image") -> "Image.Image":
        image = ImageOps.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
        return image if size is None else image.resize(size[::-1], Image.Resampling.BILINEAR)

    image = load_image(path, upright)
    return np.asarray(image).reshape(image.height, image.width, channels).transpose(2, 0, 1)


def load_image(path: Path, convert: Callable[["Image"], "Image"]) -> "Image":
    """What ``convert`` makes of the image in the file, which it is given as PIL opens it, before it is decoded.

    Raises UserError, naming the file, where there is no such image in it, where its pixels have more than 8 bits, and
    where ``convert`` raises anything else than a UserError of its own.
    """
    # Imported where it is used: no other dataset needs it.
    from PIL import Image

    try:
        with Image.open(path) as opened:
            if opened.mode[0] in "IF":
                raise ValueError(f"its pixels have more than 8 bits, mode {opened.mode}; save it with 8")
            return convert(opened)
    except UserError:
        raise
    except Exception as error:  # PIL's decoders answer damaged files with errors of many kinds
        raise UserError(
            f"{path} cannot be read as an image ({in_a_line(error)}); put a good copy in its place, or remove it"
        ) from None


def decode_all(
    paths: Sequence[Path],
    channels: int,
    size: tuple[int, int] | None = None,
    keep: Callable[[int, np.ndarray], None] = lambda at, pixels_C_H_W: None,
) -> None:
    """Decode all images as ``decode`` does, in parallel, and hand each to ``keep`` with its position.

    UserErrors, of ``keep`` too, are collected: the one that is raised tells how many there are and the first ones.
    """

    def attempt(at: int) -> str | None:
        try:
            keep(at, decode(paths[at], channels, size))
        except UserError as error:
            return str(error)
        return None

    # Threads suffice: PIL lets others run while it decodes.
    with ThreadPoolExecutor() as executor:
        problems = [problem for problem in executor.map(attempt, range(len(paths))) if problem]
    if len(problems) == 1:
        raise UserError(problems[0])
    if problems:
        more = [f"… and {len(problems) - TOLD} more"] * (len(problems) > TOLD)
        told = "\n  ".join([*problems[:TOLD], *more])
        raise UserError(f"{len(problems)} of {len(paths)} images cannot be used:\n  {told}")


class PixelCache:
    """The pixels of some images, in order, kept in one file below ``root``.

    It is another file where an image's relative path, size in bytes or time of change is another, and where the size
    that images are brought to is.
    """

    def __init__(self, root: Path, paths: Sequence[Path], shape: tuple[int, int, int], resize: bool) -> None:
        self.root, self.paths, self.shape, self.resize = root, paths, shape, resize
        prefix = "x".join(map(str, shape)) + ("-resized-" if resize else "-unscaled-")
        size = len(paths) * int(np.prod(shape))
        self._file = ByteFile(root / CACHE_FOLDER, prefix, fingerprint(root, paths), size)

    def exists(self) -> bool:
        """Whether the pixels are there, whole."""
        return self._file.exists()

    def pixels(self) -> Tensor:
        """images_N_C_H_W as uint8, from the file or else decoded; UserError where images are bad or of another size
        than the first."""
        if self.exists():
            values = np.fromfile(self._file.path, np.uint8)
            return torch.from_numpy(values.reshape(len(self.paths), *self.shape))
        print(f"decoding {len(self.paths)} images of {self.root}", file=sys.stderr, flush=True)
        images_N_C_H_W = self._decode_all()
        try:
            self._file.fill(lambda file: file.write(images_N_C_H_W.data))
        except OSError as error:  # a folder that is only to be read is a good folder of images
            self._file.tell_not_kept(error)
        return torch.from_numpy(images_N_C_H_W)

    def _decode_all(self) -> np.ndarray:
        channels, rows, cols = self.shape
        images_N_C_H_W = np.empty((len(self.paths), *self.shape), np.uint8)

        def fill(at: int, pixels_C_H_W: np.ndarray) -> None:
            if pixels_C_H_W.shape != self.shape:
                found_rows, found_cols = pixels_C_H_W.shape[1:]
                raise UserError(
                    f"{self.paths[at]} has {found_rows} rows and {found_cols} columns, where {self.paths[0]} has "
                    f"{rows} and {cols}; set data.img_rows and data.img_cols to the size that all are resized to"
                )
            images_N_C_H_W[at] = pixels_C_H_W

        decode_all(self.paths, channels, (rows, cols) if self.resize else None, fill)
        return images_N_C_H_W
