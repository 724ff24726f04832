"""The entry scripts are short, refuse the other's task and take the options that are documented."""

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.experiments import ROOT, determinism_restored, one_thread, run_cli

ENTRY_SCRIPTS = ["active_learning_classification.py", "active_learning_segmentation.py"]


@pytest.mark.parametrize("script", ENTRY_SCRIPTS)
def test_entry_scripts_are_short(script: str) -> None:
    assert len((ROOT / script).read_text().splitlines()) <= 40


def run_script(script: str, arguments: list[Any], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run an entry script as ``python script arguments``, in this process; its exit status."""
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    with pytest.raises(SystemExit) as exited, determinism_restored(), one_thread():
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert isinstance(exited.value.code, int)
    return exited.value.code


def test_segmentation_script_refuses_digits(
    digits_config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--config_path", digits_config, "--output_dir", digits_config.parent / "outputs"]
    assert run_script("active_learning_segmentation.py", arguments, monkeypatch) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {digits_config}:13: data.dataset: 'digits' is for classification")
    assert "active_learning_classification.py" in err
    assert not out
    assert not (digits_config.parent / "outputs").exists()


def test_segmentation_script_refuses_a_classifier(
    digits_config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--config_path", digits_config, "--check", "--set", "data.dataset=synthetic_streets"]
    arguments += ["--set", "data.nb_classes=null"]
    assert run_script("active_learning_segmentation.py", arguments, monkeypatch) == 2
    assert "'mlp' is a network for classification" in capsys.readouterr().err


def test_classification_script_runs_a_config(
    digits_config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--config_path", digits_config, "--output_dir", digits_config.parent / "outputs"]
    assert run_script("active_learning_classification.py", arguments, monkeypatch) == 0
    assert "plot" in capsys.readouterr().out


def test_help_names_every_documented_option() -> None:
    status, out, _ = run_cli("--help")
    assert status == 0
    for option in ("--config_path", "--set", "--run", "--check", "--overwrite", "--device"):
        assert option in out


def test_config_path_defaults_to_the_config_beside(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    digits_config.rename("config.yaml")
    status, out, _ = run_cli("--check")
    assert status == 0
    assert out.startswith("quick: the config is good")
