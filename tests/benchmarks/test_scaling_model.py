"""The whole runs, tiny, and refuses what says nothing. No time is asserted."""

import dataclasses
from pathlib import Path

import pytest
import torch

from benchmarks import _probes, scaling_model
from benchmarks.__main__ import main
from benchmarks._memory import STATUS
from benchmarks._probes import PROBES

pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="peaks are read from Linux's /proc")


def test_it_runs_from_the_command_line_and_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tiny = [
        dataclasses.replace(
            probe,
            sizes=(64, 80, 96),
            others=(min(probe.others[0], 40),),
            prepare=_probes._picks("batch_hu", 50) if probe.name == "batch HU knn" else probe.prepare,
        )
        for probe in PROBES
    ]
    monkeypatch.setattr(scaling_model, "PROBES", tiny)
    monkeypatch.setattr(tempfile := _probes.tempfile, "tempdir", str(tmp_path))
    threads = torch.get_num_threads()
    try:
        assert main(["scaling_model", "--device", "cpu", "--repeats", "1", "--workers", "1", "4"]) == 0
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    for words in ("| forward |", "1e10 on 4", "Assumed, not measured", "shares and two stages"):
        assert words in printed
    assert printed.splitlines()[-1].startswith("scaling_model: ours ")
    assert tempfile.gettempdir() == str(tmp_path)
    assert not list(tmp_path.rglob("*.u8"))  # torch may leave a folder for its own


@pytest.mark.parametrize(
    "wrong",
    [["--pools", "0"], ["--workers", "0"], ["--scale", "0"], ["--speedup", "inf"], ["--classes", "1"]],
)
def test_sizes_that_say_nothing_are_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["scaling_model", *wrong])
