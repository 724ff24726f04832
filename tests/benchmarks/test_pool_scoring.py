"""The pool really streams from its file, and both contestants score the same rows alike. Nothing is timed."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import pool_scoring
from benchmarks.__main__ import main
from benchmarks._memory import STATUS
from benchmarks.pool_scoring import DIMS, FeatureFile, Measured, fitted_exponent, ours, peer
from src.utils.errors import UserError

pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="peaks are read from Linux's /proc")


@pytest.fixture(scope="module")
def pool_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pool") / "features.f32"
    pool_scoring.write_features(path, 300)
    return path


def test_the_source_reads_the_rows_that_it_is_asked_for(pool_file: Path) -> None:
    whole_N_D = np.fromfile(pool_file, dtype=np.float32).reshape(300, DIMS)
    source = FeatureFile(pool_file, 300)
    for first, after in ((0, 1), (299, 300), (17, 140), (0, 300)):
        read_B_D = source.inputs(torch.arange(first, after))
        np.testing.assert_array_equal(read_B_D.numpy(), whole_N_D[first:after])
    assert len(source.labels(torch.arange(300))) == 300


def test_a_file_that_ends_too_soon_is_refused(pool_file: Path) -> None:
    with pytest.raises(UserError, match="ends before row 301"):
        FeatureFile(pool_file, 301).inputs(torch.arange(250, 301))


@pytest.mark.parametrize("head", list(pool_scoring.LABELLED))
def test_both_contestants_score_rows_alike(head: str, pool_file: Path) -> None:
    mine, theirs = (measure(head, pool_file, 200) for measure in (ours, peer))
    assert len(mine.first_N) == len(theirs.first_N) == 200
    np.testing.assert_allclose(mine.first_N, theirs.first_N, rtol=1e-5)


def test_other_scores_are_refused() -> None:
    scores_N = np.array([3.0, 4.0])
    pool_scoring.refuse_disagreement("knn", scores_N, scores_N[:1])
    for wrong in (3.001, np.nan):
        with pytest.raises(UserError, match="scores differ"):
            pool_scoring.refuse_disagreement("knn", np.array([wrong, 4.0]), scores_N)


def test_a_fresh_process_is_another_one() -> None:
    assert pool_scoring.in_fresh_process(_process, "gmm", Path(), 0).growth != os.getpid()


@pytest.mark.parametrize("power", [1.0, 1.5])
def test_the_exponent_is_the_power_that_seconds_grow_with(power: float) -> None:
    rows = [100, 1_000, 5_000]
    assert fitted_exponent(rows, [3 * count**power for count in rows]) == pytest.approx(power)


def test_it_runs_from_the_command_line_and_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def here(measure: Callable[..., Measured], *arguments: object) -> Measured:
        return measure(*arguments)

    monkeypatch.setattr(pool_scoring, "in_fresh_process", here)  # that costs seconds a process
    monkeypatch.setattr(pool_scoring.tempfile, "tempdir", str(tmp_path))
    assert main(["pool_scoring", "--rows", "200", "400", "--peer-rows", "100"]) == 0
    printed = capsys.readouterr().out
    assert "knn: seconds grow as rows to the power of " in printed
    assert "scored 100 of them at once" in printed
    assert printed.splitlines()[-1].startswith("pool_scoring: ours ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rows", [["1000"], ["1000", "1000"], ["1", "1000"]])
def test_sizes_that_say_nothing_are_refused(rows: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["pool_scoring", "--rows", *rows])


def _process(head: str, path: Path, rows: int) -> Measured:
    """Not a measurement: the id of the process that it runs in, as growth."""
    return Measured(0.0, os.getpid(), np.empty(0))
