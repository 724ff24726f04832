"""Seconds by phase of a round. Only wall-clock time is measured here; nothing depends on it."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class PhaseTimer:
    """Adds up wall-clock seconds under names; on CUDA a phase ends when its kernels have."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what happens inside the ``with`` block."""
        start = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._seconds[name] += time.perf_counter() - start

    def take(self) -> dict[str, float]:
        """Seconds by phase since the last call, rounded to milliseconds."""
        seconds = {name: round(value, 3) for name, value in self._seconds.items()}
        self._seconds.clear()
        return seconds
