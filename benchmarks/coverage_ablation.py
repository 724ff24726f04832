"""Hidden coverage with one ingredient taken out, put in or changed at a time: validation accuracy of whole runs, and
what a query costs. The runs are those of the command line, on MNIST, and are gone on with where they were stopped; what
an older state of this code has run is taken as it is, unless ``--out`` is another folder.

Chance is the peer: the last line holds the seconds of the last round that queries, training included, of hidden
coverage against those of chance.
"""

import argparse
import platform
import re
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch
from torch import Tensor

from src.active.acquisition import ACQUISITIONS, BatchAware
from src.active.batch import Batch, BatchHeuristic, DoubtfulFeatures, Evidence, LastLayer
from src.active.batch.hidden_coverage import LLOYD_ROUNDS, NEGLIGIBLE, cover
from src.active.heuristics import entropy
from src.analysis.statistics import normalised_area
from src.cli import main as run_experiment
from src.models.density import DensityModel
from src.utils.errors import UserError
from src.utils.records import Row, read_rows

CONFIG = (
    Path(__file__).parent.parent / "experiment_configs" / "cold_start" / "cold_mnist_hidden_coverage.yaml"
)
QUERIES = [100, 200, 200, 200, 200]
LABELS = [100, 200, 400, 600, 800, 1000]
OWN, CHANCE = "hidden coverage", "chance"
FEATURES: tuple[Evidence, ...] = ("features", "labelled_features")


@dataclass(frozen=True)
class Variant:
    """A line of the table: what is run in place of the config's heuristic, and further keys."""

    name: str
    heuristic: str | BatchHeuristic
    overrides: tuple[str, ...] = ()


def _weighted(
    weigh: Callable[[Tensor], Tensor], lloyd_rounds: int = LLOYD_ROUNDS, negligible: float = NEGLIGIBLE
) -> BatchHeuristic:
    """Hidden coverage with another function of doubt_N for weight_N, other rounds, or another share left out."""

    def select(pool: DoubtfulFeatures, labelled_L_D: Tensor, count: int, generator: torch.Generator) -> Batch:
        weight_N = weigh(pool.doubt_N)
        return cover(pool.features_N_D, labelled_L_D, weight_N, count, generator, lloyd_rounds, negligible)

    return BatchHeuristic(select, ("doubtful_features", "labelled_features"))


def _without_labels(pool: DoubtfulFeatures, count: int, generator: torch.Generator) -> Batch:
    """As if the one labelled input were so far away that it covers nothing."""
    far_1_D = pool.features_N_D.mean(dim=0, keepdim=True) + 1e3 * pool.features_N_D.std()
    return cover(pool.features_N_D, far_1_D, pool.doubt_N.square(), count, generator)


def _by_entropy(
    features_N_D: Tensor,
    labelled_L_D: Tensor,
    last_layer: LastLayer,
    count: int,
    generator: torch.Generator,
) -> Batch:
    weight_N = entropy(last_layer.log_probs_N_C[:, None]).square()
    return cover(features_N_D, labelled_L_D, weight_N, count, generator)


def _by_surprise(
    features_N_D: Tensor, labelled_L_D: Tensor, density: DensityModel, count: int, generator: torch.Generator
) -> Batch:
    weight_N = density.surprise(features_N_D).square()
    return cover(features_N_D, labelled_L_D, weight_N, count, generator)


VARIANTS = (
    Variant(OWN, "hidden_coverage"),
    Variant("without doubt", _weighted(torch.ones_like)),
    Variant("without coverage", "margin"),
    Variant("without labelled centres", BatchHeuristic(_without_labels, ("doubtful_features",))),
    Variant("without Lloyd's rounds", _weighted(torch.square, 0)),
    Variant("3 of Lloyd's rounds", _weighted(torch.square, 3)),
    Variant("no input left out", _weighted(torch.square, negligible=0)),
    Variant("a tenth of doubt² left out", _weighted(torch.square, negligible=0.1)),
    Variant("doubt, not its square", _weighted(lambda doubt_N: doubt_N)),
    Variant("doubt to the fourth", _weighted(lambda doubt_N: doubt_N**4)),
    Variant("entropy for doubt", BatchHeuristic(_by_entropy, (*FEATURES, "last_layer"))),
    Variant("HU-KDE's surprise for doubt", BatchHeuristic(_by_surprise, (*FEATURES, "density"))),
    Variant("pool rebuilt, weight 1", "hidden_coverage", ("model.mir_configs.reconstruct_pool=1",)),
    Variant("HU-KDE", "precomputed"),
    Variant("HU-KDE, pool rebuilt", "precomputed", ("model.mir_configs.reconstruct_pool=1",)),
    Variant(CHANCE, "random"),
)


def main(arguments: Sequence[str]) -> None:
    """Run what is missing of each variant, print its line and, last, what a round costs beside one of chance.

    Raises UserError where a run fails.
    """
    options = _parse(arguments)
    for variant in VARIANTS:
        if isinstance(variant.heuristic, BatchHeuristic):
            ACQUISITIONS.register(_word(variant))(partial(BatchAware, variant.heuristic))
    print(
        f"validation accuracy in percent, mean of {options.runs} runs; AUBC: of the curve to 1,000 labels, ± the "
        f"standard deviation over runs;\nseconds of the last query with the pool's scores, and of its round. "
        f"{torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}\n\n"
        f"{'':<28}{''.join(f'{labels:>8,}' for labels in LABELS)}{'AUBC':>16}{'query':>10}{'round':>9}",
        flush=True,
    )
    seconds = {}
    for variant in VARIANTS:
        if variant.name in options.variants:
            runs = _runs(variant, options)
            seconds[variant.name] = _line(variant, runs)
    if {OWN, CHANCE} <= seconds.keys():
        ours, chance = seconds[OWN], seconds[CHANCE]
        print(f"\ncoverage_ablation: ours {ours:.2f} s, chance {chance:.2f} s, ratio {ours / chance:.1f}")


def _line(variant: Variant, runs: list[list[Row]]) -> float:
    """Print what came of a variant and return the seconds of its last round with a query."""
    accuracy_K_R = 100 * np.array([[row["val"]["accuracy"] for row in rows] for rows in runs])
    areas = [normalised_area(np.array(LABELS), curve_R, LABELS[-1]) for curve_R in accuracy_K_R]
    spent = [rows[-2]["seconds"] for rows in runs]
    query = fmean(seconds["score"] + seconds["select"] for seconds in spent)
    whole = fmean(sum(seconds.values()) for seconds in spent)
    spread = f"± {stdev(areas):.2f}" if len(areas) > 1 else ""
    print(
        f"{variant.name:<28}{''.join(f'{mean:>8.2f}' for mean in accuracy_K_R.mean(axis=0))}"
        f"{fmean(areas):>9.2f} {spread:>6}{query:>8.2f} s{whole:>7.2f} s",
        flush=True,
    )
    return whole


def _word(variant: Variant) -> str:
    return re.sub(r"\W+", "_", variant.name)


def _runs(variant: Variant, options: argparse.Namespace) -> list[list[Row]]:
    name = f"ablation_{options.config.stem}_{_word(variant)}"
    heuristic = variant.heuristic if isinstance(variant.heuristic, str) else _word(variant)
    overrides = (
        f"name={name}",
        f"training.heuristic={heuristic}",
        f"training.ndata_to_label={QUERIES}",
        f"training.iterations={len(LABELS)}",
        f"training.initially_labelled={LABELS[0]}",
        f"data.path={options.data}",
        "save_df=false",
        *variant.overrides,
    )
    folders = []
    for run in range(1, options.runs + 1):
        arguments = [
            "--config_path",
            str(options.config),
            "--output_dir",
            str(options.out),
            "--run",
            str(run),
        ]
        for override in overrides:
            arguments += ["--set", override]
        with redirect_stdout(StringIO()):
            status = run_experiment("classification", arguments)
        if status:
            raise UserError(f"{variant.name}, run {run}: ended with status {status}; see above")
        folders.append(options.out / name / f"run_{run}")
    return [read_rows(folder) for folder in folders]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks coverage_ablation", allow_abbrev=False)
    names = [variant.name for variant in VARIANTS]
    parser.add_argument("--variants", nargs="+", choices=names, default=names, help="which (all)")
    parser.add_argument("--config", type=Path, default=CONFIG, help="what is varied (%(default)s)")
    parser.add_argument("--runs", type=int, default=4, help="runs of each, of 10 (%(default)s)")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the dataset's folder (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("experiment_outputs"), help="of the runs (%(default)s)"
    )
    options = parser.parse_args(arguments)
    if not 1 <= options.runs <= 10:
        parser.error(f"--runs {options.runs}: from 1 to 10")
    return options
