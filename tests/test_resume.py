"""The same config and seed give the same records, whatever happens on the way: kills, crashes, a second process."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from src.utils.files import exclusive
from tests.experiments import (
    METHODS,
    ROOT,
    command,
    committed,
    environment,
    parts,
    results,
    rows,
    run_cli,
    settings,
    tree,
)


@pytest.mark.parametrize("method", METHODS)
def test_same_config_and_seed_give_the_same_records(method: str, digits_config: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert run_cli(*command(digits_config, first, *METHODS[method])).status == 0
    # Nothing may come from global state.
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    assert run_cli(*command(digits_config, second, *METHODS[method])).status == 0
    assert results(first, "quick") == results(second, "quick")


def test_another_seed_gives_other_records(digits_config: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    assert run_cli(*command(digits_config, outputs, "runs=2")).status == 0
    found = results(outputs, "quick")
    assert found["run_1"]["rounds"] != found["run_2"]["rounds"]
    assert found["run_1"]["queries"] != found["run_2"]["queries"]


# ---- a process that is killed -------------------------------------------------------------------------------------

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


# ---- a crash in each write ----------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for SIGKILL: no handler of the program's own may catch it."""


class CrashingReplace:
    """os.replace, but the process dies around the n-th call (never, for n = 0): before it, with the new file half
    written, or right after it. No file may change but by being replaced."""

    def __init__(self, crash_at: int, half_written: bool) -> None:
        self.crash_at, self.half_written, self.calls = crash_at, half_written, 0
        self.replace, self.contents = os.replace, dict[Path, bytes]()

    def __call__(self, source: Path, target: Path) -> None:
        self.calls += 1
        assert target not in self.contents or target.read_bytes() == self.contents[target]
        self.contents[target] = Path(source).read_bytes()
        if self.calls == self.crash_at and self.half_written:
            if Path(source).stat().st_nlink == 1:  # a second name is never half written
                Path(source).write_bytes(Path(source).read_bytes()[: Path(source).stat().st_size // 2])
            raise Killed
        self.replace(source, target)
        if self.calls == self.crash_at:
            raise Killed


CRASHING = (
    "training.heuristic=bald",
    "model.mc_dropout=true",
    "model.mc_iterations=3",
    "training.save_scores=true",
)


@pytest.mark.parametrize("half_written", [True, False], ids=["before_the_move", "after_the_move"])
def test_crash_in_any_write_is_resumed_to_the_same_records(
    half_written: bool, digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(outputs: Path, crash_at: int) -> int:
        """Run until the crash, if any; the number of files replaced."""
        with monkeypatch.context() as patch:
            replace = CrashingReplace(crash_at, half_written)
            patch.setattr(os, "replace", replace)
            if crash_at:
                with pytest.raises(Killed):
                    run_cli(*command(digits_config, outputs, *CRASHING))
            else:
                assert run_cli(*command(digits_config, outputs, *CRASHING)).status == 0
            return replace.calls

    # The picture takes most of the time and has a test of its own.
    monkeypatch.setattr("src.cli.plot_learning_curve", lambda folder, metric: folder / "learning_curve.png")
    writes = run(tmp_path / "whole", 0)
    expected = results(tmp_path / "whole", "quick")
    assert writes >= 3 * 4, "three rounds of three files and the CSV"
    for crash_at in range(1, writes + 1):
        outputs = tmp_path / f"crash_{crash_at}"
        run(outputs, crash_at)
        run(outputs, 0)
        assert results(outputs, "quick") == expected, f"crash at write {crash_at}"
        assert not parts(outputs / "quick" / "run_1")


def test_interrupt_keeps_finished_rounds(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second round: status 130, no traceback, and the same command goes on."""
    from src.active import loop

    fit, calls = loop.Training.run, 0

    def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    interrupted_outputs, whole = tmp_path / "interrupted", tmp_path / "whole"
    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "run", interrupted)
        outcome = run_cli(*command(digits_config, interrupted_outputs))
    assert outcome.status == 130
    assert "goes on from there" in outcome.err
    assert committed(interrupted_outputs / "quick" / "run_1") == 1
    outcome = run_cli(*command(digits_config, interrupted_outputs))
    assert outcome.status == 0
    assert "round  1/3" not in outcome.out
    assert run_cli(*command(digits_config, whole)).status == 0
    assert results(interrupted_outputs, "quick") == results(whole, "quick")


def test_divergence_in_a_later_round_keeps_the_earlier_ones(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from src.active import loop

    pool_view = loop.PoolView

    def diverging(*arguments: Any) -> Any:
        view = pool_view(*arguments)
        if len(view.candidates_N) < 1134:  # the pool has lost the first query
            view.model.requires_grad_(False)
            for parameter in view.model.parameters():
                parameter.fill_(float("nan"))
        return view

    with monkeypatch.context() as patch:
        patch.setattr(loop, "PoolView", diverging)
        status, _, err = run_cli(*command(digits_config, tmp_path / "outputs"))
    assert status == 2
    assert err.startswith("error: round 2 (seed 3): the scores of 1124 inputs became NaN")
    assert "dataset indices" in err
    assert committed(tmp_path / "outputs" / "quick" / "run_1") == 1
    assert run_cli(*command(digits_config, tmp_path / "outputs")).status == 0
    assert run_cli(*command(digits_config, tmp_path / "whole")).status == 0
    assert results(tmp_path / "outputs", "quick") == results(tmp_path / "whole", "quick")


# ---- an experiment that is finished -------------------------------------------------------------------------------


def test_finished_experiment_says_so_and_changes_nothing(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = tmp_path / "outputs"
    assert run_cli(*command(digits_config, outputs)).status == 0
    before = tree(outputs)
    monkeypatch.setattr(sys, "argv", ["another", "command"])  # what provenance.json would tell of
    outcome = run_cli(*command(digits_config, outputs))
    assert outcome.status == 0
    assert "run 1/1 of quick is finished; --overwrite starts all runs anew" in outcome.out
    assert tree(outputs) == before


def test_finished_experiment_may_move_its_data_and_change_how_it_is_shown(
    digits_config: Path, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    assert run_cli(*command(digits_config, outputs)).status == 0
    before = results(outputs, "quick")
    changes = ("data.path=elsewhere", "training.verbose=true", "save_plot=true", "week=7")
    assert run_cli(*command(digits_config, outputs, *changes)).status == 0
    assert results(outputs, "quick") == before


def test_overwrite_starts_anew_and_spares_the_neighbours(digits_config: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    assert run_cli(*command(digits_config, outputs, "name=neighbour")).status == 0
    assert run_cli(*command(digits_config, outputs, "runs=2")).status == 0
    neighbour = {name: content for name, content in tree(outputs).items() if "neighbour" in name}
    outcome = run_cli(*command(digits_config, outputs, "training.epochs=3"), "--overwrite")
    assert outcome.status == 0
    assert "round  1/3" in outcome.out
    assert not (outputs / "quick" / "run_2").exists()
    assert [len(row["fit"]["train_loss"][0]) for row in rows(outputs / "quick" / "run_1")] == [3, 3, 3]
    assert {name: content for name, content in tree(outputs).items() if "neighbour" in name} == neighbour
    assert run_cli(*command(digits_config, tmp_path / "fresh", "training.epochs=3")).status == 0
    assert results(outputs, "quick") == results(tmp_path / "fresh", "quick")


def test_overwrite_of_one_run_spares_the_others(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is killed between removing the run and making it anew."""
    both = command(digits_config, tmp_path, "runs=2")
    assert run_cli(*both).status == 0
    expected, second = results(tmp_path, "quick"), tree(tmp_path / "quick" / "run_2")
    (tmp_path / "quick" / "run_1" / "mark").touch()

    def dying(path: Path, ignore_errors: bool = False) -> None:
        if path.exists():
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", dying)
        with pytest.raises(Killed):
            run_cli(*both, "--run", "1", "--overwrite")
    assert not (tmp_path / "quick" / "run_1").exists()
    header = (tmp_path / "final_runs" / "quick.csv").read_text().splitlines()[0].split(",")
    assert {name[-5:] for name in header[1:]} == {"_run2"}
    outcome = run_cli(*both, "--run", "1", "--overwrite")
    assert outcome.status == 0, outcome.err
    assert "round  1/3" in outcome.out
    assert not (tmp_path / "quick" / "run_1" / "mark").exists()
    assert tree(tmp_path / "quick" / "run_2") == second
    assert results(tmp_path, "quick") == expected


def test_overwrite_of_one_run_with_another_config_is_refused_where_others_have_rounds(
    digits_config: Path, tmp_path: Path
) -> None:
    assert run_cli(*command(digits_config, tmp_path, "runs=2")).status == 0
    before = tree(tmp_path)
    changed = command(digits_config, tmp_path, "runs=2", "training.epochs=3")
    status, _, err = run_cli(*changed, "--run", "1", "--overwrite")
    assert status == 2
    for words in ("--run 1 --overwrite: run 2 would be lost", "training.epochs: 2 -> 3", "without --run"):
        assert words in err
    assert tree(tmp_path) == before
    shutil.rmtree(tmp_path / "quick" / "run_2")
    assert run_cli(*changed, "--run", "1", "--overwrite").status == 0
    assert [len(row["fit"]["train_loss"][0]) for row in rows(tmp_path / "quick" / "run_1")] == [3, 3, 3]


def test_another_config_may_take_the_place_of_one_without_rounds(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    diverging = command(digits_config, tmp_path, "optimizer.lr=1.0e+30")
    assert run_cli(*diverging).status == 2
    assert (tmp_path / "quick" / "config.yaml").exists()
    changed = command(digits_config, tmp_path, "runs=2", "training.epochs=3")
    with exclusive(tmp_path / "quick" / "run_1" / "lock"):  # as a process in its first round holds it
        before = tree(tmp_path)
        status, _, err = run_cli(*changed, "--run", "2")
        assert status == 2
        assert "is at work on this run" in err
        assert tree(tmp_path) == before
    assert run_cli(*changed).status == 0
    assert run_cli(*command(digits_config, tmp_path / "fresh", "runs=2", "training.epochs=3")).status == 0
    assert results(tmp_path, "quick") == results(tmp_path / "fresh", "quick")


LONGER = ("training.iterations=4", "training.ndata_to_label=[10, 20, 5]")


@pytest.mark.parametrize("shorter", [2, 3])
def test_more_iterations_equal_as_many_from_the_start(
    shorter: int, digits_config: Path, tmp_path: Path
) -> None:
    extended, at_once = tmp_path / "extended", tmp_path / "at_once"
    scores = "training.save_scores=true"
    assert run_cli(*command(digits_config, extended, scores, f"training.iterations={shorter}")).status == 0
    outcome = run_cli(*command(digits_config, extended, scores, *LONGER))
    assert outcome.status == 0, outcome.err
    assert f"round  {shorter - 1}/4" not in outcome.out
    assert run_cli(*command(digits_config, at_once, scores, *LONGER)).status == 0
    assert results(extended, "quick") == results(at_once, "quick")
    assert "iterations: 4" in (extended / "quick" / "config.yaml").read_text()


def test_more_iterations_survive_a_crash_in_any_write(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.cli.plot_learning_curve", lambda folder, metric: folder / "learning_curve.png")
    assert run_cli(*command(digits_config, tmp_path / "short", "training.iterations=2")).status == 0
    assert run_cli(*command(digits_config, tmp_path / "whole", *LONGER)).status == 0
    for crash_at in range(1, 9):  # up to the files of the second round that is new
        outputs = Path(shutil.copytree(tmp_path / "short", tmp_path / f"crash_{crash_at}"))
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(os, "replace", CrashingReplace(crash_at, half_written=False))
            run_cli(*command(digits_config, outputs, *LONGER))
        assert run_cli(*command(digits_config, outputs, *LONGER)).status == 0
        assert results(outputs, "quick") == results(tmp_path / "whole", "quick"), f"crash at {crash_at}"


@pytest.mark.parametrize(
    "change", [("training.iterations=2",), ("training.iterations=4", "training.ndata_to_label=[10, 21, 5]")]
)
def test_other_rounds_than_those_that_are_there_are_refused(
    change: tuple[str, ...], digits_config: Path, tmp_path: Path
) -> None:
    assert run_cli(*command(digits_config, tmp_path)).status == 0
    status, _, err = run_cli(*command(digits_config, tmp_path, *change))
    assert status == 2
    assert "training.iterations: 3 -> " in err


def test_more_runs_go_on_from_those_that_are_there(digits_config: Path, tmp_path: Path) -> None:
    extended, at_once = tmp_path / "extended", tmp_path / "at_once"
    assert run_cli(*command(digits_config, extended, "random_state=[3]")).status == 0
    first = tree(extended / "quick" / "run_1")
    outcome = run_cli(*command(digits_config, extended, "runs=2"))
    assert outcome.status == 0
    assert "run 1/2 of quick is finished" in outcome.out
    assert tree(extended / "quick" / "run_1") == first
    assert "runs: 2" in (extended / "quick" / "config.yaml").read_text()
    assert run_cli(*command(digits_config, at_once, "runs=2")).status == 0
    assert results(extended, "quick") == results(at_once, "quick")


# ---- the wide CSV -------------------------------------------------------------------------------------------------


def test_wide_csv_has_the_documented_columns_and_the_records_values(
    digits_config: Path, tmp_path: Path
) -> None:
    assert run_cli(*command(digits_config, tmp_path, "runs=2")).status == 0
    with (tmp_path / "final_runs" / "quick.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == [
        "samples",
        *("test_accuracy_run1", "test_losses_run1", "train_accuracy_run1"),
        *("train_losses_run1", "val_accuracy_run1", "val_losses_run1"),
        *("test_accuracy_run2", "test_losses_run2", "train_accuracy_run2"),
        *("train_losses_run2", "val_accuracy_run2", "val_losses_run2"),
    ]
    runs = [rows(tmp_path / "quick" / f"run_{run}") for run in (1, 2)]
    expected = [
        [
            runs[0][number]["labelled"],
            *(
                run[number][split][metric]
                for run in runs
                for split in ("test", "train", "val")
                for metric in ("accuracy", "loss")
            ),
        ]
        for number in range(3)
    ]
    assert [[float(cell) for cell in line] for line in lines] == expected
    assert [line[0] for line in lines] == ["20", "30", "50"]


def test_runs_made_one_by_one_in_any_order_merge_in_the_csv(digits_config: Path, tmp_path: Path) -> None:
    apart, together = tmp_path / "apart", tmp_path / "together"
    assert run_cli(*command(digits_config, apart, "runs=2"), "--run", "2").status == 0
    assert not (apart / "quick" / "run_1").exists()
    header = (apart / "final_runs" / "quick.csv").read_text().splitlines()[0].split(",")
    assert {name[-5:] for name in header[1:]} == {"_run2"}
    assert run_cli(*command(digits_config, apart, "runs=2"), "--run", "1").status == 0
    assert run_cli(*command(digits_config, together, "runs=2")).status == 0
    assert results(apart, "quick") == results(together, "quick")


def test_copy_of_a_run_in_the_folder_is_left_out(digits_config: Path, tmp_path: Path) -> None:
    assert run_cli(*command(digits_config, tmp_path)).status == 0
    before = tree(tmp_path)
    shutil.copytree(tmp_path / "quick" / "run_1", tmp_path / "quick" / "run_1_backup")
    assert run_cli(*command(digits_config, tmp_path)).status == 0
    assert {name: content for name, content in tree(tmp_path).items() if "backup" not in name} == before


def test_save_df_false_writes_no_csv(digits_config: Path, tmp_path: Path) -> None:
    outcome = run_cli(*command(digits_config, tmp_path, "save_df=false"))
    assert outcome.status == 0
    assert not (tmp_path / "final_runs").exists()
    assert ".csv" not in outcome.out


def test_labels_that_run_out_end_the_rounds_with_all_of_them_trained_on(
    digits_config: Path, tmp_path: Path
) -> None:
    overrides = ("training.ndata_to_label=500", "training.iterations=9", "training.epochs=1")
    assert run_cli(*command(digits_config, tmp_path, *overrides)).status == 0
    found = rows(tmp_path / "quick" / "run_1")
    assert [row["labelled"] for row in found] == [20, 520, 1020, 1154]
    assert [row["pool"] for row in found] == [1134, 634, 134, 0]
    assert sum(found[-1]["class_balance"]) == 1154


def test_overwrite_with_a_start_that_cannot_be_had_keeps_the_earlier_results(
    digits_config: Path, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    assert run_cli(*command(digits_config, outputs)).status == 0
    before = tree(outputs)
    too_many = settings("training.initially_labelled=1150", "training.initially_balanced=true")
    outcome = run_cli(*command(digits_config, outputs), *too_many, "--overwrite")
    assert outcome.status == 2
    assert "training.initially_balanced needs" in outcome.err
    assert tree(outputs) == before


def test_runs_without_their_config_are_not_taken_up(digits_config: Path, tmp_path: Path) -> None:
    """As an --overwrite that was killed in the middle of its removal could have left them."""
    outputs = tmp_path / "outputs"
    assert run_cli(*command(digits_config, outputs)).status == 0
    (outputs / "quick" / "config.yaml").unlink()
    outcome = run_cli(*command(digits_config, outputs, "training.epochs=3"))
    assert outcome.status == 2
    assert "has runs but no config.yaml" in outcome.err


def test_fewer_runs_keep_the_others_columns(digits_config: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    assert run_cli(*command(digits_config, outputs, "runs=2", "random_state=[3, 4]")).status == 0
    table = outputs / "final_runs" / "quick.csv"
    before = table.read_bytes()
    assert run_cli(*command(digits_config, outputs, "runs=1", "random_state=[3, 4]")).status == 0
    assert table.read_bytes() == before


def test_an_experiment_from_before_a_key_existed_goes_on_with_its_default(
    digits_config: Path, tmp_path: Path
) -> None:
    greedy = METHODS["hu_greedy"]
    assert run_cli(*command(digits_config, tmp_path, *greedy)).status == 0
    resolved = tmp_path / "quick" / "config.yaml"
    kept = [line for line in resolved.read_text().splitlines() if "covariance" not in line]
    assert len(kept) == len(resolved.read_text().splitlines()) - 1
    resolved.write_text("\n".join(kept))
    assert run_cli(*command(digits_config, tmp_path, *greedy)).status == 0
    status, _, err = run_cli(*command(digits_config, tmp_path, *greedy, "model.mir_configs.covariance=tied"))
    assert status == 2
    assert "covariance" in err
