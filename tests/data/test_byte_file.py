"""A file of bytes is whole or absent, replaces its own kind only, and is written by one at a time."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from src.data.byte_file import ByteFile, fingerprint
from tests.data.kept import kept


def file(folder: Path, content: str = "now", prefix: str = "small-") -> ByteFile:
    return ByteFile(folder, prefix, content, 5)


def five(handle: BinaryIO) -> None:
    handle.write(b"bytes")


def test_it_is_written_once_with_the_folder_and_has_to_be_whole(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "cache"
    assert not file(folder).exists()
    file(folder).fill(five)
    assert file(folder).exists() and file(folder).path.read_bytes() == b"bytes"
    file(folder).fill(lambda handle: pytest.fail("it is there"))
    file(folder).path.write_bytes(b"byte")
    assert not file(folder).exists()
    file(folder).fill(five)
    assert file(folder).exists()


def test_it_replaces_files_of_its_prefix_and_what_killed_writers_of_them_left(tmp_path: Path) -> None:
    others = [file(tmp_path, prefix="very-small-").path, tmp_path / ".very-small-now.u8.7.part"]
    for path in [*others, file(tmp_path, "before").path, tmp_path / ".small-before.u8.7.part"]:
        path.write_bytes(b"bytes")
    file(tmp_path).fill(five)
    assert kept(tmp_path) == sorted([*others, file(tmp_path).path])


def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    file(tmp_path, "before").fill(five)

    def fail(handle: BinaryIO) -> None:
        handle.write(b"by")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        file(tmp_path).fill(fail)
    assert kept(tmp_path) == [file(tmp_path, "before").path]


def test_a_second_writer_waits_for_the_first_and_takes_what_it_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun, release = threading.Event(), threading.Event()

    def slowly(handle: BinaryIO) -> None:
        begun.set()
        assert release.wait(60)
        five(handle)

    # A lock is one opening's of the file, not one process's: threads wait for each other as processes do.
    with ThreadPoolExecutor(2) as executor:
        first = executor.submit(file(tmp_path).fill, slowly)
        assert begun.wait(60)
        second = executor.submit(file(tmp_path).fill, lambda handle: pytest.fail("it is being written"))
        while "waiting for it" not in capsys.readouterr().err:
            assert not second.done()
        release.set()
        first.result()
        second.result()
    assert file(tmp_path).exists()


def test_a_fingerprint_is_of_places_sizes_times_and_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for path in (one, two):
        path.write_bytes(b"same")
        os.utime(path, ns=(0, 0))
    seen = [fingerprint(tmp_path, paths) for paths in ([one, two], [two, one], [one], [two])]
    one.write_bytes(b"longer")
    os.utime(one, ns=(0, 0))
    seen.append(fingerprint(tmp_path, [one, two]))
    os.utime(one, ns=(0, 1))
    seen.append(fingerprint(tmp_path, [one, two]))
    assert len(set(seen)) == len(seen)
    assert fingerprint(tmp_path.parent, [one, two]) != seen[-1] == fingerprint(tmp_path, [one, two])
