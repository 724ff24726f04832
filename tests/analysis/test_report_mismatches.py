"""Experiments that do not match the rest: they spoil nothing of the others, and who they are and what to do is said."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from src.analysis.report import main
from src.analysis.sections.calibration import calibration
from src.analysis.sections.paired_tests import compare
from src.analysis.statistics import holm
from src.analysis.study_files import read_study
from src.utils.errors import UserError
from tests.analysis.made_up import write_experiment
from tests.analysis.pages import page_of, rows_of, said, table
from tests.experiments import SHIPPED_OUTPUTS

REST = ["made_random", "made_softmax", "made_mcd", "made_knn"]


def write_rest(outputs: Path) -> None:
    """Four experiments that match: 20, 30, …, 90 labels."""
    for place, name in enumerate(REST):
        write_experiment(outputs, name, rounds=8, better=0.02 * place)


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
        row["labels"] for row in rows_of(both, "accuracy") if row["method"] == "made_hu"
    }
    assert lacking
    mine, theirs = (
        [row for row in rows_of(page, "differences") if row["labels"] in lacking] for page in (alone, both)
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
    (sentence,) = [text for text in section.text if text.startswith("Not every pair")]
    assert "of 10, 6 at 70, 80, 90 labels; 10 at 30, 40, 50, 60 labels" in sentence


def test_the_note_names_who_lacks_what_and_how_to_mend_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rest(tmp_path)
    write_experiment(tmp_path, "made_hu", rounds=5)
    cut(tmp_path, "made_mcd", run=2, rounds=4)
    arguments = ["made_*", "--outputs", str(tmp_path), "--out", str(tmp_path / "report")]
    assert main(arguments) == 0
    note = capsys.readouterr().err
    assert note.startswith("note: Not all have a value at every label count: ") and note.count("\n") == 1
    assert "made_hu (none at 70, 80, 90)" in note
    assert "run 2 of made_mcd (none at 60, 70, 80, 90)" in note
    assert not any(f" {name} (" in note for name in ("made_random", "made_softmax", "made_knn"))
    assert "give --budgets 30 40 50, which all runs have" in note
    assert note.removeprefix("note: ").strip() in page_of("made_*", tmp_path).remarks
    # What it advises mends it.
    assert main([*arguments, "--budgets", "30", "50"]) == 0
    assert capsys.readouterr().err == ""
    page = page_of("made_*", tmp_path, budgets=[30, 50])
    assert all("–" not in cells for cells in table(page, "areas").values())


def test_experiments_that_match_are_not_remarked_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rest(tmp_path)
    study = read_study("made_*", tmp_path)
    assert study.lacking() == {} and study.complete_labels() == study.shared_labels() == [*range(20, 100, 10)]
    page = page_of("made_*", tmp_path)
    for remark in ("Not all", "Not every", "begin in different ways"):
        assert remark not in said(page)
    assert main(["made_*", "--outputs", str(tmp_path), "--out", str(tmp_path / "report")]) == 0
    assert capsys.readouterr().err == ""


def test_two_are_compared_as_far_as_both_are(tmp_path: Path) -> None:
    write_experiment(tmp_path, "made_random", rounds=8)
    write_experiment(tmp_path, "made_hu", rounds=4)
    page = page_of("made_*", tmp_path)
    assert table(page, "differences")["header"] == ["at 30 labels", "at 40 labels", "at 50 labels"]
    assert "made_hu (none at 60, 70, 80, 90)" in said(page)
    assert "of 1, 0 at 60, 70, 80, 90 labels; 1 at 30, 40, 50 labels" in said(page)


def test_nothing_in_common_is_said_instead_of_shown(tmp_path: Path) -> None:
    write_experiment(tmp_path, "made_random", rounds=4)
    write_experiment(tmp_path, "made_hu", rounds=4, initial=25)
    remarks = said(page_of("made_*", tmp_path))
    assert "made_random (none at 25, 35, 45, 55); made_hu (none at 20, 30, 40, 50)" in remarks
    assert "tables have no budgets" in remarks and "--budgets" not in remarks
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
        shutil.copy(SHIPPED_OUTPUTS / "final_runs" / f"{name}.csv", final)
    assert "(fashion_mnist, mnist)" in said(page_of("*mnist_*", tmp_path))
    assert "begin in different ways" not in said(page_of("mnist_*", tmp_path))


def test_records_that_may_be_of_several_datasets_are_remarked_on(tmp_path: Path) -> None:
    for name in ("mnist_random", "fashion_mnist_random"):
        write_experiment(tmp_path, name)
        (tmp_path / name / "config.yaml").unlink()
    assert "(fashion_mnist, mnist)" in said(page_of("*_random", tmp_path))


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


def test_budgets_that_all_have_compare_areas_over_the_stretch_that_all_have(tmp_path: Path) -> None:
    """Then nothing needs a note; but at a method's first round it has not chosen, and that is no such budget."""
    write_rest(tmp_path)
    write_experiment(tmp_path, "made_hu", rounds=6, initial=40)
    assert "Not all have a value" in said(page_of("made_*", tmp_path, budgets=[40, 60]))
    page = page_of("made_*", tmp_path, budgets=[60, 90])
    assert "Not all have a value" not in said(page)
    assert all("–" not in cells for cells in table(page, "areas").values())
    study = read_study("made_*", tmp_path, [60, 90])
    random = next(method for method in study.methods if method.experiment == "made_random")
    values = random.curves[study.measure].values_K_R[:, 2:]
    assert study.areas(random, 90) == pytest.approx(np.trapezoid(values, dx=10) / 50)


def test_a_method_without_a_value_at_any_round_reaches_nothing(tmp_path: Path) -> None:
    write_rest(tmp_path)
    write_experiment(tmp_path, "made_hu", rounds=8)
    for path in tmp_path.glob("made_hu/run_*/rounds.jsonl"):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            row["test"]["accuracy"] = None
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = page_of("made_*", tmp_path)
    assert {row["labels"] for row in rows_of(page, "labels_needed") if row["method"] == "made_hu"} == {""}
