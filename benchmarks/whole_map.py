"""What it changes to rank scenes by the top pixel row of their uncertainty maps, as the code of the thesis did, and not
by the whole maps: both rankings of one pool by the same models, those of an experiment's first round.

A scene's map is that of its features and may be smaller than the scene: a quarter as high and wide in DeepLabv3+.
Enlarged to the scene's size (bilinearly, by a whole factor) it has the same two means.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from scipy import stats  # type: ignore[import-untyped]
from torch import Tensor

from src.active.heuristics import HEURISTICS
from src.active.loop import start_pool
from src.active.maps import Reduction, reduction
from src.active.plan import Plan, make_plan, mc_passes, queries, reconstructs_pool
from src.active.scoring import PoolView, fit_density, score_pool
from src.active.selection import rank
from src.cli import choose_device
from src.config import Config, load_config
from src.data import DataBundle, load_dataset
from src.data.augment import augmentation
from src.models.build import build_density, build_model
from src.models.joint_fit import Setting
from src.models.training import Training
from src.utils.seeding import RoundSeeds, make_deterministic

FINAL_RUNS = Path(__file__).parent.parent / "experiment_configs" / "final_runs"
CONFIGS = [FINAL_RUNS / "camvid_hu.yaml", FINAL_RUNS / "camvid_knn.yaml"]
NAMED = 3
"""Classes of the top row that are named; the others are added up."""

whole_map: Reduction = reduction("mean", top_fraction=1)


def top_row(scores_B_H_W: Tensor) -> Tensor:
    """scores_B, the mean over the first row of each map."""
    return whole_map(scores_B_H_W[:, :1])


@dataclass(frozen=True)
class Agreement:
    """Of two rankings of N scenes, the first ``queried`` of which are asked for."""

    spearman: float
    queried: int
    shared: int
    """Scenes that are asked for under both."""
    by_chance: float
    """What ``shared`` would be on average if one of the rankings were random."""


def agreement(whole_N: Tensor, top_N: Tensor, queried: int) -> Agreement:
    """How far the scores_N of the same scenes rank alike."""
    both = set(rank(whole_N)[:queried].tolist()) & set(rank(top_N)[:queried].tolist())
    return Agreement(
        float(stats.spearmanr(whole_N, top_N).statistic), queried, len(both), queried**2 / len(whole_N)
    )


def first_round(
    config: Config, plan: Plan, data: DataBundle, run_seed: int, reductions: Sequence[Reduction]
) -> Iterator[Tensor]:
    """The scores_N of the pool under each reduction, by the model and the density of a run's first round."""
    seeds, device = RoundSeeds(run_seed, 0), data.train.device
    pool = start_pool(config, data, run_seed)
    labelled, held_out = pool.labelled_indices.to(device), pool.val_indices.to(device)
    model = build_model(config, plan.input_shape, plan.info.nb_classes, seeds, device)
    density = build_density(config, seeds)
    augment = augmentation(config, data)
    unlabelled = pool.pool_indices if reconstructs_pool(config) else None
    setting = Setting(
        data.train, labelled, held_out, config.training, config.optimizer, seeds, augment, unlabelled
    )
    Training(model, setting).run()
    if density is not None:
        fit_density(density, model, data.train, labelled, held_out)
    candidates, heuristic = pool.pool_indices.to(device), HEURISTICS.get(config.training.heuristic)
    for reduce in reductions:
        view = PoolView(
            *(model, density, data.train, labelled, candidates),
            *(plan.info.nb_classes, mc_passes(config), seeds, reduce),
        )
        yield score_pool(heuristic, view)


def class_shares(config: Config, data: DataBundle, rows: slice) -> Tensor:
    """shares_C of the classes among the labelled pixels in these rows of all training scenes."""
    counts_C = torch.zeros(data.info.nb_classes, dtype=torch.int64)
    for index in data.train.indices.split(1):
        labels_P = data.train.labels(index)[:, rows].flatten().cpu()
        labels_P = labels_P[labels_P != config.data.ignore_label]
        counts_C += torch.bincount(labels_P, minlength=data.info.nb_classes)
    return counts_C / counts_C.sum()


def main(arguments: Sequence[str]) -> None:
    """Print a line for each config and seed and, last, one of them all; UserError where a config does not fit."""
    options = _parse(arguments)
    make_deterministic()
    found = []
    for path in options.configs:
        config = load_config(path, [f"data.path={options.data}"] if options.data else [])
        plan = make_plan(config, "segmentation")
        data = load_dataset(config, choose_device(None))
        print(f"{config.name}: pixels of the {len(data.train)} training scenes")
        top_C, all_C = (class_shares(config, data, rows) for rows in (slice(1), slice(None)))
        named = top_C.argsort(descending=True, stable=True)[:NAMED].tolist()
        for where, shares_C in (("top row", top_C), ("whole", all_C)):
            shares = [f"{data.info.class_names[which]} {shares_C[which]:.1%}" for which in named]
            print(f"  {where:<8} {', '.join(shares)}, other {1 - shares_C[named].sum():.1%}")
        print(f"{'seed':>6}{'pool':>8}{'Spearman':>11}{'queried':>10}{'the same':>11}{'by chance':>12}")
        for run_seed in config.random_state[: config.runs]:
            whole_N, top_N = first_round(config, plan, data, run_seed, [whole_map, top_row])
            found.append(agreement(whole_N, top_N, queries(config)[0]))
            print(
                f"{run_seed:>6}{len(whole_N):>8}{found[-1].spearman:>11.3f}{found[-1].queried:>10}"
                f"{found[-1].shared:>11}{found[-1].by_chance:>12.1f}",
                flush=True,
            )
        print()
    spearman = [each.spearman for each in found]
    shared = [each.shared / each.queried for each in found]
    chance = fmean(each.by_chance / each.queried for each in found)
    print(
        f"whole_map: Spearman {min(spearman):.3f} to {max(spearman):.3f}, of the queried scenes {min(shared):.0%} to "
        f"{max(shared):.0%} are the same, by chance {chance:.0%}"
    )


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks whole_map", allow_abbrev=False)
    parser.add_argument(
        "--configs", type=Path, nargs="+", default=CONFIGS, help="experiments (camvid_hu, camvid_knn)"
    )
    parser.add_argument("--data", type=Path, help="the dataset's folder (the one in the config)")
    return parser.parse_args(arguments)
