"""Ways in which a file is spoilt, for tests of what is said about it."""

from pathlib import Path


def empty(path: Path) -> None:
    path.write_bytes(b"")


def into_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def into_a_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone")
