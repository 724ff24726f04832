"""Heuristics: what makes an input, looked at alone, worth a label. Higher scores are queried first, without exception.

Shapes: N inputs, K members (Monte-Carlo passes or an ensemble; 1 for a plain network), C classes. One decorated
pure function is one heuristic; the decorator declares what it consumes, so that nothing else is computed.
What weighs inputs against each other is in ``batch/``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from src.models.prediction import predictive_log_probs
from src.utils.registry import Registry

Consumes = Literal["nothing", "log_probs", "members", "surprise"]


@dataclass(frozen=True)
class Heuristic:
    """A scoring function and what it is a function of.

    ``log_probs``: log_probs_N_K_C of any K; ``members``: the same with K ≥ 2, since it measures disagreement;
    ``surprise``: surprise_N of the density head; ``nothing``: uniform random numbers_N alone.
    ``non_negative`` scores have a zero that means "nothing to learn".
    """

    score: Callable[[Tensor], Tensor]
    consumes: Consumes
    non_negative: bool = False


HEURISTICS: Registry[Heuristic] = Registry("heuristic")


def heuristic(
    name: str, consumes: Consumes, non_negative: bool = False
) -> Callable[[Callable[[Tensor], Tensor]], Callable[[Tensor], Tensor]]:
    """Register a function of one tensor as the heuristic ``name``."""

    def add(score: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        HEURISTICS.register(name)(Heuristic(score, consumes, non_negative))
        return score

    return add


@heuristic("random", consumes="nothing", non_negative=True)
def random(uniform_N: Tensor) -> Tensor:
    """Chance, the baseline: scores_N are the uniform draws themselves."""
    return uniform_N


@heuristic("precomputed", consumes="surprise")
def precomputed(surprise_N: Tensor) -> Tensor:
    """Hidden uncertainty: the density head's surprise, −log p(h(x)) or a distance (Postels et al. 2020)."""
    return surprise_N


@heuristic("entropy", consumes="log_probs", non_negative=True)
def entropy(log_probs_N_K_C: Tensor) -> Tensor:
    """Entropy of the predictive distribution in nats (Shannon 1948)."""
    return _entropy(predictive_log_probs(log_probs_N_K_C))


@heuristic("bald", consumes="members", non_negative=True)
def bald(log_probs_N_K_C: Tensor) -> Tensor:
    """Mutual information of label and member, H[mean p] − mean H[p], in nats (Houlsby et al. 2011)."""
    return entropy(log_probs_N_K_C) - _entropy(log_probs_N_K_C).mean(1)


@heuristic("variance", consumes="members", non_negative=True)
def variance(log_probs_N_K_C: Tensor) -> Tensor:
    """Variance of the probabilities over members, averaged over classes (population variance, 1/K)."""
    return log_probs_N_K_C.exp().var(1, correction=0).mean(1)


@heuristic("margin", consumes="log_probs")
def margin(log_probs_N_K_C: Tensor) -> Tensor:
    """Minus the gap between the two largest predictive probabilities (Scheffer et al. 2001)."""
    top_N_2 = predictive_log_probs(log_probs_N_K_C).exp().topk(2).values
    return top_N_2[:, 1] - top_N_2[:, 0]


def doubt(log_probs_N_K_C: Tensor) -> Tensor:
    """One less the gap between the two largest predictive probabilities: from 0, sure, to 1, undecided."""
    return 1 + margin(log_probs_N_K_C)


@heuristic("certainty", consumes="log_probs")
def certainty(log_probs_N_K_C: Tensor) -> Tensor:
    """Minus the largest predictive probability: least confidence (Lewis & Gale 1994)."""
    return -predictive_log_probs(log_probs_N_K_C).exp().amax(1)


def _entropy(log_probs: Tensor) -> Tensor:
    """−Σ p log p over the last axis, with 0 log 0 = 0."""
    return -(log_probs.exp() * log_probs.clamp(min=-1e30)).sum(-1)
