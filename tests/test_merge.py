"""``--merge``: what the last run of an experiment would make of all runs, without training."""

from pathlib import Path

from tests.experiments import run_cli, tree


def test_merge_makes_the_table_and_the_plot_again(digits_config: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    command = ("--config_path", digits_config, "--output_dir", outputs, "--set", "runs=2")
    whole = run_cli(*command)
    assert whole.status == 0
    before = tree(outputs)
    made = outputs / "final_runs" / "quick.csv", outputs / "quick" / "learning_curve.png"
    for path in made:
        path.unlink()
    merged = run_cli(*command, "--merge")
    assert merged.status == 0
    assert tree(outputs) == before
    assert [f"run {run}    finished, 3 rounds" in merged.out for run in (1, 2)] == [True, True]
    *_, of_runs = merged.out.partition("quick, mean ± standard deviation of its runs\n")
    assert [line.split()[-1] for line in of_runs.splitlines()[:4]] == ["runs", "2", "2", "2"]
    assert of_runs in whole.out, "said at the end of the runs, too"


def test_merge_tells_of_runs_that_are_not_there(digits_config: Path, tmp_path: Path) -> None:
    command = ("--config_path", digits_config, "--output_dir", tmp_path / "outputs", "--set", "runs=2")
    nothing = run_cli(*command, "--merge")
    assert nothing.status == 2 and "no run has finished a round" in nothing.err
    assert not (tmp_path / "outputs").exists()
    assert run_cli(*command, "--run", "2").status == 0
    merged = run_cli(*command, "--merge")
    assert merged.status == 0
    assert "run 1    not begun" in merged.out and "run 2    finished" in merged.out


def test_merge_refuses_another_config_and_options_that_contradict_it(
    digits_config: Path, tmp_path: Path
) -> None:
    command = ("--config_path", digits_config, "--output_dir", tmp_path)
    assert run_cli(*command).status == 0
    changed = run_cli(*command, "--merge", "--set", "optimizer.lr=0.5")
    assert changed.status == 2 and "optimizer.lr: 0.01 -> 0.5" in changed.err
    for option in (["--overwrite"], ["--run", "1"]):
        assert run_cli(*command, "--merge", *option).status == 2


def test_merge_recovers_what_is_damaged(digits_config: Path, tmp_path: Path) -> None:
    command = ("--config_path", digits_config, "--output_dir", tmp_path / "outputs")
    assert run_cli(*command).status == 0
    rounds = tmp_path / "outputs" / "quick" / "run_1" / "rounds.jsonl"
    rounds.write_bytes(rounds.read_bytes()[:-50])
    merged = run_cli(*command, "--merge")
    assert merged.status == 0
    assert "run 1    2 of 3 rounds" in merged.out
    assert "round 3 is run again" in merged.err
    assert len(rounds.read_text().splitlines()) == 2
