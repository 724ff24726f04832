"""MNIST and the datasets made in its image: four idx files in torchvision's folder layout.
What is wrong inside one file is told by ``idx``; here the four are held together."""

from pathlib import Path
from typing import ClassVar

from src.data.bundle import DatasetInfo
from src.data.files import Layout, check_labels
from src.data.idx import read_idx
from src.data.published import Found, PublishedDataset
from src.data.registry import DATASETS, Arrays
from src.utils.errors import UserError

IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
STEMS = tuple(f"{part}-{kind}" for part in ("train", "t10k") for kind in (IMAGES, LABELS))
"""The published names, less .gz. A file is taken raw where both are there, because it loads faster."""


class IdxDataset(PublishedDataset):
    """A dataset of four idx files, looked for under ``data.path`` in this order: ``<folder>/raw`` as torchvision
    lays them out, ``<folder>``, ``data.path`` itself and ``raw`` in it.

    The files do not say which dataset they are, and all of this family share their names; the published beginning
    of the training labels (``first_labels``) tells them apart.
    """

    folder: ClassVar[str]
    """The name of torchvision's class, and of the folder it makes."""

    first_labels: ClassVar[tuple[int, ...]]

    def layouts(self) -> tuple[Layout, ...]:
        return (Layout((f"{self.folder}/raw", self.folder, ".", "raw"), STEMS, ("", ".gz")),)

    def download_to(self, folder: Path) -> Path:
        # Imported where it is used: it takes seconds, and data that is there needs none of it.
        import torchvision

        getattr(torchvision.datasets, self.folder)(str(folder), download=True)
        return folder / self.folder / "raw"

    def remedy(self) -> str:
        raw = self.layouts()[0].places(self.root)[0]
        return (
            f"put the four {self.info.name} files, raw or .gz, into {raw}, or set data.path to where they are"
        )

    def read_found(self, found: Found) -> tuple[Arrays, Arrays]:
        train = self._read_part(found.files, "train", self.info.train_size)
        return train, self._read_part(found.files, "t10k", self.info.test_size)

    def _read_part(self, files: dict[str, Path], part: str, size: int) -> Arrays:
        info = self.info
        images_N_H_W = read_idx(files[f"{part}-{IMAGES}"], (size, info.rows, info.cols))
        path = files[f"{part}-{LABELS}"]
        labels_N = read_idx(path, (size,)).long()
        check_labels(labels_N, info.nb_classes, path, info.name)
        first = self.first_labels if part == "train" else ()
        begins = tuple(labels_N[: len(first)].tolist())
        if begins != first:
            raise UserError(
                f"{path} is not of {info.name}: its labels begin with {begins}, the published ones with "
                f"{first}; point data.path to the folder that holds {self.folder}/raw"
            )
        return images_N_H_W.unsqueeze(1), labels_N


@DATASETS.register("mnist")
class Mnist(IdxDataset):
    """Handwritten digits (Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, 1998, "Gradient-based learning applied to
    document recognition"); sizes as at http://yann.lecun.com/exdb/mnist/."""

    folder = "MNIST"
    first_labels = (5, 0, 4, 1, 9, 2, 1, 3, 1, 4)
    info = DatasetInfo(
        name="mnist",
        task="classification",
        nb_classes=10,
        channels=1,
        rows=28,
        cols=28,
        train_size=60_000,
        test_size=10_000,
        class_names=tuple("0123456789"),
    )


@DATASETS.register("fashion_mnist")
class FashionMnist(IdxDataset):
    """Pictures of clothing (H. Xiao, K. Rasul, R. Vollgraf, 2017, "Fashion-MNIST", https://arxiv.org/abs/1708.07747);
    sizes and class names as its authors publish them at https://github.com/zalandoresearch/fashion-mnist."""

    folder = "FashionMNIST"
    first_labels = (9, 0, 0, 3, 0, 2, 7, 2, 5, 5)
    info = DatasetInfo(
        name="fashion_mnist",
        task="classification",
        nb_classes=10,
        channels=1,
        rows=28,
        cols=28,
        train_size=60_000,
        test_size=10_000,
        class_names=(
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
    )
