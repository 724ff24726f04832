"""Nothing goes by the clock: it may jump, between rounds and between sessions, and no record changes."""

import json
import os
import random
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.experiments import results, run_cli
from tests.faults.disk import BEFORE, Disk, Point

YEARS = 365 * 24 * 3600


class WildClock:
    """A clock that is set anew, decades back or ahead, whenever somebody looks."""

    def __init__(self) -> None:
        self.chance, self.looks = random.Random(1), 0

    def seconds(self) -> float:
        self.looks += 1
        return self.chance.uniform(1, 90 * YEARS)

    def now(self, zone: object) -> datetime:
        assert zone is UTC
        return datetime.fromtimestamp(self.seconds(), UTC)


def test_a_clock_that_jumps_changes_no_record(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("--config_path", digits_config, "--output_dir")
    assert run_cli(*command, tmp_path / "expected").status == 0
    outputs, clock = tmp_path / "outputs", WildClock()

    def interrupt() -> None:
        raise KeyboardInterrupt

    statuses = []
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", clock.seconds)
        patched.setattr(time, "time_ns", lambda: int(1e9 * clock.seconds()))
        patched.setattr("src.active.experiment.datetime", clock)
        for interruption in (Point(40, BEFORE), Point(60, BEFORE), None):
            with Disk(outputs, interruption, interrupt).watching():
                statuses.append(run_cli(*command, outputs).status)
            for path in outputs.rglob("*"):
                seconds = clock.seconds()
                os.utime(path, (seconds, seconds))
    assert statuses == [130, 130, 0]
    assert clock.looks > 3
    assert results(outputs, "quick") == results(tmp_path / "expected", "quick")
    lines = (outputs / "quick" / "run_1" / "rounds.jsonl").read_text().splitlines()
    took = [seconds for line in lines for seconds in json.loads(line)["seconds"].values()]
    assert all(0 <= seconds < 3600 for seconds in took)
