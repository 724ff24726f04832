"""Batch-aware hidden uncertainty: surprise that knows what the batch already holds. How a density takes a pick in is
told by ``growing.py``."""

from collections.abc import Callable

import torch
from torch import Tensor

from src.active.batch.base import Batch, Picks, batch_heuristic
from src.active.batch.growing import Growing, GrowingGaussians, GrowingNeighbours
from src.config import ModelConfig
from src.models.density import DENSITY_HEADS, GMM, KNN, DensityModel
from src.utils.errors import UserError

GROWING: dict[type, Callable[..., Growing]] = {GMM: GrowingGaussians, KNN: GrowingNeighbours}


def check_head(model: ModelConfig) -> None:
    """UserError where the model's density head is not one that can take a pick in."""
    mir, heads = model.mir_configs, [name for name in DENSITY_HEADS if DENSITY_HEADS.get(name) in GROWING]
    if mir.density_model not in heads:
        raise UserError(
            f"knows how the density heads {', '.join(heads)} learn from a pick, and not how "
            f"model.mir_configs.density_model '{mir.density_model}' does; use one of these or 'precomputed'"
        )
    if mir.density_model == "gmm" and mir.covariance != "full":
        raise UserError(
            "lets a full covariance learn from a pick; set model.mir_configs.covariance to full, which is "
            f"'{mir.covariance}'"
        )


@batch_heuristic("batch_hu", consumes=("density", "features"), check=check_head)
def batch_hu(density: DensityModel, features_N_D: Tensor, count: int, generator: torch.Generator) -> Batch:
    """Each pick is the most surprising input under a density that has learnt from all earlier picks.

    HU (Postels et al. 2020) asks for what is improbable given the labelled features, and so for the same improbable
    thing many times over. Here a picked input joins the class that the density finds most probable for it, the
    density is that of the labelled features and the picks together, and what resembles a pick surprises no more.
    Feature maps and the subspace of a greedy search stay as they were fitted. Scores are surprises at the moment
    of the pick, nothing is drawn, and a pick costs time in proportion to the pool.
    """
    growing = GROWING[type(density.head)](density.head, density.transform(features_N_D))
    picks = Picks(growing.surprise_N, count)
    while picks.wanting:
        surprise_N = growing.surprise_N
        pick = picks.highest(surprise_N)
        growing.join(picks.add(pick, surprise_N[pick].item()))
    return picks.batch()
