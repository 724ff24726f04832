"""What differs between tasks once data is there: how a split is measured. Here: classification."""

import math

import torch
from torch import Tensor

from src.layers.stochastic import start_passes
from src.models.network import Network
from src.models.prediction import Source, mean_loss, predict
from src.utils.errors import NonFiniteError
from src.utils.metrics import classification_metrics
from src.utils.seeding import RoundSeeds


def evaluate(
    model: Network, source: Source, indices_N: Tensor, mc_passes: int, seeds: RoundSeeds
) -> dict[str, float | list[float]]:
    """Metrics over all these inputs at once: ``loss`` is the training objective (dropout off, mean over members),
    all others are of the predictive distribution, under the same ``mc_passes`` masks that score the pool."""
    loss = float(mean_loss(model, source, indices_N).mean())
    if not math.isfinite(loss):
        raise NonFiniteError(f"the objective over {len(indices_N)} inputs became {loss}; lower optimizer.lr")
    set_prediction_mode(model, mc_passes, seeds)
    labels_N = source.labels_N.index_select(0, indices_N)
    return {"loss": loss, **classification_metrics(predict(model, source, indices_N), labels_N)}


def set_prediction_mode(model: Network, mc_passes: int, seeds: RoundSeeds) -> None:
    """Evaluation mode, under the round's Monte-Carlo masks where ``mc_passes`` > 1."""
    model.eval()
    if mc_passes > 1:
        start_passes(model, mc_passes, seeds.seed("dropout passes"))


def class_balance(labels_N: Tensor, nb_classes: int) -> list[int]:
    """Inputs of each class."""
    return torch.bincount(labels_N.cpu(), minlength=nb_classes).tolist()
