"""What every batch-aware acquisition is: a pure function of the whole pool that weighs inputs against each other. The
methods are one file each beside this one, and how what they consume is computed is told in ``scoring.py``."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from src.config import ModelConfig
from src.utils.registry import Registry

Evidence = Literal[
    "member_log_probs",
    "features",
    "labelled_features",
    "doubtful_features",
    "last_layer",
    "nb_classes",
    "density",
]
"""What can be known of a whole pool of N inputs, with L labelled ones beside it:

``member_log_probs``: log_probs_N_K_C under K ≥ 2 members; ``features``, ``labelled_features``: hidden features_N_D and
features_L_D of one network without dropout; ``doubtful_features``: its DoubtfulFeatures; ``last_layer``: its LastLayer;
``nb_classes``: an int; ``density``: the fitted DensityModel.
"""


class DoubtfulFeatures(NamedTuple):
    """Hidden features and, read from them by the last layer, doubt: one less the gap between the two largest predicted
    probabilities. Of maps features are means, and doubt is reduced as scores are."""

    features_N_D: Tensor
    doubt_N: Tensor


class LastLayer(NamedTuple):
    """What goes into a network's last layer, and the log-probabilities of the logits that come out."""

    inputs_N_E: Tensor
    log_probs_N_C: Tensor


class Batch(NamedTuple):
    """What to label: distinct positions_Q of the pool in the order of the picks, and scores_Q, each as high as it was
    when its input was picked or, of a method that picks all at once, before any pick. ``pool_scores_N`` are the scores
    of all when nothing was picked yet."""

    positions_Q: Tensor
    scores_Q: Tensor
    pool_scores_N: Tensor


@dataclass(frozen=True)
class BatchHeuristic:
    """A selecting function and what it is a function of.

    ``select`` is called with the evidence that it consumes, in that order, how many inputs to pick (all, where there
    are fewer), a generator on the CPU for what it draws, and the keys of ``config.training`` that ``options`` names.
    ``check`` raises UserError where a model that has all this is still not one that the function can work with.
    """

    select: Callable[..., Batch]
    consumes: tuple[Evidence, ...]
    options: tuple[str, ...] = ()
    check: Callable[[ModelConfig], None] | None = None


BATCH_HEURISTICS: Registry[BatchHeuristic] = Registry("batch heuristic")


def batch_heuristic(
    name: str,
    consumes: tuple[Evidence, ...],
    options: tuple[str, ...] = (),
    check: Callable[[ModelConfig], None] | None = None,
) -> Callable[[Callable[..., Batch]], Callable[..., Batch]]:
    """Register a function of the whole pool as the batch heuristic ``name``."""

    def add(select: Callable[..., Batch]) -> Callable[..., Batch]:
        BATCH_HEURISTICS.register(name)(BatchHeuristic(select, consumes, options, check))
        return select

    return add


class Picks:
    """The growing batch of a greedy method. A picked input's score is hidden, so that none is picked twice."""

    def __init__(self, pool_scores_N: Tensor, count: int) -> None:
        self.pool_scores_N = pool_scores_N.clone()
        self.wanted = min(count, len(pool_scores_N))
        self.positions: list[int] = []
        self._scores: list[float] = []
        self._open_N = torch.ones(len(pool_scores_N), dtype=torch.bool, device=pool_scores_N.device)

    @property
    def open_N(self) -> Tensor:
        """Which inputs are not picked yet."""
        return self._open_N

    @property
    def wanting(self) -> bool:
        """Whether the batch is not full."""
        return len(self.positions) < self.wanted

    def highest(self, scores_N: Tensor) -> int:
        """The position of the highest score among the inputs that are not picked; the first of equal ones."""
        return int(scores_N.masked_fill(~self._open_N, -torch.inf).argmax())

    def add(self, position: int, score: float) -> int:
        """Pick an input and return its position."""
        assert self._open_N[position]
        self._open_N[position] = False
        self.positions.append(position)
        self._scores.append(score)
        return position

    def fill(self, scores_N: Tensor, generator: torch.Generator) -> None:
        """Pick what is still wanted at random, with these scores."""
        if not self.wanting:
            return
        order_N = torch.randperm(len(self.pool_scores_N), generator=generator)
        chosen_R = order_N[self._open_N.cpu()[order_N]][: self.wanted - len(self.positions)]
        for position, score in zip(chosen_R.tolist(), scores_N.cpu()[chosen_R].tolist(), strict=True):
            self.add(position, score)

    def batch(self) -> Batch:
        """The finished batch, on the CPU."""
        scores_Q = torch.tensor(self._scores, dtype=torch.float64)
        return Batch(
            torch.tensor(self.positions, dtype=torch.int64), scores_Q, self.pool_scores_N.double().cpu()
        )
