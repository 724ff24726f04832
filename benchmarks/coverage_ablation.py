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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from benchmarks._whole_runs import AUBC, COLD_START, HEADINGS, add_options, curve_cells, run_all
from src.active.acquisition import ACQUISITIONS, BatchAware
from src.active.batch import Batch, BatchHeuristic, DoubtfulFeatures, Evidence, LastLayer
from src.active.batch.hidden_coverage import LLOYD_ROUNDS, NEGLIGIBLE, cover
from src.active.heuristics import entropy
from src.models.density import DensityModel
from src.utils.records import Row

CONFIG = COLD_START / "cold_mnist_hidden_coverage.yaml"
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
        f"validation accuracy in percent, mean of {options.runs} runs; {AUBC};\n"
        f"seconds of the last query with the pool's scores, and of its round. {torch.get_num_threads()} threads, "
        f"{platform.machine()}, torch {torch.__version__}\n\n"
        f"{'':<28}{HEADINGS}{'query':>10}{'round':>9}",
        flush=True,
    )
    seconds = {}
    for variant in VARIANTS:
        if variant.name in options.variants:
            seconds[variant.name] = _line(variant, _runs(variant, options))
    if {OWN, CHANCE} <= seconds.keys():
        ours, chance = seconds[OWN], seconds[CHANCE]
        print(f"\ncoverage_ablation: ours {ours:.2f} s, chance {chance:.2f} s, ratio {ours / chance:.1f}")


def _line(variant: Variant, rows_K: list[list[Row]]) -> float:
    """Print what came of a variant and return the seconds of its last round with a query."""
    spent = [rows[-2]["seconds"] for rows in rows_K]
    query = fmean(seconds["score"] + seconds["select"] for seconds in spent)
    whole = fmean(sum(seconds.values()) for seconds in spent)
    print(f"{variant.name:<28}{curve_cells(rows_K, 'val')}{query:>8.2f} s{whole:>7.2f} s", flush=True)
    return whole


def _word(variant: Variant) -> str:
    """A name for its acquisition, and for an experiment."""
    return re.sub(r"\W+", "_", variant.name, flags=re.ASCII)


def _runs(variant: Variant, options: argparse.Namespace) -> list[list[Row]]:
    heuristic = variant.heuristic if isinstance(variant.heuristic, str) else _word(variant)
    overrides = (f"training.heuristic={heuristic}", f"data.path={options.data}", *variant.overrides)
    name = f"ablation_{options.config.stem}_{_word(variant)}"
    return [rows for _, rows in run_all(options.config, name, overrides, options)]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks coverage_ablation",
        description="Whole runs of hidden coverage with one ingredient changed at a time.",
        allow_abbrev=False,
    )
    names = [variant.name for variant in VARIANTS]
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=names,
        default=names,
        metavar="NAME",
        help=f"which (all): {'; '.join(names)}",
    )
    parser.add_argument("--config", type=Path, default=CONFIG, help="what is varied (%(default)s)")
    add_options(parser)
    return parser.parse_args(arguments)
