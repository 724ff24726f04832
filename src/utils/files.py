"""Files that are whole or absent, whatever dies in between: written beside, synced, then moved into place."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from src.utils.errors import UserError


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Replace the file by ``content``, or leave it as it was; UserError where the system will not write."""
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise UserError(
            f"{path}: cannot write ({error.strerror}); free space or mend permissions, then run again "
            "(without --overwrite): finished rounds are kept"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file to write in the block, which is in the place of ``path`` after it.

    Whatever the block raises leaves ``path`` as it was, and nothing beside it but where the process dies: then
    ``.<name>.<process>.part`` stays. OSError where the system will not write.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        _sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file for the block; UserError where another process has it. The lock dies with its process."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(
            f"{path}: cannot write ({error.strerror}); mend permissions or use --output_dir"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 200).decode(errors="replace").strip()
        os.close(descriptor)
        raise UserError(
            f"{path.parent}: {owner or 'another process'} is at work on this run; wait for it or stop it"
        ) from None
    except OSError as error:
        os.close(descriptor)
        raise UserError(
            f"{path}: cannot lock ({error.strerror}); use --output_dir on another file system"
        ) from error
    try:
        with suppress(
            OSError
        ):  # the name only serves the message above; a full disk shows when a round is written
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
