"""An MNIST that is small enough to be written anew for every test."""

import struct
from pathlib import Path

import numpy as np
import pytest

from src.data.bundle import DatasetInfo
from src.data.mnist import STEMS, Mnist


@pytest.fixture
def small_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """An MNIST of twelve and five images below the path."""
    info = DatasetInfo("mnist", "classification", 10, 1, 28, 28, 12, 5, tuple("0123456789"))
    monkeypatch.setattr(Mnist, "info", info)
    rng = np.random.default_rng(0)
    content = {
        stem: rng.integers(0, 10, (count, 28, 28) if "images" in stem else count, dtype=np.uint8)
        for stem, count in zip(STEMS, (12, 12, 5, 5), strict=True)
    }
    content[STEMS[1]][:10] = Mnist.first_labels
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for stem, values in content.items():
        header = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
        (raw / stem).write_bytes(header + values.tobytes())
    return content
