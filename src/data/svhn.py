"""Street View House Numbers: two .mat files, which torchvision reads and checks.
Here they are found and downloaded, and what torchvision refuses is told by name."""

from pathlib import Path

import torch

from src.data.bundle import DatasetInfo
from src.data.files import Layout, bad_file, read_at_most, unreadable
from src.data.published import Found, PublishedDataset
from src.data.registry import DATASETS, Arrays

FILES = {split: f"{split}_32x32.mat" for split in ("train", "test")}


@DATASETS.register("svhn")
class Svhn(PublishedDataset):
    """House numbers cropped to one digit (Y. Netzer et al., 2011, "Reading Digits in Natural Images with Unsupervised
    Feature Learning"; http://ufldl.stanford.edu/housenumbers/). The additional "extra" images are not used."""

    info = DatasetInfo(
        name="svhn",
        task="classification",
        nb_classes=10,
        channels=3,
        rows=32,
        cols=32,
        train_size=73_257,
        test_size=26_032,
        class_names=tuple("0123456789"),
    )

    def layouts(self) -> tuple[Layout, ...]:
        return (Layout(("SVHN", "svhn", "."), tuple(FILES.values())),)

    def download_to(self, folder: Path) -> Path:
        import torchvision

        for split in FILES:
            torchvision.datasets.SVHN(str(folder), split, download=True)
        return folder

    def remedy(self) -> str:
        place = self.layouts()[0].places(self.root)[0]
        return f"put {' and '.join(FILES.values())} into {place}, or set data.path to where they are"

    def read_found(self, found: Found) -> tuple[Arrays, Arrays]:
        return self._read_part(found, "train"), self._read_part(found, "test")

    def _read_part(self, found: Found, split: str) -> Arrays:
        import torchvision

        path = found.files[FILES[split]]
        read_at_most(path, 1)  # torchvision takes what cannot be opened for a file of another MD5
        try:
            # Compares the MD5 with the published one, and turns the files' label 10 into the digit 0 that it means.
            published = torchvision.datasets.SVHN(str(found.place), split)
        except OSError as error:
            raise unreadable(path, error) from None
        except RuntimeError:
            raise bad_file(path, "is not the published file: its MD5 is another") from None
        return torch.from_numpy(published.data), torch.from_numpy(published.labels)
