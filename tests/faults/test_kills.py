"""A run that is killed anywhere, by SIGKILL, and run again has the records of one that never was."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiments import ROOT, environment

WRITING = ("mkdir", "open", "write", "fsync", "replace")
KINDS = {
    "killed_once": (*WRITING, "link", "ftruncate", "pwrite"),
    "killed_in_repair": ("open", "write", "fsync", "replace"),
    "killed_in_removal": ("unlink",),
}
"""The calls that each scenario has to try, before and after, and of writes half-way."""


def killed(scenario: str, folder: Path) -> dict[str, int]:
    """How many kills the scenario tried, by place and kind; all records were equal."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.faults.kills", folder, scenario],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    tried: dict[str, int] = json.loads(process.stdout)
    print(f"{scenario}: {sum(tried.values())} kills: {tried}")
    return tried


@pytest.mark.parametrize("scenario", KINDS)
def test_a_kill_at_any_call_that_changes_the_disk_changes_no_record(scenario: str, tmp_path: Path) -> None:
    tried = killed(scenario, tmp_path)
    halves = {f"half-way {kind}" for kind in KINDS[scenario] if kind in ("write", "pwrite")}
    expected = {f"{place} {kind}" for place in ("before", "after") for kind in KINDS[scenario]} | halves
    assert expected <= tried.keys()
    assert all(tried[name] > 0 for name in expected)


def test_kills_of_what_resumes_change_no_record(tmp_path: Path) -> None:
    tried = killed("killed_again_and_again", tmp_path)
    assert sum(tried.values()) > 12
