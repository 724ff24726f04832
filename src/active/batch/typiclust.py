"""TypiClust: the typical input of each cluster that has no label yet. Clusters are of hidden features."""

import torch
from torch import Tensor

from src.active.batch.base import Batch, Picks, batch_heuristic
from src.active.batch.geometry import Points, k_means

MOST_CLUSTERS = 500
SMALLEST_CLUSTER = 5
NEIGHBOURS = 20


@batch_heuristic("typiclust", consumes=("features", "labelled_features"))
def typiclust(
    features_N_D: Tensor, labelled_features_L_D: Tensor, count: int, generator: torch.Generator
) -> Batch:
    """k-means into as many clusters as there will be labels, 500 at most; of the clusters with the fewest labels the
    largest come first, and each gives its most typical input (Hacohen, Dekel & Weinshall 2022, "Active Learning on a
    Budget: Opposite Strategies Suit High and Low Budgets", with the constants of the authors' code).

    Typicality, the score, is one over the mean distance to the 20 nearest unlabelled inputs of the cluster, or to half
    of a small cluster. Clusters of up to 5 inputs wait until the others have nothing left; then chance decides
    within them. ``pool_scores_N`` are the typicalities before any pick.
    """
    inputs, labelled = len(features_N_D), len(labelled_features_L_D)
    points = Points.of(torch.cat([features_N_D, labelled_features_L_D]))
    cluster_P = k_means(points, min(labelled + count, MOST_CLUSTERS), generator)
    cluster_N = cluster_P[:inputs].clone()
    sizes_M = cluster_P.bincount()
    labels_M = cluster_P[inputs:].bincount(minlength=len(sizes_M))
    # By labels, then by size: both sorts are stable.
    order_M = sizes_M.argsort(descending=True, stable=True)
    order_M = order_M[labels_M[order_M].argsort(stable=True)]
    order = order_M[sizes_M[order_M] > SMALLEST_CLUSTER].tolist()

    typicality_N = torch.zeros(inputs, dtype=torch.float64, device=features_N_D.device)
    for cluster in order:
        rows_R = (cluster_N == cluster).nonzero().flatten()
        typicality_N[rows_R] = _typicality(points, rows_R)
    picks, turn = Picks(typicality_N, count), 0
    while order and picks.wanting:
        for cluster in list(order):
            rows_R = (cluster_N == cluster).nonzero().flatten()
            if not len(rows_R):
                order.remove(cluster)
            elif picks.wanting:
                # In the first turn no cluster has lost an input yet.
                typicality_R = _typicality(points, rows_R) if turn else typicality_N[rows_R]
                most = int(typicality_R.argmax())
                cluster_N[picks.add(int(rows_R[most]), typicality_R[most].item())] = -1
        turn += 1
    picks.fill(torch.zeros_like(typicality_N), generator)
    return picks.batch()


def _typicality(points: Points, rows_R: Tensor) -> Tensor:
    """typicality_R among these rows alone; 1 where a row has no other."""
    neighbours = min(NEIGHBOURS, len(rows_R) // 2)
    if not neighbours:
        return torch.ones(len(rows_R), dtype=torch.float64, device=rows_R.device)
    own, parts = points.only(rows_R), []
    for rows_B in own.blocks(len(rows_R)):
        squares_B_R = own.squares_between(rows_B, own.features_N_D)
        squares_B_R.diagonal(rows_B.start).fill_(torch.inf)
        nearest_B_K = squares_B_R.topk(neighbours, dim=1, largest=False).values
        parts.append(1 / (nearest_B_K.double().sqrt().mean(dim=1) + torch.finfo(torch.float32).eps))
    return torch.cat(parts)
