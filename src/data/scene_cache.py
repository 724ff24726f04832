"""Scenes as bytes: images and their masks decoded and resized once, into a file that is then mapped into memory.
Which scenes there are is each dataset's affair; how a batch is taken from the bytes is in ``scenes``."""

import hashlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from src.data.byte_file import ByteFile, fingerprint
from src.data.decoding import load_image
from src.data.label_images import MEND_IDS, read_mask
from src.utils.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

CACHE_FOLDER = ".scene_cache"
BLOCK = 64
"""Scenes that are decoded ahead of the writer: what bounds the memory that filling the cache takes."""


class Scene(NamedTuple):
    """The two files of one scene."""

    image: Path
    label: Path


class SceneCache:
    """Some scenes, in order, in one file below ``root``: 4 bytes a pixel, RGB and the train id, plane by plane.

    It is another file where the relative path, size in bytes or time of change of an image or a label is another, and
    where ``title``, the size they are brought to, or what ids stand for is. ``mend_ids`` says what to do about ids that
    stand for nothing.
    """

    def __init__(
        self,
        root: Path,
        title: str,
        scenes: Sequence[Scene],
        table_256: np.ndarray,
        size: tuple[int, int],
        resize: bool,
        verbose: bool,
        mend_ids: str = MEND_IDS,
    ) -> None:
        self.title, self.scenes, self.table_256 = title, scenes, table_256
        self.size, self.resize, self.verbose, self.mend_ids = size, resize, verbose, mend_ids
        self.shape = (len(scenes), 4, *size)
        prefix = f"{title}-{size[0]}x{size[1]}-" + ("resized-" if resize else "unscaled-")
        content = fingerprint(root, [path for scene in scenes for path in scene])
        content = hashlib.sha256(content.encode() + table_256.tobytes()).hexdigest()[:32]
        self._file = ByteFile(root / CACHE_FOLDER, prefix, content, int(np.prod(self.shape)))

    def exists(self) -> bool:
        """Whether the bytes are there, whole."""
        return self._file.exists()

    def bytes(self) -> Tensor:
        """scenes_N_4_H_W as uint8, mapped from the file, which is written first where it is not there: not to be
        written to, and as large as it likes.

        Raises UserError, naming the file, where an image or a label is bad, where the two of a scene differ in size,
        and where scenes differ in size and are not resized. In a folder that cannot be written to, the scenes are
        decoded into memory each time.
        """
        try:
            self._file.fill(self._write)
            return self._mapped()
        except OSError as error:
            self._file.tell_not_kept(error)
            return self._decode_into_memory()

    def _mapped(self) -> Tensor:
        # Read-only: a mapping that can be written to, be it private, must fit into memory and swap.
        scenes_N_4_H_W = np.memmap(self._file.path, np.uint8, "r", shape=self.shape)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(scenes_N_4_H_W)

    def _write(self, file: BinaryIO) -> None:
        for scene_4_H_W in self._decoded():
            file.write(scene_4_H_W.data)

    def _decode_into_memory(self) -> Tensor:
        scenes_N_4_H_W = np.empty(self.shape, np.uint8)
        for at, scene_4_H_W in enumerate(self._decoded()):
            scenes_N_4_H_W[at] = scene_4_H_W
        return torch.from_numpy(scenes_N_4_H_W)

    def _decoded(self) -> Iterator[np.ndarray]:
        """scene_4_H_W of each scene in order; the first bad one in order is the one that is told."""
        on_terminal = sys.stderr.isatty()
        with (
            # Threads suffice: PIL lets others run while it decodes.
            ThreadPoolExecutor() as executor,
            tqdm(
                total=len(self.scenes),
                desc=f"{self.title}: decoding",
                unit="scene",
                disable=not (self.verbose or on_terminal),
                mininterval=0.1 if on_terminal else 10,
            ) as bar,
        ):
            for start in range(0, len(self.scenes), BLOCK):
                for scene_4_H_W in executor.map(self._decode, self.scenes[start : start + BLOCK]):
                    yield scene_4_H_W
                    bar.update()

    def _decode(self, scene: Scene) -> np.ndarray:
        from PIL import Image

        image = load_image(scene.image, _rgb)
        mask_H_W = read_mask(scene.label, self.table_256, self.mend_ids)
        found = (image.height, image.width)
        if mask_H_W.shape != found:
            raise UserError(
                f"{scene.label} has {_size(mask_H_W.shape)}, and its image {scene.image} has {_size(found)}; "
                "put the label image that belongs to it in its place"
            )
        if self.resize:
            size = self.size[::-1]
            image = image.resize(size, Image.Resampling.BILINEAR)
            mask_H_W = np.asarray(Image.fromarray(mask_H_W).resize(size, Image.Resampling.NEAREST))
        elif found != self.size:
            raise UserError(
                f"{scene.image} has {_size(found)}, where the first scene has {_size(self.size)}; set data.resize to "
                "true, with data.img_rows and data.img_cols as the size that all are resized to"
            )
        scene_4_H_W = np.empty((4, *self.size), np.uint8)
        scene_4_H_W[:3] = np.asarray(image).transpose(2, 0, 1)
        scene_4_H_W[3] = mask_H_W
        return scene_4_H_W


def image_size(path: Path) -> tuple[int, int]:
    """Rows and columns, as the file's header says; UserError where it is no image."""
    image = load_image(path, lambda opened: opened)
    return image.height, image.width


def _rgb(opened: "Image") -> "Image":
    # Not turned by its EXIF orientation: the mask lies over the pixels as they are in the file.
    return opened.convert("RGB")


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} rows and {shape[1]} columns"
