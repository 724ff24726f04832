"""A person labels what is queried: what is asked for, what becomes of the answers, and that nothing of them is lost."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from src.active.pool import HELD_OUT
from src.data import given_labels
from tests.experiments import ROOT, Outcome, committed, environment, results, run_cli, tree
from tests.processes.pair import Pair

CLASSES = ("ant", "bee", "cow")
COUNT = 12
"""Images of each class to train on; a third as many to test on."""


def image(path: Path, label: int, at: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([label, at]).integers(0, 100, (4, 4, 3)) + 70 * label
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def sorted_into_classes(root: Path) -> Path:
    for label, name in enumerate(CLASSES):
        for at in range(COUNT):
            image(root / "train" / name / f"{name}_{at:02}.png", label, at)
        for at in range(COUNT // 3):
            image(root / "test" / name / f"{name}_{at:02}.png", label, COUNT + at)
    return root


def without_classes(root: Path, test_too: bool = False) -> Path:
    """The same images in the same order, those to train on in one folder; their names tell the test their class."""
    sorted_into_classes(root)
    for part in ("train", "test") if test_too else ("train",):
        (root / part / "unlabelled").mkdir()
        for name in CLASSES:
            for path in (root / part / name).iterdir():
                path.rename(root / part / "unlabelled" / path.name)
    return root


class Experiment(NamedTuple):
    """One experiment with the images in ``images``, on disk."""

    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs"

    @property
    def to_label(self) -> Path:
        return self.outputs / "own" / "run_1" / "to_label.csv"

    @property
    def labels(self) -> Path:
        return self.images / "labels.csv"

    def arguments(self, *more: str) -> list[str]:
        return [
            "--config_path",
            str(self.folder / "own.yaml"),
            "--output_dir",
            str(self.outputs),
            "--device",
            "cpu",
            *more,
        ]

    def run(self, *more: str) -> Outcome:
        return run_cli(*self.arguments(*more))

    def asked(self) -> list[dict[str, str]]:
        with self.to_label.open(newline="") as file:
            return list(csv.DictReader(file))

    def write(self, rows: list[dict[str, str]]) -> None:
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with self.to_label.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    def answer(self, tell: Callable[[str], str] = lambda name: name) -> int:
        """Fill in the true labels, as ``tell`` writes them; how many there were."""
        rows = self.asked()
        self.write([{**row, "label": tell(true_class(row["path"]))} for row in rows])
        return len(rows)

    def finish(self) -> list[int]:
        """Run and answer until it is finished; how many labels each stop asked for."""
        stops: list[int] = []
        while True:
            outcome = self.run()
            assert outcome.status == 0, outcome.err
            if not self.to_label.exists():
                return stops
            stops.append(self.answer())


def true_class(path: str) -> str:
    return Path(path).name.split("_")[0]


def experiment(folder: Path, oracle: str, heuristic: str = "entropy", runs: int = 1) -> Experiment:
    folder.mkdir(exist_ok=True)
    (folder / "own.yaml").write_text(
        f"name: own\nruns: {runs}\n"
        f"training: {{heuristic: {heuristic}, iterations: 3, ndata_to_label: [4, 6], initially_labelled: 6, epochs: 2, "
        "initially_balanced: false, verbose: false}\n"
        f"data: {{dataset: image_folder, path: {folder / 'images'}, oracle: {oracle}, val_size: 0.25}}\n"
        "model: {name: MLP, hidden_layers: [8, 8]}\n"
    )
    return Experiment(folder)


@pytest.fixture
def own(tmp_path: Path) -> Experiment:
    """Nothing is labelled but the test images."""
    without_classes(tmp_path / "images")
    return experiment(tmp_path, "file")


@pytest.fixture
def waiting(own: Experiment) -> Experiment:
    """The same where the first labels are asked for."""
    assert own.run().status == 0
    return own


def without_data(found: dict[str, object]) -> dict[str, object]:
    """Results but for the fingerprint of the dataset, which knows the paths."""
    for run in found.values():
        if isinstance(run, dict):
            run["state"].pop("data")
    return found


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
    with own.labels.open(newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
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


def test_a_class_number_or_its_name_will_do_in_any_order_and_with_semicolons(waiting: Experiment) -> None:
    waiting.answer(lambda name: f" {CLASSES.index(name)} ")
    rows = waiting.asked()[::-1]
    lines = [";".join(rows[0]), *(";".join(row.values()) for row in rows)]
    waiting.to_label.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    outcome = waiting.run()
    assert outcome.status == 0, outcome.err
    with waiting.labels.open(newline="") as file:
        kept = list(csv.DictReader(file))
    assert list(kept[0]) == ["path", "label", "asked_by", "time"]
    assert {row["asked_by"] for row in kept} == {"own/run_1"}
    assert len(kept) == 15 and all(row["label"] == true_class(row["path"]) for row in kept)


Rows = list[dict[str, str]]


def missing(rows: Rows) -> Rows:
    return rows[1:]


def blank(rows: Rows) -> Rows:
    return [{**rows[0], "label": " "}, *rows[1:]]


def extra(rows: Rows) -> Rows:
    return [*rows, {**rows[0], "index": "999"}]


def not_asked(rows: Rows) -> Rows:
    spare = min(set(range(3 * COUNT)) - {int(row["index"]) for row in rows})
    return [*rows, {**rows[0], "index": str(spare)}]


def duplicate(rows: Rows) -> Rows:
    return [*rows, rows[0]]


def no_number(rows: Rows) -> Rows:
    return [{**rows[0], "index": "1e3"}, *rows[1:]]


def other_path(rows: Rows) -> Rows:
    return [{**rows[0], "path": rows[1]["path"]}, *rows[1:]]


def unknown(rows: Rows) -> Rows:
    return [{**rows[0], "label": "aunt"}, *rows[1:]]


def out_of_range(rows: Rows) -> Rows:
    return [{**rows[0], "label": "3"}, *rows[1:]]


def negative(rows: Rows) -> Rows:
    return [{**rows[0], "label": "-1"}, *rows[1:]]


def no_index(rows: Rows) -> Rows:
    return [{name: row[name] for name in ("path", "label")} for row in rows]


def no_path(rows: Rows) -> Rows:
    return [{name: row[name] for name in ("index", "label")} for row in rows]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (missing, "no line for index FIRST, 'PATH'"),
        (blank, "line 2: index FIRST has no label"),
        (extra, "line 17: index 999 was not asked for; remove the line"),
        (not_asked, "was not asked for; remove the line"),
        (duplicate, "line 17: index FIRST is in line 2 already; remove one of them"),
        (no_number, "line 2: index '1e3' is no number"),
        (other_path, "line 2: index FIRST is 'PATH' and not "),
        (unknown, "line 2: label 'aunt' is no class of 0 ant, 1 bee, 2 cow"),
        (out_of_range, "line 2: label '3' is no class of 0 ant, 1 bee, 2 cow"),
        (negative, "line 2: label '-1' is no class"),
        (no_index, "0 columns are called 'index'"),
        (no_path, "0 columns are called 'path'"),
    ],
)
def test_a_wrong_answer_is_one_clear_error_and_loses_nothing(
    waiting: Experiment, spoil: Callable[[Rows], Rows], message: str
) -> None:
    waiting.answer()
    good = waiting.asked()
    waiting.write(spoil(good))
    before = tree(waiting.folder)
    outcome = waiting.run()
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: {waiting.to_label}") and outcome.err.count("error:") == 1
    message = message.replace("FIRST", good[0]["index"]).replace("PATH", good[0]["path"])
    assert message in outcome.err
    after = tree(waiting.folder)
    described = "outputs/own/provenance.json"
    assert {**before, described: b""} == {**after, described: b""}
    waiting.write(good)
    assert waiting.run().status == 0
    assert len(waiting.asked()) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"index,path,score,label\n1,a", ":2: 2 cells, and the header has 4; mend the line"),
        (b'index,path,score,label\n1,"a"b,,ant\n', ":2: not CSV ("),
        (b"", ":1: 0 columns are called 'index'"),
        ("index,path,label\n1,a,ant\n".encode("utf-16"), ":1: 0 columns are called 'index'"),
        (b"index,path,score,label,label\n1,a,,,ant\n", ":1: 2 columns are called 'label'"),
    ],
)
def test_a_file_that_is_no_table_is_told_by_its_line(
    waiting: Experiment, content: bytes, message: str
) -> None:
    waiting.to_label.write_bytes(content)
    outcome = waiting.run()
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: {waiting.to_label}{message}")
    assert waiting.to_label.read_bytes() == content


def test_all_that_is_wrong_is_told_at_once_up_to_ten(waiting: Experiment) -> None:
    waiting.write([{**row, "label": "aunt"} for row in waiting.asked()])
    outcome = waiting.run()
    assert outcome.err.count("label 'aunt' is no class") == 10
    assert "… and 5 more" in outcome.err


def test_a_damaged_history_is_told_by_its_line(waiting: Experiment) -> None:
    waiting.answer()
    path = waiting.asked()[0]["path"]
    waiting.labels.write_text(f"path,label\nelsewhere.png,zebra\n{path},aunt\n")
    outcome = waiting.run()
    assert outcome.status == 2
    assert outcome.err.startswith(f"error: {waiting.labels}:3: label 'aunt' is no class of 0 ant")


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
    with own.labels.open(newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)]
    assert len(paths) == len(set(paths)) == 9 + 6 + 4 + 6


def test_of_several_processes_the_first_asks_and_all_learn(pair: Pair, own: Experiment) -> None:
    first = pair.run("active_learning_classification.py", *own.arguments())
    assert first.statuses == [0, 0], first.err
    assert "".join(first.out).count("waits for 15 labels") == 1
    own.answer()
    second = pair.run("active_learning_classification.py", *own.arguments())
    assert second.statuses == [0, 0], second.err
    assert "".join(second.out).count("waits for 4 labels") == 1
    assert committed(own.to_label.parent) == 1
