"""A file is read exactly or refused by one error that names it, and is never changed."""

import gzip
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from src.data.idx import read_idx
from src.utils.errors import UserError

VALUES = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
RAW_OR_GZ = pytest.mark.parametrize("name", ["images", "images.gz"])


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def write(path: Path, content: bytes) -> Path:
    """Written gzipped where the name ends in .gz."""
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


@RAW_OR_GZ
@settings(max_examples=20, deadline=None)
@given(
    values=arrays(np.uint8, array_shapes(min_dims=1, max_dims=4, max_side=5), elements=st.integers(0, 255))
)
def test_what_was_written_is_read_back(
    name: str, values: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = write(tmp_path_factory.mktemp("idx") / name, idx(values))
    assert np.array_equal(read_idx(path, values.shape).numpy(), values)


@RAW_OR_GZ
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (idx(VALUES)[:3], "starts with 00 00 08, not 00 00 08 03"),
        (b"<!DOCTYPE html>" * 9, "is not the idx file it is named as: it starts with 3c 21 44 4f"),
        (b"\0\0\x0d\x03" + idx(VALUES)[4:], "starts with 00 00 0d 03, not 00 00 08 03"),
        (idx(VALUES.reshape(12, 2)), "starts with 00 00 08 02, not 00 00 08 03"),
        (idx(VALUES)[:15], "ends within its header: 15 of 16 bytes"),
        (idx(VALUES[:3]), "holds 3×3×2 values where the dataset has 4×3×2"),
        (idx(VALUES.reshape(4, 2, 3)), "holds 4×2×3 values"),
        (idx(VALUES)[:-1], "ends early: 39 of 40 bytes"),
        (idx(VALUES) + b"\0", "goes on after its 40 bytes"),
    ],
    ids=[
        "empty",
        "3 bytes",
        "web page",
        "floats",
        "2 dims",
        "cut header",
        "fewer",
        "transposed",
        "short",
        "long",
    ],
)
def test_content_that_is_not_the_file_is_refused(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    refuses_and_leaves(write(tmp_path / name, content), message)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda whole: whole[:-3], "is cut off: its gzip stream ends early"),
        (lambda whole: whole[:20], "is cut off: its gzip stream ends early"),
        (lambda whole: whole[:5], "is cut off: its gzip stream ends early"),
        (lambda whole: b"", "is empty"),
        (lambda whole: b"not gzip at all", "is not a sound gzip file"),
        (lambda whole: whole[:12] + bytes([whole[12] ^ 0xFF]) + whole[13:], "is not a sound gzip file"),
        (lambda whole: whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:], "is not a sound gzip file"),
        (lambda whole: whole + b"trailing bytes", "is not a sound gzip file"),
    ],
    ids=[
        "cut at end",
        "cut within",
        "cut header",
        "empty",
        "other format",
        "bad stream",
        "bad checksum",
        "trailing",
    ],
)
def test_a_damaged_gzip_file_is_refused(
    spoil: Callable[[bytes], bytes], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(spoil(gzip.compress(idx(VALUES), mtime=0)))
    refuses_and_leaves(path, message)


@RAW_OR_GZ
def test_a_directory_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.mkdir()
    with pytest.raises(UserError, match=f"{re.escape(str(path))} cannot be read .*must be a regular file"):
        read_idx(path, VALUES.shape)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
@RAW_OR_GZ
def test_a_file_without_permission_is_refused(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, idx(VALUES))
    path.chmod(0)
    with pytest.raises(UserError, match=f"{re.escape(str(path))} cannot be read .*ermission"):
        read_idx(path, VALUES.shape)


@RAW_OR_GZ
def test_a_dangling_link_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.symlink_to(tmp_path / "gone")
    with pytest.raises(UserError, match=f"{re.escape(str(path))} cannot be read"):
        read_idx(path, VALUES.shape)


def refuses_and_leaves(path: Path, message: str) -> None:
    before = path.read_bytes()
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read_idx(path, VALUES.shape)
    assert str(caught.value).startswith(f"{path} ")
    assert "put a good copy in its place, or delete it" in str(caught.value)
    assert path.read_bytes() == before
