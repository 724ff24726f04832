"""Datasets that are published as a few files under fixed names, found in a known layout or downloaded by torchvision.
What a file holds, and whether it is sound, is each dataset's own affair."""

import os
import sys
import tempfile
from abc import abstractmethod
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from src.data.files import Layout
from src.data.registry import ArrayDataset, Arrays
from src.utils.errors import UserError


class Found(NamedTuple):
    """A place that has every file of a layout."""

    layout: Layout
    place: Path
    files: dict[str, Path]


class PublishedDataset(ArrayDataset):
    """The first place that has all files of a layout is taken whole. Where there is none, torchvision downloads what
    its own layout's first folder lacks. A file that is there is never downloaded over."""

    @abstractmethod
    def layouts(self) -> tuple[Layout, ...]:
        """In order of preference; the last is torchvision's own."""

    @abstractmethod
    def download_to(self, folder: Path) -> Path:
        """Have torchvision download all files into the empty folder; where in it they are then."""

    @abstractmethod
    def remedy(self) -> str:
        """What to do without a network, after "and downloading failed"."""

    @abstractmethod
    def read_found(self, found: Found) -> tuple[Arrays, Arrays]:
        """``read`` from these files."""

    def read(self) -> tuple[Arrays, Arrays]:
        found = self.find()
        if found is None:
            self._download()
            found = self.find()
            if found is None:
                raise self._absent("torchvision's download did not bring them")
        return self.read_found(found)

    def availability(self) -> str:
        found = self.find()
        if found is not None:
            return f"{self.info.name} found at {found.place}"
        return f"{self.info.name} is absent: {self._missing()}; torchvision will try to download it"

    def find(self) -> Found | None:
        """The first complete place."""
        for layout in self.layouts():
            place = layout.find(self.root)
            if place is not None:
                return Found(layout, place, layout.files_in(place))
        return None

    def _download(self) -> None:
        """Download into a folder beside and move what is missing into place, so that half a download is never seen."""
        print(f"{self.info.name} is absent: {self._missing()}; downloading it", file=sys.stderr, flush=True)
        layout = self.layouts()[-1]
        destination = layout.places(self.root)[0]
        made = [folder for folder in (destination, *destination.parents) if not os.path.exists(folder)]
        try:
            destination.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=destination) as beside:
                brought = self.download_to(Path(beside))
                here = layout.files_in(destination)
                for name, path in layout.files_in(brought).items():
                    if name not in here:
                        os.replace(path, destination / path.name)
        except (OSError, RuntimeError, HTTPException) as error:
            with suppress(OSError):  # a mistyped path leaves no folders behind
                for folder in made:
                    folder.rmdir()
            raise self._absent(f"downloading failed ({' '.join(str(error).split())})") from None

    def _missing(self) -> str:
        """What is missing of the layout of which there is most."""
        layout = max(self.layouts(), key=lambda layout: len(layout.files_in(layout.fullest(self.root))))
        return layout.missing(self.root)

    def _absent(self, why: str) -> UserError:
        return self.config.error("data.path", f"{self._missing()}, and {why}; {self.remedy()}")
