"""A disk that fails, or takes the process with it, at one chosen call: every call of this process that changes what is
below a folder is counted and can be struck before it, after it and, of a write, half-way."""

import builtins
import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

BEFORE, TORN, AFTER = "before", "half-way", "after"
OF_PATHS = ("link", "replace", "rename", "unlink", "mkdir", "rmdir")
OF_DESCRIPTORS = ("fsync", "ftruncate", "pwrite")


class Point(NamedTuple):
    """Where a disk strikes: at which call, counted from 0, and where in it."""

    number: int
    place: str


class Disk:
    """Counts the calls below ``root`` while it is ``watching``; at ``point``, if any, it calls ``strike``.

    ``calls`` has the kind of each, ``write`` for what a file object hands to the system, and the path.
    """

    def __init__(
        self, root: Path, point: Point | None = None, strike: Callable[[], None] = lambda: None
    ) -> None:
        self.root, self.point, self.strike = os.path.realpath(root), point, strike
        self.calls: list[tuple[str, str]] = []

    def points(self) -> list[Point]:
        """Every point of the calls that were counted."""
        return [
            Point(number, place)
            for number, (kind, _) in enumerate(self.calls)
            for place in (BEFORE, *([TORN] if kind in ("write", "pwrite") else []), AFTER)
        ]

    def call(
        self, kind: str, path: str, work: Callable[[], Any], half: Callable[[], Any] | None = None
    ) -> Any:
        """Do the work, and be struck where that is due."""
        if not os.path.realpath(path).startswith(self.root) or _in_vain(kind, path):
            return work()
        here = [place for number, place in [self.point or Point(-1, "")] if number == len(self.calls)]
        self.calls.append((kind, os.path.relpath(path, self.root)))
        if BEFORE in here:
            self.strike()
        if TORN in here and half is not None:
            half()
            self.strike()
        done = work()
        if AFTER in here:
            self.strike()
        return done

    @contextmanager
    def watching(self) -> Iterator["Disk"]:
        with ExitStack() as patches:
            for kind in OF_PATHS:
                patches.enter_context(patch.object(os, kind, self._of_path(kind)))
            for kind in OF_DESCRIPTORS:
                patches.enter_context(patch.object(os, kind, self._of_descriptor(kind)))
            patches.enter_context(patch.object(os, "open", self._os_open(os.open)))
            patches.enter_context(patch.object(builtins, "open", self._open(builtins.open)))
            yield self

    def _of_path(self, kind: str) -> Callable[..., Any]:
        work = getattr(os, kind)

        def call(*arguments: Any, **options: Any) -> Any:
            target = arguments[1] if kind in ("link", "replace", "rename") else arguments[0]
            return self.call(kind, os.fspath(target), lambda: work(*arguments, **options))

        return call

    def _of_descriptor(self, kind: str) -> Callable[..., Any]:
        work = getattr(os, kind)

        def call(descriptor: int, *arguments: Any) -> Any:
            def once() -> Any:
                # Nothing here survives a power cut, and waiting for it would take most of the time.
                return None if kind == "fsync" else work(descriptor, *arguments)

            half = None
            if kind == "pwrite":
                content, offset = arguments
                half = lambda: work(descriptor, content[: len(content) // 2], offset)  # noqa: E731
            return self.call(kind, os.readlink(f"/proc/self/fd/{descriptor}"), once, half)

        return call

    def _os_open(self, work: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
            if not flags & os.O_CREAT:
                return work(path, flags, *arguments, **options)
            opened: int = self.call("open", os.fspath(path), lambda: work(path, flags, *arguments, **options))
            return opened

        return call

    def _open(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
            if isinstance(file, int) or mode not in ("wb", "xb", "ab"):
                return work(file, mode, *arguments, **options)
            raw = self.call("open", os.fspath(file), lambda: _Raw(file, mode))
            raw.disk = self
            return io.BufferedWriter(raw)

        return call


def _in_vain(kind: str, path: str) -> bool:
    """Whether the call can only fail, as when a folder is made that is there already."""
    if kind == "mkdir":
        return os.path.lexists(path) or not os.path.exists(os.path.dirname(path))
    return kind in ("unlink", "rmdir") and not os.path.lexists(path)


class _Raw(io.FileIO):
    """A file whose writes are calls of a disk."""

    disk: Disk

    def write(self, content: Any) -> int:
        whole = memoryview(content).cast("B")

        def put(part: memoryview) -> int:
            return super(_Raw, self).write(part)

        half = len(whole) // 2
        written: int = self.disk.call("write", str(self.name), lambda: put(whole), lambda: put(whole[:half]))
        return written


def die() -> None:
    """What no handler can catch."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_fork(work: Callable[[], object]) -> int:
    """Do the work in a copy of this process; its exit status, negative where a signal ended it."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
