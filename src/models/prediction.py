"""A fitted network over many inputs: features, log-probabilities and losses, streamed in batches.
What is made of a batch (a score, a metric) is the caller's; nothing of the size of a pool is kept here."""

import math
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from src.layers.stochastic import passes_of
from src.models.network import Network
from src.utils.errors import NonFiniteError

# Inputs of a batch, or their largest feature maps, in bytes: few enough to stay in a CPU's cache, many enough to
# fill a GPU.
BATCH_BYTES = {"cpu": 2**22, "cuda": 2**27}


class Source(Protocol):
    """Where inputs come from: a split of a dataset, whose order is fixed."""

    @property
    def device(self) -> torch.device:
        """Where inputs and labels are."""
        ...

    def inputs(self, indices_B: Tensor) -> Tensor:
        """inputs_B_S in float32 for these dataset indices."""
        ...

    def labels(self, indices_B: Tensor) -> Tensor:
        """labels_B in int64, or masks_B_H_W, for these dataset indices."""
        ...


def batches(source: Source, indices_N: Tensor, model: Network) -> Iterator[tuple[Tensor, Tensor]]:
    """(indices_B, inputs_1_B_S), in order, in batches sized for the device and for the model's members and maps."""
    if not len(indices_N):
        return
    one = source.inputs(indices_N[:1])
    values = max(one.numel(), model.largest_map * max(model.members, passes_of(model)))
    size = max(1, BATCH_BYTES.get(one.device.type, BATCH_BYTES["cpu"]) // (4 * values))
    for indices_B in indices_N.split(size):
        yield indices_B, source.inputs(indices_B)[None]


@torch.no_grad()
def mean_loss(model: Network, source: Source, indices_N: Tensor) -> Tensor:
    """loss_M: each member's training objective over all these inputs, in evaluation mode.

    Batches count for what the model says that they do (``Network.loss_weight``); 0 where all count for nothing, as
    images without a valid pixel do.
    """
    model.eval()
    total_M = torch.zeros(model.members, dtype=torch.float64, device=source.device)
    weight_M = torch.zeros_like(total_M)
    for indices_B, inputs_1_B_S in batches(source, indices_N, model):
        inputs_M_B_S = inputs_1_B_S.expand(model.members, *inputs_1_B_S.shape[1:])
        labels_B = source.labels(indices_B)
        labels_M_B = labels_B.expand(model.members, *labels_B.shape)
        batch_weight_M = model.loss_weight(labels_M_B)
        total_M += model.loss(inputs_M_B_S, labels_M_B).double() * batch_weight_M
        weight_M += batch_weight_M
    return weighted_mean(total_M, weight_M)


def weighted_mean(total_M: Tensor, weight_M: Tensor) -> Tensor:
    """total / weight, and 0 where nothing weighed anything."""
    return total_M / weight_M.where(weight_M > 0, 1)


def refuse_non_finite(values_B: Tensor, indices_B: Tensor, what: str) -> None:
    """NonFiniteError naming the dataset indices whose values (or rows of values) hold NaN or infinity."""
    bad_B = ~values_B.isfinite().flatten(1).all(1) if values_B.ndim > 1 else ~values_B.isfinite()
    if bad_B.any():
        bad = indices_B[bad_B].tolist()
        shown = ", ".join(map(str, bad[:10])) + (", …" if len(bad) > 10 else "")
        raise NonFiniteError(f"{what} of {len(bad)} inputs became NaN or infinite (dataset indices {shown})")


@torch.no_grad()
def feature_batches(model: Network, source: Source, indices_N: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(indices_B, features_B_D) of a one-member network, in evaluation mode without Monte-Carlo masks;
    features_B_D_h_w of a dense one.

    Raises NonFiniteError with the dataset indices where one is NaN or infinite.
    """
    model.eval()
    for indices_B, inputs_1_B_S in batches(source, indices_N, model):
        features_B_D = model.encode(inputs_1_B_S)[0]
        refuse_non_finite(features_B_D, indices_B, "the hidden features")
        yield indices_B, features_B_D


@torch.no_grad()
def member_log_probs(model: Network, inputs_1_B_S: Tensor) -> Tensor:
    """log_probs_B_K_C under each member: the ensemble's, or the Monte-Carlo passes that the model was set to;
    log_probs_B_K_C_H_W of a dense model."""
    logits_K_B_C = model(inputs_1_B_S.expand(model.members, *inputs_1_B_S.shape[1:]))
    return logits_K_B_C.log_softmax(2).transpose(0, 1)


def predictive_log_probs(log_probs_N_K_C: Tensor) -> Tensor:
    """log_probs_N_C (or _N_C_H_W) of the predictive distribution: the mean of the members' probabilities, never of
    logits."""
    return log_probs_N_K_C.logsumexp(1) - math.log(log_probs_N_K_C.shape[1])


@torch.no_grad()
def predict(model: Network, source: Source, indices_N: Tensor) -> Tensor:
    """Predictive log_probs_N_C; the model's mode and Monte-Carlo passes are as the caller set them.

    Raises NonFiniteError with the dataset indices where one is NaN or infinite.
    """
    predicted = []
    for indices_B, inputs_1_B_S in batches(source, indices_N, model):
        predicted.append(predictive_log_probs(member_log_probs(model, inputs_1_B_S)))
        refuse_non_finite(predicted[-1], indices_B, "the predicted log-probabilities")
    return torch.cat(predicted)
