"""A process that dies in a write, for tests of what is on disk then."""

import os
from pathlib import Path


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the program's own may catch it."""


class CrashingReplace:
    """os.replace, but the process dies around the n-th call (never, for n = 0): before it, with the new file half
    written, or right after it. No file may change but by being replaced."""

    def __init__(self, crash_at: int, half_written: bool) -> None:
        self.crash_at, self.half_written, self.calls = crash_at, half_written, 0
        self.replace, self.contents = os.replace, dict[Path, bytes]()

    def __call__(self, source: Path, target: Path) -> None:
        self.calls += 1
        assert target not in self.contents or target.read_bytes() == self.contents[target]
        self.contents[target] = Path(source).read_bytes()
        if self.calls == self.crash_at and self.half_written:
            if Path(source).stat().st_nlink == 1:  # a second name is never half written
                Path(source).write_bytes(Path(source).read_bytes()[: Path(source).stat().st_size // 2])
            raise Killed
        self.replace(source, target)
        if self.calls == self.crash_at:
            raise Killed
