"""What analyses have written, read back by their tests."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(path: Path) -> np.ndarray:
    """Of a picture, in RGB: shape (rows, columns, 3)."""
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def numbers(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV, or of the one that lies beside a picture."""
    with path.with_suffix(".csv").open(newline="") as file:
        return list(csv.DictReader(file))
