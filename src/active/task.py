"""What differs between tasks once data is there: how splits are measured, what the labelled set holds, and what one
number a scored input has. Classification is here; segmentation is beside it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from src.data import DataBundle, Source
from src.layers.stochastic import start_passes
from src.models.density import DensityModel
from src.models.network import Network
from src.models.prediction import mean_loss, predict
from src.utils.errors import NonFiniteError
from src.utils.metrics import classification_metrics
from src.utils.seeding import RoundSeeds

Metrics = dict[str, Any]
"""Of one split, in JSON's types."""


@dataclass(frozen=True)
class Fitted:
    """A round's network and density head, fitted, and the passes under which the network predicts."""

    model: Network
    density: DensityModel | None
    mc_passes: int
    seeds: RoundSeeds


class Task(Protocol):
    """A task as the loop sees it."""

    headline: str
    """The metric that curves and tables show."""

    def evaluate(
        self, fitted: Fitted, data: DataBundle, labelled_L: Tensor, held_out_V: Tensor
    ) -> dict[str, Metrics]:
        """Metrics of the splits train (the labelled inputs), val and test, each over all of its inputs at once.

        ``loss`` is the training objective (dropout off, mean over members); all others are of the predictive
        distribution, under the same ``mc_passes`` masks that score the pool.
        """
        ...

    def class_balance(self, source: Source, indices_N: Tensor) -> list[int]:
        """How often each class is labelled in these inputs."""
        ...

    def reduce(self, scores: Tensor) -> Tensor:
        """scores_B, one an input, of what a heuristic makes of a batch."""
        ...

    def illustrate(self, fitted: Fitted, data: DataBundle, folder: Path, round_: int) -> None:
        """Leave pictures of the round in the run's folder, where the task has any."""
        ...


class Classification:
    """Inputs of one label each."""

    headline = "accuracy"

    def __init__(self, nb_classes: int) -> None:
        self.nb_classes = nb_classes

    def evaluate(
        self, fitted: Fitted, data: DataBundle, labelled_L: Tensor, held_out_V: Tensor
    ) -> dict[str, Metrics]:
        """As every task; see ``classification_metrics``."""

        def of_split(source: Source, indices_N: Tensor) -> Metrics:
            loss = finite_loss(fitted.model, source, indices_N)
            set_prediction_mode(fitted.model, fitted.mc_passes, fitted.seeds)
            log_probs_N_C = predict(fitted.model, source, indices_N)
            return {"loss": loss, **classification_metrics(log_probs_N_C, source.labels(indices_N))}

        return {
            "train": of_split(data.train, labelled_L),
            "val": of_split(data.train, held_out_V),
            "test": of_split(data.test, data.test.indices),
        }

    def class_balance(self, source: Source, indices_N: Tensor) -> list[int]:
        """Inputs of each class."""
        return torch.bincount(source.labels(indices_N).cpu(), minlength=self.nb_classes).tolist()

    def reduce(self, scores: Tensor) -> Tensor:
        """scores_B as they are."""
        return scores

    def illustrate(self, fitted: Fitted, data: DataBundle, folder: Path, round_: int) -> None:
        """Nothing: a class needs no picture."""


def finite_loss(model: Network, source: Source, indices_N: Tensor) -> float:
    """The training objective over these inputs, a mean over members; NonFiniteError where it is NaN or infinite."""
    loss = float(mean_loss(model, source, indices_N).mean())
    if not math.isfinite(loss):
        raise NonFiniteError(f"the objective over {len(indices_N)} inputs became {loss}; lower optimizer.lr")
    return loss


def set_prediction_mode(model: Network, mc_passes: int, seeds: RoundSeeds) -> None:
    """Evaluation mode, under the round's Monte-Carlo masks where ``mc_passes`` > 1."""
    model.eval()
    if mc_passes > 1:
        start_passes(model, mc_passes, seeds.seed("dropout passes"))
