"""Greedy HU: how many principal axes of the hidden features the class Gaussians should see. The Gaussians
themselves and the density made of them live beside this file."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from src.models.density.gaussians import ClassGaussians, fit_class_gaussians
from src.models.density.transforms import Projection, fit_pca
from src.utils.errors import UserError

# t and v are the reduced train and validation log-likelihoods of one class, divided by k. Smaller is better.
METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l2": lambda t, v: (t - v).square(),
    "l1": lambda t, v: (t - v).abs(),
    "val": lambda t, v: -v,
    "train": lambda t, v: -t,
    "val_l2": lambda t, v: -v + (t - v).square(),
    "val_l1": lambda t, v: -v + (t - v).abs(),
    "train_l2": lambda t, v: -t + (t - v).square(),
    "train_val_l2": lambda t, v: -t - v + (t - v).square(),
    "train_val_l1": lambda t, v: -t - v + (t - v).abs(),
}


def _median(values_N_K: Tensor) -> Tensor:
    """The mean of the two middle values where N is even; torch.median would take the lower one."""
    ordered, n = values_N_K.sort(dim=0).values, len(values_N_K)
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda values_N_K: values_N_K.mean(dim=0),
    "sum": lambda values_N_K: values_N_K.sum(dim=0),
    "max": lambda values_N_K: values_N_K.amax(dim=0),
    "min": lambda values_N_K: values_N_K.amin(dim=0),
    "median": _median,
}


@dataclass(frozen=True)
class GreedySearch:
    """Try k = step, 2·step, … and the largest; ``metric`` and ``reduction`` in any case. UserError otherwise."""

    step: int
    metric: str
    reduction: str

    def __post_init__(self) -> None:
        if self.step < 1:
            raise UserError(f"search_step_size {self.step}: the step between tried dimensions is at least 1")
        if self.metric.lower() not in METRICS:
            raise UserError(f"unknown greedy search metric {self.metric!r}; choices: {', '.join(METRICS)}")
        if self.reduction.lower() not in REDUCTIONS:
            raise UserError(
                f"unknown greedy search reduction {self.reduction!r}; choices: {', '.join(REDUCTIONS)}"
            )


@dataclass(frozen=True)
class SearchResult:
    """The chosen subspace and density, and one value per tried k of what led there.

    ``train_log_likelihood`` and ``val_log_likelihood`` are means over samples of the log-density of their own
    class, in nats, whatever metric and reduction chose k.
    """

    projection: Projection
    gaussians: ClassGaussians
    dimensions: list[int]
    discrepancy: list[float]
    train_log_likelihood: list[float]
    val_log_likelihood: list[float]


def search_dimension(
    search: GreedySearch,
    features_N_D: Tensor,
    labels_N: Tensor,
    val_features_M_D: Tensor,
    val_labels_M: Tensor,
) -> SearchResult:
    """The number k of leading principal axes with the smallest discrepancy; the smallest such k on ties.

    The axes are those of all training features about their mean, and k goes up to their numerical rank. The
    discrepancy is averaged over the classes that have a Gaussian and validation samples; UserError where there
    is none. Nothing is refitted on the way: the Gaussians at k are the leading blocks of those in all axes.
    """
    projection = fit_pca(features_N_D)
    train_N_R, val_M_R = projection(features_N_D), projection(val_features_M_D)
    gaussians = fit_class_gaussians(train_N_R, labels_N)
    rank = train_N_R.shape[1]
    dimensions = [*range(search.step, rank, search.step), rank]
    metric, reduce = METRICS[search.metric.lower()], REDUCTIONS[search.reduction.lower()]
    k_K = torch.tensor(dimensions, dtype=torch.float64, device=train_N_R.device)
    discrepancies, train_sums, val_sums = [], [], []
    train_count = val_count = 0
    for c, label in enumerate(gaussians.labels_C.tolist()):
        val = val_M_R[val_labels_M == label]
        if len(val) == 0:
            continue
        train_n_K = gaussians.nested_log_likelihood(c, train_N_R[labels_N == label], dimensions)
        val_n_K = gaussians.nested_log_likelihood(c, val, dimensions)
        discrepancies.append(metric(reduce(train_n_K) / k_K, reduce(val_n_K) / k_K))
        train_sums.append(train_n_K.sum(dim=0))
        val_sums.append(val_n_K.sum(dim=0))
        train_count, val_count = train_count + len(train_n_K), val_count + len(val_n_K)
    if not discrepancies:
        raise UserError(
            "greedy_search compares training and validation samples of a class, and no class with two labelled samples "
            "has a validation sample: raise data.val_size, label more, or set model.mir_configs.greedy_search: False"
        )
    discrepancy = torch.stack(discrepancies).mean(dim=0).tolist()
    best = dimensions[discrepancy.index(min(discrepancy))]
    return SearchResult(
        projection.leading(best),
        gaussians.leading(best),
        dimensions,
        discrepancy,
        (torch.stack(train_sums).sum(dim=0) / train_count).tolist(),
        (torch.stack(val_sums).sum(dim=0) / val_count).tolist(),
    )
