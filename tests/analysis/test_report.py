"""The report says what records hold, as far as they go, and what they leave out: of made-up runs and of real ones."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from src.analysis.page import Page
from src.analysis.report import main
from src.analysis.sections.density import of_entry
from src.analysis.sections.paired_tests import compare
from src.analysis.sections.queries import evenness, jaccard
from src.analysis.study_files import read_study
from tests.analysis.made_up import BY_CLASS, EVERYTHING, GAUSSIANS, SEARCHED, write_experiment, write_seven
from tests.analysis.pages import page_of, rows_of, said
from tests.analysis.written import numbers
from tests.experiments import QUICK, SHIPPED_OUTPUTS, command, run_cli


def names(page: Page) -> list[str]:
    return [section.name for section in page.sections]


def test_committed_csvs_alone_leave_out_what_they_do_not_hold() -> None:
    page = page_of("mnist_*", SHIPPED_OUTPUTS)
    assert names(page) == ["curves", "areas", "labels-needed", "pairs"]
    assert "Pairs are runs with the same number, since CSVs do not hold seeds" in said(page)
    assert len(page.left_out) == 6 and any("Wall-clock time: no records" in line for line in page.left_out)
    assert "3 seeds decide little" in said(page)
    cells = [cell for table in page.tables for row in table.rows for cell in row]
    assert not any("⋆" in cell for cell in cells)
    (row,) = [row for row in rows_of(page, "areas") if (row["method"], row["budget"]) == ("mnist_de", 10_000)]
    assert (row["mean"], row["runs"]) == (pytest.approx(0.9563, abs=1e-4), 3)


def test_segmentations_are_compared_by_miou_with_auroc_beside_it(tmp_path: Path) -> None:
    page = page_of("camvid_*", SHIPPED_OUTPUTS)
    assert {"miou", "auroc"} <= {table.name for table in page.tables}
    assert page.sections[2].title == "Labels needed for a test mIoU"
    assert "can give is 0.5," in said(page)  # the smallest p of two seeds
    write_seven(tmp_path, dense=True, reliability=False)
    page = page_of("made_*", tmp_path)
    assert names(page) == EVERYTHING
    assert "Classes of the queried pixels" in said(page)


def test_a_method_of_a_csv_alone_is_compared_and_named_as_such(tmp_path: Path) -> None:
    write_experiment(tmp_path, "made_random")
    final = tmp_path / "final_runs"
    final.mkdir()
    (final / "made_hu.csv").write_text(
        "samples,test_accuracy_run1,test_accuracy_run2\n20,0.5,0.5\n30,0.7,0.8\n"
    )
    (final / "made_random.csv").write_text("records are looked at before this\n")
    page = page_of("made_*", tmp_path)
    assert "Of HU there is a CSV alone" in said(page)
    assert "Pairs are runs with the same number" in said(page)
    assert "pairs" in names(page) and "overlap" not in names(page)


def test_rows_of_before_the_bins_were_recorded_have_no_reliability_diagram(tmp_path: Path) -> None:
    write_experiment(tmp_path, "made_random", reliability=False)
    write_experiment(tmp_path, "made_hu", reliability=True)
    for pattern, pictures in (("made_random", ["ece"]), ("made_*", ["ece", "reliability"])):
        page = page_of(pattern, tmp_path)
        (section,) = [section for section in page.sections if section.name == "calibration"]
        assert [picture.name for picture in section.pictures] == pictures
        assert ("No reliability diagram" in said(page)) == (len(pictures) == 1)


def test_experiments_that_run_are_reported_as_far_as_they_are(tmp_path: Path) -> None:
    write_experiment(tmp_path, "made_random", rounds=4)
    folder = write_experiment(tmp_path, "made_hu", rounds=4)
    rounds = (folder / "run_3" / "rounds.jsonl").read_text().splitlines(keepends=True)
    (folder / "run_3" / "rounds.jsonl").write_text("".join(rounds[:2]))  # its queries.npz is ahead
    (tmp_path / "made_knn" / "run_1").mkdir(parents=True)  # not begun
    study = read_study("made_*", tmp_path)
    assert [method.experiment for method in study.methods] == ["made_random", "made_hu"]
    assert [found.test.n for found in compare(study)] == [3, 2, 2]
    assert sorted(study.methods[1].runs[2].queries or {}) == [0, 1]
    assert [row[5] for row in page_of("made_*", tmp_path).overview.rows] == ["4", "2–4"]


def test_what_is_not_finished_is_said(tmp_path: Path) -> None:
    write_experiment(tmp_path, "made_random", rounds=3)
    config = tmp_path / "made_random" / "config.yaml"
    asked = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(asked | {"runs": 4, "training": {"iterations": 5}}))
    (method,) = read_study("made_*", tmp_path).methods
    assert method.unfinished.startswith(f"{len(method.numbers)} of 4 runs")
    for path in tmp_path.glob("made_random/run_*/rounds.jsonl"):
        rows = [json.loads(line) | {"pool": 7} for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (method,) = read_study("made_*", tmp_path).methods
    assert "3 of 5 rounds in run 1" in method.unfinished


def test_one_experiment_of_one_round_is_a_report_too(tmp_path: Path) -> None:
    write_experiment(tmp_path, "made_random", rounds=1, seeds=[3])
    page = page_of("made_random", tmp_path)
    assert "One seed decides nothing" in said(page)
    assert names(page) == ["curves", "calibration", "seconds"]


def test_tables_stop_at_the_budgets_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_experiment(tmp_path, "made_random")
    write_experiment(tmp_path, "made_hu")
    arguments = ["made_*", "--outputs", str(tmp_path), "--out", str(tmp_path / "report")]
    assert main([*arguments, "--budgets", "40", "30"]) == 0
    rows = numbers(tmp_path / "report" / "made" / "areas.csv")
    assert [row["budget"] for row in rows] == ["30", "40"] * 2
    capsys.readouterr()
    assert main([*arguments, "--budgets", "20"]) == 2, "the first round chose nothing"
    assert "such counts are: 30, 40, 50" in capsys.readouterr().err


def test_reach_names_the_accuracies() -> None:
    rows = rows_of(page_of("mnist_*", SHIPPED_OUTPUTS, [95.0, 99.9]), "labels_needed")
    mine = [(row["level"], row["labels"]) for row in rows if row["method"] == "mnist_softmax"]
    assert mine == [*[(95.0, 4000)] * 3, *[(99.9, "")] * 3]


def test_jaccard_and_evenness_by_hand() -> None:
    assert jaccard(np.array([1, 2, 3]), np.array([3, 2, 9, 8])) == 2 / 5
    assert jaccard(np.array([1]), np.array([2])) == 0
    assert evenness(np.array([5, 5, 5, 5])) == 1
    assert evenness(np.array([7, 0])) == 0
    assert evenness(np.array([1, 2, 3])) == pytest.approx(stats.entropy([1, 2, 3], base=3))


def test_overlap_is_of_the_same_seed_and_round(tmp_path: Path) -> None:
    first = write_experiment(tmp_path, "made_random", rounds=3, seeds=[3, 11])
    second = write_experiment(tmp_path, "made_hu", rounds=3, seeds=[11, 3])
    shutil.copy(first / "run_1" / "queries.npz", second / "run_2" / "queries.npz")  # of seed 3
    rows = rows_of(page_of("made_*", tmp_path), "overlap")
    found = {(row["pair"], row["round"]): row["jaccard"] for row in rows}
    assert found[3, 0] == found[3, 1] == 1
    assert found[11, 0] < 0.5 and found[11, 1] < 0.5


def test_likelihoods_are_those_of_the_chosen_dimension() -> None:
    found = of_entry(GAUSSIANS)
    assert found and found.gap == 50 / 16
    found = of_entry(SEARCHED)
    assert found and (found.train, found.val, found.gap) == (8, 6, 0.5)
    assert of_entry(BY_CLASS["classes"][1]) is None
    assert of_entry({"bank_per_class": [3]}) is None


def test_records_of_real_runs_are_read(tmp_path: Path) -> None:
    """So that what the tests above make up cannot drift away from what a run leaves."""
    hidden = ("training.heuristic=precomputed", "model.name=MIR", "model.mir_configs.density_model=gmm")
    for name, overrides in (
        ("real_softmax", ()),
        ("real_hu", (*hidden, "model.mir_configs.greedy_search=true")),
    ):
        config = tmp_path / f"{name}.yaml"
        config.write_text(QUICK.replace("name: quick", f"name: {name}").replace("runs: 1", "runs: 2"))
        assert run_cli(*command(config, tmp_path, *overrides)).status == 0
    page = page_of("real_*", tmp_path)
    assert names(page) == EVERYTHING
    assert [row[4] for row in page.overview.rows] == ["3, 11"] * 2
    assert {row["labels"] for row in rows_of(page, "reliability")} == {30, 50}
    assert sum(row["inputs"] for row in rows_of(page, "reliability")) == 2 * 2 * 2 * 355
