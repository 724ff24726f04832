"""The wide CSV holds what the records hold, of all runs that are there, in whichever order they came."""

import csv
import shutil
from pathlib import Path

from tests.experiments import command, results, rows, run_cli, tree


def test_wide_csv_has_the_documented_columns_and_the_records_values(
    digits_config: Path, tmp_path: Path
) -> None:
    assert run_cli(*command(digits_config, tmp_path, "runs=2")).status == 0
    with (tmp_path / "final_runs" / "quick.csv").open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == [
        "samples",
        *("test_accuracy_run1", "test_losses_run1", "train_accuracy_run1"),
        *("train_losses_run1", "val_accuracy_run1", "val_losses_run1"),
        *("test_accuracy_run2", "test_losses_run2", "train_accuracy_run2"),
        *("train_losses_run2", "val_accuracy_run2", "val_losses_run2"),
    ]
    runs = [rows(tmp_path / "quick" / f"run_{run}") for run in (1, 2)]
    expected = [
        [
            runs[0][number]["labelled"],
            *(
                run[number][split][metric]
                for run in runs
                for split in ("test", "train", "val")
                for metric in ("accuracy", "loss")
            ),
        ]
        for number in range(3)
    ]
    assert [[float(cell) for cell in line] for line in lines] == expected
    assert [line[0] for line in lines] == ["20", "30", "50"]


def test_runs_made_one_by_one_in_any_order_merge_in_the_csv(digits_config: Path, tmp_path: Path) -> None:
    apart, together = tmp_path / "apart", tmp_path / "together"
    assert run_cli(*command(digits_config, apart, "runs=2"), "--run", "2").status == 0
    assert not (apart / "quick" / "run_1").exists()
    header = (apart / "final_runs" / "quick.csv").read_text().splitlines()[0].split(",")
    assert {name[-5:] for name in header[1:]} == {"_run2"}
    assert run_cli(*command(digits_config, apart, "runs=2"), "--run", "1").status == 0
    assert run_cli(*command(digits_config, together, "runs=2")).status == 0
    assert results(apart, "quick") == results(together, "quick")


def test_fewer_runs_keep_the_others_columns(digits_config: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    assert run_cli(*command(digits_config, outputs, "runs=2", "random_state=[3, 4]")).status == 0
    table = outputs / "final_runs" / "quick.csv"
    before = table.read_bytes()
    assert run_cli(*command(digits_config, outputs, "runs=1", "random_state=[3, 4]")).status == 0
    assert table.read_bytes() == before


def test_copy_of_a_run_in_the_folder_is_left_out(digits_config: Path, tmp_path: Path) -> None:
    assert run_cli(*command(digits_config, tmp_path)).status == 0
    before = tree(tmp_path)
    shutil.copytree(tmp_path / "quick" / "run_1", tmp_path / "quick" / "run_1_backup")
    assert run_cli(*command(digits_config, tmp_path)).status == 0
    assert {name: content for name, content in tree(tmp_path).items() if "backup" not in name} == before


def test_save_df_false_writes_no_csv(digits_config: Path, tmp_path: Path) -> None:
    outcome = run_cli(*command(digits_config, tmp_path, "save_df=false"))
    assert outcome.status == 0
    assert not (tmp_path / "final_runs").exists()
    assert ".csv" not in outcome.out


def test_a_csv_whose_runs_have_no_records_here_is_kept(digits_config: Path, tmp_path: Path) -> None:
    """As published curves have none. They are kept once: the CSV after them is this folder's."""
    published = tmp_path / "final_runs" / "quick.csv"
    published.parent.mkdir()
    published.write_text("samples,test_accuracy_run1,test_accuracy_run2\n20,0.5,0.6\n")
    content, kept = published.read_bytes(), published.with_name("quick.csv.1")
    said = f"{published} has runs without records here and is kept as quick.csv.1"
    check = run_cli(*command(digits_config, tmp_path), "--check")
    assert check.out.rstrip().endswith(f"state      not begun; {said}")
    assert published.read_bytes() == content and not kept.exists()

    outcome = run_cli(*command(digits_config, tmp_path))
    assert (outcome.status, outcome.err) == (0, f"note: {said}\n")
    assert kept.read_bytes() == content
    own = published.read_bytes()
    assert b"_run2" not in own
    assert run_cli(*command(digits_config, tmp_path), "--overwrite").err == ""
    assert published.read_bytes() == own and not published.with_name("quick.csv.2").exists()

    # With the published one in its place again, --overwrite takes away what is this folder's alone.
    published.write_bytes(content)
    outcome = run_cli(*command(digits_config, tmp_path), "--overwrite")
    assert (outcome.status, outcome.err) == (0, f"note: {said.replace('csv.1', 'csv.2')}\n")
    assert published.with_name("quick.csv.2").read_bytes() == kept.read_bytes() == content
    assert published.read_bytes() == own
