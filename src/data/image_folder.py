"""People's own images: a folder a class, decoded once into a cache of bytes.
Here the folder is listed and split; how an image becomes pixels is in ``decoding``."""

import os
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch

from src.data.bundle import DatasetInfo
from src.data.decoding import IMAGE_SUFFIXES, PixelCache, decode, decode_all
from src.data.given_labels import UNKNOWN, GivenLabels, with_given
from src.data.registry import DATASETS, ArrayDataset, Arrays
from src.utils.errors import UserError
from src.utils.seeding import seed

UNLABELLED = "unlabelled"
"""The folder of images whose class a person is to tell."""
TEST_SHARE = 0.2
"""Of each class, where the folder has no test images of its own."""


class Listing(NamedTuple):
    """Every image, class by class and then by path, which is the order of the dataset's indices."""

    class_names: tuple[str, ...]
    train: list[tuple[Path, int]]
    test: list[tuple[Path, int]]


@DATASETS.register("image_folder")
class ImageFolder(ArrayDataset):
    """``data.path`` holds ``train/<class>/…`` and ``test/<class>/…``, or ``<class>/…`` alone.

    In the second case a fifth of each class (at least one image) is taken for the test, by a draw that depends on the
    class and the number of its images, and not on the run's seed: all runs and methods have the same test images.
    With ``data.oracle: file`` both parts are needed, images whose class a person is to tell lie in their folders
    ``unlabelled``, and a class folder may be empty, or in one part alone: it says that there is such a class.
    Images may lie in subfolders of their class. Hidden names and files that are no images by their ending are
    ignored; so is any other folder beside ``train`` and ``test``. Classes are numbered in the order of their names.

    Images are RGB, or grey where ``data.img_channels`` is 1. Where ``data.img_rows`` and ``data.img_cols`` are given
    they are resized to that, without keeping the aspect; otherwise all must have the size of the first.
    """

    @cached_property
    def info(self) -> DatasetInfo:
        class_names, train, test = self.listing
        rows, cols = self._size()
        return DatasetInfo(
            name="image_folder",
            task="classification",
            nb_classes=len(class_names),
            channels=self._channels,
            rows=rows,
            cols=cols,
            train_size=len(train),
            test_size=len(test),
            class_names=class_names,
        )

    def read(self) -> tuple[Arrays, Arrays]:
        _, train, test = self.listing
        images_N_C_H_W = self.cache.pixels()
        labels_N = torch.tensor([label for _, label in train + test])
        if (given := self.given_labels()) is not None:
            labels_N = with_given(labels_N, given.read())
        sizes = [len(train), len(test)]
        train_images, test_images = images_N_C_H_W.split(sizes)
        train_labels, test_labels = labels_N.split(sizes)
        return (train_images, train_labels), (test_images, test_labels)

    def names(self) -> list[str]:
        return [path.relative_to(self.root).as_posix() for path, _ in self.listing.train + self.listing.test]

    def given_labels(self) -> GivenLabels | None:
        if self.config.data.oracle != "file":
            return None
        _, train, test = self.listing
        came_labelled = [label != UNKNOWN for _, label in train + test]
        return GivenLabels(self.root, self.names(), came_labelled, self.listing.class_names)

    def availability(self) -> str:
        count = len(self.listing.train) + len(self.listing.test)
        state = "decoded already" if self.cache.exists() else "to be decoded on first use"
        given, unlabelled = self.given_labels(), ""
        if given is not None:
            known = len(given.read())
            unlabelled = f"; {int((~given.came_labelled_N).sum())} without a class, {known} labelled since"
        return f"image_folder found at {self.root}: {count} images, {state}{unlabelled}"

    @cached_property
    def cache(self) -> PixelCache:
        """The decoded images, training before test."""
        paths = [path for path, _ in self.listing.train + self.listing.test]
        return PixelCache(
            self.root, paths, (self.info.channels, self.info.rows, self.info.cols), self._resize
        )

    @cached_property
    def listing(self) -> Listing:
        """What the folder holds; UserError where it is no set of classes with images in each."""
        try:
            if self.config.data.oracle == "file":
                return self._partly_labelled()
            if (self.root / "train").is_dir() and (self.root / "test").is_dir():
                train, test = self._by_class(self.root / "train"), self._by_class(self.root / "test")
                if differing := train.keys() ^ test.keys():
                    raise self.config.error(
                        "data.path",
                        f"{self.root}: train and test differ in the class folders {', '.join(sorted(differing))}; "
                        "give both the same",
                    )
            else:
                self._refuse_half_a_split()
                train, test = self._split(self._by_class(self.root))
        except OSError as error:
            raise self.config.error(
                "data.path",
                f"{error.filename} cannot be listed ({error.strerror}); image_folder needs a folder that holds "
                "train/<class>/ and test/<class>/, or <class>/, with images in each",
            ) from None
        return Listing(tuple(train), _labelled(train), _labelled(test))

    @property
    def _channels(self) -> int:
        channels = self.config.data.img_channels
        if channels not in (None, 1, 3):
            raise self.config.error(
                "data.img_channels", f"{channels}: images are grey (1) or RGB (3, or null)"
            )
        return channels or 3

    @property
    def _resize(self) -> bool:
        return self.config.data.img_rows is not None

    def _size(self) -> tuple[int, int]:
        rows, cols = self.config.data.img_rows, self.config.data.img_cols
        if rows is not None and cols is not None:
            return rows, cols
        if rows is not None or cols is not None:
            raise self.config.error(
                "data.img_cols" if cols is None else "data.img_rows",
                "image_folder needs data.img_rows and data.img_cols, to resize to, or neither",
            )
        first, _ = self.listing.train[0]
        try:
            _, rows, cols = decode(first, self._channels).shape
        except UserError:
            # Not the only bad one, perhaps.
            decode_all([path for path, _ in self.listing.train + self.listing.test], self._channels)
            raise
        return rows, cols

    def _refuse_half_a_split(self) -> None:
        """UserError where train or test is there without the other and holds folders of images, so is no class."""
        for name, other in (("train", "test"), ("test", "train")):
            images = _images_below(self.root / name) if (self.root / name).is_dir() else []
            if images and all(path.parent != self.root / name for path in images):
                raise self.config.error(
                    "data.path",
                    f"{self.root} has {name}/ without {other}/, and all images of {name}/ are in folders of it; "
                    f"rename the other part, such as val/, to {other}/, or move {name}/* up to be split",
                )

    def _partly_labelled(self) -> Listing:
        """Both parts of a folder that a person labels, images without a class last in each."""
        parts = {}
        for part in ("train", "test"):
            if not (self.root / part).is_dir():
                raise self.config.error(
                    "data.oracle",
                    f"file needs {self.root / part}: images whose class is not known belong into train/{UNLABELLED}/ "
                    f"and test/{UNLABELLED}/, the others into train/<class>/ and test/<class>/",
                )
            parts[part] = self._images_by_folder(self.root / part)
            loose = [path for path in _images_below(self.root / part) if path.parent == self.root / part]
            if loose:
                raise self.config.error(
                    "data.path",
                    f"{loose[0]} is in no folder of {part}/, as are {len(loose)} images in all; move those whose class "
                    f"is not known to {self.root / part / UNLABELLED}",
                )
            if not any(parts[part].values()):
                raise self.config.error("data.path", f"{self.root / part} has no image in any folder of it")
        class_names = sorted((parts["train"].keys() | parts["test"].keys()) - {UNLABELLED})
        if len(class_names) < 2:
            raise self.config.error(
                "data.path",
                f"{self.root} has {len(class_names)} class folders and at least two are needed; make one for each "
                f"class in train/ beside {UNLABELLED}/, also without an image",
            )
        folders = [*enumerate(class_names), (UNKNOWN, UNLABELLED)]
        train, test = (
            [(path, label) for label, name in folders for path in parts[part].get(name, [])]
            for part in ("train", "test")
        )
        return Listing(tuple(class_names), train, test)

    def _images_by_folder(self, folder: Path) -> dict[str, list[Path]]:
        names = sorted(
            entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")
        )
        for name in names:
            if name.encode(errors="replace").decode() != name:
                raise self.config.error(
                    "data.path",
                    f"the name of class folder {name!r} in {folder} is no text in UTF-8; rename the folder",
                )
        return {name: _images_below(folder / name) for name in names}

    def _by_class(self, folder: Path) -> dict[str, list[Path]]:
        found = self._images_by_folder(folder)
        if UNLABELLED in found:
            raise self.config.error(
                "data.oracle",
                f"dataset tells the class of an image by its folder, and {folder / UNLABELLED} is none; set it to file "
                "to be asked for those labels, or move that folder elsewhere",
            )
        for name, images in found.items():
            if not images:
                raise self.config.error(
                    "data.path",
                    f"class folder {folder / name} has no image ({', '.join(sorted(IMAGE_SUFFIXES))}); put some "
                    "there or remove the folder",
                )
        if len(found) < 2:
            raise self.config.error(
                "data.path",
                f"{folder} has {len(found)} class folders and at least two are needed; image_folder needs "
                "train/<class>/ and test/<class>/, or <class>/, with images in each",
            )
        return found

    def _split(self, by_class: dict[str, list[Path]]) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
        train, test = {}, {}
        for name, images in by_class.items():
            if len(images) < 2:
                raise self.config.error(
                    "data.path",
                    f"class folder {self.root / name} has one image, and one is needed for training and one for "
                    "the test; add images, or make train/ and test/ folders",
                )
            generator = torch.Generator().manual_seed(seed(0, 0, f"test images of {name}"))
            order = torch.randperm(len(images), generator=generator).tolist()
            tested = max(1, round(TEST_SHARE * len(images)))
            test[name] = [images[at] for at in sorted(order[:tested])]
            train[name] = [images[at] for at in sorted(order[tested:])]
        return train, test


def _labelled(by_class: dict[str, list[Path]]) -> list[tuple[Path, int]]:
    return [(path, label) for label, paths in enumerate(by_class.values()) for path in paths]


def _images_below(folder: Path) -> list[Path]:
    found = []
    for place, folders, names in os.walk(folder, onerror=_raise):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(place, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES
        ]
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error
