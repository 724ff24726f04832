"""Both pipelines of ``seg_epoch`` deliver the same scenes, and only one of them from image files every time."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import seg_epoch
from src.data import load_dataset
from src.utils.errors import UserError


@pytest.fixture(autouse=True)
def small_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenes of 64 × 128 pixels, and no worker processes."""
    for name, value in {"FULL": (64, 128), "RESIZED": (32, 64), "CROP": 24, "BATCH": 2, "WORKERS": 0}.items():
        monkeypatch.setattr(seg_epoch, name, value)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    seg_epoch.write_scenes(tmp_path, {"train": 3, "val": 3})
    return tmp_path


def test_the_cache_and_the_loader_deliver_the_same_pixels(scenes: Path) -> None:
    data = load_dataset(seg_epoch.config(scenes), "cpu")
    for part, source in (("train", data.train), ("val", data.test)):
        seg_epoch.refuse_disagreement(
            seg_epoch.cached_batches(source), seg_epoch.loader_batches(scenes, part)
        )


def test_training_batches_of_both_are_crops_of_every_scene(scenes: Path) -> None:
    data = load_dataset(seg_epoch.config(scenes), "cpu")
    for batches in (
        seg_epoch.cached_batches(data.train, torch.Generator().manual_seed(0)),
        seg_epoch.loader_batches(scenes, "train", torch.Generator().manual_seed(0)),
    ):
        shapes = [(tuple(inputs.shape), tuple(masks.shape)) for inputs, masks in batches]
        assert shapes == [((2, 3, 24, 24), (2, 24, 24)), ((1, 3, 24, 24), (1, 24, 24))]


@pytest.mark.parametrize("where", [0, 1])
def test_pixels_that_differ_are_refused(where: int) -> None:
    batch = torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64)
    other: list[Tensor] = [tensor.clone() for tensor in batch]
    other[where].flatten()[5] += 1
    seg_epoch.refuse_disagreement([batch], [batch])
    with pytest.raises(UserError, match="different pixels"):
        seg_epoch.refuse_disagreement([batch], [(other[0], other[1])])


def test_every_opened_png_is_counted_and_nothing_else(scenes: Path) -> None:
    opened = seg_epoch.OpenedImages()
    data = load_dataset(seg_epoch.config(scenes), "cpu")
    assert (filled := opened.count) == 12
    list(seg_epoch.cached_batches(data.train))
    (scenes / "notes.txt").write_text("no image")
    assert opened.count == filled
    list(seg_epoch.loader_batches(scenes, "val"))
    assert opened.count == filled + 6


def test_waiting_for_batches_is_timed_apart_and_training_lowers_the_loss(scenes: Path) -> None:
    data = load_dataset(seg_epoch.config(scenes), "cpu")
    network, opened = seg_epoch.small_network(), seg_epoch.OpenedImages()
    runs = [
        seg_epoch.epoch(
            "ours",
            network,
            seg_epoch.cached_batches(data.train, torch.Generator().manual_seed(number)),
            seg_epoch.cached_batches(data.test),
            opened,
        )
        for number in range(5)
    ]
    assert all(0 < run.data < run.total for run in runs)
    assert runs[-1].val_loss < runs[0].val_loss
    assert [run.decoded for run in runs] == [0] * 5


def test_the_last_line_is_the_ratio_and_no_epoch_of_ours_opens_an_image(
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        seg_epoch.main(["--train", "3", "--val", "2"])
    finally:
        torch.use_deterministic_algorithms(False)
    lines = capsys.readouterr().out.splitlines()
    last = re.fullmatch(r"seg_epoch: ours ([\d.]+) s, DataLoader ([\d.]+) s, ratio ([\d.]+)", lines[-1])
    assert last is not None
    opened = [line.split()[-1] for line in lines if line.startswith(("ours, epoch", "DataLoader, epoch"))]
    assert opened == ["0", "0", "10", "10"]  # without workers the peer's are seen too


@pytest.mark.parametrize("part", ["--train", "--val"])
def test_no_scenes_are_refused(part: str) -> None:
    with pytest.raises(SystemExit):
        seg_epoch.main([part, "0"])
