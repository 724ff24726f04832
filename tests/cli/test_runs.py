"""Runs as their users meet them: from the shipped config to a table and a plot; what is shown on the way changes no
record."""

import csv
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from matplotlib.image import imread

from src import cli
from src.active.loop import run_rounds
from tests.experiments import FINAL_RUNS, ROOT, command, environment, results, rows, run_cli, settings_of


def test_shipped_config_runs_to_a_table_and_a_plot(tmp_path: Path) -> None:
    status, out, _ = run_cli("--config_path", ROOT / "config.yaml", "--output_dir", tmp_path)
    assert status == 0
    found = rows(tmp_path / "quickstart" / "run_1")
    assert [row["labelled"] for row in found] == list(range(20, 201, 20))

    title, *table = re.findall(r"^ *(?:round|\d+) +(?:labels|\d+)  .*$", out, re.MULTILINE)
    assert title.split()[:2] == ["round", "labels"]
    assert [line.split()[:2] for line in table] == [
        [str(row["round"] + 1), str(row["labelled"])] for row in found
    ]
    for line, row in zip(table, found, strict=True):
        shown = [f"{row[split]['accuracy']:.2%}" for split in ("train", "val", "test")]
        assert line.split()[2:5] == shown

    plot = Path(re.search(r"^plot +(.+)$", out, re.MULTILINE)[1])  # type: ignore[index]
    assert plot.is_relative_to(tmp_path)
    assert plot.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    picture = imread(plot)
    assert min(picture.shape[:2]) > 300
    assert picture.std() > 0.01, "the picture is blank"
    assert Path(re.search(r"^curves +(.+)$", out, re.MULTILINE)[1]).is_file()  # type: ignore[index]

    # A network that learns: far above chance at the end, and above its own start.
    accuracies = [row["test"]["accuracy"] for row in found]
    assert accuracies[-1] > 0.8
    assert accuracies[-1] > accuracies[0] + 0.1


@pytest.mark.parametrize("head", ["gmm", "gmm_seg"])
def test_greedy_search_is_drawn_beside_the_learning_curve(
    head: str, digits_config: Path, tmp_path: Path
) -> None:
    options = {
        "model.name": "MIR",
        "training.heuristic": "precomputed",
        "training.initially_balanced": "true",
        "model.mir_configs.density_model": head,
        "save_plot": "true",
    }
    pictures = {}
    for flag in ("true", "false"):
        options["model.mir_configs.greedy_search"] = flag
        status, out, err = run_cli(
            "--config_path", digits_config, "--output_dir", tmp_path / flag, *settings_of(options)
        )
        assert status == 0, err
        pictures[flag] = [Path(found) for found in re.findall(r"^plot +(.+)$", out, re.MULTILINE)]
    assert [path.name for path in pictures["true"]] == ["learning_curve.png", "dimension_search.png"]
    assert imread(pictures["true"][1]).std() > 0.01, "the picture is blank"
    assert [path.name for path in pictures["false"]] == ["learning_curve.png"]
    assert not list((tmp_path / "false").rglob("dimension_search.*"))
    with pictures["true"][1].with_suffix(".csv").open(newline="") as file:
        assert {row["labels"] for row in csv.DictReader(file)} == {"20", "30", "50"}


def test_labels_that_run_out_end_the_rounds_with_all_of_them_trained_on(
    digits_config: Path, tmp_path: Path
) -> None:
    overrides = ("training.ndata_to_label=500", "training.iterations=9", "training.epochs=1")
    assert run_cli(*command(digits_config, tmp_path, *overrides)).status == 0
    found = rows(tmp_path / "quick" / "run_1")
    assert [row["labelled"] for row in found] == [20, 520, 1020, 1154]
    assert [row["pool"] for row in found] == [1134, 634, 134, 0]
    assert sum(found[-1]["class_balance"]) == 1154


def test_wandb_logging_breaks_no_run(digits_config: Path, tmp_path: Path) -> None:
    for name, flag in (("with", "true"), ("without", "false")):
        options = ("--output_dir", tmp_path / name, "--set", f"wandb_logging={flag}")
        assert run_cli("--config_path", digits_config, *options).status == 0
    assert results(tmp_path / "with", "quick") == results(tmp_path / "without", "quick")


def test_save_plot_draws_the_curve_and_its_numbers_after_every_round(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def looking(*given: Any) -> Iterator[int]:
        for round_ in run_rounds(*given):
            yield round_
            # Here all that is done after a round has been done.
            with (tmp_path / "quick" / "learning_curve.csv").open(newline="") as file:
                seen.append([row["labels"] for row in csv.DictReader(file)])
            (tmp_path / "quick" / "learning_curve.png").unlink()

    monkeypatch.setattr(cli, "run_rounds", looking)
    options = ("--output_dir", tmp_path, "--set", "save_plot=true")
    assert run_cli("--config_path", digits_config, *options).status == 0
    assert seen == [["20"], ["20", "30"], ["20", "30", "50"]]


@pytest.mark.parametrize("arguments", [["--check"], ["--set", "training.iterations=1"]])
def test_a_reader_who_goes_away_ends_it_quietly(
    arguments: list[str], digits_config: Path, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    script = ROOT / "active_learning_classification.py"
    found = subprocess.run(
        [sys.executable, script, *command(digits_config, tmp_path), *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=environment() | {"PYTHONUNBUFFERED": ""},  # as it is by default: Python writes late
        check=False,
    )
    os.close(writing)
    assert (found.returncode, found.stderr) == (141, b"")


def test_verbose_changes_nothing(digits_config: Path, tmp_path: Path) -> None:
    outputs = {}
    for flag in ("true", "false"):
        options = ("--output_dir", tmp_path / flag, "--set", f"training.verbose={flag}")
        status, out, err = run_cli("--config_path", digits_config, *options)
        assert status == 0
        assert out.count("labels  test accuracy") == 3
        assert out.startswith(
            "run 1/1  digits: 1154 to train on, 288 for validation, 355 for testing; "
            "3 rounds from 20 to 50 labels, on cpu\n"
        )
        outputs[flag] = err
    # No terminal is there to show a bar on.
    assert outputs == {"true": "", "false": ""}
    assert results(tmp_path / "true", "quick") == results(tmp_path / "false", "quick")


@pytest.mark.parametrize(
    ("visible", "told"), [("0", True), ("GPU-1,GPU-2", True), ("", False), ("-1", False)]
)
def test_a_gpu_that_was_given_and_cannot_be_used_is_told(
    visible: str, told: bool, digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    status, out, err = run_cli("--config_path", digits_config, "--output_dir", tmp_path, "--check")
    assert status == 0 and "device     cpu" in out
    assert (f"CUDA_VISIBLE_DEVICES is {visible}, but torch" in err) == told
    assert told or not err


def test_provenance_names_code_versions_device_and_command(digits_config: Path, tmp_path: Path) -> None:
    assert run_cli("--config_path", digits_config, "--output_dir", tmp_path, "--device", "cpu").status == 0
    found = yaml.safe_load((tmp_path / "quick" / "provenance.json").read_text())
    assert found.keys() == {"time", "command", "git", "python", "packages", "device", "host"}
    assert found["git"].keys() == {"sha", "dirty"}
    assert found["device"]["type"] == "cpu"
    assert {"torch", "numpy"} <= found["packages"].keys()


def test_real_mnist_gets_through_a_round(real_mnist: Path, tmp_path: Path) -> None:
    config = FINAL_RUNS / "mnist_hu.yaml"
    quick = {"data.path": str(real_mnist), "runs": "1", "training.iterations": "2", "training.epochs": "2"}
    status, out, err = run_cli("--config_path", config, "--output_dir", tmp_path, *settings_of(quick))
    assert status == 0, err
    found = rows(tmp_path / "mnist_hu" / "run_1")
    assert [(row["labelled"], row["pool"]) for row in found] == [(100, 47_900), (200, 47_800)]
    assert found[0]["class_balance"] == [10] * 10
    assert "plot" in out


@pytest.mark.cuda
def test_shipped_config_runs_on_a_gpu(tmp_path: Path) -> None:
    for name in ("first", "second"):
        options = ("--output_dir", tmp_path / name, "--device", "cuda")
        status, _, err = run_cli("--config_path", ROOT / "config.yaml", *options)
        assert status == 0, err
    assert results(tmp_path / "first", "quickstart") == results(tmp_path / "second", "quickstart")
