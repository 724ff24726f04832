"""A strict reader of idx files, the format of MNIST and its successors, raw or gzipped.
It reads one file whose shape is known beforehand; which files there are and what they mean is the dataset's affair."""

from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from src.data.files import bad_file, read_at_most

UNSIGNED_BYTE = 0x08
"""The third byte of the magic number: the type of the elements. The fourth is the number of dimensions."""


def read_idx(path: Path, shape: tuple[int, ...]) -> Tensor:
    """The uint8 tensor in an idx file, which must have exactly this shape; a name ending in .gz is decompressed.

    The format: two zero bytes, the element type, the number of dimensions, each dimension as a big-endian uint32,
    then the elements, the last dimension fastest (Y. LeCun, http://yann.lecun.com/exdb/mnist/).
    Raises UserError, naming the file and the remedy, where it cannot be read or holds anything else.
    """
    header_size = 4 + 4 * len(shape)
    expected_size = header_size + prod(shape)
    # One byte more than expected shows a file that goes on, however far, and makes gzip check its checksum.
    content = read_at_most(path, expected_size + 1)
    if not content:
        raise bad_file(path, "is empty")
    magic = bytes((0, 0, UNSIGNED_BYTE, len(shape)))
    if content[:4] != magic:
        raise bad_file(
            path, f"is not the idx file it is named as: it starts with {_hex(content[:4])}, not {_hex(magic)}"
        )
    if len(content) < header_size:
        raise bad_file(path, f"ends within its header: {len(content)} of {header_size} bytes")
    found = tuple(np.frombuffer(content, dtype=">u4", count=len(shape), offset=4).tolist())
    if found != shape:
        raise bad_file(path, f"holds {_times(found)} values where the dataset has {_times(shape)}")
    if len(content) < expected_size:
        raise bad_file(path, f"ends early: {len(content)} of {expected_size} bytes")
    if len(content) > expected_size:
        raise bad_file(path, f"goes on after its {expected_size} bytes")
    values = np.frombuffer(content, dtype=np.uint8, offset=header_size).reshape(shape)
    return torch.from_numpy(values.copy())


def _hex(content: bytes) -> str:
    return content.hex(" ") or "nothing"


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape)
