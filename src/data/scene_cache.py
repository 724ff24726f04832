"""Scenes as bytes: images and their masks decoded and resized once, into a file that is then mapped into memory.
Which scenes there are is each dataset's affair; how a batch is taken from the bytes is in ``scenes``."""

import fcntl
import hashlib
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from src.data.decoding import fingerprint, load_image
from src.data.label_images import read_mask
from src.utils.errors import UserError
from src.utils.files import replacing

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

    The file's name says of which content it is: the relative paths, sizes in bytes and times of change of images and
    labels, the size they are brought to, and what ids stand for. Another content is another file, which replaces those
    of the same ``title`` and size. It is written beside and moved into place, by one process at a time; the others
    wait and then use it. The folder may be removed whenever nothing runs.
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
    ) -> None:
        self.title, self.scenes, self.table_256 = title, scenes, table_256
        self.size, self.resize, self.verbose = size, resize, verbose
        self.shape = (len(scenes), 4, *size)
        self._folder = root / CACHE_FOLDER
        self._prefix = f"{title}-{size[0]}x{size[1]}-" + ("resized-" if resize else "unscaled-")
        content = fingerprint(root, [path for scene in scenes for path in scene])
        content = hashlib.sha256(content.encode() + table_256.tobytes()).hexdigest()[:32]
        self._path = self._folder / f"{self._prefix}{content}.u8"

    def exists(self) -> bool:
        """Whether the bytes are there, whole."""
        return self._path.is_file() and self._path.stat().st_size == int(np.prod(self.shape))

    def bytes(self) -> Tensor:
        """scenes_N_4_H_W as uint8, mapped from the file, which is written first where it is not there.

        Raises UserError, naming the file, where an image or a label is bad, where the two of a scene differ in size,
        and where scenes differ in size and are not resized. In a folder that cannot be written to, the scenes are
        decoded into memory each time.
        """
        try:
            if not self.exists():
                with self._alone():
                    if not self.exists():
                        self._write()
        except OSError as error:
            print(
                f"{self.title}: cannot keep decoded scenes in {self._folder} ({error.strerror}); they are decoded into "
                "memory, in every run anew",
                file=sys.stderr,
                flush=True,
            )
            return self._decode_into_memory()
        # Private: what is written to the tensor, by mistake, never reaches the file.
        mapped = torch.from_file(
            str(self._path), shared=False, size=int(np.prod(self.shape)), dtype=torch.uint8
        )
        return mapped.view(self.shape)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for other processes that write scenes of this title and size; the lock dies with its process."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / f"{self._prefix}lock", "wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(
                    f"{self.title}: another process is decoding; waiting for it", file=sys.stderr, flush=True
                )
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self) -> None:
        # Written by nobody: the one who did was killed, as the lock is ours.
        for path in self._folder.glob(f".{self._prefix}*.part"):
            path.unlink(missing_ok=True)
        with replacing(self._path) as file:
            for scene_4_H_W in self._decoded():
                file.write(scene_4_H_W.data)
        for path in self._folder.glob(f"{self._prefix}*.u8"):
            if path != self._path:
                path.unlink(missing_ok=True)

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
        mask_H_W = read_mask(scene.label, self.table_256)
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
