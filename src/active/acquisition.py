"""What ``training.heuristic`` names: from a pool to a query, in two steps. To observe is to look at as much of the pool
as the acquisition consumes, to choose is to pick a batch by what was seen."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch

from src.active.batch import BATCH_HEURISTICS, Batch, BatchHeuristic
from src.active.heuristics import HEURISTICS, Heuristic
from src.active.scoring import PoolView, collect, score_pool
from src.active.selection import PERTURBATIONS, mix, perturb, rank, select
from src.config import ModelConfig, TrainingConfig
from src.utils.errors import NonFiniteError
from src.utils.registry import Registry
from src.utils.seeding import RoundSeeds


class Acquisition(Protocol):
    """A way to choose what to label."""

    @property
    def consumes(self) -> frozenset[str]:
        """What has to be there: ``Consumes`` of the heuristics and ``Evidence`` of the batch-aware ones."""
        ...

    @property
    def perturbations(self) -> tuple[str, ...]:
        """What ``training.stochastic_batch`` may be."""
        ...

    @property
    def chance(self) -> str:
        """How chance has its part, in the words of the config; empty where it has none that the config rules."""
        ...

    @property
    def uncertainty(self) -> Heuristic:
        """What it calls an uncertain input, looked at alone; predictive entropy where it has no single measure."""
        ...

    def check(self, model: ModelConfig) -> None:
        """UserError, to be read after the acquisition's name, where a model that has all that it consumes won't do."""
        ...

    def observe(self, view: PoolView) -> tuple[Any, ...]:
        """What ``choose`` goes by; NonFiniteError where that is NaN or infinite."""
        ...

    def choose(self, evidence: tuple[Any, ...], count: int, seeds: RoundSeeds) -> Batch:
        """``count`` distinct inputs of the pool (all, where there are fewer), in query order."""
        ...


@dataclass(frozen=True)
class Ranked:
    """The highest scores first: of one heuristic, or of the mixed ranks of several, with their weights.

    Chance has its part by ``shuffle_prop``, or in its place by ``stochastic_batch``. The scores that are kept are those
    before chance had its part. Each of several heuristics runs the pool through the model for itself.
    """

    parts: tuple[tuple[Heuristic, float], ...]
    training: TrainingConfig

    @property
    def consumes(self) -> frozenset[str]:
        return frozenset(heuristic.consumes for heuristic, _ in self.parts)

    @property
    def perturbations(self) -> tuple[str, ...]:
        # Mixed ranks are never negative.
        non_negative = len(self.parts) > 1 or all(heuristic.non_negative for heuristic, _ in self.parts)
        return tuple(kind for kind in PERTURBATIONS if kind != "power" or non_negative)

    @property
    def chance(self) -> str:
        if self.training.stochastic_batch is not None:
            return f"stochastic_batch {self.training.stochastic_batch}"
        return f"shuffle_prop {self.training.shuffle_prop:g}"

    @property
    def uncertainty(self) -> Heuristic:
        (heuristic, _), *others = self.parts
        return HEURISTICS.get("entropy") if others or heuristic.consumes == "nothing" else heuristic

    def check(self, model: ModelConfig) -> None:
        """Any model that has what is consumed will do."""

    def observe(self, view: PoolView) -> tuple[Any, ...]:
        return tuple(score_pool(heuristic, view) for heuristic, _ in self.parts)

    def choose(self, evidence: tuple[Any, ...], count: int, seeds: RoundSeeds) -> Batch:
        scores_N, training = evidence[0], self.training
        if len(self.parts) > 1:
            weights_H = torch.tensor([weight for _, weight in self.parts], dtype=torch.float64)
            scores_N = mix(torch.stack([scores.double() for scores in evidence], dim=1), weights_H)
        if training.stochastic_batch is not None:
            generator = seeds.generator("stochastic batch")
            perturbed_N = perturb(
                scores_N, training.stochastic_batch, training.stochastic_coldness, generator
            )
            chosen_Q = rank(perturbed_N)[:count]
        else:
            chosen_Q = select(scores_N, count, training.shuffle_prop, seeds.generator("shuffle"))
        return Batch(chosen_Q, scores_N[chosen_Q], scores_N)


@dataclass(frozen=True)
class BatchAware:
    """A method that weighs the batch as a whole. Beyond the batch it ranks nothing, so that no ranks are shuffled."""

    heuristic: BatchHeuristic
    training: TrainingConfig

    @property
    def consumes(self) -> frozenset[str]:
        return frozenset(self.heuristic.consumes)

    @property
    def perturbations(self) -> tuple[str, ...]:
        return ()

    @property
    def chance(self) -> str:
        return ""

    @property
    def uncertainty(self) -> Heuristic:
        return HEURISTICS.get("entropy")

    def check(self, model: ModelConfig) -> None:
        if self.heuristic.check is not None:
            self.heuristic.check(model)

    def observe(self, view: PoolView) -> tuple[Any, ...]:
        return tuple(collect(evidence, view) for evidence in self.heuristic.consumes)

    @torch.no_grad()
    def choose(self, evidence: tuple[Any, ...], count: int, seeds: RoundSeeds) -> Batch:
        options = {key: getattr(self.training, key) for key in self.heuristic.options}
        batch: Batch = self.heuristic.select(
            *evidence, count=count, generator=seeds.generator("batch"), **options
        )
        if not (batch.pool_scores_N.isfinite().all() and batch.scores_Q.isfinite().all()):
            raise NonFiniteError(
                "scores of the pool became NaN or infinite: the network has diverged; lower optimizer.lr"
            )
        return batch


ACQUISITIONS: Registry[Callable[[TrainingConfig], Acquisition]] = Registry("heuristic")


def _ranked(heuristic: Heuristic, training: TrainingConfig) -> Acquisition:
    return Ranked(((heuristic, 1.0),), training)


@ACQUISITIONS.register("combination")
def _combination(training: TrainingConfig) -> Acquisition:
    weights = training.combination or {}
    return Ranked(tuple((HEURISTICS.get(name), weight) for name, weight in weights.items()), training)


for _name in HEURISTICS:
    ACQUISITIONS.register(_name)(partial(_ranked, HEURISTICS.get(_name)))
for _name in BATCH_HEURISTICS:
    ACQUISITIONS.register(_name)(partial(BatchAware, BATCH_HEURISTICS.get(_name)))
