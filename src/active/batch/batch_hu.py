"""Batch-aware hidden uncertainty: surprise that knows what the batch already holds. How a density takes a pick in is
told by ``growing.py``."""

from collections.abc import Callable

import torch
from torch import Tensor

from src.active.batch.base import Batch, Picks, batch_heuristic
from src.active.batch.growing import Growing, GrowingGaussians, GrowingNeighbours
from src.models.density import GMM, KNN, DensityModel

GROWING: dict[type, Callable[..., Growing]] = {GMM: GrowingGaussians, KNN: GrowingNeighbours}


@batch_heuristic("batch_hu", consumes=("density", "features"), heads=("gmm", "knn"))
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
