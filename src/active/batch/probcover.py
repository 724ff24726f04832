"""ProbCover: balls of one radius around labelled inputs are to cover as much of the pool as they can."""

import torch
from torch import Tensor

from src.active.batch.base import Batch, Picks, batch_heuristic
from src.active.batch.geometry import Points, k_means

PURITY = 0.95
ROUNDINGS = 16
"""Squared distances that differ by more of them, for the longest features, are not of one distance."""


@batch_heuristic(
    "probcover", consumes=("features", "labelled_features", "nb_classes"), options=("probcover_delta",)
)
def probcover(
    features_N_D: Tensor,
    labelled_features_L_D: Tensor,
    nb_classes: int,
    count: int,
    generator: torch.Generator,
    probcover_delta: float | str,
) -> Batch:
    """Each pick is the input whose ball of radius δ holds the most inputs that no earlier ball covers (Yehuda et al.
    2022, "Active Learning Through a Covering Lens", algorithm 1). Scores are these numbers of inputs.

    ``probcover_delta`` is δ in the features' units, or "purity": the largest δ at which 95% of the balls hold a single
    pseudo-class, the clusters of k-means into ``nb_classes``. No more than a block of the graph is held at once. All
    distances are computed twice at most: when balls are counted, and when an input becomes covered. What is
    still to pick when everything is covered is drawn at random.
    """
    points = Points.of(features_N_D)
    if isinstance(probcover_delta, str):
        probcover_delta = pure_radius(points, nb_classes, generator)
    square = probcover_delta**2
    covered_N = points.nearest_squares(labelled_features_L_D) < square
    degree_N = _degrees(points, (~covered_N).nonzero().flatten(), square)
    picks = Picks(degree_N, count)
    while picks.wanting and bool((degree_N[picks.open_N] > 0).any()):
        pick = picks.highest(degree_N.double())
        picks.add(pick, degree_N[pick].item())
        in_ball_N = points.squares_to(points.features_N_D[pick]) < square
        in_ball_N[pick] = True
        newly = (in_ball_N & ~covered_N).nonzero().flatten()
        covered_N[newly] = True
        degree_N -= _degrees(points, newly, square)
    picks.fill(torch.zeros_like(degree_N), generator)
    return picks.batch()


def pure_radius(points: Points, nb_classes: int, generator: torch.Generator) -> float:
    """The largest radius at which a share PURITY of the balls is pure.

    A ball is pure as long as it does not reach the nearest input of another cluster, so that the largest radius is a
    quantile of these distances. Halfway from there to the next smaller distance between inputs balls hold the same,
    and rounding does not say whether two inputs at that very distance do; this is the radius. 0 where there is one
    cluster only. All distances are computed twice.
    """
    cluster_N = k_means(points, nb_classes, generator)
    nearest = []
    for rows_B in points.blocks(len(cluster_N)):
        squares_B_N = points.squares_between(rows_B, points.features_N_D)
        squares_B_N.masked_fill_(cluster_N[rows_B, None] == cluster_N, torch.inf)
        nearest.append(squares_B_N.amin(dim=1))
    reach_N = torch.cat(nearest).sort().values
    reach = reach_N[int((1 - PURITY) * len(reach_N))]
    if reach.isinf():
        return 0.0
    # Of two inputs' distance there are two values, one for each order of them.
    below = reach - ROUNDINGS * torch.finfo(reach.dtype).eps * points.squares_N.max()
    next_smaller = torch.zeros_like(reach)
    for rows_B in points.blocks(len(cluster_N)):
        squares_B_N = points.squares_between(rows_B, points.features_N_D)
        squares_B_N.masked_fill_(squares_B_N >= below, 0)
        next_smaller = torch.maximum(next_smaller, squares_B_N.amax())
    return (reach.sqrt() + next_smaller.sqrt()).item() / 2


def _degrees(points: Points, inside: Tensor, square: float) -> Tensor:
    """degree_N: how many of the inputs ``inside`` lie in the ball around each input."""
    if not len(inside):
        return torch.zeros_like(points.squares_N, dtype=torch.int64)
    inside_M_D = points.features_N_D[inside]
    blocks = points.blocks(len(inside))
    return torch.cat([(points.squares_between(rows_B, inside_M_D) < square).sum(dim=1) for rows_B in blocks])
