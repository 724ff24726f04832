"""MNIST and the datasets made in its image: four idx files in torchvision's folder layout.
What is wrong inside one file is told by ``idx``; here files are found, downloaded where absent, and held together."""

import os
import sys
import tempfile
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from src.data.bundle import DatasetInfo
from src.data.idx import read_idx
from src.data.registry import DATASETS, Arrays, Dataset
from src.utils.errors import UserError

IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
STEMS = tuple(f"{part}-{kind}" for part in ("train", "t10k") for kind in (IMAGES, LABELS))
"""The published names, less .gz. A file is taken raw where both are there, because it loads faster."""


class IdxDataset(Dataset):
    """A dataset of four idx files, looked for under ``data.path`` in this order: ``<folder>/raw`` as torchvision
    lays them out, ``<folder>``, and ``data.path`` itself. The first place that has all four is taken whole.

    The files do not say which dataset they are, and all of this family share their names; the published beginning
    of the training labels (``first_labels``) tells them apart. Where no place has all four, the missing ones are
    downloaded by torchvision into ``<folder>/raw``. A file that is there is never downloaded over.
    """

    folder: ClassVar[str]
    """The name of torchvision's class, and of the folder it makes."""

    first_labels: ClassVar[tuple[int, ...]]

    def read(self) -> tuple[Arrays, Arrays]:
        found = self._find()
        if found is None:
            self._download()
            found = self._find()
            if found is None:
                raise self._absent("torchvision's download did not bring them")
        train = self._read_part(found, "train", self.info.train_size)
        test = self._read_part(found, "t10k", self.info.test_size)
        return train, test

    def availability(self) -> str:
        found = self._find()
        if found is not None:
            return f"{self.info.name} found at {found[STEMS[0]].parent}"
        return f"{self.info.name} is absent: {self._missing()}; torchvision will try to download it"

    def _places(self) -> tuple[Path, ...]:
        root = Path(self.config.data.path).expanduser()
        return root / self.folder / "raw", root / self.folder, root

    def _find(self) -> dict[str, Path] | None:
        for place in self._places():
            found = _files_in(place)
            if len(found) == len(STEMS):
                return found
        return None

    def _read_part(self, found: dict[str, Path], part: str, size: int) -> Arrays:
        info = self.info
        images_N_H_W = read_idx(found[f"{part}-{IMAGES}"], (size, info.rows, info.cols))
        labels_path = found[f"{part}-{LABELS}"]
        labels_N = read_idx(labels_path, (size,)).long()
        self._check_labels(labels_N, labels_path, self.first_labels if part == "train" else ())
        return images_N_H_W.unsqueeze(1), labels_N

    def _check_labels(self, labels_N: Tensor, path: Path, first: tuple[int, ...]) -> None:
        if int(labels_N.max()) >= self.info.nb_classes:
            at = int((labels_N >= self.info.nb_classes).nonzero()[0])
            raise UserError(
                f"{path} is corrupt: label {at} is {int(labels_N[at])}, and {self.info.name} has the classes "
                f"0 … {self.info.nb_classes - 1}; put a good copy in its place, or delete it"
            )
        begins = tuple(labels_N[: len(first)].tolist())
        if begins != first:
            raise UserError(
                f"{path} is not of {self.info.name}: its labels begin with {begins}, the published ones with "
                f"{first}; point data.path to the folder that holds {self.folder}/raw"
            )

    def _download(self) -> None:
        """Download into a folder beside and move what is missing into place, so that half a download is never seen."""
        # Imported where it is used: it takes seconds, and data that is there needs none of it.
        import torchvision

        print(f"{self.info.name} is absent: {self._missing()}; downloading it", file=sys.stderr, flush=True)
        destination = self._places()[0]
        try:
            destination.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=destination) as beside:
                getattr(torchvision.datasets, self.folder)(beside, download=True)
                here = _files_in(destination)
                for stem, path in _files_in(Path(beside) / self.folder / "raw").items():
                    if stem not in here:
                        os.replace(path, destination / path.name)
        except (OSError, RuntimeError, HTTPException) as error:
            raise self._absent(f"downloading failed ({' '.join(str(error).split())})") from None

    def _missing(self) -> str:
        """What is missing from the place that has the most, and every place that was looked in."""
        here = max((_files_in(place) for place in self._places()), key=len)
        names = ", ".join(f"{stem}[.gz]" for stem in STEMS if stem not in here)
        return f"no {names} in {', '.join(str(place) for place in self._places())}"

    def _absent(self, why: str) -> UserError:
        return self.config.error(
            "data.path",
            f"{self._missing()}, and {why}; put the four {self.info.name} files, raw or .gz, into "
            f"{self._places()[0]}, or set data.path to where they are",
        )


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


def _files_in(place: Path) -> dict[str, Path]:
    """By stem, the raw or else the gzipped file there. lexists: a dangling link is a file that cannot be read."""
    candidates = ((stem, place / name) for stem in STEMS for name in (f"{stem}.gz", stem))
    return {stem: path for stem, path in candidates if os.path.lexists(path)}
