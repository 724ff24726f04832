"""What a run says, on a terminal and in a log."""

import io
import re
import sys
from typing import Any

import pytest

from src.utils.console import RunConsole, coloured


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def row(round_: int, labelled: int, metric: str) -> dict[str, Any]:
    return {
        "round": round_,
        "labelled": labelled,
        "test": {metric: 0.5 + round_ / 8, "loss": 1.25},
        "seconds": {"fit": labelled / 10, "score": 1.0},
    }


def said(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], metric: str = "accuracy", **options: Any
) -> tuple[str, str]:
    """Standard output and standard error of two rounds of two epochs, after one of an earlier session."""
    out, err = stream(), stream()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    options = {"verbose": True, "labels": [10, 20, 40], "rows": [row(0, 10, metric)], "epochs": 2, **options}
    with RunConsole(1, 2, 3, 1, metric=metric, **options) as console:
        console._bar.mininterval = 0
        console.start("what it is")
        for round_, labelled in ((1, 20), (2, 40)):
            for epoch in (1, 2):
                console.epoch(round_, labelled, epoch, 0.75, 0.875)
            console.round(row(round_, labelled, metric))
    monkeypatch.undo()
    return out.getvalue(), err.getvalue()


def test_a_log_gets_a_plain_line_a_round_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = said(monkeypatch, io.StringIO)
    assert out.splitlines() == [
        "run 1/2  what it is; goes on with round 2",
        "run 1/2  round  2/3      20 labels  test accuracy 0.6250  loss 1.2500  3.0 s  about 5 s left",
        "run 1/2  round  3/3      40 labels  test accuracy 0.7500  loss 1.2500  5.0 s",
    ]
    assert err == ""


def test_a_terminal_gets_one_progress_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    out, err = said(monkeypatch, Terminal)
    assert "\033[1m0.6250\033[0m" in out
    assert re.search(
        r"run 1/2  round 2/3, 20 labels, epoch 1/2, about \d+ s left, accuracy 0\.5000, loss 0\.750 \(val 0\.875\)",
        err,
    )
    assert "round 3/3, 40 labels, epoch 2/2" in err
    assert "accuracy 0.6250" in err
    assert "\033[32m" in err
    assert "\n" not in err.rstrip("\n")


@pytest.mark.parametrize("options", [{"verbose": False}, {"quiet": True}])
def test_no_progress_line_where_none_is_wanted(
    options: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said(monkeypatch, Terminal, **options)[1] == ""


def test_no_colour_where_that_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    out, err = said(monkeypatch, Terminal)
    assert "\033[1m" not in out
    assert "\033[32m" not in err


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "0"}, False), ({"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_that_can(
    variables: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert coloured(Terminal()) == expected
    assert not coloured(io.StringIO())


def test_mean_iou_is_called_that(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = said(monkeypatch, Terminal, metric="miou")
    assert "test mean IoU" in out
    assert ", mean IoU 0.5000" in err
    assert "miou" not in out + err


def test_without_labels_and_epochs_nothing_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = said(monkeypatch, Terminal, labels=(), epochs=None)
    assert "left" not in out + err
    assert "epoch 2, " in err
