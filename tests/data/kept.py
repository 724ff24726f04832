"""What a cache keeps on disk, for tests of what becomes of it."""

from pathlib import Path


def kept(folder: Path) -> list[Path]:
    """All files of a cache's folder but the locks, in order; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.endswith("lock"))
