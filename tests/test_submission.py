"""Snapshots for a queue: immutable, whole, and refused where another config has the name."""

from pathlib import Path

import pytest

from src.config import load_config
from src.submission import main
from tests.experiments import run_cli, tree


def snapshot(
    config: Path, outputs: Path, *overrides: str, capsys: pytest.CaptureFixture[str]
) -> tuple[str, ...]:
    settings = [part for override in overrides for part in ("--set", override)]
    status = main([str(config), "--output_dir", str(outputs), *settings])
    said = capsys.readouterr()
    return (str(status), said.err) if status else tuple(said.out.strip().split("\t"))


def test_a_snapshot_is_the_config_with_its_overrides(
    digits_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, runs, path = snapshot(digits_config, tmp_path, "runs=2", "optimizer.lr=0.5", capsys=capsys)
    assert (name, runs) == ("quick", "2")
    assert load_config(Path(path)) == load_config(digits_config, ["runs=2", "optimizer.lr=0.5"])


def test_the_same_again_and_more_of_the_same_write_over_nothing(
    digits_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, first = snapshot(digits_config, tmp_path, capsys=capsys)
    assert snapshot(digits_config, tmp_path, capsys=capsys)[2] == first
    before = tree(tmp_path)
    longer = snapshot(digits_config, tmp_path, "runs=2", "training.iterations=4",
                      "training.ndata_to_label=[10, 20, 5]", capsys=capsys)[2]  # fmt: skip
    assert longer != first
    assert before.items() < tree(tmp_path).items()


def test_another_config_of_the_name_is_refused(
    digits_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot(digits_config, tmp_path / "queued", capsys=capsys)
    assert run_cli("--config_path", digits_config, "--output_dir", tmp_path / "run").status == 0
    for outputs in (tmp_path / "queued", tmp_path / "run"):
        before = tree(outputs)
        status, error = snapshot(digits_config, outputs, "training.epochs=3", capsys=capsys)
        assert status == "2" and "training.epochs: 2 -> 3" in error
        assert tree(outputs) == before


def test_one_bad_config_keeps_all_from_being_written(
    digits_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(digits_config.read_text().replace("name: quick", "name: bad").replace("digits", "digit"))
    outputs = tmp_path / "outputs"
    for configs in ([digits_config, bad], [digits_config, digits_config]):
        assert main([*map(str, configs), "--output_dir", str(outputs)]) == 2
    assert "several configs of one name" in capsys.readouterr().err
    assert not outputs.exists()
