"""The file of labels that a person has given: its history, whoever wrote it, and what counts as a class."""

import os
from pathlib import Path

import pytest
import torch

from src.data.given_labels import GivenLabels, read_table, table, with_given
from src.utils.errors import UserError

NAMES = ["train/ant/0.png", "train/unlabelled/1.png", "train/unlabelled/2.png", "test/unlabelled/3.png"]


def given(folder: Path, names: list[str] = NAMES, classes: tuple[str, ...] = ("ant", "bee")) -> GivenLabels:
    return GivenLabels(folder, names, ["unlabelled" not in name for name in names], classes)


def test_what_is_kept_is_read_again_and_the_last_label_of_a_path_counts(tmp_path: Path) -> None:
    labels = given(tmp_path)
    assert labels.read() == {}
    labels.keep({1: 0, 3: 1}, "own/run_1")
    labels.keep({2: 1, 1: 0}, "own/run_2")
    assert labels.read() == {1: 0, 2: 1, 3: 1}
    asked_by = [row["asked_by"] for _, row in read_table(labels.path, ("path",))[2]]
    assert asked_by == ["own/run_1"] * 2 + ["own/run_2"] * 2
    labels.path.write_text(labels.path.read_text() + "train/unlabelled/2.png,ant,me,\n")
    assert labels.read() == {1: 0, 2: 0, 3: 1}


def test_what_another_run_has_kept_otherwise_meanwhile_is_not_overruled(tmp_path: Path) -> None:
    labels = given(tmp_path)
    labels.keep({1: 0}, "own/run_1")
    before = labels.path.read_bytes()
    with pytest.raises(UserError, match=r"has had 'ant' for index 1.*and not 'bee'; make them agree"):
        labels.keep({2: 1, 1: 1}, "own/run_2")
    assert labels.path.read_bytes() == before


def test_what_is_in_a_class_folder_or_gone_is_history(tmp_path: Path) -> None:
    labels = given(tmp_path)
    labels.path.write_text("path,label\ntrain/ant/0.png,bee\ntrain/unlabelled/9.png,zebra\n")
    assert labels.read() == {}


@pytest.mark.parametrize(
    ("text", "class_"),
    [
        ("ant", 0),
        (" bee ", 1),
        ("1", 1),
        ("01", 1),
        ("2", None),
        ("-1", None),
        ("0000000001", None),
        ("9" * 5000, None),
        ("1.0", None),
        ("١", None),
        ("Ant", None),
        ("", None),
    ],
)
def test_a_class_is_a_name_or_a_number_of_one(text: str, class_: int | None, tmp_path: Path) -> None:
    assert given(tmp_path).class_of(text) == class_


def test_a_name_that_is_a_number_comes_first(tmp_path: Path) -> None:
    labels = given(tmp_path, classes=("1", "2", "7"))
    assert [labels.class_of(text) for text in ("1", "2", "7", "0")] == [0, 1, 2, 0]


def test_names_of_any_kind_come_back_as_they_were(tmp_path: Path) -> None:
    name = 'train/unlabelled/a, "b";\n' + os.fsdecode(b"\xe9") + ".png"
    labels = given(tmp_path, [*NAMES, name])
    labels.keep({4: 1}, "own/run_1")
    assert labels.read() == {4: 1}


def test_a_history_without_a_last_line_break_or_with_semicolons_is_continued(tmp_path: Path) -> None:
    labels = given(tmp_path)
    labels.path.write_bytes("path;label;note\r\ntrain/unlabelled/1.png;bee;, of course".encode("utf-8-sig"))
    labels.keep({2: 0}, "own/run_1")
    assert labels.read() == {1: 1, 2: 0}
    assert labels.path.read_text().splitlines()[-1] == "train/unlabelled/2.png;ant;"


def test_what_a_crash_left_goes_with_the_next_labels(tmp_path: Path) -> None:
    beyond_any_process = 2**30
    left = tmp_path / f".labels.csv.{os.uname().nodename}.{beyond_any_process}.part"
    left.write_text("half")
    given(tmp_path).keep({1: 0}, "own/run_1")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".labels.lock", "labels.csv"]


def test_a_cell_too_many_is_told_by_its_line(tmp_path: Path) -> None:
    labels = given(tmp_path)
    labels.path.write_text("path,label\n\ntrain/unlabelled/1.png,bee,\n")
    with pytest.raises(UserError, match=r"labels.csv:3: 3 cells, and the header has 2; mend the line"):
        labels.read()


def test_labels_are_given_by_index_into_a_new_tensor() -> None:
    before = torch.tensor([-1, 2, -1])
    assert with_given(before, {0: 5, 2: 7}).tolist() == [5, 2, 7]
    assert with_given(before, {}).tolist() == before.tolist() == [-1, 2, -1]


def test_a_table_leaves_out_other_columns_and_fills_up_lacking_ones() -> None:
    assert table([{"b": "2", "c": "3"}], ["a", "b"], header=True) == "a,b\n,2\n"


@pytest.mark.parametrize("names", [(" cat", "dog"), ("1 ", "2"), ("cat", "cat ")])
def test_what_was_kept_of_a_class_whose_name_has_spaces_about_it_is_read_back(
    names: tuple[str, str], tmp_path: Path
) -> None:
    labels = GivenLabels(tmp_path, ["train/unlabelled/a.png", "train/unlabelled/b.png"], [False] * 2, names)
    labels.keep({0: 0, 1: 1}, "x/run_1")
    assert labels.read() == {0: 0, 1: 1}
