"""Stopping when asked to: by Ctrl-C, or by the SIGTERM or SIGUSR1 of a scheduler that wants the machine back. Whoever
works in steps finishes the one at hand first; what is then saved is the caller's business."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from src.utils import processes

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""
AGAIN = 75
"""Exit status after a scheduler's signal: EX_TEMPFAIL of sysexits.h, the same command goes on later."""
ECHO_SECONDS = 2
"""One Ctrl-C reaches a process of several twice, from the terminal and by way of torchrun."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Stopped(BaseException):
    """The process was asked to stop and is on its way out; ``status`` is what to exit with.

    Like KeyboardInterrupt no Exception, so that nothing which mends errors takes it for one.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Asked:
    """The signal that came, if any, and whether steps are at work that look for it."""

    status: int | None = None
    since = 0.0
    in_steps = False


_asked = _Asked()


@contextmanager
def signals_heard() -> Iterator[None]:
    """In the block a signal raises Stopped where it strikes, or, within ``in_steps``, at the next ``check``.

    A second Ctrl-C is KeyboardInterrupt at once. Signals that the process was started to ignore stay ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python hands signals to the main thread alone
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, _hear)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked.status = None


@contextmanager
def in_steps() -> Iterator[None]:
    """The block works in steps, and calls ``check`` or ``check_together`` between them."""
    _asked.in_steps = True
    try:
        yield
    finally:
        _asked.in_steps = False


def check() -> None:
    """Raise Stopped if this process was asked to stop."""
    if _asked.status is not None:
        raise Stopped(_asked.status)


def check_together() -> None:
    """Raise Stopped in all processes of the run if one was asked to; they have to call this at the same point."""
    status = processes.largest(_asked.status or 0)
    if status:
        raise Stopped(status)


def _hear(number: int, frame: FrameType | None) -> None:
    interrupt, now = number == signal.SIGINT, time.monotonic()
    if not interrupt and _asked.status is not None:
        return  # it is stopping already
    if interrupt and _asked.status == INTERRUPTED:
        if processes.count() == 1 or now - _asked.since > ECHO_SECONDS:
            raise KeyboardInterrupt
        return
    _asked.since = now
    _asked.status = INTERRUPTED if interrupt else AGAIN
    if not _asked.in_steps:
        raise Stopped(_asked.status)
    if processes.first():
        again = "; Ctrl-C again stops at once" if interrupt else ""
        # Not print: the signal may have struck in the midst of one.
        os.write(
            2, f"\n{signal.Signals(number).name}: the step at hand is finished and saved{again}\n".encode()
        )
