"""Figures are really written and show what they should; the command line writes figure and table together."""

import csv
from pathlib import Path

import numpy as np
import pytest

from src.analysis.curves import main, plot_learning_curve, plot_methods
from src.utils.errors import UserError
from tests.analysis.made_up import write_rows
from tests.analysis.written import pixels

REFERENCE = (
    "dataset,method,labels,test_accuracy_mean,test_accuracy_std\nmnist,HU,100,76,2.1\nmnist,HU,200,81,1.0\n"
)


def write_run(experiment_dir: Path, number: int, values: list[float], metric: str = "accuracy") -> None:
    rows = [{"labelled": 100 * (index + 1), "test": {metric: value}} for index, value in enumerate(values)]
    write_rows(experiment_dir / f"run_{number}", rows)


def write_wide(folder: Path, name: str, accuracies_R_K: list[list[float]]) -> Path:
    folder.mkdir(exist_ok=True)
    header = ["samples", *(f"test_accuracy_run{run + 1}" for run in range(len(accuracies_R_K[0])))]
    path = folder / f"{name}.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [header, *([100 * (index + 1), *row] for index, row in enumerate(accuracies_R_K))]
        )
    return path


def test_learning_curve_is_drawn_with_its_numbers_beside_it(tmp_path: Path) -> None:
    write_run(tmp_path / "demo", 1, [0.5, 0.7])
    write_run(tmp_path / "demo", 2, [0.6])
    path = plot_learning_curve(tmp_path / "demo")
    assert path == tmp_path / "demo" / "learning_curve.png"
    image = pixels(path)
    assert min(image.shape[:2]) >= 500
    assert (image.max(axis=2) - image.min(axis=2) > 60).sum() > 300, "no coloured line in the picture"
    with path.with_suffix(".csv").open(newline="") as file:
        header, first, second = csv.reader(file)
    assert header == ["labels", "mean", "std", "run_1", "run_2"]
    assert [float(cell) for cell in first] == pytest.approx([100, 0.55, np.std([0.5, 0.6], ddof=1), 0.5, 0.6])
    assert second == ["200", "0.7", "", "0.7", ""]
    assert {entry.name for entry in (tmp_path / "demo").iterdir()} == {
        "run_1",
        "run_2",
        "learning_curve.png",
        "learning_curve.csv",
    }


@pytest.mark.parametrize(
    ("metric", "label"),
    [("accuracy", "test accuracy (%)"), ("miou", "test mean IoU (%)"), ("nll", "test nll")],
)
def test_learning_curve_says_in_words_what_it_shows(
    metric: str, label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path, 1, [0.5, 0.9], metric)
    drawn: list[str] = []
    monkeypatch.setattr(
        "src.analysis.curves.save_picture", lambda figure, path: drawn.append(figure.axes[0].get_ylabel())
    )
    plot_learning_curve(tmp_path, metric)
    assert drawn == [label]


def test_learning_curve_is_replaced_as_rounds_come(tmp_path: Path) -> None:
    write_run(tmp_path, 1, [0.5, 0.9])
    before = pixels(plot_learning_curve(tmp_path))
    write_run(tmp_path, 2, [0.4, 0.6])
    assert not np.array_equal(before, pixels(plot_learning_curve(tmp_path)))


def test_learning_curve_of_an_unfinished_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished rounds"):
        plot_learning_curve(tmp_path)


def test_methods_figure_changes_with_the_reference_and_the_axis(tmp_path: Path) -> None:
    paths = {
        "HU": write_wide(tmp_path, "mnist_hu", [[0.7, 0.72], [0.8, 0.84]]),
        "Random": write_wide(tmp_path, "mnist_random", [[0.6], [0.7]]),
    }
    reference = tmp_path / "reference.csv"
    reference.write_text(REFERENCE)
    plain = pixels(plot_methods(paths, tmp_path / "plain.png"))
    published = pixels(plot_methods(paths, tmp_path / "published.png", reference))
    linear = pixels(plot_methods(paths, tmp_path / "linear.png", log_x=False))
    assert not np.array_equal(plain, published)
    assert not np.array_equal(plain, linear)


def test_command_line_writes_figure_and_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_wide(tmp_path / "runs", "mnist_hu", [[0.7, 0.72], [0.8, 0.84]])
    write_wide(tmp_path / "runs", "mnist_random", [[0.6, 0.6], [0.7, 0.7]])
    write_wide(tmp_path / "runs", "fashion_mnist_hu", [[0.1], [0.1]])
    (tmp_path / "reference.csv").write_text(REFERENCE)
    out = tmp_path / "figures"
    arguments = ["mnist_*", "--runs", str(tmp_path / "runs"), "--reference", str(tmp_path / "reference.csv")]
    assert main([*arguments, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out / 'mnist.png'}\nwrote {out / 'mnist.md'}\n"
    table = (out / "mnist.md").read_text()
    assert table.splitlines()[0] == "| labels | Random | HU |"
    assert "71.00 ± 1.41<br>76.00 (-5.00)" in table
    assert pixels(out / "mnist.png").std() > 5


def test_command_line_explains_when_nothing_matches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mnsit_*", "--runs", str(tmp_path), "--out", str(tmp_path / "figures")]) == 2
    assert "no mnsit_*.csv in" in capsys.readouterr().err
    assert not (tmp_path / "figures").exists()


def test_command_line_tells_how_many_labels_an_accuracy_took(tmp_path: Path) -> None:
    write_wide(tmp_path / "runs", "twice_random", [[0.7], [0.9]])
    write_wide(tmp_path / "runs", "twice_batch_hu", [[0.95], [0.9]])
    assert main(["twice_*", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path), "--reach", "90"]) == 0
    assert (tmp_path / "twice.md").read_text() == (
        "| test accuracy | Random | Batch-aware HU |\n| ---: | ---: | ---: |\n| 90 % | 200 | 100 |\n"
    )


def write_segmentation(folder: Path, name: str, miou: float, auroc: float | None) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.csv").write_text(
        "samples,test_ious_run1,test_auroc_run1,test_ious_run2,test_auroc_run2\n"
        f"30,{miou},{auroc},{miou + 0.02},{auroc}\n60,{miou + 0.1},{auroc},,\n"
    )


def test_segmentations_show_miou_and_auroc_side_by_side(tmp_path: Path) -> None:
    write_segmentation(tmp_path / "runs", "camvid_hu", 0.2, 0.5)
    one, both = tmp_path / "one", tmp_path / "both"
    arguments = ["camvid_*", "--runs", str(tmp_path / "runs"), "--linear"]
    assert main([*arguments, "--out", str(one)]) == 0
    write_segmentation(tmp_path / "runs", "camvid_random", 0.3, 0.75)
    (tmp_path / "reference.csv").write_text("method,labels,miou_mean,auroc_mean\nHU,30,20.5,0.757\n")
    assert main([*arguments, "--out", str(both), "--reference", str(tmp_path / "reference.csv")]) == 0
    assert (one / "camvid.md").read_text() == (
        "test mIoU (%)\n\n| labels | HU |\n| ---: | ---: |\n| 30 | 21.00 ± 1.41 |\n| 60 | 30.00 |\n\n"
        "AUROC of uncertainty against pixel error\n\n"
        "| labels | HU |\n| ---: | ---: |\n| 30 | 0.500 ± 0.000 |\n| 60 | 0.500 |\n"
    )
    text = (both / "camvid.md").read_text()
    assert "| 30 | 31.00 ± 1.41 | 21.00 ± 1.41<br>20.50 (+0.50) |" in text
    assert "| 30 | 0.750 ± 0.000 | 0.500 ± 0.000<br>0.757 (-0.257) |" in text
    before, after = pixels(one / "camvid.png"), pixels(both / "camvid.png")
    half = before.shape[1] // 2
    assert not np.array_equal(before[:, :half], after[:, :half]), "the panel of mIoU"
    assert not np.array_equal(before[:, half:], after[:, half:]), "the panel of AUROC"


def test_segmentations_and_classifiers_are_not_mixed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_segmentation(tmp_path, "x_hu", 0.2, 0.5)
    write_wide(tmp_path, "x_random", [[0.7], [0.9]])
    assert main(["x_*", "--runs", str(tmp_path), "--out", str(tmp_path / "figures")]) == 2
    assert "different measures" in capsys.readouterr().err
