"""CoreSet: cover the pool with the labelled set. Distances are between hidden features."""

import torch
from torch import Tensor

from src.active.batch.base import Batch, Picks, batch_heuristic
from src.active.batch.geometry import Points

FIRST_BLOCK = 64
"""Inputs measured again at once; more and more of them where those do not settle which is the farthest."""


@batch_heuristic("coreset", consumes=("features", "labelled_features"))
def coreset(
    features_N_D: Tensor, labelled_features_L_D: Tensor, count: int, generator: torch.Generator
) -> Batch:
    """Each pick is the input farthest from everything labelled or picked: k-center greedy (Sener & Savarese 2018,
    "Active Learning for Convolutional Neural Networks: A Core-Set Approach", algorithm 1).

    Scores are Euclidean distances to the nearest labelled or picked input. Nothing is drawn. A distance to the nearest
    only falls as the batch grows, so that an old one bounds it: only inputs whose bound reaches the farthest are
    measured again. At worst a pick costs N·D for each earlier pick that was not accounted for yet.
    """
    pool = Points.of(features_N_D)
    bounds_N = pool.nearest_squares(labelled_features_L_D)
    accounted_picks_N = torch.zeros_like(bounds_N, dtype=torch.int64)
    picks = Picks(bounds_N.sqrt(), count)
    while picks.wanting:
        made, block = len(picks.positions), FIRST_BLOCK
        while accounted_picks_N[pick := picks.highest(bounds_N)] < made:
            rows_B = bounds_N.where(picks.open_N, -1).topk(min(block, len(bounds_N))).indices
            since_P_D = pool.features_N_D[picks.positions[int(accounted_picks_N[rows_B].min()) :]]
            for part_B in pool.scattered_blocks(rows_B, len(since_P_D)):
                nearest_B = pool.squares_between(part_B, since_P_D).amin(dim=1)
                bounds_N[part_B] = torch.minimum(bounds_N[part_B], nearest_B)
            accounted_picks_N[rows_B] = made
            block *= 4
        picks.add(pick, bounds_N[pick].sqrt().item())
    return picks.batch()
