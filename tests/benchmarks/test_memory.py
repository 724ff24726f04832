"""A peak of memory is what was resident since it was asked to count, whatever came before."""

from pathlib import Path

import pytest
import torch

from benchmarks import _memory
from benchmarks._memory import STATUS, peak, refuse_without_peaks, start_of_peak
from src.utils.errors import UserError

linux = pytest.mark.skipif(not STATUS.exists(), reason="peaks are read from Linux's /proc")


@linux
def test_the_peak_counts_from_its_start_and_remembers_what_was_freed() -> None:
    before = bytearray(80 * 2**20)
    del before
    resident = start_of_peak()
    within = bytearray(40 * 2**20)
    del within
    assert 38 * 2**20 < peak() - resident < 60 * 2**20


@linux
def test_growth_into_memory_that_was_freed_before_is_seen() -> None:
    """Small blocks come from the heap, which keeps what is freed below the last one in use."""
    freed = [torch.ones(2**12) for _ in range(4_000)]
    last = freed.pop()
    del freed
    resident = start_of_peak()
    within = [torch.ones(2**12) for _ in range(4_000)]
    assert peak() - resident > 50 * 2**20
    assert len(within) and len(last)


def test_a_system_that_tells_no_peaks_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_memory, "STATUS", tmp_path / "status")
    with pytest.raises(UserError, match="run this benchmark there"):
        refuse_without_peaks()
