"""Paired tests between methods: which runs are pairs, BADGE's matrix, areas, and when a difference has a star."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from src.analysis.sections.paired_tests import compare, compare_areas, difference_cell
from src.analysis.sections.pairs import against_one, pairwise, penalties
from src.analysis.statistics import holm
from src.analysis.study_files import read_study
from tests.analysis.made_up import write_experiment


def test_pairs_are_runs_of_one_seed_whatever_their_numbers(tmp_path: Path) -> None:
    write_experiment(tmp_path, "made_random", seeds=[3, 11, 42])
    write_experiment(tmp_path, "made_hu", seeds=[42, 3, 7, 11])
    study = read_study("made_*", tmp_path)
    random, hu = study.methods
    random_K, hu_K = (method.curves[study.measure].values_K_R[:, -1] for method in (random, hu))
    expected = [random_K[0] - hu_K[1], random_K[1] - hu_K[3], random_K[2] - hu_K[0]]
    assert study.differences(random, hu, 50).tolist() == expected


def slow_penalties(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Of two methods, values_K_R of paired rows: at which share of the rounds the first beats the second, and back."""
    wins = [0, 0]
    for one_K, other_K in zip(one.T, other.T, strict=True):
        found = stats.ttest_rel(one_K, other_K)
        if found.pvalue < 0.05:
            wins[int(found.statistic < 0)] += 1
    return wins[0] / one.shape[1], wins[1] / one.shape[1]


def test_penalty_matrix_is_badges(tmp_path: Path) -> None:
    for place, name in enumerate(("random", "softmax", "mcd")):
        write_experiment(tmp_path, f"made_{name}", rounds=8, better=0.02 * place)
    study = read_study("made_*", tmp_path)
    comparisons = compare(study)
    matrix = penalties(3, comparisons, corrected=False)
    values = [method.curves[study.measure].values_K_R[:, 1:] for method in study.methods]
    for one, other in itertools.combinations(range(3), 2):
        assert (matrix[one, other], matrix[other, one]) == slow_penalties(values[one], values[other])
    assert matrix[2, 0] > 0 and matrix[0, 2] == 0, "the better method ought to beat the worse one"
    assert np.isnan(matrix.diagonal()).all()
    assert (penalties(3, comparisons, corrected=True) <= matrix)[~np.isnan(matrix)].all()


def test_areas_are_tested_by_pairs_up_to_the_budgets_asked_for(tmp_path: Path) -> None:
    for place, name in enumerate(("random", "softmax", "mcd")):
        write_experiment(tmp_path, f"made_{name}", rounds=6, seeds=[3, 11, 42, 7], better=0.02 * place)
    study = read_study("made_*", tmp_path, budgets=[60, 40])
    comparisons = compare_areas(study)
    assert [found.budget for found in comparisons] == [40] * 3 + [60] * 3
    areas = {
        budget: [
            np.trapezoid(method.curves[study.measure].values_K_R[:, :rounds], dx=10) / (10 * (rounds - 1))
            for method in study.methods
        ]
        for budget, rounds in ((40, 3), (60, 5))
    }
    for found in comparisons:
        one, other = (areas[found.budget][place] for place in (found.one, found.other))
        assert found.test.p == pytest.approx(stats.ttest_rel(one, other).pvalue)
        assert found.test.mean == pytest.approx((one - other).mean())
    smallest = min(comparisons[:3], key=lambda found: found.test.p)
    assert smallest.adjusted == pytest.approx(3 * smallest.test.p)
    (table,) = [table for table in pairwise(study).tables if table.name == "area_differences"]
    header, *rows = table.numbers
    assert [row[header.index("difference")] for row in rows] == [found.test.mean for found in comparisons]


def test_an_area_ends_where_its_run_does(tmp_path: Path) -> None:
    """A run that is not as far as a budget has no area up to it."""
    write_experiment(tmp_path, "made_random", rounds=6)
    unfinished = write_experiment(tmp_path, "made_hu", rounds=6) / "run_2" / "rounds.jsonl"
    unfinished.write_text("".join(unfinished.read_text().splitlines(keepends=True)[:4]))
    pairs = {
        found.budget: found.test.n
        for found in compare_areas(read_study("made_*", tmp_path, budgets=[50, 70]))
    }
    assert pairs == {50: 3, 70: 2}


@pytest.mark.parametrize(("seeds", "starred"), [(3, False), (5, False), (6, True)])
def test_stars_are_for_as_many_seeds_as_can_decide(seeds: int, starred: bool, tmp_path: Path) -> None:
    """The methods differ beyond all doubt of the t-test, by half."""
    write_experiment(tmp_path, "made_random", seeds=list(range(seeds)), better=-0.5)
    write_experiment(tmp_path, "made_hu", seeds=list(range(seeds)))
    study = read_study("made_*", tmp_path)
    comparisons = compare(study)
    assert all(found.adjusted < 0.05 for found in comparisons)
    assert any("⋆" in difference_cell(study, found) for found in comparisons) == starred
    text = " ".join(pairwise(study).text)
    assert ("decide little" in text) == (not starred)


def test_one_against_the_others_is_a_family_of_its_own(tmp_path: Path) -> None:
    """Its differences and p-values are scipy's, and Holm's correction is over as many tests as there are others."""
    names = ("random", "softmax", "mcd", "knn")
    for place, name in enumerate(names):
        write_experiment(tmp_path, f"made_{name}", rounds=6, seeds=[3, 11, 42, 7], better=0.02 * place)
    study = read_study("made_*", tmp_path, budgets=[60])
    values = {method.experiment: method.curves[study.measure].values_K_R for method in study.methods}
    section = against_one(study, "made_mcd")
    assert [table.name for table in section.tables] == [
        "against_one_differences",
        "against_one_area_differences",
    ]
    assert "over 3 tests at most" in section.text[0]
    for table in section.tables:
        assert [row[0] for row in table.rows] == [
            f"MC-dropout entropy − {other}" for other in ("Random", "Softmax entropy", "HU-KDE")
        ]
    header, *rows = section.tables[0].numbers
    assert {row[0] for row in rows} == {"made_mcd"}
    for budget, place in zip((30, 40, 50, 60, 70), range(1, 6), strict=True):
        found = [dict(zip(header, row, strict=True)) for row in rows if row[2] == budget]
        assert [row["other"] for row in found] == ["made_random", "made_softmax", "made_knn"]
        tests = [
            stats.ttest_rel(values["made_mcd"][:, place], values[row["other"]][:, place]) for row in found
        ]
        assert [row["t"] for row in found] == pytest.approx([test.statistic for test in tests])
        assert [row["p_holm"] for row in found] == pytest.approx(holm([test.pvalue for test in tests]))
    areas = section.tables[1].numbers[1:]
    assert [row[-1] for row in areas] == pytest.approx(holm([row[-2] for row in areas]))
    everyone = {(found.one, found.other): found.adjusted for found in compare_areas(study)}
    assert all(row[-1] <= everyone[pair] for row, pair in zip(areas, [(0, 2), (1, 2), (2, 3)], strict=True))
