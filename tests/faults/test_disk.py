"""A disk that is full, read-only or broken ends in one message, costs no finished round, and once it is mended the same
command comes to the same records."""

import errno
import itertools
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.experiments import ROOT, Outcome, committed, environment, parts, results, run_cli, tree, unrendered
from tests.faults.disk import AFTER, BEFORE, Disk, Point

Command = tuple[str | Path, ...]


@pytest.fixture(autouse=True)
def drawn_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes most of the time; how its file is written is what matters."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", unrendered)


@pytest.fixture
def command(digits_config: Path) -> Callable[[Path], Command]:
    def of(outputs: Path) -> Command:
        return ("--config_path", digits_config, "--output_dir", outputs, "--set", "save_plot=true")

    return of


@pytest.fixture
def expected(command: Callable[[Path], Command], tmp_path: Path) -> dict[str, Any]:
    outputs = tmp_path / "expected"
    assert run_cli(*command(outputs)).status == 0
    return results(outputs, "quick")


def refused(outcome: Outcome, why: str, where: Path) -> None:
    """One message and nothing else."""
    assert outcome.status == 2, outcome
    (line,) = outcome.err.splitlines()
    assert line.startswith("error: ")
    assert f"({why})" in line
    assert str(where) in line
    assert "mend permissions" in line


def failing(error: int) -> Callable[[], None]:
    def fail() -> None:
        raise OSError(error, os.strerror(error), "some file")

    return fail


@pytest.mark.parametrize("error", [errno.EDQUOT, errno.EROFS, errno.EIO], ids=errno.errorcode.get)
def test_failures_one_after_the_other_cost_no_finished_round(
    error: int, command: Callable[[Path], Command], expected: dict[str, Any], tmp_path: Path
) -> None:
    """The n-th time, the n-th call fails, until the run is over before that."""
    outputs, run = tmp_path / "outputs", tmp_path / "outputs" / "quick" / "run_1"
    refusals = 0
    for number in itertools.count():
        before = committed(run)
        with Disk(outputs, Point(number, BEFORE), failing(error)).watching() as disk:
            outcome = run_cli(*command(outputs))
        if len(disk.calls) <= number:
            break
        assert committed(run) >= before
        if outcome.status:  # not every call is needed: a lock without a name locks too
            refused(outcome, os.strerror(error), outputs)
            refusals += 1
            assert not parts(outputs)
    assert outcome.status == 0
    assert refusals > 5
    assert results(outputs, "quick") == expected


def test_a_disk_that_fills_up_in_any_call_of_a_run_costs_no_finished_round(
    command: Callable[[Path], Command], tmp_path: Path
) -> None:
    """At every call that takes room, and half-way through every write."""
    two_rounds = ("--set", "training.iterations=2")
    with Disk(tmp_path / "whole").watching() as disk:
        assert run_cli(*command(tmp_path / "whole"), *two_rounds).status == 0
    whole, refusals = results(tmp_path / "whole", "quick"), 0
    for point in disk.points():
        kind, path = disk.calls[point.number]
        if kind == "replace" or point.place == AFTER:
            continue
        outputs = tmp_path / f"full_{point.number}_{point.place}"
        with Disk(outputs, point, failing(errno.ENOSPC)).watching():
            outcome = run_cli(*command(outputs), *two_rounds)
        if outcome.status:
            refused(outcome, "No space left on device", outputs)
            refusals += 1
            assert not parts(outputs)
            assert run_cli(*command(outputs), *two_rounds).status == 0
        assert results(outputs, "quick") == whole, f"{point.place} {kind} of {path}"
    assert refusals > 50


def test_a_file_size_limit_is_told(
    command: Callable[[Path], Command], expected: dict[str, Any], tmp_path: Path
) -> None:
    """The real thing: the system cuts the write short, and the next one fails."""
    outputs = tmp_path / "outputs"
    process = subprocess.run(
        [sys.executable, "active_learning_classification.py", *map(str, command(outputs))],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    outcome = Outcome(process.returncode, process.stdout, process.stderr)
    refused(outcome, "File too large", outputs / "quick" / "run_1" / "state.pt")
    assert not parts(outputs)
    assert run_cli(*command(outputs)).status == 0
    assert results(outputs, "quick") == expected


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """A file system of the test's own at tmp_path/disk; calling it mounts that anew with these options."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(*options: str) -> None:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(disk)],
            check=True,
            capture_output=True,
        )

    try:
        mount("size=40k")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting takes rights that are not there")
    try:
        yield lambda *options: mount("remount", *options)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_disk_that_is_full_and_then_read_only(
    small_disk: Callable[..., None],
    command: Callable[[Path], Command],
    expected: dict[str, Any],
    tmp_path: Path,
) -> None:
    outputs = tmp_path / "disk" / "outputs"
    refused(run_cli(*command(outputs)), "No space left on device", outputs)
    kept = committed(outputs / "quick" / "run_1")
    assert not parts(outputs)
    small_disk("ro")
    refused(run_cli(*command(outputs)), "Read-only file system", outputs)
    outcome = run_cli(*command(outputs), "--check")
    assert outcome.status == 0
    assert "refused" not in outcome.out
    small_disk("rw", "size=10m")
    outcome = run_cli(*command(outputs))
    assert outcome.status == 0, outcome.err
    assert f"round  {kept + 1}/3" in outcome.out
    assert results(outputs, "quick") == expected
    small_disk("ro")
    before = tree(outputs)
    refused(run_cli(*command(outputs)), "Read-only file system", outputs)
    refused(run_cli(*command(outputs), "--overwrite"), "Read-only file system", outputs)
    assert tree(outputs) == before
