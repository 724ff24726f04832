"""The figure of the dimension search is really drawn and shows what was recorded; its numbers are the records'."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.analysis.dimensions import plot_dimension_search
from src.utils.errors import UserError
from tests.analysis.made_up import write_rows
from tests.analysis.written import numbers, pixels

LIKELIHOODS = ("train_log_likelihood", "val_log_likelihood")


def search(discrepancy: list[float], step: int = 1, **also: Any) -> dict[str, Any]:
    """The diagnostics of a search that found these m(k)."""
    dimensions = [step * (place + 1) for place in range(len(discrepancy))]
    return {
        "dimension": dimensions[int(np.argmin(discrepancy))],
        "dimensions": dimensions,
        "discrepancy": discrepancy,
        "train_log_likelihood": [-1.0 * k for k in dimensions],
        "val_log_likelihood": [-1.5 * k for k in dimensions],
        **also,
    }


def write_run(experiment_dir: Path, number: int, densities: dict[int, dict[str, Any] | None]) -> None:
    rows = [{"labelled": labels, "density": density} for labels, density in densities.items()]
    write_rows(experiment_dir / f"run_{number}", rows)


def drawn(experiment_dir: Path) -> Path:
    path = plot_dimension_search(experiment_dir)
    assert path is not None
    return path


def test_searches_are_drawn_with_their_numbers_beside_them(tmp_path: Path) -> None:
    write_run(tmp_path / "demo", 1, {20: search([3.0, 1.0, 2.0]), 40: search([3.0, 2.5, 0.5, 7.0])})
    write_run(tmp_path / "demo", 2, {20: search([0.1, 0.2, 0.3])})
    path = drawn(tmp_path / "demo")
    assert path == tmp_path / "demo" / "dimension_search.png"
    image = pixels(path)
    assert min(image.shape[:2]) >= 500
    for half in np.array_split(image, 2, axis=1):
        assert (half.max(axis=2) - half.min(axis=2) > 60).sum() > 300, "a panel has no coloured line"
    table = numbers(path)
    assert list(table[0]) == ["run", "labels", "class", "k", "discrepancy", *LIKELIHOODS, "chosen"]
    assert list(table[5].values()) == ["run_1", "40", "", "3", "0.5", "-3.0", "-4.5", "1"]
    assert [(row["run"], row["labels"], row["k"]) for row in table if row["chosen"] == "1"] == [
        ("run_1", "20", "2"),
        ("run_1", "40", "3"),
        ("run_2", "20", "1"),
    ]
    assert len(table) == 3 + 4 + 3
    assert {entry.name for entry in (tmp_path / "demo").iterdir()} == {
        *("run_1", "run_2", "dimension_search.png", "dimension_search.csv")
    }


def test_class_searches_are_drawn_by_class(tmp_path: Path) -> None:
    unjudged = search([1.0], label=7) | {"discrepancy": None, "val_log_likelihood": None}
    first = {"classes": [search([2.0, 1.0], label=3), unjudged], "classes_left_out": [5]}
    second = {"classes": [search([2.0, 1.0, 0.0], label=3), search([1.0, 4.0], label=5)]}
    write_run(tmp_path, 1, {20: first, 40: second})
    path = drawn(tmp_path)
    assert [(row["labels"], row["class"], row["k"], row["chosen"]) for row in numbers(path)] == [
        *(("20", "3", "1", "0"), ("20", "3", "2", "1")),
        *(("40", "3", "1", "0"), ("40", "3", "2", "0"), ("40", "3", "3", "1")),
        *(("40", "5", "1", "1"), ("40", "5", "2", "0")),
    ]
    before = pixels(path)
    write_run(tmp_path, 1, {20: first, 40: {"classes": second["classes"][:1]}})
    assert not np.array_equal(before, pixels(drawn(tmp_path))), "class 5 was not in the picture"


@pytest.mark.parametrize(
    "changed",
    [
        {20: search([3.0, 1.0, 2.0]), 40: search([3.0, 1.0, 2.5])},
        {20: search([3.0, 1.0, 2.0]), 40: search([3.0, 1.0, 2.0]) | {"dimension": 1}},
        {20: search([3.0, 1.0, 2.0]), 60: search([3.0, 1.0, 2.0])},
    ],
    ids=["discrepancy", "choice", "labels"],
)
def test_picture_changes_with_what_it_shows(changed: dict[int, Any], tmp_path: Path) -> None:
    write_run(tmp_path / "demo", 1, {20: search([3.0, 1.0, 2.0]), 40: search([3.0, 1.0, 2.0])})
    before = pixels(drawn(tmp_path / "demo"))
    write_run(tmp_path / "demo", 1, changed)
    assert not np.array_equal(before, pixels(drawn(tmp_path / "demo")))


@pytest.mark.parametrize(
    "densities",
    [
        {},
        {20: None, 40: None},
        {20: {"dimension": 128, "train_log_likelihood": 1.0, "val_log_likelihood": 0.5}},
        {20: {"classes": [{"label": 3, "dimension": 5}], "classes_left_out": []}},
    ],
    ids=["no_round", "no_density", "no_search", "no_class_search"],
)
def test_nothing_is_written_where_nothing_was_searched(
    densities: dict[int, dict[str, Any] | None], tmp_path: Path
) -> None:
    write_run(tmp_path, 1, densities)
    assert plot_dimension_search(tmp_path) is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["run_1"]


def test_last_of_rounds_that_added_no_label_counts(tmp_path: Path) -> None:
    write_run(tmp_path, 1, {20: search([3.0, 1.0])})
    row = json.dumps({"labelled": 20, "density": search([1.0, 3.0])})
    with (tmp_path / "run_1" / "rounds.jsonl").open("a") as file:
        file.write(row + "\n")
    assert [row["chosen"] for row in numbers(drawn(tmp_path))] == ["1", "0"]


@pytest.mark.parametrize(
    "damage",
    [{"dimension": 9}, {"discrepancy": [1.0]}, {"val_log_likelihood": None}, {"dimensions": 3}],
    ids=lambda damage: next(iter(damage)),
)
def test_incomplete_record_of_a_search_is_refused(damage: dict[str, Any], tmp_path: Path) -> None:
    write_run(tmp_path, 1, {20: search([3.0, 1.0]) | damage})
    with pytest.raises(
        UserError, match=r"run_1/rounds.jsonl: the dimension search at 20 labels is incomplete"
    ):
        plot_dimension_search(tmp_path)


@pytest.mark.parametrize("by_class", [False, True], ids=["rounds", "classes"])
@pytest.mark.parametrize(
    ("rounds", "step", "minimum", "maximum"),
    [(1, 1, -2.0, -1.5), (1, 10, 0.0, 0.0), (15, 10, -3.0, 1e11), (15, 1, 1e-6, 1e-3), (40, 1, 2.0, 3.0)],
)
@pytest.mark.filterwarnings("error")
def test_any_number_of_rounds_and_any_scale_is_drawn(
    rounds: int, step: int, minimum: float, maximum: float, by_class: bool, tmp_path: Path
) -> None:
    densities: dict[int, dict[str, Any] | None] = {}
    for number in range(rounds):
        found = search(np.linspace(minimum, maximum, 1 + number % 13).tolist(), step)
        densities[30 + 1000 * number] = {"classes": [{"label": number % 21, **found}]} if by_class else found
    write_run(tmp_path, 1, densities)
    assert pixels(drawn(tmp_path)).std() > 5
