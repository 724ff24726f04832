"""Scoring a pool: run as much of the model as the heuristic consumes, batch by batch, and keep one number an input."""

import torch
from torch import Tensor

from src.active.heuristics import Heuristic
from src.active.task import set_prediction_mode
from src.models.density import DensityModel
from src.models.network import Network
from src.models.prediction import Source, batches, features, member_log_probs, refuse_non_finite
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
    """Fit on the features that the (restored best) weights give the labelled inputs, in order, un-augmented."""
    features_N_D = features(model, source, train_indices_N)
    refuse_non_finite(features_N_D, train_indices_N, "the hidden features")
    features_V_D = features(model, source, val_indices_V)
    refuse_non_finite(features_V_D, val_indices_V, "the hidden features")
    density.fit(
        features_N_D,
        source.labels_N.index_select(0, train_indices_N),
        features_V_D,
        source.labels_N.index_select(0, val_indices_V),
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
    """scores_N on the CPU for these dataset indices; ``mc_passes`` > 1 scores under that many dropout masks.

    Raises NonFiniteError with the dataset indices where a score is NaN or infinite.
    """
    if heuristic.consumes == "nothing":
        return heuristic.score(torch.rand(len(indices_N), generator=seeds.generator("random scores")))
    set_prediction_mode(model, 1 if heuristic.consumes == "surprise" else mc_passes, seeds)
    scores = []
    for indices_B, inputs_1_B_S in batches(source, indices_N):
        if heuristic.consumes == "surprise":
            assert density is not None
            features_B_D = model.encode(inputs_1_B_S)[0]
            refuse_non_finite(features_B_D, indices_B, "the hidden features")
            scores_B = heuristic.score(density.surprise(features_B_D))
        else:
            scores_B = heuristic.score(member_log_probs(model, inputs_1_B_S))
        refuse_non_finite(scores_B, indices_B, "the scores")
        scores.append(scores_B.cpu())
    return torch.cat(scores)
