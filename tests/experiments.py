"""Small experiments for the tests of the command line: a config that runs in a blink, the methods and the commands that
run it, running it in this process, and reading back all that must be the same when nothing should have changed."""

import contextlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch

from src.cli import main
from src.data import Task

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "experiment_configs"
FINAL_RUNS = CONFIGS / "final_runs"
SHIPPED = sorted(CONFIGS.rglob("*.yaml"))
"""The config of every experiment that comes with the project."""
SHIPPED_OUTPUTS = ROOT / "experiment_outputs"
"""The results that come with it."""

QUICK = """\
name: quick
random_state: [3, 11]
runs: 1
training:
  heuristic: entropy
  ndata_to_label: [10, 20]
  iterations: 3
  initially_labelled: 20
  epochs: 2
  batch_size: 16
  verbose: false
data:
  dataset: digits
  nb_classes: 10
model:
  name: MLP
  hidden_layers: [16, 16]
optimizer:
  lr: 0.01
"""
"""Three rounds on scikit-learn's digits."""

METHODS = {
    "random": ("training.heuristic=random", "training.initially_balanced=false"),
    "entropy_of_a_pool_subset": ("training.max_pool_samples=300", "training.save_scores=true"),
    "mc_dropout_bald": ("training.heuristic=bald", "model.mc_dropout=true", "model.mc_iterations=4"),
    "ensemble_variance": ("training.heuristic=variance", "model.ensemble=3"),
    "ensemble_on_plateaus": ("training.scheduler=reduce_on_plateau", "model.ensemble=2"),
    "sgd_cosine_margin": (
        "training.heuristic=margin",
        "optimizer.type=sgd",
        "training.scheduler=cosannwarmup",
    ),
    "hidden_coverage_with_the_pool_rebuilt": (
        "training.heuristic=hidden_coverage",
        "model={name: MIR, hidden_layers: [16, 16], mir_configs: {reconstruct_pool: 0.5}}",
    ),
    "hu_greedy": (
        "training.heuristic=precomputed",
        "model={name: MIR, hidden_layers: [16, 16], mir_configs: {density_model: gmm, greedy_search: true}}",
    ),
    "hu_kde": (
        "training.heuristic=precomputed",
        "model={name: MIR, hidden_layers: [16, 16], mir_configs: {density_model: knn, max_samples: 3}}",
    ),
    "batch_hu": (
        "training.heuristic=batch_hu",
        "model={name: MIR, hidden_layers: [16, 16], mir_configs: {density_model: gmm}}",
    ),
    "badge_on_augmented_images": (
        "training.heuristic=badge",
        "data.augmentation=true",
        "model={name: CNN, hidden_layers: [4], kernel_sizes: [3]}",
    ),
    "weight_samples_batchbald": ("training.heuristic=batchbald", "model={name: BNN, mc_iterations: 4}"),
    "power_of_mixed_ranks": (
        "training.heuristic=combination",
        "training.combination={entropy: 1.0, random: 0.5}",
        "training.stochastic_batch=power",
    ),
}
"""Overrides of QUICK with one of each kind of random draw: dropout, Monte-Carlo masks, shuffled ranks, pool subsets,
members, bank samples."""


def unrendered(_: object, file: BinaryIO, **__: object) -> None:
    """In place of ``Figure.savefig``: rendering takes longer than the runs here, and few tests look at the picture."""
    file.write(b"a picture" * 1000)


class Outcome(NamedTuple):
    """What a command left behind: its exit status, its standard output and its standard error."""

    status: int
    out: str
    err: str


def run_cli(*arguments: str | Path, task: Task | None = "classification") -> Outcome:
    """Run the command line in this process. Whatever it raises, but for SystemExit, is a traceback to its user."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        determinism_restored(),
        one_thread(),
    ):
        try:
            status = main(task, [str(argument) for argument in arguments])
        except SystemExit as exit_:  # argparse leaves this way
            assert isinstance(exit_.code, int)
            status = exit_.code
    return Outcome(status, out.getvalue(), err.getvalue())


Command = tuple[str | Path, ...]


def settings(*overrides: str) -> list[str]:
    """Each as the option of the command line that sets it."""
    return [part for override in overrides for part in ("--set", override)]


def settings_of(values: dict[str, str]) -> list[str]:
    """``settings`` of a mapping from keys to values."""
    return settings(*map("=".join, values.items()))


def command(config: Path, outputs: Path, *overrides: str) -> Command:
    """The arguments that run the config, with these overrides, into that folder."""
    return ("--config_path", config, "--output_dir", outputs, *settings(*overrides))


@contextlib.contextmanager
def determinism_restored() -> Iterator[None]:
    """Undo what the command line asks of torch for its process, for the sake of the other tests in this one."""
    before = torch.are_deterministic_algorithms_enabled()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, which is fastest for networks this small, most of all beside other processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tree(folder: Path) -> dict[str, bytes]:
    """The content of every file below the folder by its relative path; not the locks, which name a process."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


def parts(folder: Path) -> list[str]:
    """Hidden files below the folder: what is written beside before it is moved into place."""
    return [name for name in tree(folder) if Path(name).name.startswith(".")]


def rows(run_folder: Path) -> list[dict[str, Any]]:
    """rounds.jsonl without its timings."""
    lines = (run_folder / "rounds.jsonl").read_text().splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines if line
    ]


def results(outputs: Path, name: str) -> dict[str, Any]:
    """All that an experiment computed: rounds, queries and labels of every run, and the wide CSV."""
    found: dict[str, Any] = {"csv": (outputs / "final_runs" / f"{name}.csv").read_text()}
    for run in sorted((outputs / name).glob("run_*")):
        state = torch.load(run / "state.pt", weights_only=True)
        with np.load(run / "queries.npz") as queries:
            arrays = {key: queries[key] for key in queries.files}
        found[run.name] = {
            "rounds": rows(run),
            "queries": {key: (str(array.dtype), array.tolist()) for key, array in arrays.items()},
            "labels": state.pop("labelled_in_round_N").tolist(),
            "state": state,
        }
    return found


def committed(run_folder: Path) -> int:
    """How many rounds are on disk, as a bystander of a running process sees it."""
    path = run_folder / "rounds.jsonl"
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def environment() -> dict[str, str]:
    """For a process of its own that computes with one thread, as ``run_cli`` does, and so to the same bits."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}
