"""A run that is killed at any moment comes to the records of one that never was, and two processes never work on it at
once."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.experiments import ROOT, command, committed, environment, results, run_cli, settings, tree

LONG = """\
name: long
random_state: [3]
training:
  heuristic: precomputed
  ndata_to_label: 15
  iterations: 16
  initially_labelled: 20
  epochs: 12
  batch_size: 8
  verbose: false
model:
  name: MIR
  hidden_layers: [64, 64]
"""
"""Sixteen rounds of a good tenth of a second: long enough to be killed in the middle of any of them."""


@pytest.fixture(scope="module")
def long_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.yaml"
    path.write_text(LONG)
    return path


@pytest.fixture(scope="module")
def uninterrupted(long_config: Path) -> Path:
    """The outputs of LONG from one process that nothing disturbed."""
    outputs = long_config.parent / "uninterrupted"
    assert run_cli(*command(long_config, outputs)).status == 0
    return outputs


# Seconds after which a process hangs for certain, on however busy a machine.
PATIENCE = 600


def start(config: Path, outputs: Path) -> subprocess.Popen[str]:
    """The entry script as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "active_learning_classification.py", *map(str, command(config, outputs))],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that the process should bring about."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the process does not get on"
        time.sleep(0.002)


def works_on(run: Path, process: subprocess.Popen[str]) -> bool:
    lock = run / "lock"
    return lock.exists() and f"process {process.pid} " in lock.read_text()


def has_committed(run: Path, count: int) -> bool:
    return committed(run) >= count


def test_run_killed_again_and_again_equals_one_never_killed(
    long_config: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    """Four lives of one experiment, each ended by SIGKILL at a random moment, then one that comes to the end. A kill in
    every state of the disk is in ``tests/faults``."""
    moments = random.Random(20)
    run = tmp_path / "long" / "run_1"
    lines = (uninterrupted / "long" / "run_1" / "rounds.jsonl").read_text().splitlines()
    seconds = sum(sum(json.loads(line)["seconds"].values()) for line in lines) / len(lines)
    survived = []
    for _ in range(4):
        process = start(long_config, tmp_path)
        goal = committed(run) + moments.choice([0, 1])
        wait_until(partial(works_on, run, process), process)
        wait_until(partial(has_committed, run, goal), process)
        time.sleep(moments.uniform(0, 1.5 * seconds))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the run was over before it could be killed"
        survived.append(committed(run))
    assert survived == sorted(survived), "a finished round was lost"
    assert 0 < survived[-1] < len(lines), f"the kills were not spread over the run: {survived}"
    process = start(long_config, tmp_path)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    assert f"round {len(lines)}/{len(lines)}" in out
    assert results(tmp_path, "long") == results(uninterrupted, "long")


def test_second_process_is_refused_and_leaves_the_first_alone(
    long_config: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    run = tmp_path / "long" / "run_1"
    first = start(long_config, tmp_path)
    wait_until(partial(has_committed, run, 1), first)
    first.send_signal(signal.SIGSTOP)  # so that it is surely still at work
    try:
        before = tree(tmp_path)
        for options in ((), ("--run", "1"), ("--overwrite",), settings("save_plot=true")):
            status, _, err = run_cli(*command(long_config, tmp_path), *options)
            assert status == 2
            assert err.startswith(f"error: {run}: process {first.pid} on ")
            assert "is at work on this run; wait for it or stop it" in err
        status, _, err = run_cli(*command(long_config, tmp_path), *settings("training.epochs=5"))
        assert status == 2
        assert "training.epochs: 12 -> 5" in err
        assert {name: content for name, content in tree(tmp_path).items() if name in before} == before
    finally:
        first.send_signal(signal.SIGCONT)
    _, err = first.communicate(timeout=PATIENCE)
    assert first.returncode == 0, err
    assert results(tmp_path, "long") == results(uninterrupted, "long")


def test_lock_of_a_dead_process_is_no_hindrance(digits_config: Path, tmp_path: Path) -> None:
    lock = tmp_path / "outputs" / "quick" / "run_1" / "lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("process 1 on a machine long gone\n")
    assert run_cli(*command(digits_config, tmp_path / "outputs")).status == 0
