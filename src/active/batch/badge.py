"""BADGE: gradients that are long and differ. Of a gradient only its two factors are ever held."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from src.active.batch.base import Batch, LastLayer, Picks, batch_heuristic
from src.active.batch.geometry import draw_in_proportion


@batch_heuristic("badge", consumes=("last_layer",))
def badge(last_layer: LastLayer, count: int, generator: torch.Generator) -> Batch:
    """k-means++ on the gradients of the loss by the last layer's weights, were the predicted label true (Ash et al.
    2020, "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", algorithm 1).

    The gradient g = (p − e_ŷ) h(x)ᵀ has C·E numbers, and distances between gradients need none of them:
    |g_i − g_j|² = |a_i|²|h_i|² + |a_j|²|h_j|² − 2 (a_i·a_j)(h_i·h_j) with a = p − e_ŷ. As in the authors' code the
    first pick is the longest gradient and each other is drawn in proportion to its squared distance from the nearest
    one picked, which is its score. A pick costs N·(C + E).
    """
    inputs_N_E, log_probs_N_C = last_layer
    residual_N_C = log_probs_N_C.exp() - one_hot(log_probs_N_C.argmax(dim=1), log_probs_N_C.shape[1])
    squares_N = residual_N_C.square().sum(dim=1) * inputs_N_E.square().sum(dim=1)
    picks, nearest_N = Picks(squares_N, count), squares_N.clone()
    while picks.wanting:
        pick = _draw(nearest_N, picks, generator) if picks.positions else picks.highest(nearest_N)
        picks.add(pick, nearest_N[pick].item())
        products_N = (residual_N_C @ residual_N_C[pick]).mul_(inputs_N_E @ inputs_N_E[pick])
        to_pick_N = torch.add(squares_N, products_N, alpha=-2).add_(squares_N[pick]).clamp_(min=0)
        nearest_N = torch.minimum(nearest_N, to_pick_N) if len(picks.positions) > 1 else to_pick_N
        nearest_N[pick] = 0
    return picks.batch()


def _draw(nearest_N: Tensor, picks: Picks, generator: torch.Generator) -> int:
    """In proportion to the squared distance; any open input where all that are left coincide with picked ones."""
    weights_N = nearest_N.where(picks.open_N, 0.0)
    return draw_in_proportion(weights_N if bool(weights_N.any()) else picks.open_N.double(), generator)
