"""A person is asked for each label once and told what to do; with true answers the records are those of a labelled
dataset."""

import csv
from pathlib import Path

import numpy as np
import pytest

from src.active.pool import HELD_OUT
from tests.active.oracle.person import (
    CLASSES,
    COUNT,
    Experiment,
    experiment,
    sorted_into_classes,
    true_class,
    without_classes,
    without_data,
)
from tests.experiments import committed, results, tree
from tests.processes.pair import Pair


@pytest.mark.parametrize("heuristic", ["entropy", "random"])
def test_a_person_who_knows_gives_the_records_of_a_labelled_dataset(tmp_path: Path, heuristic: str) -> None:
    known = experiment(tmp_path / "known", "dataset", heuristic, runs=2)
    sorted_into_classes(known.images)
    assert known.run().status == 0
    own = experiment(tmp_path / "own", "file", heuristic)
    without_classes(own.images)
    assert own.finish() == [9 + 6, 4, 6]  # validation and initial labels, then what each round asks for
    # A second run asks for nothing that the first was told.
    experiment(tmp_path / "own", "file", heuristic, runs=2)
    for _ in range(4):
        outcome = own.run()
        assert outcome.status == 0, outcome.err
        second = own.outputs / "own" / "run_2" / "to_label.csv"
        if second.exists():
            with second.open(newline="") as file:
                rows = list(csv.DictReader(file))
            with second.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows({**row, "label": true_class(row["path"])} for row in rows)
    assert without_data(results(own.outputs, "own")) == without_data(results(known.outputs, "own"))
    paths = [row["path"] for row in own.kept()]
    assert len(paths) == len(set(paths))


def test_it_stops_with_one_line_that_says_what_to_do(own: Experiment) -> None:
    outcome = own.run()
    assert outcome.status == 0
    assert outcome.out.splitlines()[-1] == (
        f"run 1/1 of own waits for 15 labels: fill in the column label of {own.to_label} with class names or their "
        f"numbers (the images are below {own.images}), then run the same command again"
    )
    rows = own.asked()
    assert list(rows[0]) == ["index", "path", "score", "label"]
    assert all((own.images / row["path"]).is_file() and not row["score"] + row["label"] for row in rows)
    state = next(line for line in own.run("--check").out.splitlines() if line.startswith("  state"))
    assert state.split(maxsplit=1)[1] == f"run 1: not begun, waits for the labels of {own.to_label}"
    # Asked again, it says so again, and keeps a column that someone has added.
    own.write([{**row, "note": "blurred"} for row in rows])
    before = tree(own.outputs)
    assert own.run().out.splitlines()[-1] == outcome.out.splitlines()[-1]
    assert {**before, "own/provenance.json": b""} == {**tree(own.outputs), "own/provenance.json": b""}


def test_a_query_is_asked_for_in_its_order_with_its_scores(waiting: Experiment) -> None:
    waiting.answer()
    assert waiting.run().status == 0
    with np.load(waiting.to_label.with_name("queries.npz")) as queries:
        asked = [(int(row["index"]), float(row["score"])) for row in waiting.asked()]
        assert asked == list(zip(queries["indices_0"].tolist(), queries["scores_0"].tolist(), strict=True))


def test_test_images_are_asked_for_too(tmp_path: Path) -> None:
    own = experiment(tmp_path, "file")
    without_classes(own.images, test_too=True)
    assert own.finish() == [9 + 6 + COUNT, 4, 6]
    known = experiment(tmp_path / "known", "dataset")
    sorted_into_classes(known.images)
    assert known.run().status == 0
    assert without_data(results(own.outputs, "own")) == without_data(results(known.outputs, "own"))


def test_images_in_class_folders_are_the_first_labels(tmp_path: Path) -> None:
    own = experiment(tmp_path, "file")
    without_classes(own.images)
    for name in CLASSES:
        for path in sorted((own.images / "train" / "unlabelled").glob(f"{name}_*"))[:4]:
            path.rename(own.images / "train" / name / path.name)
    assert own.run().status == 0
    asked = {int(row["index"]) for row in own.asked()}
    own.answer()
    assert own.run().status == 0
    labels = results(own.outputs, "own")["run_1"]["labels"]
    first = {at for at, round_ in enumerate(labels) if round_ == 0}
    held_out = {at for at, round_ in enumerate(labels) if round_ == HELD_OUT}
    sorted_before = set(range(4 * len(CLASSES)))  # class folders come first
    assert len(first) == 6 and first < sorted_before - held_out
    assert asked == held_out - sorted_before and sorted_before & held_out


def test_of_several_processes_the_first_asks_and_all_learn(pair: Pair, own: Experiment) -> None:
    first = pair.run("active_learning_classification.py", *own.arguments())
    assert first.statuses == [0, 0], first.err
    assert "".join(first.out).count("waits for 15 labels") == 1
    own.answer()
    second = pair.run("active_learning_classification.py", *own.arguments())
    assert second.statuses == [0, 0], second.err
    assert "".join(second.out).count("waits for 4 labels") == 1
    assert committed(own.to_label.parent) == 1
