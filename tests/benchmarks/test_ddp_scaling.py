"""The benchmark of pool scoring by several processes compares the same work, on a pool small enough for a test."""

import re

import pytest

from benchmarks import ddp_scaling
from benchmarks.__main__ import main


def test_two_processes_score_what_one_scores(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--inputs", "20", "--turns", "1", "--repeats", "1"]
    assert main(["ddp_scaling", *small]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"ddp_scaling: ours \(2 processes\) [\d.]+ s, 1 process [\d.]+ s, ratio [\d.]+", last)


def test_other_scores_are_no_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.setattr(ddp_scaling, "_score", lambda count, *_: ([1.0], torch.tensor([1.0, count])))
    assert main(["ddp_scaling", "--turns", "1"]) == 2
    assert "a bug" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--inputs", "0"], ["--processes", "1"]])
def test_sizes_that_time_nothing_are_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["ddp_scaling", *wrong])
    assert exit_.value.code == 2
