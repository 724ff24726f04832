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

    def lacking(self, place: Path) -> str:
        """The names that are not there."""
        here, optional = self.files_in(place), "".join(f"[{suffix}]" for suffix in self.suffixes if suffix)
        return ", ".join(name + optional for name in self.names if name not in here)


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
