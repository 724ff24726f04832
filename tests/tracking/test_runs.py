"""Whole runs that are tracked: what TensorBoard and Weights & Biases then have is what the records say, once."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tensorboard.summary.writer.record_writer import RecordWriter

from src.tracking import Tracked, choice
from tests.experiments import ROOT, Outcome, environment, results, run_cli
from tests.tracking.written import tensorboard_scalars, wandb_history

KEYS = ("tensorboard_logging", "wandb_logging")
PATIENCE = 300
"""Seconds after which a process hangs for certain, on however busy a machine."""
Scalars = dict[str, list[tuple[int, float]]]


def run(config: Path, outputs: Path, *keys: str, overrides: tuple[str, ...] = ()) -> Outcome:
    pairs = (*(f"{key}=true" for key in keys), *overrides)
    return run_cli(
        *("--config_path", config, "--output_dir", outputs, "--device", "cpu"),
        *(part for pair in pairs for part in ("--set", pair)),
    )


def written_rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]


def epoch_losses(rows: list[dict[str, Any]], part: str) -> list[tuple[int, float]]:
    """Of a network alone, whose rounds have two epochs."""
    return [
        (2 * row["round"] + epoch, loss)
        for row in rows
        for epoch, loss in enumerate(row["fit"][f"{part}_loss"][0], 1)
    ]


def as_in_records(scalars: Scalars) -> Scalars:
    """But for the seconds, which differ from run to run."""
    return {tag: points for tag, points in scalars.items() if not tag.startswith("seconds/")}


def stop_after(patch: pytest.MonkeyPatch, round_: int, epoch: int) -> None:
    """Stop as a second Ctrl-C does, after that epoch has been tracked."""
    tell = Tracked.epoch

    def stopping(self: Tracked, at: int, labelled: int, now: int, *losses: float) -> None:
        tell(self, at, labelled, now, *losses)
        if (at, now) == (round_, epoch):
            raise KeyboardInterrupt

    patch.setattr(Tracked, "epoch", stopping)


def test_tensorboard_has_every_epoch_and_round(digits_config: Path, tmp_path: Path) -> None:
    assert run(digits_config, tmp_path, "tensorboard_logging").status == 0
    folder = tmp_path / "quick" / "run_1"
    rows = written_rows(folder)
    rounds = tensorboard_scalars(folder / "tensorboard" / "rounds")
    for split in ("train", "val", "test"):
        for metric in ("accuracy", "loss", "nll", "ece"):
            assert rounds[f"{split}/{metric}"] == [
                (row["labelled"], pytest.approx(row[split][metric])) for row in rows
            ]
    assert rounds["seconds/fit"] == [(row["labelled"], pytest.approx(row["seconds"]["fit"])) for row in rows]
    epochs = tensorboard_scalars(folder / "tensorboard" / "epochs")
    for part in ("train", "val"):
        expected = epoch_losses(rows, part)
        assert [step for step, _ in expected] == [1, 2, 3, 4, 5, 6]
        assert epochs[f"epoch/{part}_loss"] == [(step, pytest.approx(loss)) for step, loss in expected]


def test_tensorboard_of_a_resumed_run_is_that_of_one_never_stopped(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(digits_config, tmp_path / "whole", "tensorboard_logging").status == 0
    with monkeypatch.context() as patch:
        stop_after(patch, round_=1, epoch=1)
        assert run(digits_config, tmp_path / "parts", "tensorboard_logging").status == 130
    for file in tmp_path.glob("parts/quick/run_1/tensorboard/*/*"):
        # Sessions are told apart by the second in which they began. No process starts twice in one, but a test does.
        *kind, second, rest = file.name.split(".", 4)
        file.rename(file.with_name(".".join([*kind, str(int(second) - 1), rest])))
    assert run(digits_config, tmp_path / "parts", "tensorboard_logging").status == 0
    for kind in ("rounds", "epochs"):
        ours, whole = (
            tensorboard_scalars(tmp_path / name / "quick" / "run_1" / "tensorboard" / kind)
            for name in ("parts", "whole")
        )
        assert as_in_records(ours) == as_in_records(whole)


def points(folder: Path) -> list[dict[str, Any]]:
    """What Weights & Biases has of a run, of all its sessions, which have one id."""
    known = (folder / "wandb" / "run_id.txt").read_text().strip()
    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda file: file.stat().st_mtime_ns)
    assert {file.name for file in files} == {f"run-{known}.wandb"}
    return [point for file in files for point in wandb_history(file)]


def test_wandb_has_every_epoch_and_round_offline(
    digits_config: Path, tmp_path: Path, wandb_offline: None
) -> None:
    outcome = run(digits_config, tmp_path, "wandb_logging")
    assert outcome.status == 0
    assert "wandb_logging" not in outcome.err
    folder = tmp_path / "quick" / "run_1"
    rows, found = written_rows(folder), points(folder)
    rounds = [point for point in found if "labelled" in point]
    assert [point["labelled"] for point in rounds] == [20, 30, 50]
    for point, row in zip(rounds, rows, strict=True):
        for split in ("train", "val", "test"):
            for metric in ("accuracy", "loss", "nll", "ece"):
                assert point[f"{split}/{metric}"] == pytest.approx(row[split][metric])
        assert {name for name in point if name.startswith("seconds/")} == {
            f"seconds/{phase}" for phase in row["seconds"]
        }
    for part in ("train", "val"):
        name = f"epoch/{part}_loss"
        losses = [(point["_step"], pytest.approx(point[name])) for point in found if name in point]
        assert losses == epoch_losses(rows, part)


def test_wandb_of_a_resumed_run_has_each_round_once(
    digits_config: Path, tmp_path: Path, wandb_offline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_after(patch, round_=1, epoch=1)
        assert run(digits_config, tmp_path, "wandb_logging").status == 130
    assert run(digits_config, tmp_path, "wandb_logging").status == 0
    found = points(tmp_path / "quick" / "run_1")
    assert [point["labelled"] for point in found if "labelled" in point] == [20, 30, 50]


def test_tracking_changes_no_record(digits_config: Path, tmp_path: Path, wandb_offline: None) -> None:
    assert run(digits_config, tmp_path / "tracked", *KEYS).status == 0
    assert run(digits_config, tmp_path / "alone").status == 0
    assert results(tmp_path / "tracked", "quick") == results(tmp_path / "alone", "quick")


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)  # TensorBoard's writer has died
def test_a_run_goes_on_where_tensorboard_cannot_write(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: RecordWriter, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    found = run(digits_config, tmp_path / "full", "tensorboard_logging")
    assert found.status == 0
    assert (
        found.err.count("note: tensorboard_logging: [Errno 28] No space left on device; the run goes on") == 1
    )
    assert run(digits_config, tmp_path / "alone").status == 0
    assert results(tmp_path / "full", "quick") == results(tmp_path / "alone", "quick")


def test_a_run_goes_on_where_wandb_has_no_account(
    digits_config: Path, tmp_path: Path, wandb_offline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = run(digits_config, tmp_path / "out", "wandb_logging", overrides=("wandb_mode=online",))
    assert found.status == 0
    assert found.err.count("note: wandb_logging: ") == 1
    assert "; the run goes on without" in found.err


def test_nobody_is_asked_on_a_terminal_who_they_are(digits_config: Path, tmp_path: Path) -> None:
    ours, its = os.openpty()
    script = ROOT / "active_learning_classification.py"
    overrides = ("wandb_logging=true", "wandb_mode=online", "training.iterations=1", "training.verbose=false")
    variables = environment() | {"HOME": str(tmp_path)}
    variables.pop("WANDB_API_KEY", None)
    found = subprocess.run(
        [sys.executable, script, "--config_path", digits_config, "--output_dir", tmp_path / "out"]
        + [part for override in overrides for part in ("--set", override)],
        stdin=its,
        stderr=its,
        stdout=subprocess.PIPE,
        env=variables,
        check=False,
        timeout=PATIENCE,
    )
    os.close(its)
    said = ""
    with suppress(OSError):  # at the end, on Linux
        while part := os.read(ours, 2**16):
            said += part.decode()
    os.close(ours)
    assert found.returncode == 0
    assert "note: wandb_logging: No API key configured" in said


def test_tensorboard_that_is_not_installed_is_an_error_before_anything_is_done(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda package: None)
    found = run(digits_config, tmp_path / "out", "tensorboard_logging")
    assert found.status == 2
    assert found.err.startswith(
        "error: --set tensorboard_logging: TensorBoard is not installed; `pip install"
    )
    assert not (tmp_path / "out").exists()
    check = run_cli("--config_path", digits_config, "--check", "--set", "tensorboard_logging=true")
    assert check.status == 0
    assert "refused: --set tensorboard_logging: TensorBoard is not installed" in check.out


def test_wandb_that_is_not_installed_is_a_note(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Configs have had its key before it did anything."""
    monkeypatch.setattr(choice, "find_spec", lambda package: None)
    found = run(digits_config, tmp_path, "wandb_logging")
    assert found.status == 0
    assert found.err.count("note: wandb_logging: wandb is not installed") == 1


def test_members_that_train_one_by_one_have_epochs_of_their_own(digits_config: Path, tmp_path: Path) -> None:
    overrides = ("training.scheduler=reduce_on_plateau", "model.ensemble=2", "training.iterations=2")
    assert run(digits_config, tmp_path, "tensorboard_logging", overrides=overrides).status == 0
    epochs = tensorboard_scalars(tmp_path / "quick" / "run_1" / "tensorboard" / "epochs")
    assert [step for step, _ in epochs["epoch/train_loss"]] == [1, 2, 3, 4, 5, 6, 7, 8]
