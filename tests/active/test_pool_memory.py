"""Scoring a pool of street scenes takes no more memory for more of them. ``pool_memory`` says how it is measured.

Class probabilities kept of each scene would show here, by 90 MiB; a map of one number a pixel shows from hundreds of
scenes on, which take minutes: ``python -m tests.active.pool_memory`` with 50 and with 500.

The allocator gives every large tensor back at once here: what glibc keeps for reuse by default depends on the order of
frees so much that peaks of the same pool differ by a quarter from machine to machine.
"""

import subprocess
import sys

import pytest

from benchmarks._memory import STATUS
from tests.experiments import ROOT, environment

FEW, MANY = 3, 12


@pytest.mark.skipif(not STATUS.exists(), reason="peaks are read from Linux's /proc")
def test_peak_memory_does_not_grow_with_the_pool() -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.active.pool_memory", str(count)],
            cwd=ROOT,
            env=environment() | {"MALLOC_MMAP_THRESHOLD_": str(2**17)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for count in (FEW, MANY)
    ]
    few, many = (float(process.communicate()[0]) for process in processes)
    assert few > 100, "ten passes' log-probabilities of one scene alone are 95 MiB"
    assert many <= 1.1 * few
