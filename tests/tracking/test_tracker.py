"""What is passed on to trackers, and that one that fails costs a note."""

from collections.abc import Mapping
from typing import Any

import pytest

from src.tracking import Tracked

ROW = {
    "round": 1,
    "labelled": 30,
    "pool": 70,
    **{split: {"loss": 0.5, "accuracy": 0.75, "iou": [0.5, None], "auroc": None} for split in ("train", "val")},
    "test": {"loss": 0.25, "accuracy": 0.5},
    "fit": {"epochs": [4]},
    "class_balance": [15, 15],
    "density": {"dims": 3},
    "seconds": {"fit": 1.5, "score": 0.5},
}  # fmt: skip


class Kept:
    """A tracker in memory that fails from the ``failing``-th call on, which 0 is the start of."""

    def __init__(self, calls: list[Any], failing: int | None = None) -> None:
        self.calls, self.failing = calls, failing
        self._call("start")

    def _call(self, *call: Any) -> None:
        if self.failing is not None and len(self.calls) >= self.failing:
            self.calls.append("failed")
            raise OSError("the disk is full\nsays somebody")
        self.calls.append(call)

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        self._call(epoch, dict(values))

    def round(self, epoch: int, labelled: int, values: Mapping[str, float]) -> None:
        self._call(epoch, labelled, dict(values))

    def close(self, status: int) -> None:
        self._call("closed", status)


def test_numbers_come_under_their_names_at_their_places() -> None:
    calls: list[Any] = []
    with Tracked("key", lambda: Kept(calls), epochs=10) as tracked:
        tracked.epoch(0, 20, 1, 2.0, 3.0)
        tracked.epoch(1, 30, 4, 0.5, 1.0)
        tracked.round(ROW)
    assert calls == [
        ("start",),
        (1, {"epoch/train_loss": 2.0, "epoch/val_loss": 3.0}),
        (14, {"epoch/train_loss": 0.5, "epoch/val_loss": 1.0}),
        (
            20,
            30,
            {
                "pool": 70,
                **{"train/loss": 0.5, "train/accuracy": 0.75},
                **{"val/loss": 0.5, "val/accuracy": 0.75},
                **{"test/loss": 0.25, "test/accuracy": 0.5},
                **{"seconds/fit": 1.5, "seconds/score": 0.5},
            },
        ),
        ("closed", 0),
    ]


@pytest.mark.parametrize("failing", range(4))
def test_a_tracker_that_fails_is_told_once_and_left_alone(
    failing: int, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[Any] = []
    with Tracked("key", lambda: Kept(calls, failing), epochs=10) as tracked:
        for epoch in (1, 2):
            tracked.epoch(0, 20, epoch, 2.0, 3.0)
    assert calls.count("failed") == 1
    assert len(calls) == failing + 1
    assert capsys.readouterr() == ("", "note: key: the disk is full; the run goes on without\n")


def test_a_run_that_breaks_off_says_so() -> None:
    calls: list[Any] = []
    with pytest.raises(KeyboardInterrupt), Tracked("key", lambda: Kept(calls), epochs=10):
        raise KeyboardInterrupt
    assert calls[-1] == ("closed", 1)
