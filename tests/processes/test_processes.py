"""Two processes come to what one comes to, and when one dies the other ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.experiments import ROOT, environment, results, rows, run_cli
from tests.processes.computed import COMPUTED
from tests.test_resume import command, settings

EXACT = {"scores_of_chance", "batch_aware_picks", "ranked_counts_beyond_their_capacity"}
PATIENCE = 300
"""Seconds after which processes hang for certain, on however busy a machine."""

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[torch.Tensor]]]:
    """What each of two processes computed."""
    folder = tmp_path_factory.mktemp("by_two")
    subprocess.run(
        [*TORCHRUN, "-m", "tests.processes.computed", str(folder)],
        cwd=ROOT,
        env=environment(),
        check=True,
        timeout=PATIENCE,
    )
    return [torch.load(folder / f"{number}.pt", weights_only=True) for number in range(2)]


@pytest.mark.parametrize("name", COMPUTED)
def test_two_processes_compute_what_one_does(name: str, by_two: list[dict[str, list[torch.Tensor]]]) -> None:
    alone = COMPUTED[name]()
    first, second = (of_process[name] for of_process in by_two)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True)), "processes differ"
    for ours, expected in zip(first, alone, strict=True):
        if name in EXACT:
            torch.testing.assert_close(ours, expected, rtol=0, atol=0)
        elif expected.dtype == torch.float64 and "float64" in name:
            torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)
        else:
            torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


def test_what_the_first_tells_reaches_the_second(by_two: list[dict[str, list[torch.Tensor]]]) -> None:
    for of_process in by_two:
        assert [found.tolist() for found in of_process["told"]] == [[0, 1], [0, 1, 2]]
        assert of_process["largest"][0].item() == 1


# ---- whole runs ---------------------------------------------------------------------------------------------------

SMALL = """\
name: small
random_state: [3, 11, 42]
runs: 3
training:
  heuristic: precomputed
  ndata_to_label: 40
  iterations: 3
  initially_labelled: 40
  epochs: 25
  batch_size: 16
  verbose: false
model:
  name: MIR
  hidden_layers: [32, 32]
  mir_configs: {density_model: gmm}
optimizer:
  lr: 0.01
"""
NO_CHANCE = ("model.dropout_probabilities=[]", "runs=1")
"""Without dropout what two processes train differs from one's by rounding alone."""

STREETS = """\
name: small
random_state: [3]
data: {dataset: synthetic_streets, resize: true, img_rows: 32, img_cols: 64, augmentation: false}
training:
  {heuristic: entropy, ndata_to_label: 4, iterations: 2, initially_labelled: 6, epochs: 2,
   batch_size: 3, verbose: false}
model: {name: drn_d_22, dropout_probabilities: []}
"""


def two(config: Path, outputs: Path, *overrides: str, script: str = "classification") -> list[str]:
    return [
        *TORCHRUN,
        f"active_learning_{script}.py",
        *map(str, command(config, outputs, *overrides)),
        "--device",
        "cpu",
    ]


def run_two(
    config: Path, outputs: Path, *overrides: str, script: str = "classification"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        two(config, outputs, *overrides, script=script),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def test_whole_runs_start_alike_and_come_to_the_same_accuracy_within_noise(
    small: Path, tmp_path: Path
) -> None:
    found = run_two(small, tmp_path / "two")
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("round  3/3") == 3, "the first process alone speaks"
    assert run_cli(*command(small, tmp_path / "one")).status == 0
    both = [results(tmp_path / name, "small") for name in ("two", "one")]
    final = []
    for outcome in both:
        runs = [outcome[f"run_{run}"] for run in (1, 2, 3)]
        final.append([run["rounds"][-1]["test"]["accuracy"] for run in runs])
    for run in (1, 2, 3):
        initial = [
            [index for index, round_ in enumerate(outcome[f"run_{run}"]["labels"]) if round_ == 0]
            for outcome in both
        ]
        assert initial[0] == initial[1]
        assert len(initial[0]) == 40
    means = [sum(accuracies) / 3 for accuracies in final]
    # Seeds differ by a standard deviation of a few hundredths; two means of three by less than three times that.
    assert means[0] == pytest.approx(means[1], abs=0.12)
    assert min(means) > 0.5, "nothing was learnt"


def close(ours: object, expected: object) -> bool:
    """Equal but for the rounding of numbers."""
    if isinstance(expected, dict):
        return isinstance(ours, dict) and all(close(ours[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return isinstance(ours, list) and all(map(close, ours, expected)) and len(ours) == len(expected)
    if isinstance(expected, float):
        return ours == pytest.approx(expected, rel=1e-3, abs=1e-4)
    return ours == expected


def test_without_chance_in_training_every_round_is_the_same(small: Path, tmp_path: Path) -> None:
    overrides = (*NO_CHANCE, "training.epochs=5", "optimizer.type=sgd")
    assert run_two(small, tmp_path / "two", *overrides).returncode == 0
    assert run_cli(*command(small, tmp_path / "one", *overrides)).status == 0
    ours, expected = (results(tmp_path / name, "small")["run_1"] for name in ("two", "one"))
    assert ours["labels"] == expected["labels"]
    assert close(ours["rounds"], expected["rounds"])
    assert [value[1] for value in ours["queries"].values()][:1] == [
        value[1] for value in expected["queries"].values()
    ][:1]


def test_street_scenes_come_to_the_same_metrics(tmp_path: Path) -> None:
    config = tmp_path / "streets.yaml"
    config.write_text(STREETS)
    sgd = "optimizer.type=sgd"
    found = run_two(config, tmp_path / "two", sgd, script="segmentation")
    assert found.returncode == 0, found.stderr
    assert run_cli(*command(config, tmp_path / "one", sgd), task="segmentation").status == 0
    ours, expected = (rows(tmp_path / name / "small" / "run_1") for name in ("two", "one"))
    for row, other in zip(ours, expected, strict=True):
        # float32's rounding grows from step to step in a network this deep; float64's is held to 1e-9 above.
        for metric, tolerance in (("loss", 0.1), ("accuracy", 0.1), ("miou", 0.03), ("auroc", 0.1)):
            assert row["test"][metric] == pytest.approx(other["test"][metric], abs=tolerance), metric
    assert (tmp_path / "two" / "small" / "run_1" / "panels_1.png").exists()


# ---- what may befall one of them ----------------------------------------------------------------------------------


def workers(launcher: subprocess.Popen[str]) -> list[int]:
    """The process numbers of what torchrun started, by rank."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    ranked = []
    for child in map(int, children):
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        ranks = [value for value in variables if value.startswith(b"RANK=")]
        if ranks:
            ranked.append((int(ranks[0][5:]), child))
    return [child for _, child in sorted(ranked)]


def started(config: Path, outputs: Path, *overrides: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        two(config, outputs, *overrides),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_round(run: Path, count: int, launcher: subprocess.Popen[str]) -> None:
    path, deadline = run / "rounds.jsonl", time.monotonic() + PATIENCE
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert launcher.poll() is None, launcher.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


LONGER = (*NO_CHANCE, "training.iterations=6", "training.epochs=50", "training.early_stopping=false")


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """A config, and the records of LONGER from two processes that nothing disturbed."""
    folder = tmp_path_factory.mktemp("longer")
    config = folder / "small.yaml"
    config.write_text(SMALL)
    found = run_two(config, folder / "undisturbed", *LONGER)
    assert found.returncode == 0, found.stderr
    return config, results(folder / "undisturbed", "small")


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in Linux's /proc")
@pytest.mark.parametrize("rank", [0, 1])
def test_when_one_process_is_killed_the_other_ends_and_the_run_goes_on_later(
    rank: int, longer: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    config, undisturbed = longer
    outputs = tmp_path / "outputs"
    launcher = started(config, outputs, *LONGER)
    wait_for_round(outputs / "small" / "run_1", 2, launcher)
    pair = workers(launcher)
    assert len(pair) == 2
    # Not the launcher, which would end the other: it has to notice by itself.
    os.kill(launcher.pid, signal.SIGSTOP)
    os.kill(pair[rank], signal.SIGKILL)
    killed_at = time.monotonic()
    other = Path(f"/proc/{pair[1 - rank]}/stat")
    while other.exists() and other.read_text().rsplit(")", 1)[1].split()[0] != "Z":
        assert time.monotonic() < killed_at + 60
        time.sleep(0.05)
    os.kill(launcher.pid, signal.SIGCONT)
    _, err = launcher.communicate(timeout=PATIENCE)
    assert launcher.returncode != 0
    assert f"process {1 - rank} of 2, from 0: another process of this run has ended" in err
    assert "error: " in err
    done = len((outputs / "small" / "run_1" / "rounds.jsonl").read_text().splitlines())
    assert 2 <= done < 6
    assert run_two(config, outputs, *LONGER).returncode == 0
    assert results(outputs, "small") == undisturbed


def test_one_process_is_asked_to_stop_and_all_go_on_from_that_step(small: Path, tmp_path: Path) -> None:
    """With dropout, of which each process draws its own."""
    overrides = ("runs=1", "training.epochs=4")
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    assert run_two(small, undisturbed, *overrides).returncode == 0
    arguments = [*map(str, command(small, stopped, *overrides)), "--device", "cpu"]
    for step in (14, 6):  # 12 steps, then 20, then 32: in the second round, and further on in it
        found = subprocess.run(
            [*TORCHRUN, "-m", "--", "tests.processes.stopped", str(step), "--", *arguments],
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert "exitcode  : 75" in found.stderr
        assert found.stderr.count("stopped; nothing finished is lost") == 1
        assert (stopped / "small" / "run_1" / "training.pt").exists()
    assert run_two(small, stopped, *overrides).returncode == 0
    assert results(stopped, "small") == results(undisturbed, "small")


def test_a_schedulers_signal_to_torchrun_is_heard_by_all(
    longer: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    config, undisturbed = longer
    outputs = tmp_path / "outputs"
    launcher = started(config, outputs, *LONGER)
    wait_for_round(outputs / "small" / "run_1", 1, launcher)
    launcher.send_signal(signal.SIGTERM)  # torchrun hands it on
    _, err = launcher.communicate(timeout=PATIENCE)
    assert "stopped; nothing finished is lost" in err
    assert run_two(config, outputs, *LONGER).returncode == 0
    assert results(outputs, "small") == undisturbed


def test_an_error_of_all_is_said_once(small: Path, tmp_path: Path) -> None:
    found = run_two(small, tmp_path / "outputs", "training.heuristic=entopy")
    assert found.returncode != 0
    assert found.stderr.count("error: ") == 1
    assert "training.heuristic" in found.stderr
    assert "Traceback" not in found.stderr.split("error: ")[1].split("\n")[0]


def test_a_process_without_the_others_is_refused(small: Path, tmp_path: Path) -> None:
    alone = {**environment(), "WORLD_SIZE": "two"}
    found = subprocess.run(
        [sys.executable, "active_learning_classification.py", "--config_path", str(small), *settings()],
        cwd=ROOT,
        env=alone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 2
    assert found.stderr.startswith("error: WORLD_SIZE 'two' is no number")
    assert json.dumps(found.stdout) == '""'
