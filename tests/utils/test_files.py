import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from src.utils.errors import UserError
from src.utils.files import exclusive, keep_as, remove_leftovers, replacing, write_atomically


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"first")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert os.listdir(path.parent) == ["file"]


def test_a_buffer_of_any_shape_is_written_byte_by_byte(tmp_path: Path) -> None:
    values = np.arange(2 * 3 * 4, dtype=np.uint16).reshape(2, 3, 4)
    write_atomically(tmp_path / "file", values.data)
    assert (tmp_path / "file").read_bytes() == values.tobytes()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"first")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(UserError, match=r"file: cannot write \(No space left on device\)"):
        write_atomically(path, b"second")
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
def test_whatever_ends_the_writing_early_leaves_the_old_file(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"first")
    with pytest.raises(interruption), replacing(path) as file:
        file.write(b"half of the sec")
        raise interruption
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["file"]


def test_a_lock_is_refused_while_held_and_free_afterwards(tmp_path: Path) -> None:
    lock = tmp_path / "run_1" / "lock"
    with (
        exclusive(lock),
        pytest.raises(UserError, match=f"process {os.getpid()} on .* is at work"),
        exclusive(lock),
    ):
        pass
    with exclusive(lock):
        pass


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    holder = "import os; from pathlib import Path; from src.utils.files import exclusive\n"
    holder += f"with exclusive(Path({str(lock)!r})): os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", holder], check=False).returncode == -9
    assert lock.exists()
    with exclusive(lock):
        pass


def test_a_lock_says_who_holds_it_and_how_to_be_rid_of_a_lost_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "run_1" / "lock"
    with exclusive(lock):
        with pytest.raises(UserError) as here, exclusive(lock):
            pass
        # Over a network a lock may outlive its host, and the name in it is all that is known.
        lock.write_text("process 7 on a_host_long_gone\n")
        with pytest.raises(UserError) as lost, exclusive(lock):
            pass
    assert str(here.value).endswith("is at work on this run; wait for it or stop it")
    assert str(lost.value) == (
        f"{lock.parent}: process 7 on a_host_long_gone is at work on this run; wait for it or stop it. "
        f"Only if it is surely dead, as on a host that was lost, remove {lock} and run again"
    )


def test_a_removed_lock_is_free_though_its_file_is_still_held(tmp_path: Path) -> None:
    """What the message above advises."""
    lock = tmp_path / "lock"
    with exclusive(lock):
        lock.unlink()
        with exclusive(lock):
            pass


def test_what_is_kept_stays_when_the_file_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, kept = tmp_path / "file", tmp_path / "previous" / "file"
    for content in (b"first", b"second", b"third"):
        write_atomically(path, content)
        keep_as(path, kept)
        keep_as(path, kept)  # as after a crash before the file was replaced
        write_atomically(path, b"next")
        assert kept.read_bytes() == content

    def unknown(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", unknown)
    keep_as(path, kept)
    assert kept.read_bytes() == b"next"
    assert sorted(os.listdir(tmp_path)) == ["file", "previous"]
    assert os.listdir(tmp_path / "previous") == ["file"]


def test_leftovers_of_dead_processes_of_this_host_are_removed(tmp_path: Path) -> None:
    host, dead = os.uname().nodename, subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    living = [f".a.csv.{host}.{os.getpid()}.part", f".a.csv.another_{host}.{dead.pid}.part", "a.csv"]
    for name in (*living, f".a.csv.{host}.{dead.pid}.part"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(living)


def test_the_longest_names_can_be_written_on_a_host_of_the_longest_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = os.uname()
    host = os.uname_result((named.sysname, "h" * 63, named.release, named.version, named.machine))
    monkeypatch.setattr(os, "uname", lambda: host)
    write_atomically(tmp_path / f"{'n' * 200}.csv", b"whole")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"whole"]
