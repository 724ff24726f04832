"""What a report cannot be made of is refused in one error that says what is wrong, and nothing is written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from src.analysis.report import main
from src.analysis.study_files import read_study
from src.utils.errors import UserError
from tests.analysis.made_up import write_experiment


def damage_rows(outputs: Path) -> None:
    (outputs / "made_hu" / "run_1" / "rounds.jsonl").write_text('{"round": 0, "lab')


def damage_metrics(outputs: Path) -> None:
    (outputs / "made_hu" / "run_1" / "rounds.jsonl").write_text('{"round": 0, "labelled": 20}\n')


def damage_queries(outputs: Path) -> None:
    (outputs / "made_hu" / "run_1" / "queries.npz").write_bytes(b"PK\x03\x04 nothing")


def damage_config(outputs: Path) -> None:
    (outputs / "made_hu" / "config.yaml").write_text("random_state: {")


def lose_seeds(outputs: Path) -> None:
    (outputs / "made_hu" / "config.yaml").write_text("random_state: [3]\n")


def mix_datasets(outputs: Path) -> None:
    write_experiment(outputs, "made_knn", dataset="cifar10")


def mix_measures(outputs: Path) -> None:
    write_experiment(outputs, "made_knn", dense=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_rows, "rounds.jsonl: line 1 is not JSON"),
        (damage_metrics, "no test metrics"),
        (damage_queries, "queries.npz: damaged"),
        (damage_config, "config.yaml: cannot read"),
        (lose_seeds, "random_state has no seed for run 2"),
        (mix_datasets, "made_random (mnist) and made_knn (cifar10) hold different datasets"),
        (mix_measures, "made_random (test accuracy) and made_knn (test mIoU and AUROC"),
    ],
)
def test_what_cannot_be_read_is_one_error(
    damage: Callable[[Path], None], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("made_random", "made_hu"):
        write_experiment(tmp_path, name)
    damage(tmp_path)
    assert main(["made_*", "--outputs", str(tmp_path), "--out", str(tmp_path / "report")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "report").exists()


def test_nothing_that_matches_is_an_error_that_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no experiment in .* matches 'nope_\*'.*--outputs"):
        read_study("nope_*", tmp_path)


def test_what_may_have_been_meant_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_experiment(tmp_path, "made_random", rounds=3)
    assert main(["made_randon", "--outputs", str(tmp_path)]) == 2
    assert "; near it: made_random; " in capsys.readouterr().err


def test_one_that_is_not_among_them_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("made_random", "made_hu"):
        write_experiment(tmp_path, name)
    arguments = ["made_*", "--outputs", str(tmp_path), "--out", str(tmp_path / "report"), "--against"]
    assert main([*arguments, "made_knn"]) == 2
    refused = "error: --against made_knn: is none of the experiments; choose of made_random, made_hu\n"
    assert capsys.readouterr().err == refused
    assert main([*arguments, "made_hu"]) == 0
    written = (tmp_path / "report" / "made" / "against_one_area_differences.csv").read_text()
    assert written.splitlines()[1].startswith("made_hu,made_random,")


def test_one_that_cannot_be_tested_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_experiment(tmp_path, "made_random")
    write_experiment(tmp_path, "made_hu", rounds=1)
    arguments = ["made_*", "--outputs", str(tmp_path), "--out", str(tmp_path / "report"), "--against"]
    assert main([*arguments, "made_hu"]) == 0
    assert "note: One against the others: made_hu has no two runs that are pairs" in capsys.readouterr().err


@pytest.mark.parametrize("levels", [["0", "80"], ["101"]])
def test_levels_that_are_no_percents_are_refused(levels: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["mnist_*", "--reach", *levels])
    assert exit_.value.code == 2
