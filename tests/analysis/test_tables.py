"""The tables' numbers against rows made by hand."""

import re

import numpy as np

from src.analysis.rounds import Curve
from src.analysis.tables import method_table, phase_summary, reach_table, round_table, runs_table


def row(number: int, labelled: int, accuracy: float) -> dict:
    return {
        "round": number,
        "labelled": labelled,
        "train": {"accuracy": 1.0},
        "val": {"accuracy": 0.8125},
        "test": {"accuracy": accuracy, "nll": 0.51234, "ece": 0.0301},
        "seconds": {"build": 0.25, "fit": 2.0, "score": 0.5},
    }


def test_round_table_shows_each_rounds_numbers_under_their_titles() -> None:
    title, first, second = round_table([row(0, 100, 0.75), row(1, 48000, 0.98237)]).splitlines()
    assert title.split("  ")[-3:] == ["test NLL", "test ECE", "seconds"]
    assert first.split() == ["1", "100", "100.00%", "81.25%", "75.00%", "0.5123", "0.0301", "2.8"]
    assert second.split() == ["2", "48000", "100.00%", "81.25%", "98.24%", "0.5123", "0.0301", "2.8"]


def test_round_table_is_aligned_and_fits_100_columns() -> None:
    lines = round_table([row(number, 100 * number, 0.5) for number in range(12)]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= 100


def test_runs_table_has_the_mean_and_spread_of_the_runs_that_have_a_round() -> None:
    curve = Curve(np.array([100, 48000]), np.array([[0.5, 0.75], [0.7, np.nan], [0.6, np.nan]]))
    title, first, last = runs_table(curve).splitlines()
    assert re.split("  +", title.strip()) == ["labels", "test accuracy", "runs"]
    assert first.split() == ["100", "60.00%", "±", "10.00%", "3"]
    assert last.split() == ["48000", "75.00%", "1"]
    assert len({len(line) for line in (title, first, last)}) == 1
    assert "%" not in runs_table(curve, "nll")


def test_metrics_that_are_no_fractions_are_not_shown_in_percent() -> None:
    rounds = [row(0, 100, 0.75)]
    for part in ("train", "val", "test"):
        rounds[0][part]["nll"] = 1.5
    assert "%" not in round_table(rounds, "nll")


def test_round_table_of_a_segmentation_shows_mean_iou_and_auroc() -> None:
    part = {"miou": 0.1154, "auroc": 0.61234, "ece": 0.0301}
    dense = {**row(0, 100, 0.75), "train": part, "val": part, "test": part}
    title, line = round_table([dense], "miou").splitlines()
    shown = re.split("  +", title.strip())
    assert shown[2:6] == ["train mean IoU", "val mean IoU", "test mean IoU", "test AUROC"]
    assert line.split()[2:6] == ["11.54%", "11.54%", "11.54%", "0.6123"]
    assert len(title) <= 100


def test_method_table_sets_ours_beside_the_published_mean_at_the_same_labels() -> None:
    curves = {
        "mnist_random": Curve(np.array([100, 200]), np.array([[0.70, 0.80], [0.80, np.nan]])),
        "mnist_other": Curve(np.array([200]), np.array([[0.5]])),
    }
    table = method_table(
        curves, {"mnist_random": "Random", "mnist_other": "Other"}, {"mnist_random": {100: 0.76, 1000: 0.9}}
    )
    assert table == (
        "| labels | Random | Other |\n"
        "| ---: | ---: | ---: |\n"
        # Mean 75, deviation √(5² + 5²) of two runs; published 76.
        "| 100 | 75.00 ± 7.07<br>76.00 (-1.00) | – |\n"
        "| 200 | 80.00 | 50.00 |\n"
    )


def test_phase_summary_adds_seconds_over_rounds() -> None:
    assert phase_summary([row(0, 100, 0.7), row(1, 200, 0.8)]) == "fit 4.0, score 1.0, build 0.5; total 5.5"


def test_reach_table_tells_the_labels_of_each_runs_first_round_that_got_there() -> None:
    nan = np.nan
    up_and_down = np.array([[0.5, 0.9, 0.7, 0.95], [0.5, 0.6, 0.9, 0.8], [0.2, 0.3, 0.4, nan]])
    curves = {
        "a_random": Curve(np.array([10, 20, 30, 40]), up_and_down),
        "a_bald": Curve(np.array([10, 20]), np.array([[0.5, 0.6]])),
    }
    table = reach_table(curves, {"a_random": "Random", "a_bald": "BALD"}, [50, 90, 94.5])
    assert table == (
        "| test accuracy | Random | BALD |\n"
        "| ---: | ---: | ---: |\n"
        "| 50 % | 10 ± 0 (2 of 3 runs) | 10 |\n"
        "| 90 % | 25 ± 7 (2 of 3 runs) | – |\n"
        "| 94.5 % | 40 (1 of 3 runs) | – |\n"
    )
