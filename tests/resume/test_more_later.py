"""A finished experiment stays as it is or grows: more rounds and more runs later equal as many from the start."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.experiments import METHODS, command, results, run_cli, tree
from tests.resume.crashes import CrashingReplace, Killed


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
