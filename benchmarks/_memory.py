"""The peak of this process's resident memory, counted from wherever a benchmark says. What is done meanwhile is each
benchmark's own business."""

import ctypes
from contextlib import suppress
from pathlib import Path

from src.utils.errors import UserError

STATUS = Path("/proc/self/status")


def refuse_without_peaks() -> None:
    """UserError where the system tells no peaks."""
    if not STATUS.exists():
        raise UserError(f"peaks of memory are read from {STATUS}, which Linux has: run this benchmark there")


def start_of_peak() -> int:
    """Resident bytes now, from where ``peak`` counts if the kernel lets a process reset its own.

    What was freed but is still kept for reuse goes back to the system first: what comes would grow into it unseen.
    """
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc's
        trim(0)
    with suppress(OSError):  # then the peak is that of all the process did, which is no smaller
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak() -> int:
    """The largest number of resident bytes so far."""
    return _status("VmHWM")


def _status(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
