"""Files that are whole or absent, whatever dies in between: written beside, synced, then moved into place.
Nothing here goes by the clock, which may jump."""

import fcntl
import os
import re
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
    ``.<name>.<host>.<process>.part`` stays, until ``remove_leftovers``. OSError where the system will not write.
    """
    beside = _beside(path)
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


def keep_as(path: Path, kept: Path) -> None:
    """Have what is in ``path`` in ``kept`` too, whatever is written to the place of ``path`` later; UserError where
    the system will not write."""
    beside = _beside(kept)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        beside.unlink(missing_ok=True)
        os.link(path, beside)  # a second name: nothing to copy, nor to sync
        os.replace(beside, kept)
        beside.unlink(missing_ok=True)  # the system moves nothing where both are the same file already
    except OSError:  # not every file system knows second names
        write_atomically(kept, path.read_bytes())


def remove_leftovers(folder: Path) -> None:
    """Remove what processes of this host left beside their files in the folder as they died."""
    for path in folder.glob(f".*.{os.uname().nodename}.*.part"):
        process = path.name.split(".")[-2]
        if process.isdecimal() and not _is_running(int(process)):
            with suppress(OSError):  # nobody reads it
                path.unlink()


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file for the block; UserError where another process has it. The lock dies with its process, but
    for that of a lost host on a network file system, which may linger."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(
            f"{path}: cannot write ({error.strerror}); free space, mend permissions or use --output_dir"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(descriptor, 200).decode(errors="replace").strip()
        os.close(descriptor)
        raise UserError(_held(path, owner)) from None
    except OSError as error:
        os.close(descriptor)
        raise UserError(
            f"{path}: cannot lock ({error.strerror}); use --output_dir on another file system"
        ) from error
    try:
        # The name only serves the message above; a full disk shows when a round is written.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {os.uname().nodename}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _beside(path: Path) -> Path:
    # With the host, as processes of several may write the same file over a network. Shortened, as a file's name may
    # have 255 characters and a host's 63.
    return path.with_name(f".{path.name[:150]}.{os.uname().nodename}.{os.getpid()}.part")


def _held(path: Path, owner: str) -> str:
    """Who holds the lock, as it wrote there itself; since when, nothing is known."""
    message = f"{path.parent}: {owner or 'another process'} is at work on this run; wait for it or stop it"
    named = re.fullmatch(r"process (\d+) on (.+)", owner)
    if named and named[2] == os.uname().nodename and _is_running(int(named[1])):
        return message
    return f"{message}. Only if it is surely dead, as on a host that was lost, remove {path} and run again"


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's; no process has that number
        return True
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
