"""From scores to a query: mix them, rank, let chance play, take the first. What the scores mean is no concern."""

import torch
from torch import Tensor

PERTURBATIONS = ("power", "softmax", "softrank")
"""What ``perturb`` can be asked for."""


def rank(scores_N: Tensor) -> Tensor:
    """Positions_N by falling score; equal scores keep their order."""
    return scores_N.argsort(descending=True, stable=True)


def shuffle_ranks(ranks_N: Tensor, proportion: float, generator: torch.Generator) -> Tensor:
    """Each rank joins a subset with probability ``proportion``; the subset's occupants are permuted among its ranks.

    A little chance among the certain choices: it breaks up near-duplicates at the top (Atighehchian et al. 2020, Baal).
    """
    if proportion == 0:
        return ranks_N
    subset = (torch.rand(len(ranks_N), generator=generator) < proportion).nonzero().flatten()
    shuffled_N = ranks_N.clone()
    shuffled_N[subset] = ranks_N[subset[torch.randperm(len(subset), generator=generator)]]
    return shuffled_N


def select(scores_N: Tensor, count: int, shuffle_prop: float, generator: torch.Generator) -> Tensor:
    """Positions of the ``count`` inputs to label (all, where there are fewer), in query order."""
    return shuffle_ranks(rank(scores_N), shuffle_prop, generator)[:count]


def perturb(scores_N: Tensor, kind: str, coldness: float, generator: torch.Generator) -> Tensor:
    """Scores_N whose ranking is a random one, drawn without replacement in proportion to a power of what they say.

    Kirsch et al. 2023, "Stochastic Batch Acquisition: A Simple Baseline for Deep Active Learning": Gumbel noise of
    scale 1/β, the ``coldness``, is added to s (softmax: an input weighs e^(βs)), to log s (power: s^β) or to
    −log rank (softrank: rank^(−β)). β → ∞ takes the highest scores, β → 0 leaves all to chance. ``power`` takes
    scores that are not negative, and an input with a score of 0 comes after all others.
    """
    given_N = scores_N = scores_N.double()
    if kind == "power":
        scores_N = scores_N.clamp(min=torch.finfo(torch.float64).tiny).log()
    elif kind == "softrank":
        ranks_N = torch.empty_like(scores_N)
        ranks_N[rank(scores_N)] = torch.arange(1, len(scores_N) + 1, dtype=torch.float64)
        scores_N = -ranks_N.log()
    uniform_N = torch.rand(len(scores_N), dtype=torch.float64, generator=generator)
    gumbel_N = -(-uniform_N.clamp(min=torch.finfo(torch.float64).tiny).log()).log()
    perturbed_N = scores_N + gumbel_N / coldness
    if kind == "power" and (no_score_N := given_N <= 0).any():
        # At a low coldness the noise is wider than any gap between logarithms.
        perturbed_N[no_score_N] += perturbed_N.min() - perturbed_N.max() - 1
    return perturbed_N


def mix(scores_N_H: Tensor, weights_H: Tensor) -> Tensor:
    """scores_N in [0, 1] of several heuristics: the weighted mean of each one's ranks.

    Heuristics are in different units (nats, probabilities, distances) and some have heavy tails; ranks compare as
    they are. The lowest score has rank 0, the highest 1; equal scores share their mean rank.
    """
    columns = []
    for scores_N in scores_N_H.unbind(1):
        _, group_N, sizes_G = scores_N.unique(return_inverse=True, return_counts=True)
        last_G = sizes_G.cumsum(0).double()
        columns.append(((last_G - (sizes_G + 1) / 2) / max(1, len(scores_N) - 1))[group_N])
    return torch.stack(columns, dim=1) @ (weights_H / weights_H.sum())
