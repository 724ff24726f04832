"""Asking a person for labels (``data.oracle: file``): ``to_label.csv`` in a run's folder goes out empty and comes back
filled in. What was given before is in ``data.given_labels``."""

from pathlib import Path
from typing import Any

from src.active.pool import Pool
from src.data import DataBundle
from src.data.given_labels import TOLD, GivenLabels, read_table, table
from src.utils import processes
from src.utils.errors import UserError
from src.utils.files import write_atomically
from src.utils.records import RunRecords

FILE = "to_label.csv"
COLUMNS = ("index", "path", "score", "label")


class LabelsNeeded(Exception):
    """The run waits for a person. The message, a line, says what to do."""


def ensure_labels(data: DataBundle, pool: Pool, records: RunRecords) -> None:
    """See to it that ``data`` has the labels of the labelled, the validation and the test inputs.

    Labels that were filled in are taken up first: they are in ``labels.csv`` before ``to_label.csv`` is removed. Of
    several processes the first does it, and all come to know the labels. Raises LabelsNeeded, in all of them, once
    ``to_label.csv`` asks for what is missing; UserError where it is filled in wrongly, which changes no file.
    """
    if data.given is None:
        return
    told = processes.from_first(_ask(data.given, data, pool, records) if processes.first() else {})
    data.set_labels(told["labels"])
    if told["message"] is not None:
        raise LabelsNeeded(told["message"])


def filled_in(path: Path) -> bool:
    """Whether that ``to_label.csv`` is there and has a label; UserError where it cannot be read."""
    return path.exists() and any(row["label"].strip() for _, row in read_table(path, ("index", "label"))[2])


def _ask(given: GivenLabels, data: DataBundle, pool: Pool, records: RunRecords) -> dict[str, Any]:
    path, scores = records.folder / FILE, _needed(given, data, pool, records)
    labels = given.read()
    asked: set[int | None] = set()
    if filled_in(path):
        answers = _answers(path, given, set(scores), labels)
        if answers:
            given.keep(answers, asked_by="/".join(records.folder.parts[-2:]))
        labels |= answers
    elif path.exists():
        asked = {_index(row["index"]) for _, row in read_table(path, ("index",))[2]}
    missing = [at for at in scores if at not in labels]
    if not missing:
        path.unlink(missing_ok=True)
        return {"labels": labels, "message": None}
    if asked != set(missing):  # else it is as it was, or with columns that someone has added
        rows = [{"index": str(at), "path": given.names[at], "score": scores[at]} for at in missing]
        write_atomically(path, table(rows, COLUMNS, header=True).encode(errors="surrogateescape"))
    return {
        "labels": labels,
        "message": f"waits for {len(missing)} labels: fill in the column label of {path} with class names or their "
        f"numbers (the images are below {given.folder}), then run the same command again",
    }


def _needed(given: GivenLabels, data: DataBundle, pool: Pool, records: RunRecords) -> dict[int, str]:
    """The score, or nothing, by index, of all inputs that need a person's label, the latest query's first."""
    query = records.last_query()
    scores: dict[int, str] = {}
    if query is not None:
        scores = {
            at: str(score)
            for at, score in zip(query.indices_Q.tolist(), query.scores_Q.tolist(), strict=True)
        }
    others = [*pool.val_indices.tolist(), *pool.labelled_indices.tolist()]
    others += range(len(data.train), len(data.train) + len(data.test))
    scores = {**scores, **{at: "" for at in others if at not in scores}}
    return {at: score for at, score in scores.items() if not given.came_labelled_N[at]}


def _answers(path: Path, given: GivenLabels, needed: set[int], known: dict[int, int]) -> dict[int, int]:
    """The new labels that the file gives, by index; UserError with all that is wrong with it, the first in full."""
    problems: list[str] = []
    answers: dict[int, int] = {}
    lines: dict[int, int] = {}
    for line, row in read_table(path, ("index", "path", "label"))[2]:
        at, text = _index(row["index"]), row["label"].strip()
        class_ = given.class_of(text)
        if at is None:
            problems.append(f"line {line}: index {row['index'][:60]!r} is no number")
        elif at not in needed:
            problems.append(f"line {line}: index {at} was not asked for; remove the line")
        elif at in lines:
            problems.append(f"line {line}: index {at} is in line {lines[at]} already; remove one of them")
        elif row["path"] != given.names[at]:
            problems.append(f"line {line}: index {at} is {given.names[at]!r} and not {row['path']!r}")
        elif not text and at not in known:
            problems.append(f"line {line}: index {at} has no label")
        elif text and class_ is None:
            problems.append(f"line {line}: {given.not_a_class(text)}")
        elif class_ is not None and known.get(at, class_) != class_:
            problems.append(
                f"line {line}: {given.path} has {given.class_names[known[at]]!r} for index {at} and not {text!r}; "
                "make them agree"
            )
        elif class_ is not None and at not in known:
            answers[at] = class_
        if at is not None:
            lines.setdefault(at, line)
    absent = sorted(needed - lines.keys() - known.keys())
    problems += [f"no line for index {at}, {given.names[at]!r}" for at in absent]
    if problems:
        more = [f"… and {len(problems) - TOLD} more"] * (len(problems) > TOLD)
        told = "\n  ".join([*problems[:TOLD], *more])
        raise UserError(f"{path}: no label was taken up; mend this and run the same command again:\n  {told}")
    return answers


def _index(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isdecimal() and len(text) < 19 else None
