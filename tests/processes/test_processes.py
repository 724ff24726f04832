"""Two processes come to what one comes to, and when one dies the other ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.experiments import ROOT, Command, Outcome, command, committed, environment, results, rows, run_cli
from tests.processes.computed import COMPUTED
from tests.processes.pair import PATIENCE, Pair

EXACT = {"scores_of_chance", "batch_aware_picks", "ranked_counts_beyond_their_capacity"}
CLASSIFICATION, SEGMENTATION = "active_learning_classification.py", "active_learning_segmentation.py"


@pytest.fixture(scope="module")
def by_two(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[torch.Tensor]]]:
    """What each of two processes computed."""
    folder = tmp_path_factory.mktemp("by_two")
    ended = pair.run("tests/processes/computed.py", folder)
    assert ended.statuses == [0, 0], ended.err
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


def on_cpus(config: Path, outputs: Path, *overrides: str) -> Command:
    return *command(config, outputs, *overrides), "--device", "cpu"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def test_whole_runs_start_alike_and_come_to_the_same_accuracy_within_noise(
    pair: Pair, small: Path, tmp_path: Path
) -> None:
    ended = pair.run(CLASSIFICATION, *on_cpus(small, tmp_path / "two"))
    assert ended.statuses == [0, 0], ended.err
    assert ended.out[0].count("round  3/3") == 3
    assert not ended.out[1], "the first process alone speaks"
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


def test_without_chance_in_training_every_round_is_the_same(pair: Pair, small: Path, tmp_path: Path) -> None:
    overrides = (*NO_CHANCE, "training.epochs=5", "optimizer.type=sgd")
    assert pair.run(CLASSIFICATION, *on_cpus(small, tmp_path / "two", *overrides)).statuses == [0, 0]
    assert run_cli(*command(small, tmp_path / "one", *overrides)).status == 0
    ours, expected = (results(tmp_path / name, "small")["run_1"] for name in ("two", "one"))
    assert ours["labels"] == expected["labels"]
    assert close(ours["rounds"], expected["rounds"])
    assert [value[1] for value in ours["queries"].values()][:1] == [
        value[1] for value in expected["queries"].values()
    ][:1]


def test_street_scenes_come_to_the_same_metrics(pair: Pair, tmp_path: Path) -> None:
    config = tmp_path / "streets.yaml"
    config.write_text(STREETS)
    sgd = "optimizer.type=sgd"
    ended = pair.run(SEGMENTATION, *on_cpus(config, tmp_path / "two", sgd))
    assert ended.statuses == [0, 0], ended.err
    assert run_cli(*command(config, tmp_path / "one", sgd), task="segmentation").status == 0
    ours, expected = (rows(tmp_path / name / "small" / "run_1") for name in ("two", "one"))
    for row, other in zip(ours, expected, strict=True):
        # float32's rounding grows from step to step in a network this deep; float64's is held to 1e-9 above.
        for metric, tolerance in (("loss", 0.1), ("accuracy", 0.1), ("miou", 0.03), ("auroc", 0.1)):
            assert row["test"][metric] == pytest.approx(other["test"][metric], abs=tolerance), metric
    assert (tmp_path / "two" / "small" / "run_1" / "panels_1.png").exists()


# ---- what may befall one of them ----------------------------------------------------------------------------------


def test_one_process_is_asked_to_stop_and_all_go_on_from_that_step(
    pair: Pair, small: Path, tmp_path: Path
) -> None:
    """With dropout, of which each process draws its own."""
    overrides = ("runs=1", "training.epochs=4")
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    assert pair.run(CLASSIFICATION, *on_cpus(small, undisturbed, *overrides)).statuses == [0, 0]
    arguments = on_cpus(small, stopped, *overrides)
    for step in ("14", "6"):  # 12 steps, then 20, then 32: in the second round, and further on in it
        ended = pair.run("tests/processes/stopped.py", step, "--", *arguments)
        assert ended.statuses == [75, 75]
        assert "".join(ended.err).count("stopped; nothing finished is lost") == 1
        assert (stopped / "small" / "run_1" / "training.pt").exists()
    assert pair.run(CLASSIFICATION, *arguments).statuses == [0, 0]
    assert results(stopped, "small") == results(undisturbed, "small")


class Launcher:
    """torchrun with two processes of a run."""

    def __init__(self, config: Path, outputs: Path, *overrides: str) -> None:
        arguments = map(str, on_cpus(config, outputs, *overrides))
        self.run_folder = outputs / "small" / "run_1"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
                *(CLASSIFICATION, *arguments),
            ],
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def outcome(self) -> Outcome:
        """Of what has come to its end by itself."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return Outcome(self.process.returncode, out, err)

    def wait_for_round(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE
        while committed(self.run_folder) < count:
            assert self.process.poll() is None, self.outcome()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def workers(self) -> list[int]:
        """The process numbers of what torchrun started, by rank."""
        number = self.process.pid
        children = Path(f"/proc/{number}/task/{number}/children").read_text().split()
        ranked = []
        for child in map(int, children):
            variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            ranks = [value for value in variables if value.startswith(b"RANK=")]
            if ranks:
                ranked.append((int(ranks[0][5:]), child))
        return [child for _, child in sorted(ranked)]

    def kill(self, rank: int) -> Outcome:
        """Kill the one process, wait for the end of the other, and let torchrun end."""
        pair = self.workers()
        assert len(pair) == 2
        # Not the launcher, which would end the other: it has to notice by itself.
        self.process.send_signal(signal.SIGSTOP)
        os.kill(pair[rank], signal.SIGKILL)
        killed_at = time.monotonic()
        other = Path(f"/proc/{pair[1 - rank]}/stat")
        while other.exists() and other.read_text().rsplit(")", 1)[1].split()[0] != "Z":
            assert time.monotonic() < killed_at + 60
            time.sleep(0.05)
        self.process.send_signal(signal.SIGCONT)
        return self.outcome()


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in Linux's /proc")
def test_when_one_process_is_killed_or_all_are_asked_to_stop_the_run_goes_on_later(
    pair: Pair, small: Path, tmp_path: Path
) -> None:
    """The first process is killed, later on the second, and then a scheduler has its signal handed on by torchrun."""
    longer = (*NO_CHANCE, "training.iterations=6", "training.epochs=20", "training.early_stopping=false")
    undisturbed, outputs = tmp_path / "undisturbed", tmp_path / "outputs"
    assert pair.run(CLASSIFICATION, *on_cpus(small, undisturbed, *longer)).statuses == [0, 0]
    for rank in (0, 1):
        launcher = Launcher(small, outputs, *longer)
        launcher.wait_for_round(1 + rank)
        ended = launcher.kill(rank)
        assert ended.status != 0
        assert f"process {1 - rank} of 2, from 0: another process of this run has ended" in ended.err
        assert "error: " in ended.err
        assert 1 + rank <= committed(launcher.run_folder) < 6
    launcher = Launcher(small, outputs, *longer)
    launcher.wait_for_round(3)
    launcher.process.send_signal(signal.SIGTERM)
    assert "stopped; nothing finished is lost" in launcher.outcome().err
    assert 3 <= committed(launcher.run_folder) < 6
    last = Launcher(small, outputs, *longer).outcome()
    assert last.status == 0, last.err
    assert last.out.count("round  6/6") == 1
    assert results(outputs, "small") == results(undisturbed, "small")


def test_an_error_of_all_is_said_once(small: Path, tmp_path: Path) -> None:
    ended = Launcher(small, tmp_path / "outputs", "training.heuristic=entopy").outcome()
    assert ended.status != 0
    assert ended.err.count("error: ") == 1
    assert "training.heuristic" in ended.err
    assert "Traceback" not in ended.err.split("error: ")[1].split("\n")[0]


def test_a_process_without_the_others_is_refused(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "two")
    outcome = run_cli("--config_path", small)
    assert outcome.status == 2
    assert outcome.err.startswith("error: WORLD_SIZE 'two' is no number")
    assert outcome.out == ""
