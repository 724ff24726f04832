"""Answers are taken as people write them, and a wrong one is one clear error that names its line and loses nothing."""

from collections.abc import Callable

import pytest

from tests.active.oracle.person import CLASSES, COUNT, Experiment, true_class
from tests.experiments import tree


def test_a_class_number_or_its_name_will_do_in_any_order_and_with_semicolons(waiting: Experiment) -> None:
    waiting.answer(lambda name: f" {CLASSES.index(name)} ")
    rows = waiting.asked()[::-1]
    lines = [";".join(rows[0]), *(";".join(row.values()) for row in rows)]
    waiting.to_label.write_bytes("\r\n".join(lines).encode("utf-8-sig"))
    outcome = waiting.run()
    assert outcome.status == 0, outcome.err
    kept = waiting.kept()
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
