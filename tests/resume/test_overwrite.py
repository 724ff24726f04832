"""``--overwrite`` starts anew what it is asked to and spares all else, and nothing but it gives up a finished round."""

import shutil
from pathlib import Path

import pytest

from src.utils.files import exclusive
from tests.experiments import command, results, rows, run_cli, settings, tree
from tests.resume.crashes import Killed


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


def test_runs_without_their_config_are_not_taken_up(digits_config: Path, tmp_path: Path) -> None:
    """As an --overwrite that was killed in the middle of its removal could have left them."""
    outputs = tmp_path / "outputs"
    assert run_cli(*command(digits_config, outputs)).status == 0
    (outputs / "quick" / "config.yaml").unlink()
    outcome = run_cli(*command(digits_config, outputs, "training.epochs=3"))
    assert outcome.status == 2
    assert "has runs but no config.yaml" in outcome.err
