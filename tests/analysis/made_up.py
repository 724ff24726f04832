"""Made-up experiments for the tests of the report: whole records as runs leave them, drawn from a seed."""

import json
from pathlib import Path
from typing import Any

import numpy as np

SEEDS = [3, 11, 42]
POOL = 1000


def write_rows(run: Path, rows: list[dict[str, Any]]) -> None:
    """A run's folder with its rounds.jsonl; what there was of the file is gone."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "rounds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_experiment(
    outputs: Path,
    name: str,
    rounds: int = 4,
    seeds: list[int] = SEEDS,
    better: float = 0.0,
    dense: bool = False,
    density: dict[str, Any] | None = None,
    dataset: str = "mnist",
    reliability: bool = True,
    initial: int = 20,
) -> Path:
    """An experiment's folder: config.yaml, and for each seed a run with rounds.jsonl and queries.npz.

    Accuracies of a seed and a round have noise that all methods share, and noise of their own; ``better`` is added.
    Each round after the first, of ``initial`` labels, labels ten inputs of a pool in which input i is of class i % 10.
    """
    folder = outputs / name
    for number, seed in enumerate(seeds, start=1):
        run = folder / f"run_{number}"
        shared = np.random.default_rng(seed).normal(0, 0.02, rounds)
        own = np.random.default_rng([seed, *name.encode()])
        accuracy = np.clip(
            0.9 - 0.4 * 0.7 ** np.arange(rounds) + shared + own.normal(0, 0.01, rounds) + better, 0, 1
        )
        pool = own.permutation(POOL)
        queries = {f"indices_{r}": pool[10 * r : 10 * (r + 1)] for r in range(rounds - 1)}
        labelled = np.arange(initial)
        rows = []
        for round_ in range(rounds):
            test: dict[str, Any] = {"loss": 0.5, "ece": float(own.uniform(0.01, 0.1))}
            if dense:
                test |= {
                    "miou": accuracy[round_] / 2,
                    "accuracy": accuracy[round_],
                    "auroc": own.uniform(0.6, 0.8),
                }
            else:
                test |= {"accuracy": accuracy[round_]}
            if reliability:
                inputs = own.integers(1, 200, 15)
                test["bin_inputs"] = inputs.tolist()
                test["bin_right"] = own.binomial(inputs, (np.arange(15) + 0.5) / 16).tolist()
                test["bin_confidence"] = (inputs * (np.arange(15) + 0.5) / 15).tolist()
            rows.append(
                {
                    "round": round_,
                    "labelled": len(labelled),
                    "test": test,
                    "class_balance": np.bincount(labelled % 10, minlength=10).tolist(),
                    "density": density,
                    "seconds": {"build": 0.1, "fit": own.uniform(5, 9), "evaluate": 1.0},
                }
            )
            if round_ < rounds - 1:
                labelled = np.concatenate([labelled, queries[f"indices_{round_}"]])
        write_rows(run, rows)
        np.savez(run / "queries.npz", allow_pickle=False, **queries)
    (folder / "config.yaml").write_text(
        f"name: {name}\nrandom_state: {seeds}\nruns: {len(seeds)}\ndata:\n  dataset: {dataset}\n"
    )
    provenance = {"device": {"type": "cpu", "name": "x86_64", "threads": 1}}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    return folder


GAUSSIANS = {
    "dimension": 16,
    "train_log_likelihood": 30.0,
    "val_log_likelihood": -20.0,
    "classes_left_out": [],
}
SEARCHED = {
    "dimension": 4,
    "dimensions": [2, 4, 8],
    "discrepancy": [3.0, 1.0, 2.0],
    "train_log_likelihood": [4.0, 8.0, 16.0],
    "val_log_likelihood": [3.0, 6.0, -40.0],
    "classes_left_out": [],
}
BY_CLASS = {
    "classes": [
        {"label": 0} | {key: SEARCHED[key] for key in SEARCHED if key != "classes_left_out"},
        {"label": 1, "dimension": 2, "dimensions": [2], "discrepancy": None, "train_log_likelihood": [1.0]}
        | {"val_log_likelihood": None},
    ],
    "classes_left_out": [],
}


def write_seven(outputs: Path, rounds: int = 4, **options: Any) -> None:
    """Seven methods of three seeds, with all that a report can show."""
    densities = {
        "hu": GAUSSIANS,
        "hu_greedy_l2": SEARCHED,
        "class_greedy": BY_CLASS,
        "knn": {"bank_per_class": [5, 5]},
    }
    for method in ("random", "softmax", "mcd", "hu", "hu_greedy_l2", "class_greedy", "knn"):
        write_experiment(outputs, f"made_{method}", rounds, density=densities.get(method), **options)


EVERYTHING = [
    *("curves", "areas", "labels-needed", "pairs", "calibration"),
    *("classes", "overlap", "dimensions", "likelihoods", "seconds"),
]
"""The sections of a report of ``write_seven``."""
