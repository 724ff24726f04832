"""Data that is missing or cut off and outputs that cannot be written are told by their path; finished rounds stay."""

import errno
import gzip
import os
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import torchvision

from tests.bad_input.said import says
from tests.experiments import Outcome, command, parts, results, run_cli, settings, tree


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("no network here")

    monkeypatch.setattr(torchvision.datasets, "MNIST", refuse)


@pytest.mark.usefixtures("no_network")
def test_missing_data_that_cannot_be_downloaded_is_refused(
    refused: Callable[..., Outcome], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    outcome = refused(*settings("name=new", "data.dataset=mnist", f"data.path={tmp_path / 'data'}"))
    says(outcome, "data.path", "train-images-idx3-ubyte", "no network here", str(tmp_path / "data"))
    assert not tree(tmp_path / "data")


def test_truncated_gzip_is_refused(refused: Callable[..., Outcome], tmp_path: Path) -> None:
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            whole = gzip.compress(bytes((0, 0, 8, int(kind[-1]))) + os.urandom(1000))
            (raw / f"{part}-{kind}-ubyte.gz").write_bytes(whole[:-500])
    before = tree(raw)
    outcome = refused(*settings("name=new", "data.dataset=mnist", f"data.path={tmp_path / 'data'}"))
    says(outcome, str(raw / "train-images-idx3-ubyte.gz"), "cut off", "put a good copy in its place")
    assert tree(raw) == before


@pytest.mark.usefixtures("no_network")
def test_overwrite_with_missing_data_keeps_the_earlier_results(
    refused: Callable[..., Outcome], tmp_path: Path
) -> None:
    options = settings("data.dataset=mnist", f"data.path={tmp_path}")
    says(refused(*options, "--overwrite"), "data.path", "no network here")


def test_unwritable_output_is_refused(refused: Callable[..., Outcome], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    says(refused("--output_dir", file / "below"), str(file / "below"), "cannot write", "Not a directory")
    says(refused("--output_dir", file), str(file), "cannot write", "Not a directory")
    assert file.read_text() == "in the way"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_output_on_a_file_system_that_refuses_is_refused(refused: Callable[..., Outcome]) -> None:
    says(refused("--output_dir", "/proc/outputs"), "/proc/outputs", "cannot write")


def test_disk_that_fills_up_costs_no_finished_round(
    digits_config: Path, tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever write the disk fills up in, the run ends with a message, and goes on once there is room."""
    outputs = tmp_path / "outputs"
    fsync, writes = os.fsync, 0
    for full_at in range(1, 100):
        writes = 0

        def on_full_disk(descriptor: int, full_at: int = full_at) -> None:
            nonlocal writes
            writes += 1
            if writes == full_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", on_full_disk)
        outcome = run_cli(*command(digits_config, outputs))
        if outcome.status == 0:
            break
        assert outcome.status == 2
        says(outcome, "error: ", "cannot write (No space left on device)", str(outputs))
        assert not parts(outputs)
    assert full_at > 5, "the run never wrote, so nothing was tried"
    assert results(outputs, "quick") == results(finished, "quick")


def test_plot_that_cannot_be_written_is_refused(
    refused: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def on_full_disk(source: Path, target: Path) -> None:
        if Path(target).name == "learning_curve.png":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", on_full_disk)
    says(refused(), "learning_curve.png", "cannot write")
