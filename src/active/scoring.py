"""Scoring a pool: run as much of the model as the heuristic consumes, batch by batch, and keep one number an input."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from src.active.heuristics import Heuristic
from src.active.task import set_prediction_mode
from src.models.density import DensityModel
from src.models.network import Network
from src.models.prediction import Source, batches, feature_batches, member_log_probs, refuse_non_finite
from src.utils.seeding import RoundSeeds


def subsample(pool_indices_P: Tensor, max_pool_samples: int, seeds: RoundSeeds) -> Tensor:
    """The part of the pool that is scored: all of it (−1 or few enough) or a seeded subset, ascending."""
    if max_pool_samples == -1 or len(pool_indices_P) <= max_pool_samples:
        return pool_indices_P
    order = torch.randperm(len(pool_indices_P), generator=seeds.generator("pool subset"))
    return pool_indices_P[order[:max_pool_samples]].sort().values


def fit_density(
    density: DensityModel, model: Network, source: Source, train_indices_N: Tensor, val_indices_V: Tensor
) -> None:
    """Fit on the features that the (restored best) weights give the labelled inputs, in order, un-augmented.

    Features leave the network batch by batch; how many of them are held is for the density head to say.
    """

    def labelled_features(indices_N: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for indices_B, features_B_D in feature_batches(model, source, indices_N):
            yield features_B_D, source.labels_N.index_select(0, indices_B)

    density.fit_batches(
        partial(labelled_features, train_indices_N), partial(labelled_features, val_indices_V)
    )


@torch.no_grad()
def score_pool(
    heuristic: Heuristic,
    model: Network,
    density: DensityModel | None,
    source: Source,
    indices_N: Tensor,
    mc_passes: int,
    seeds: RoundSeeds,
) -> Tensor:
    """scores_N in float64 on the CPU for these dataset indices; ``mc_passes`` > 1 scores under that many dropout masks.

    Raises NonFiniteError with the dataset indices where a score is NaN or infinite.
    """
    if heuristic.consumes == "nothing":
        return heuristic.score(torch.rand(len(indices_N), generator=seeds.generator("random scores")))
    set_prediction_mode(model, 1 if heuristic.consumes == "surprise" else mc_passes, seeds)
    evidence: Iterator[tuple[Tensor, Tensor]]
    if heuristic.consumes == "surprise":
        assert density is not None
        surprise = density.surprise
        evidence = ((indices, surprise(x)) for indices, x in feature_batches(model, source, indices_N))
    else:
        evidence = ((indices, member_log_probs(model, x)) for indices, x in batches(source, indices_N))
    scores_N, done = torch.empty(len(indices_N), dtype=torch.float64), 0
    for indices_B, evidence_B in evidence:
        scores_B = heuristic.score(evidence_B)
        refuse_non_finite(scores_B, indices_B, "the scores")
        scores_N[done : done + len(scores_B)] = scores_B
        done += len(scores_B)
    return scores_N
