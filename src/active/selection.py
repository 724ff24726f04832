"""From scores to a query: rank, shuffle a share of the ranks, take the first. What the scores mean is no concern."""

import torch
from torch import Tensor


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
