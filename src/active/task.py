"""What differs between tasks once data is there: how splits are measured, what the labelled set holds, and what one
number a scored input has. Classification is here; segmentation is beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from src.data import DataBundle, Source
from src.data.given_labels import UNKNOWN
from src.layers.stochastic import start_passes
from src.models.density import DensityModel
from src.models.network import Network
from src.models.prediction import map_batches, mean_loss, member_log_probs, predict, predictive_log_probs
from src.utils.contact_sheet import SheetGroup, save_contact_sheet
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


class Shown(NamedTuple):
    """Inputs to draw together, by dataset index, with the score of each."""

    which: str
    """Such as "highest"."""
    of: str
    """Such as "scores of the pool"."""
    indices_N: Tensor
    scores_N: Sequence[float]


class Task(Protocol):
    """A task as the loop sees it."""

    headline: str
    """The metric that curves and tables show."""
    shown: int
    """How many of the highest scores, and of the lowest, a gallery has room for."""

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

    def show(self, path: Path, source: Source, groups: Sequence[Shown], fitted: Fitted | None) -> None:
        """Replace the PNG at ``path`` by these inputs with their labels and scores, and what ``fitted`` predicts."""
        ...


class Classification:
    """Inputs of one label each."""

    headline = "accuracy"
    shown = 16

    def __init__(self, nb_classes: int, class_names: Sequence[str]) -> None:
        self.nb_classes = nb_classes
        self.class_names = class_names

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

    def show(self, path: Path, source: Source, groups: Sequence[Shown], fitted: Fitted | None) -> None:
        """A sheet of the images."""
        sheet = []
        for which, of, indices_N, scores_N in groups:
            indices_N = indices_N.to(source.device)
            labels = [
                "no label yet" if label == UNKNOWN else f"label {self.class_names[label]}"
                for label in source.labels(indices_N).tolist()
            ]
            if fitted is not None:
                predicted = [self.class_names[label] for label in self._predict(fitted, source, indices_N)]
                labels = [f"{label}\npredicted {name}" for label, name in zip(labels, predicted, strict=True)]
            captions = [f"{label}\n{score:.4g}" for label, score in zip(labels, scores_N, strict=True)]
            sheet.append(SheetGroup(f"{which} {of}", source.pixels(indices_N), captions))
        save_contact_sheet(path, sheet)

    def _predict(self, fitted: Fitted, source: Source, indices_N: Tensor) -> list[int]:
        """Classes, by this process alone."""
        set_prediction_mode(fitted.model, fitted.mc_passes, fitted.seeds)

        def classes(indices_B: Tensor, inputs_1_B_S: Tensor) -> Tensor:
            return predictive_log_probs(member_log_probs(fitted.model, inputs_1_B_S)).argmax(1)

        parts = [classes_B for _, classes_B in map_batches(classes, source, indices_N, fitted.model)]
        return torch.cat(parts).tolist()


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
