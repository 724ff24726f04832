"""Both contestants search the same curve. Nothing is timed."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import greedy_search
from benchmarks.__main__ import main
from benchmarks.greedy_search import Curve, differences, draw, ours, peer, refuse_disagreement
from src.utils.errors import UserError


@pytest.mark.parametrize("reduction", list(greedy_search.REDUCTIONS))
def test_both_contestants_find_the_same_curve_with_fewer_samples_a_class_than_dimensions(
    reduction: str,
) -> None:
    samples = draw(24, 150, 300)  # 15 of each class
    mine, theirs = ours(samples, reduction), peer(samples, reduction)
    assert mine.dimensions == list(range(1, 25))
    assert theirs.dimensions == [1, 4, 7, 10, 12, 15, 18, 21, 24]
    assert max(differences(mine, theirs)) < 1e-6
    refuse_disagreement(mine, theirs)


def test_one_blas_thread_changes_nothing_but_the_time() -> None:
    samples = draw(8, 100, 100)
    usual, one = peer(samples, "mean"), greedy_search.peer_one_thread(samples, "mean")
    np.testing.assert_allclose(usual.discrepancy, one.discrepancy, rtol=1e-9)


def test_the_peers_time_covers_every_k(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where refitting at k takes k seconds, all k to D take D (D + 1) / 2."""
    clock = [0.0]
    monkeypatch.setattr(greedy_search.time, "perf_counter", lambda: clock[0])

    def refit(k: int, *_: object) -> tuple[float, float, float]:
        clock[0] += k
        return 0.0, 0.0, 0.0

    monkeypatch.setattr(greedy_search, "_refit", refit)
    assert peer(draw(40, 100, 100), "mean").seconds == pytest.approx(40 * 41 / 2)


@pytest.mark.parametrize("column", ["discrepancy", "train_log_likelihood", "val_log_likelihood"])
def test_another_curve_is_refused(column: str) -> None:
    curve = Curve([1, 2, 3], [3.0, 1.0, 2.0], [-1.0, -2.0, -3.0], [-2.0, -3.0, -4.0], 1.0)
    refuse_disagreement(curve, curve)
    values = getattr(curve, column)
    with pytest.raises(UserError, match="did not find the same curve"):
        refuse_disagreement(curve, replace(curve, **{column: [*values[:2], 1.0001 * values[2]]}))


def test_the_choice_is_compared_among_the_peers_dimensions_only() -> None:
    mine = Curve([1, 2, 3], [3.0, 1.0, 2.0], [-1.0] * 3, [-2.0] * 3, 1.0)
    theirs = Curve([1, 3], [3.0, 2.0], [-1.0] * 2, [-2.0] * 2, 1.0)
    assert (mine.chosen, theirs.chosen) == (2, 3)
    refuse_disagreement(mine, theirs)


def test_it_runs_from_the_command_line_and_ends_with_the_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["greedy_search", "--dims", "6", "12", "--train", "100", "--val", "100"]) == 0
    printed = capsys.readouterr().out
    assert "scikit-learn at k = 1, 2, 3, 4, 5, 6;" in printed
    assert printed.splitlines()[-1].startswith("greedy_search: ours ")


@pytest.mark.parametrize("dims", ["1", "100"])
def test_dimensions_that_the_samples_do_not_span_are_refused(dims: str) -> None:
    with pytest.raises(SystemExit):
        main(["greedy_search", "--dims", dims, "--train", "100"])
