"""CIFAR-10 and CIFAR-100 in both official layouts: pickled batches, which torchvision downloads, and binary records.
The two hold the same images in the same order."""

import hashlib
import os
import pickle
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from src.data.bundle import DatasetInfo
from src.data.files import Layout, bad_file, check_labels, read_at_most
from src.data.published import Found, PublishedDataset
from src.data.registry import DATASETS, Arrays
from src.utils.errors import UserError


class CifarDataset(PublishedDataset):
    """Binary files, which need no unpickling, are looked for first: in ``binary_folder`` and ``data.path`` itself.
    Pickled ones are looked for in ``pickled_folder`` and ``data.path`` itself.

    A pickle can run any code, so it is opened only where its MD5 is the published one.
    """

    published: ClassVar[str]
    """The name of torchvision's class."""

    archive: ClassVar[str]
    """The published archives, less "python.tar.gz" or "binary.tar.gz"."""

    binary_folder: ClassVar[str]
    pickled_folder: ClassVar[str]
    train_names: ClassVar[tuple[str, ...]]
    test_names: ClassVar[tuple[str, ...]]
    label_bytes: ClassVar[int]
    """Bytes before the pixels of a binary record; the last is the label."""

    label_key: ClassVar[str]
    """The labels' name in a pickled batch."""

    def layouts(self) -> tuple[Layout, ...]:
        names = (*self.train_names, *self.test_names)
        # Folders of images are called train and test too.
        itself = () if any(os.path.isdir(self.root / name) for name in names) else (".",)
        return (
            Layout((self.binary_folder, "."), tuple(f"{name}.bin" for name in names)),
            Layout((self.pickled_folder, *itself), names),
        )

    def download_to(self, folder: Path) -> Path:
        import torchvision

        getattr(torchvision.datasets, self.published)(str(folder), download=True)
        return folder / self.pickled_folder

    def remedy(self) -> str:
        binary, pickled = (layout.places(self.root)[0] for layout in self.layouts())
        return (
            f"unpack {self.archive}binary.tar.gz to {binary} or {self.archive}python.tar.gz to {pickled}, or set "
            "data.path to the folder above them"
        )

    def read_found(self, found: Found) -> tuple[Arrays, Arrays]:
        binary = found.layout == self.layouts()[0]
        read = self._read_binary if binary else self._read_pickled
        parts = []
        for names, size in (
            (self.train_names, self.info.train_size),
            (self.test_names, self.info.test_size),
        ):
            files = [found.files[f"{name}.bin" if binary else name] for name in names]
            batches = [read(path, size // len(names)) for path in files]
            images_N_C_H_W, labels_N = (torch.cat(arrays) for arrays in zip(*batches, strict=True))
            counts = torch.bincount(labels_N, minlength=self.info.nb_classes)
            if (counts != size // self.info.nb_classes).any():
                raise UserError(
                    f"{', '.join(map(str, files))}: classes have {int(counts.min())} to {int(counts.max())} images, "
                    f"where each of {self.info.name} has {size // self.info.nb_classes}; one file may be a copy of "
                    "another or of another dataset; unpack the published archive anew"
                )
            parts.append((images_N_C_H_W, labels_N))
        train, test = parts
        return train, test

    def _read_binary(self, path: Path, count: int) -> Arrays:
        """``count`` records: label bytes, then one byte a pixel, channel by channel and row by row."""
        info = self.info
        shape = (info.channels, info.rows, info.cols)
        record = self.label_bytes + int(np.prod(shape))
        content = read_at_most(path, count * record + 1)
        if len(content) != count * record:
            length = f"{len(content)} bytes" if len(content) < count * record else "more bytes"
            raise bad_file(
                path, f"has {length} where {count} records of {record} bytes have {count * record}"
            )
        table_N_R = np.frombuffer(content, np.uint8).reshape(count, record)
        labels_N = torch.from_numpy(table_N_R[:, self.label_bytes - 1].astype(np.int64))
        check_labels(labels_N, info.nb_classes, path, info.name)
        return torch.from_numpy(table_N_R[:, self.label_bytes :].reshape(count, *shape).copy()), labels_N

    def _read_pickled(self, path: Path, count: int) -> Arrays:
        """``count`` images of one batch, whose bytes are unpickled only where they are the published ones."""
        import torchvision

        info = self.info
        published = getattr(torchvision.datasets, self.published)
        expected = dict([*published.train_list, *published.test_list])[path.name]
        content = read_at_most(path, -1)
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != expected:
            raise bad_file(path, f"is not the published file: its MD5 is {found}, not {expected}")
        batch = pickle.loads(content, encoding="latin1")
        images_N_C_H_W = batch["data"].reshape(count, info.channels, info.rows, info.cols)
        return torch.from_numpy(images_N_C_H_W), torch.tensor(batch[self.label_key], dtype=torch.int64)


@DATASETS.register("cifar10")
class Cifar10(CifarDataset):
    """Small photographs (A. Krizhevsky, 2009, "Learning Multiple Layers of Features from Tiny Images"); sizes and
    class names as at https://www.cs.toronto.edu/~kriz/cifar.html."""

    published = "CIFAR10"
    archive = "cifar-10-"
    binary_folder, pickled_folder = "cifar-10-batches-bin", "cifar-10-batches-py"
    train_names, test_names = tuple(f"data_batch_{number}" for number in range(1, 6)), ("test_batch",)
    label_bytes, label_key = 1, "labels"
    info = DatasetInfo(
        name="cifar10",
        task="classification",
        nb_classes=10,
        channels=3,
        rows=32,
        cols=32,
        train_size=50_000,
        test_size=10_000,
        class_names=(
            *("airplane", "automobile", "bird", "cat", "deer"),
            *("dog", "frog", "horse", "ship", "truck"),
        ),
    )


CIFAR100_CLASSES = """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm
"""


@DATASETS.register("cifar100")
class Cifar100(CifarDataset):
    """As CIFAR-10, with 100 fine classes; the 20 coarse ones, which each image has beside, are not used."""

    published = "CIFAR100"
    archive = "cifar-100-"
    binary_folder, pickled_folder = "cifar-100-binary", "cifar-100-python"
    train_names, test_names = ("train",), ("test",)
    label_bytes, label_key = 2, "fine_labels"
    info = DatasetInfo(
        name="cifar100",
        task="classification",
        nb_classes=100,
        channels=3,
        rows=32,
        cols=32,
        train_size=50_000,
        test_size=10_000,
        class_names=tuple(CIFAR100_CLASSES.split()),
    )
