"""A crash in any write, Ctrl-C and a network that diverges cost no finished round: the same command goes on to the same
records."""

import os
from pathlib import Path
from typing import Any

import pytest

from tests.experiments import command, committed, parts, results, run_cli
from tests.resume.crashes import CrashingReplace, Killed

CRASHING = (
    "training.heuristic=bald",
    "model.mc_dropout=true",
    "model.mc_iterations=3",
    "training.save_scores=true",
)


@pytest.mark.parametrize("half_written", [True, False], ids=["before_the_move", "after_the_move"])
def test_crash_in_any_write_is_resumed_to_the_same_records(
    half_written: bool, digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(outputs: Path, crash_at: int) -> int:
        """Run until the crash, if any; the number of files replaced."""
        with monkeypatch.context() as patch:
            replace = CrashingReplace(crash_at, half_written)
            patch.setattr(os, "replace", replace)
            if crash_at:
                with pytest.raises(Killed):
                    run_cli(*command(digits_config, outputs, *CRASHING))
            else:
                assert run_cli(*command(digits_config, outputs, *CRASHING)).status == 0
            return replace.calls

    # The picture takes most of the time and has a test of its own.
    monkeypatch.setattr("src.cli.plot_learning_curve", lambda folder, metric: folder / "learning_curve.png")
    writes = run(tmp_path / "whole", 0)
    expected = results(tmp_path / "whole", "quick")
    assert writes >= 3 * 4, "three rounds of three files and the CSV"
    for crash_at in range(1, writes + 1):
        outputs = tmp_path / f"crash_{crash_at}"
        run(outputs, crash_at)
        run(outputs, 0)
        assert results(outputs, "quick") == expected, f"crash at write {crash_at}"
        assert not parts(outputs / "quick" / "run_1")


def test_interrupt_keeps_finished_rounds(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second round: status 130, no traceback, and the same command goes on."""
    from src.active import loop

    fit, calls = loop.Training.run, 0

    def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return fit(*arguments, **options)

    interrupted_outputs, whole = tmp_path / "interrupted", tmp_path / "whole"
    with monkeypatch.context() as patch:
        patch.setattr(loop.Training, "run", interrupted)
        outcome = run_cli(*command(digits_config, interrupted_outputs))
    assert outcome.status == 130
    assert "goes on from there" in outcome.err
    assert committed(interrupted_outputs / "quick" / "run_1") == 1
    outcome = run_cli(*command(digits_config, interrupted_outputs))
    assert outcome.status == 0
    assert "round  1/3" not in outcome.out
    assert run_cli(*command(digits_config, whole)).status == 0
    assert results(interrupted_outputs, "quick") == results(whole, "quick")


def test_divergence_in_a_later_round_keeps_the_earlier_ones(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from src.active import loop

    pool_view = loop.PoolView

    def diverging(*arguments: Any) -> Any:
        view = pool_view(*arguments)
        if len(view.candidates_N) < 1134:  # the pool has lost the first query
            view.model.requires_grad_(False)
            for parameter in view.model.parameters():
                parameter.fill_(float("nan"))
        return view

    with monkeypatch.context() as patch:
        patch.setattr(loop, "PoolView", diverging)
        status, _, err = run_cli(*command(digits_config, tmp_path / "outputs"))
    assert status == 2
    assert err.startswith("error: round 2 (seed 3): the scores of 1124 inputs became NaN")
    assert "dataset indices" in err
    assert committed(tmp_path / "outputs" / "quick" / "run_1") == 1
    assert run_cli(*command(digits_config, tmp_path / "outputs")).status == 0
    assert run_cli(*command(digits_config, tmp_path / "whole")).status == 0
    assert results(tmp_path / "outputs", "quick") == results(tmp_path / "whole", "quick")
