"""Reading what runs left on disk, and the statistics of a curve against numpy's own."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from src.analysis.rounds import (
    ACCURACY,
    AUROC,
    MIOU,
    Curve,
    measures_of,
    read_experiment,
    read_reference,
    read_wide_csv,
)
from src.utils.errors import UserError
from tests.analysis.made_up import write_rows

ACCURACIES = arrays(
    np.float64, st.tuples(st.integers(1, 5), st.integers(1, 8)), elements=st.floats(0, 1) | st.just(np.nan)
)


@given(ACCURACIES)
def test_mean_and_std_are_numpys_over_the_runs_that_have_the_round(values_K_R: np.ndarray) -> None:
    values_K_R[0] = np.nan_to_num(values_K_R[0])  # at least one run has every round
    curve = Curve(np.arange(values_K_R.shape[1]), values_K_R)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's, on the deviation of one run
        expected_std_R = np.nanstd(values_K_R, axis=0, ddof=1)
    np.testing.assert_allclose(curve.mean_R, np.nanmean(values_K_R, axis=0), atol=1e-12)
    np.testing.assert_allclose(curve.std_R, expected_std_R, atol=1e-12)


def test_one_run_has_a_mean_and_no_deviation_and_warns_of_nothing() -> None:
    curve = Curve(np.array([100]), np.array([[0.75]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert curve.mean_R.tolist() == [0.75]
        assert np.isnan(curve.std_R).all()


def write_rounds(run_dir: Path, accuracies: dict[int, float]) -> None:
    rows = [{"labelled": count, "test": {"accuracy": accuracy}} for count, accuracy in accuracies.items()]
    write_rows(run_dir, rows)


def test_experiment_lines_its_runs_up_by_labels(tmp_path: Path) -> None:
    write_rounds(tmp_path / "run_2", {100: 0.5})
    write_rounds(tmp_path / "run_10", {100: 0.7, 200: 0.8})
    runs, curve = read_experiment(tmp_path, "accuracy")
    assert runs == ["run_2", "run_10"]
    assert curve.labels_R.tolist() == [100, 200]
    np.testing.assert_array_equal(curve.values_K_R, [[0.5, np.nan], [0.7, 0.8]])


def test_experiment_without_a_finished_round_or_the_metric_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished rounds"):
        read_experiment(tmp_path, "accuracy")
    write_rounds(tmp_path / "run_1", {100: 0.5})
    with pytest.raises(UserError, match="'miou'"):
        read_experiment(tmp_path, "miou")


def test_wide_csv_keeps_rounds_that_a_run_does_not_have_apart(tmp_path: Path) -> None:
    path = tmp_path / "mnist_random.csv"
    path.write_text(
        "samples,test_accuracy_run1,test_losses_run1,test_accuracy_run2,val_accuracy_run2\n"
        "100,0.75,1.0,0.70,0.1\n"
        "200,0.80,0.9,,\n"
        "400,,,nan,\n"
    )
    curve = read_wide_csv(path)
    assert curve.labels_R.tolist() == [100, 200]
    np.testing.assert_array_equal(curve.values_K_R, [[0.75, 0.80], [0.70, np.nan]])
    assert read_wide_csv(path, "test_losses").values_K_R.tolist() == [[1.0, 0.9]]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("labels,test_accuracy_run1\n100,0.5\n", "expected the columns"),
        ("samples,val_accuracy_run1\n100,0.5\n", "expected the columns"),
        ("samples,test_accuracy_run1\n100,high\n", r"\.csv:2"),
        ("samples,test_accuracy_run1\n100\n", r"\.csv:2"),
        ("samples,test_accuracy_run1\n", "no round"),
    ],
)
def test_a_malformed_wide_csv_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "mnist_random.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=complaint):
        read_wide_csv(path)


def test_reference_is_keyed_by_experiment_in_fractions(tmp_path: Path) -> None:
    path = tmp_path / "reference.csv"
    path.write_text(
        "dataset,method,labels,test_accuracy_mean,test_accuracy_std\n"
        "mnist,Random,100,75.25,2.15\n"
        "mnist,HU greedy L2,100,75.16,2.1\n"
        "mnist,HU λ=100,100,73.81,2.33\n"
    )
    experiments = ["mnist_random", "mnist_hu_greedy_l2", "mnist_hu", "svhn_random"]
    reference = read_reference(path, experiments)
    assert list(reference) == ["mnist_random", "mnist_hu_greedy_l2"]
    assert reference["mnist_random"] == pytest.approx({100: 0.7525})
    assert reference["mnist_hu_greedy_l2"] == pytest.approx({100: 0.7516})
    path.write_text("method,labels\nRandom,100\n")
    with pytest.raises(UserError, match=":2"):
        read_reference(path, experiments)


def test_reference_without_datasets_speaks_of_every_experiment_and_leaves_empty_cells_out(
    tmp_path: Path,
) -> None:
    path = tmp_path / "reference.csv"
    path.write_text("method,labels,miou_mean,auroc_mean\nRandom,100,30.62,\nHU class-greedy,100,30.9,0.85\n")
    experiments = ["cityscape_random", "cityscape_class_greedy", "camvid_random"]
    assert read_reference(path, experiments, MIOU) == {
        "cityscape_random": {100: pytest.approx(0.3062)},
        "camvid_random": {100: pytest.approx(0.3062)},
        "cityscape_class_greedy": {100: pytest.approx(0.309)},
    }
    assert read_reference(path, experiments, AUROC) == {"cityscape_class_greedy": {100: 0.85}}


def test_a_wide_csv_tells_its_measures(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("samples,test_accuracy_run1\n100,0.5\n")
    assert measures_of(path) == (ACCURACY,)
    path.write_text("samples,test_ious_run1,test_auroc_run1\n100,0.5,0.9\n")
    assert measures_of(path) == (MIOU, AUROC)
