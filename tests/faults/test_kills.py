"""A run that is killed anywhere, by SIGKILL, and run again has the records of one that never was."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experiments import ROOT, environment

KINDS = {
    "killed_once": ("mkdir", "open", "write", "replace", "link", "pwrite"),
    "killed_in_repair": ("open", "write", "replace"),
    "killed_in_removal": ("unlink",),
}
"""The calls that each scenario has to try, after them and of writes half-way. After one is before the next."""


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
def test_a_kill_at_any_change_of_the_disk_changes_no_record(scenario: str, tmp_path: Path) -> None:
    tried = killed(scenario, tmp_path)
    halves = {f"half-way {kind}" for kind in KINDS[scenario] if kind in ("write", "pwrite")}
    expected = {f"after {kind}" for kind in KINDS[scenario]} | halves
    assert expected <= tried.keys()
    assert all(tried[name] > 0 for name in expected)


def test_kills_of_what_resumes_change_no_record(tmp_path: Path) -> None:
    tried = killed("killed_again_and_again", tmp_path)
    assert sum(tried.values()) > 12
