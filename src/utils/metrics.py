"""How good predicted class probabilities are, over a whole split at once and never as a mean over batches.
What a model predicts, and the metrics of segmentation maps, are computed elsewhere."""

import torch
from torch import Tensor
from torch.nn.functional import nll_loss, one_hot

from src.utils.errors import NonFiniteError

ECE_BINS = 15
NORMALISATION_TOLERANCE = 1e-3


def classification_metrics(log_probs_N_C: Tensor, labels_N: Tensor) -> dict[str, float | list[float]]:
    """Metrics of the log-probabilities (nats) of N inputs under C classes, against their labels 0 … C − 1.

    accuracy
        share of inputs whose most probable class (the first of equals) is the label.
    nll
        mean of −log p(label), in nats. Probabilities are not clamped.
    brier
        mean over inputs of Σ_c (p_c − [c = label])², so from 0 to 2 (G. Brier 1950, "Verification of forecasts
        expressed in terms of probability"; some halve it for two classes).
    ece
        expected calibration error: Σ_b n_b/N · |accuracy_b − confidence_b| over 15 equal bins [b/15, (b+1)/15) of the
        probability of the most probable class, 1 belonging to the last bin (C. Guo et al. 2017, "On calibration of
        modern neural networks").
    bin_inputs, bin_right, bin_confidence
        what the ECE is of, a list by bin: n_b, how many of them are right, and the sum of their confidences.
    precision, recall
        a list, by class; 0 where the class was never predicted, or never occurs.

    Computed in float64 on the CPU, whatever device the inputs are on, so that the order of a sum on a GPU
    cannot change a record. Raises NonFiniteError, with the positions in the split, for NaN, +∞ and for a label of
    probability 0 (NLL ∞); ValueError for empty or mismatched inputs, labels out of range, and probabilities that
    do not sum to 1.
    """
    # Imported where it is used: it takes seconds, and checking a config needs none of it.
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_precision,
        multiclass_recall,
    )

    log_probs_N_C, labels_N = log_probs_N_C.detach().cpu().double(), labels_N.cpu()
    _check(log_probs_N_C, labels_N)
    classes = log_probs_N_C.shape[1]
    probs_N_C, predicted_N = log_probs_N_C.exp(), log_probs_N_C.argmax(dim=1)
    error_N_C = probs_N_C - one_hot(labels_N, classes)
    # Not torchmetrics', which adds up confidences in float32, one by one.
    bins = _bins(probs_N_C.amax(dim=1), predicted_N == labels_N)
    gaps = zip(bins["bin_right"], bins["bin_confidence"], strict=True)
    return {
        "accuracy": multiclass_accuracy(predicted_N, labels_N, num_classes=classes, average="micro").item(),
        "nll": nll_loss(log_probs_N_C, labels_N).item(),
        "brier": error_N_C.square().sum(dim=1).mean().item(),
        "ece": sum(abs(right - confidence) for right, confidence in gaps) / len(labels_N),
        **bins,
        "precision": multiclass_precision(
            predicted_N, labels_N, num_classes=classes, average="none"
        ).tolist(),
        "recall": multiclass_recall(predicted_N, labels_N, num_classes=classes, average="none").tolist(),
    }


def _bins(confidence_N: Tensor, right_N: Tensor) -> dict[str, list[float]]:
    edges = torch.linspace(0, 1, ECE_BINS + 1)[1:-1]
    # In float32, as torchmetrics puts them into bins.
    bin_N = torch.bucketize(confidence_N.float(), edges, right=True)
    columns = {
        "bin_inputs": torch.ones_like(confidence_N),
        "bin_right": right_N.to(confidence_N),
        "bin_confidence": confidence_N,
    }
    return {
        name: torch.bincount(bin_N, weights=column_N, minlength=ECE_BINS).tolist()
        for name, column_N in columns.items()
    }


def _check(log_probs_N_C: Tensor, labels_N: Tensor) -> None:
    if log_probs_N_C.ndim != 2 or log_probs_N_C.shape[1] < 2 or labels_N.shape != log_probs_N_C.shape[:1]:
        raise ValueError(
            f"log-probabilities of shape {tuple(log_probs_N_C.shape)} (N inputs, C ≥ 2 classes) do not go with labels "
            f"of shape {tuple(labels_N.shape)}"
        )
    if len(labels_N) == 0:
        raise ValueError("metrics of no inputs are not defined")
    classes = log_probs_N_C.shape[1]
    if labels_N.dtype != torch.int64 or int(labels_N.min()) < 0 or int(labels_N.max()) >= classes:
        raise ValueError(
            f"labels must be int64 from 0 to {classes - 1}; these are {labels_N.dtype} from {labels_N.min()} "
            f"to {labels_N.max()}"
        )
    bad_N = (log_probs_N_C.isnan() | log_probs_N_C.isposinf()).any(dim=1)
    if bad_N.any():
        raise NonFiniteError(f"log-probabilities are NaN or +∞ at {_positions(bad_N)}")
    # Of logits, say, handed over by mistake; float32 rounding is four orders of magnitude smaller.
    sums_N = log_probs_N_C.exp().sum(dim=1)
    if not torch.allclose(sums_N, torch.ones_like(sums_N), rtol=0, atol=NORMALISATION_TOLERANCE):
        raise ValueError(f"probabilities sum to between {sums_N.min():.4g} and {sums_N.max():.4g}, not to 1")
    impossible_N = log_probs_N_C.gather(1, labels_N[:, None]).squeeze(1).isneginf()
    if impossible_N.any():
        raise NonFiniteError(
            f"the label has probability 0, and NLL is infinite, at {_positions(impossible_N)}"
        )


def _positions(chosen_N: Tensor) -> str:
    positions = chosen_N.nonzero().squeeze(1).tolist()
    shown = ", ".join(str(position) for position in positions[:5])
    return (
        f"{len(positions)} of {len(chosen_N)} inputs, positions {shown}{', …' if len(positions) > 5 else ''}"
    )
