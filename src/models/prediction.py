"""A fitted network over many inputs: features, log-probabilities and losses, streamed in batches.
What is made of a batch (a score, a metric) is the caller's; nothing of the size of a pool is kept here."""

import math
import sys
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from src.layers.stochastic import passes_of
from src.models.network import Network
from src.utils.errors import NonFiniteError, UserError
from src.utils.processes import joined, share, summed, wait
from src.utils.stopping import check

T = TypeVar("T")

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


def map_batches(
    compute: Callable[[Tensor, Tensor], T], source: Source, indices_N: Tensor, model: Network
) -> Iterator[tuple[Tensor, T]]:
    """(indices_B, compute(indices_B, inputs_1_B_S)), in order and without gradients, in batches sized for the device
    and for the model's members and maps. Nobody may see in the values which inputs were batched together.

    Where a GPU has no memory for a batch, that one and all later ones are halved, and stderr tells. Raises UserError
    where it has none for a single input, and Stopped between batches if the process was asked to stop.
    """
    size = batch_size(source, indices_N, model) if len(indices_N) else 1
    start = 0
    while start < len(indices_N):
        check()
        indices_B = indices_N[start : start + size]
        value = _or_out_of_memory(compute, indices_B, source)
        if isinstance(value, OutOfMemory):
            size = model.most_at_once = _halved(len(indices_B), source.device)
            continue
        yield indices_B, value
        start += len(indices_B)


def batch_size(source: Source, indices_N: Tensor, model: Network) -> int:
    """How many inputs are looked at together."""
    one = source.inputs(indices_N[:1])
    values = max(one.numel(), model.largest_map * max(model.members, passes_of(model)))
    size = max(1, BATCH_BYTES.get(one.device.type, BATCH_BYTES["cpu"]) // (4 * values))
    return min(size, model.most_at_once or size)


class OutOfMemory:
    """In place of a value that a GPU had no memory for."""


@torch.no_grad()
def _or_out_of_memory(
    compute: Callable[[Tensor, Tensor], T], indices_B: Tensor, source: Source
) -> T | OutOfMemory:
    # A function of its own: only when it is left are the tensors free that its exception's traceback holds.
    try:
        return compute(indices_B, source.inputs(indices_B)[None])
    except torch.OutOfMemoryError:
        return OutOfMemory()


def _halved(inputs: int, device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if inputs == 1:
        raise UserError(
            f"{device} has no memory to look at a single input; use smaller images, a smaller model or fewer "
            "model.mc_iterations, or see whether other programs use this GPU"
        )
    print(
        f"{device} has no memory to score {inputs} inputs at once: {inputs // 2} from here on, which changes no result",
        file=sys.stderr,
    )
    return inputs // 2


@torch.no_grad()
def mean_loss(model: Network, source: Source, indices_N: Tensor) -> Tensor:
    """loss_M: each member's training objective over all these inputs, in evaluation mode.

    Batches count for what the model says that they do (``Network.loss_weight``); 0 where all count for nothing, as
    images without a valid pixel do. Of several processes each looks at its share, and all get the mean of the whole.
    """
    model.eval()
    total_M = torch.zeros(model.members, dtype=torch.float64, device=source.device)
    weight_M = torch.zeros_like(total_M)

    def loss_and_weight(indices_B: Tensor, inputs_1_B_S: Tensor) -> tuple[Tensor, Tensor]:
        inputs_M_B_S = inputs_1_B_S.expand(model.members, *inputs_1_B_S.shape[1:])
        labels_B = source.labels(indices_B)
        labels_M_B = labels_B.expand(model.members, *labels_B.shape)
        return model.loss(inputs_M_B_S, labels_M_B).double(), model.loss_weight(labels_M_B)

    for _, (loss_M, batch_weight_M) in map_batches(loss_and_weight, source, share(indices_N), model):
        total_M += loss_M * batch_weight_M
        weight_M += batch_weight_M
    wait()  # by way of the CPU: a process that was stopped on the way here would leave a GPU waiting
    return weighted_mean(summed(total_M), summed(weight_M))


def weighted_mean(total_M: Tensor, weight_M: Tensor) -> Tensor:
    """total / weight, and 0 where nothing weighed anything."""
    return total_M / weight_M.where(weight_M > 0, 1)


def refuse_non_finite(values_B: Tensor, indices_B: Tensor, what: str) -> None:
    """NonFiniteError naming the dataset indices whose values (or rows of values) hold NaN or infinity."""
    bad_B = ~values_B.isfinite().flatten(1).all(1) if values_B.ndim > 1 else ~values_B.isfinite()
    if bad_B.any():
        bad = indices_B[bad_B].tolist()
        shown = ", ".join(map(str, bad[:10])) + (", …" if len(bad) > 10 else "")
        raise NonFiniteError(
            f"{what} of {len(bad)} inputs became NaN or infinite (dataset indices {shown}): the network has diverged; "
            "lower optimizer.lr or look at these inputs"
        )


@torch.no_grad()
def feature_batches(model: Network, source: Source, indices_N: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(indices_B, features_B_D) of a one-member network, in evaluation mode without Monte-Carlo masks;
    features_B_D_h_w of a dense one.

    Raises NonFiniteError with the dataset indices where one is NaN or infinite.
    """
    model.eval()

    def features(indices_B: Tensor, inputs_1_B_S: Tensor) -> Tensor:
        features_B_D = model.encode(inputs_1_B_S)[0]
        refuse_non_finite(features_B_D, indices_B, "the hidden features")
        return features_B_D

    return map_batches(features, source, indices_N, model)


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

    Of several processes each predicts its share, and all get the whole.

    Raises NonFiniteError with the dataset indices where one is NaN or infinite.
    """

    def log_probs(indices_B: Tensor, inputs_1_B_S: Tensor) -> Tensor:
        log_probs_B_C = predictive_log_probs(member_log_probs(model, inputs_1_B_S))
        refuse_non_finite(log_probs_B_C, indices_B, "the predicted log-probabilities")
        return log_probs_B_C

    own = [log_probs_B_C for _, log_probs_B_C in map_batches(log_probs, source, share(indices_N), model)]
    return joined(torch.cat(own) if own else torch.empty(0))
