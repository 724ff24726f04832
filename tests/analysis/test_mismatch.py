"""Experiments that do not match the rest: they spoil nothing of the others, and who they are and what to do is said."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.analysis.page import Page
from src.analysis.report import main, make_page
from src.analysis.sections.calibration import calibration
from src.analysis.sections.pairs import compare
from src.analysis.statistics import holm
from src.analysis.study_files import read_study
from src.utils.errors import UserError
from tests.analysis.made_up import write_experiment
from tests.experiments import ROOT

REST = ["made_random", "made_softmax", "made_mcd", "made_knn"]
COMMITTED = ROOT / "experiment_outputs"


def write_rest(outputs: Path) -> None:
    """Four experiments that match: 20, 30, …, 90 labels."""
    for place, name in enumerate(REST):
        write_experiment(outputs, name, rounds=8, better=0.02 * place)


def page_of(pattern: str, outputs: Path, budgets: list[int] | None = None) -> Page:
    return make_page(pattern, read_study(pattern, outputs, budgets or []))


def table(page: Page, name: str) -> dict[str, list[str]]:
    """What people read, by the row's first cell; the header under "header"."""
    (found,) = [table for table in page.tables if table.name == name]
    return {"header": list(found.header[1:])} | {row[0]: list(row[1:]) for row in found.rows}


def numbers(page: Page, name: str) -> list[list[Any]]:
    (found,) = [table for table in page.tables if table.name == name]
    return [list(row) for row in found.numbers]


def cut(outputs: Path, name: str, run: int, rounds: int) -> None:
    """Leave that many rounds of a run."""
    path = outputs / name / f"run_{run}" / "rounds.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:rounds]))


@pytest.mark.parametrize(
    "mismatched",
    [{"rounds": 3}, {"rounds": 1}, {"rounds": 8, "initial": 21}, {"rounds": 8, "initial": 60}],
    ids=["unfinished", "just begun", "other label counts", "more initial labels"],
)
def test_one_that_does_not_match_spoils_nothing_of_the_others(
    mismatched: dict[str, int], tmp_path: Path
) -> None:
    write_rest(tmp_path)
    alone = page_of("made_*", tmp_path)
    write_experiment(tmp_path, "made_hu", **mismatched)
    both = page_of("made_*", tmp_path)
    assert [section.name for section in both.sections] == [section.name for section in alone.sections]
    for name in ("areas", "reliability"):
        mine, theirs = table(alone, name), table(both, name)
        assert mine["header"] and mine == {row: theirs[row] for row in mine}
    # Holm's correction at a budget that the odd one lacks is that of the others.
    lacking = {30, 40, 50, 60, 70, 80, 90} - {
        row[1] for row in numbers(both, "accuracy") if row[0] == "made_hu"
    }
    assert lacking
    mine, theirs = (
        [row for row in numbers(page, "differences")[1:] if row[2] in lacking] for page in (alone, both)
    )
    assert len(mine) == 6 * len(lacking) and mine == theirs


def test_a_budget_that_one_lacks_is_a_dash_in_its_row_alone(tmp_path: Path) -> None:
    write_rest(tmp_path)
    write_experiment(tmp_path, "made_hu", rounds=5)
    page = page_of("made_*", tmp_path)
    areas, differences = table(page, "areas"), table(page, "differences")
    assert differences["header"] == ["at 50 labels", "at 70 labels", "at 90 labels"]
    for found in (areas, differences):
        for row, cells in found.items():
            has = [cell != "–" for cell in cells]
            assert has == ([True, False, False] if "HU" in row.replace("HU-KDE", "") else [True] * 3), row


def test_holm_counts_the_pairs_that_are_tested_and_says_so(tmp_path: Path) -> None:
    write_rest(tmp_path)
    write_experiment(tmp_path, "made_hu", rounds=5)
    comparisons = compare(read_study("made_*", tmp_path))
    for budget, pairs in ((60, 10), (70, 6)):
        family = [found for found in comparisons if found.budget == budget]
        assert len(family) == pairs
        assert [found.adjusted for found in family] == holm([found.test.p for found in family])
        smallest = min(family, key=lambda found: found.test.p)
        assert smallest.adjusted == pytest.approx(min(1, pairs * smallest.test.p))
    (section,) = [found for found in page_of("made_*", tmp_path).sections if found.name == "pairs"]
    (sentence,) = [text for text in section.text if text.startswith("Not all 10 pairs")]
    assert "6 at 70, 80, 90 labels; 10 at 30, 40, 50, 60 labels" in sentence


def test_the_note_names_who_lacks_what_and_how_to_mend_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rest(tmp_path)
    write_experiment(tmp_path, "made_hu", rounds=5)
    cut(tmp_path, "made_mcd", run=2, rounds=4)
    arguments = ["made_*", "--outputs", str(tmp_path), "--out", str(tmp_path / "report")]
    assert main(arguments) == 0
    said = capsys.readouterr().err
    assert said.startswith("note: Not all have a value at every label count: ") and said.count("\n") == 1
    assert "made_hu (none at 70, 80, 90)" in said
    assert "run 2 of made_mcd (none at 60, 70, 80, 90)" in said
    assert not any(f" {name} (" in said for name in ("made_random", "made_softmax", "made_knn"))
    assert "give --budgets 30 40 50, which all runs have" in said
    assert said.removeprefix("note: ").strip() in page_of("made_*", tmp_path).remarks
    # What it advises mends it.
    assert main([*arguments, "--budgets", "30", "50"]) == 0
    assert capsys.readouterr().err == ""
    page = page_of("made_*", tmp_path, [30, 50])
    assert all("–" not in cells for cells in table(page, "areas").values())


def test_experiments_that_match_are_not_remarked_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rest(tmp_path)
    study = read_study("made_*", tmp_path)
    assert study.lacking() == {} and study.complete_labels() == study.shared_labels() == [*range(20, 100, 10)]
    page = page_of("made_*", tmp_path)
    said = " ".join([*page.remarks, *(text for section in page.sections for text in section.text)])
    assert "Not all" not in said and "begin in different ways" not in said
    assert main(["made_*", "--outputs", str(tmp_path), "--out", str(tmp_path / "report")]) == 0
    assert capsys.readouterr().err == ""


def test_two_are_compared_as_far_as_both_are(tmp_path: Path) -> None:
    write_experiment(tmp_path, "made_random", rounds=8)
    write_experiment(tmp_path, "made_hu", rounds=4)
    page = page_of("made_*", tmp_path)
    assert table(page, "differences")["header"] == ["at 30 labels", "at 40 labels", "at 50 labels"]
    assert "made_hu (none at 60, 70, 80, 90)" in " ".join(page.remarks)


def test_nothing_in_common_is_said_instead_of_shown(tmp_path: Path) -> None:
    write_experiment(tmp_path, "made_random", rounds=4)
    write_experiment(tmp_path, "made_hu", rounds=4, initial=25)
    said = " ".join(page_of("made_*", tmp_path).remarks)
    assert "made_random (none at 25, 35, 45, 55); made_hu (none at 20, 30, 40, 50)" in said
    assert "tables have no budgets" in said and "--budgets" not in said
    with pytest.raises(UserError, match=r"budget 30: most methods have no round .* such counts are: none"):
        read_study("made_*", tmp_path, [30])


def test_budgets_asked_for_are_those_that_most_have(tmp_path: Path) -> None:
    write_rest(tmp_path)
    write_experiment(tmp_path, "made_hu", rounds=8, initial=25)
    assert read_study("made_*", tmp_path, [90]).budgets() == [90]
    with pytest.raises(UserError, match=r"budget 95: .* such counts are: 30, 40, 50, 60, 70, 80, 90$"):
        read_study("made_*", tmp_path, [95])


def test_who_is_in_some_reliability_diagram_is_in_the_legend(tmp_path: Path) -> None:
    write_rest(tmp_path)
    write_experiment(tmp_path, "made_hu", rounds=4, initial=60)
    study = read_study("made_*", tmp_path)
    assert study.budgets() == [50, 70, 90]
    (picture,) = [found for found in calibration(study).pictures if found.name == "reliability"]
    legend = picture.figure.axes[0].get_legend()
    assert legend and [text.get_text() for text in legend.get_texts()] == [
        method.name for method in study.methods
    ]


def test_csvs_that_may_be_of_several_datasets_are_remarked_on(tmp_path: Path) -> None:
    final = tmp_path / "final_runs"
    final.mkdir()
    for name in ("mnist_random", "mnist_hu", "fashion_mnist_hu"):
        shutil.copy(COMMITTED / "final_runs" / f"{name}.csv", final)
    assert "(fashion_mnist, mnist)" in " ".join(page_of("*mnist_*", tmp_path).remarks)
    assert "begin in different ways" not in " ".join(page_of("mnist_*", tmp_path).remarks)


def test_areas_are_over_the_stretch_that_most_methods_have(tmp_path: Path) -> None:
    """One with more initial labels must not cut off what the others learnt first; nor is it given an area by guess."""
    write_rest(tmp_path)
    write_experiment(tmp_path, "made_hu", rounds=8, initial=40)
    study = read_study("made_*", tmp_path)
    random, hu = (
        next(method for method in study.methods if method.experiment == name)
        for name in ("made_random", "made_hu")
    )
    values = random.curves[study.measure].values_K_R
    assert study.areas(random, 90) == pytest.approx(np.trapezoid(values, dx=10) / 70)
    assert np.isnan(study.areas(hu, 90)).all()
