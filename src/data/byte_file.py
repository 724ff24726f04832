"""Decoded data in a file of nothing but its bytes, whose name says of which content it is.
What the bytes are, and how they are read again, is each cache's own affair (``decoding``, ``scene_cache``)."""

import fcntl
import hashlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from src.data.files import unreadable
from src.utils.files import replacing


class ByteFile:
    """``<prefix><content>.u8`` in a folder, of ``size`` bytes. Another content is another file, which replaces those of
    the same prefix.

    It is written beside and moved into place, by one process at a time; the others wait and then use it. The folder
    may be removed whenever nothing runs.
    """

    def __init__(self, folder: Path, prefix: str, content: str, size: int) -> None:
        self.path, self.size = folder / f"{prefix}{content}.u8", size
        self._prefix = prefix

    def exists(self) -> bool:
        """Whether the file is there, whole."""
        return self.path.is_file() and self.path.stat().st_size == self.size

    def fill(self, write: Callable[[BinaryIO], object]) -> None:
        """Have ``write`` write the bytes, unless they are there or another process has written them meanwhile.

        Whatever ``write`` raises leaves no file. OSError where the folder cannot be written to.
        """
        if self.exists():
            return
        with self._alone():
            if self.exists():
                return
            # Written by nobody: the one who did was killed, as the lock is ours.
            for path in self.path.parent.glob(f".{self._prefix}*.part"):
                path.unlink(missing_ok=True)
            with replacing(self.path) as file:
                write(file)
            for path in self.path.parent.glob(f"{self._prefix}*.u8"):
                if path != self.path:
                    path.unlink(missing_ok=True)

    def tell_not_kept(self, error: OSError) -> None:
        """Say that the system would not keep the file, which is no reason to stop."""
        print(
            f"cannot keep decoded images in {self.path.parent} ({error.strerror}); they are decoded into memory, in "
            "every run anew",
            file=sys.stderr,
            flush=True,
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for other processes that write files of this prefix; the lock dies with its process."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.parent / f"{self._prefix}lock", "wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(
                    f"another process is writing to {self.path.parent}; waiting for it",
                    file=sys.stderr,
                    flush=True,
                )
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def fingerprint(root: Path, paths: Sequence[Path]) -> str:
    """A name for the content of these files, in order: their paths from ``root``, sizes in bytes and times of change.

    The files may move with ``root`` and nothing else may change. Raises UserError where one is not there.
    """
    content = hashlib.sha256()
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            raise unreadable(path, error) from None
        content.update(os.fsencode(os.path.relpath(path, root)))
        content.update(f"\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return content.hexdigest()[:32]
