"""Finding and reading a dataset's files, with errors that name the file and say how to mend it.
What the bytes mean is told by the readers of each format."""

import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from src.utils.errors import UserError


@dataclass(frozen=True)
class Layout:
    """One way in which files lie: the folders below ``data.path`` to look in, in order, and the names that make a
    folder complete. Each name may end in any of ``suffixes``, of which an earlier one is preferred."""

    folders: tuple[str, ...]
    names: tuple[str, ...]
    suffixes: tuple[str, ...] = ("",)

    def files_in(self, place: Path) -> dict[str, Path]:
        """By name, the files of the layout that are there. A dangling link is a file, which cannot be read."""
        candidates = (
            (name, place / (name + suffix)) for name in self.names for suffix in self.suffixes[::-1]
        )
        return {name: path for name, path in candidates if os.path.lexists(path)}

    def places(self, root: Path) -> tuple[Path, ...]:
        """The folders that are looked in, of a dataset at ``root``."""
        return tuple(root / folder for folder in self.folders)

    def fullest(self, root: Path) -> Path:
        """The first of the places that have most of the files."""
        return max(self.places(root), key=lambda place: len(self.files_in(place)))

    def find(self, root: Path) -> Path | None:
        """The first place that has all files."""
        best = self.fullest(root)
        return best if len(self.files_in(best)) == len(self.names) else None

    def missing(self, root: Path) -> str:
        """What the fullest place lacks, and every place where it was looked for."""
        here = self.files_in(self.fullest(root))
        optional = "".join(f"[{suffix}]" for suffix in self.suffixes if suffix)
        lacking = ", ".join(name + optional for name in self.names if name not in here)
        return f"no {lacking} in {', '.join(map(str, self.places(root)))}"


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not blank, each with its number, from 1, and without the space around it.

    Raises UserError where the file cannot be read or is no text in UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text in UTF-8; write it anew as text, an entry a line") from None
    except OSError as error:
        raise unreadable(path, error) from None
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


def read_at_most(path: Path, size: int) -> bytes:
    """The first ``size`` bytes, decompressed where the name ends in .gz; UserError where they cannot be read."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read(size)
    except EOFError:
        raise bad_file(path, "is cut off: its gzip stream ends early") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise bad_file(path, f"is not a sound gzip file ({error})") from None
    except OSError as error:
        raise unreadable(path, error) from None


def check_labels(labels_N: Tensor, nb_classes: int, path: Path, name: str) -> None:
    """UserError with the first label that is none of the dataset's classes."""
    bad_N = (labels_N < 0) | (labels_N >= nb_classes)
    if bad_N.any():
        at = int(bad_N.nonzero()[0])
        raise UserError(
            f"{path} is corrupt: label {at} is {int(labels_N[at])}, and {name} has the classes "
            f"0 … {nb_classes - 1}; put a good copy in its place, or delete it"
        )


def bad_file(path: Path, what: str) -> UserError:
    """The error, for the caller to raise, that a file which torchvision could bring anew is not sound."""
    return UserError(
        f"{path} {what}; put a good copy in its place, or delete it so that the dataset is downloaded again"
    )


def unreadable(path: Path, error: OSError) -> UserError:
    """The error, for the caller to raise, that the system would not read the file."""
    return UserError(f"{path} cannot be read ({error.strerror}); it must be a regular file that you may read")
