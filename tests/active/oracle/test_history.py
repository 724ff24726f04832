"""Labels that a person has given are kept beside the images, whatever happens, and are not asked for again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import DEVNULL

import numpy as np
import pytest

from src.data import given_labels
from tests.active.oracle.person import Experiment, experiment, true_class, without_classes
from tests.experiments import ROOT, committed, environment, results, tree


def test_labels_that_someone_has_already_are_taken_and_the_last_of_a_path_counts(waiting: Experiment) -> None:
    """A history of another make is continued in its own columns."""
    rows = waiting.asked()
    first, others = rows[0]["path"], rows[1:]
    waiting.labels.write_text(f"label,path\nbee,{first}\ncow,{first}\n{true_class(first)},{first}")
    assert waiting.run().status == 0
    assert [row["path"] for row in waiting.asked()] == [row["path"] for row in others]
    waiting.answer()
    assert waiting.run().status == 0
    lines = waiting.labels.read_text().splitlines()
    assert lines[3] == f"{true_class(first)},{first}"
    assert lines[4:] == [f"{true_class(row['path'])},{row['path']}" for row in others]


def test_a_damaged_history_is_told_by_its_line(waiting: Experiment) -> None:
    waiting.answer()
    path = waiting.asked()[0]["path"]
    waiting.labels.write_text(f"path,label\nelsewhere.png,zebra\n{path},aunt\n")
    outcome = waiting.run()
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: {waiting.labels}:3: label 'aunt' is no class of 0 ant")


def test_an_answer_that_contradicts_the_history_is_refused(waiting: Experiment) -> None:
    waiting.answer(lambda name: "ant")
    path = waiting.asked()[0]["path"]
    waiting.labels.write_text(f"path,label\n{path},cow\n")
    outcome = waiting.run()
    assert outcome.status == 2
    assert f"{waiting.labels} has 'cow' for index" in outcome.err


def test_killed_after_the_labels_are_kept_nothing_is_asked_again(
    waiting: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting.answer()
    filled = waiting.to_label.read_bytes()
    keep = given_labels.GivenLabels.keep

    def killed(*arguments: object, **more: object) -> None:
        keep(*arguments, **more)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(given_labels.GivenLabels, "keep", killed)
        assert waiting.run().status == 130
    assert waiting.to_label.read_bytes() == filled
    kept = waiting.labels.read_bytes()
    assert waiting.run().status == 0
    assert waiting.labels.read_bytes() == kept
    assert len(waiting.asked()) == 4


def test_overwrite_keeps_what_a_person_has_told(waiting: Experiment) -> None:
    waiting.answer()
    before = tree(waiting.outputs)
    for more in ([], ["--run", "1"]):
        outcome = waiting.run("--overwrite", *more)
        assert outcome.status == 2
        assert f"{waiting.to_label}: has labels that --overwrite would lose" in outcome.err
    assert tree(waiting.outputs) == before
    assert waiting.run().status == 0
    # Taken up, they are beside the images, and a new start asks for none of them.
    assert waiting.run("--overwrite").status == 0
    assert len(waiting.asked()) == 4


def test_images_that_cannot_be_written_beside_cost_no_label(
    waiting: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting.answer()
    filled = waiting.to_label.read_bytes()
    (waiting.images / ".labels.lock").mkdir()
    outcome = waiting.run()
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: {waiting.labels}: cannot write (")
    assert waiting.to_label.read_bytes() == filled


def test_killed_at_any_moment_it_comes_to_the_same(tmp_path: Path) -> None:
    """SIGKILL at moments of its own choice, while a script answers whatever is asked."""
    calm = experiment(tmp_path / "calm", "file")
    without_classes(calm.images)
    calm.finish()
    own = experiment(tmp_path / "own", "file")
    without_classes(own.images)
    command = [sys.executable, str(ROOT / "active_learning_classification.py"), *own.arguments()]
    draw = np.random.default_rng(0)
    for _ in range(3):
        with subprocess.Popen(
            command, env=environment(), stdout=DEVNULL, stderr=DEVNULL, cwd=ROOT
        ) as process:
            rounds, deadline = committed(own.to_label.parent), time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                if own.to_label.exists() or committed(own.to_label.parent) > rounds:
                    break
                time.sleep(0.005)
            time.sleep(draw.uniform(0, 0.02))
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
        if own.to_label.exists():
            own.answer()
    own.finish()
    assert results(own.outputs, "own") == results(calm.outputs, "own")
    paths = [row["path"] for row in own.kept()]
    assert len(paths) == len(set(paths)) == 9 + 6 + 4 + 6
