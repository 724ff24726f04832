"""Greedy HU: how many principal axes of the hidden features the class Gaussians should see. The Gaussians
themselves and the density made of them live beside this file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from src.config import MirConfig
from src.models.density.gaussians import ClassGaussians, fit_class_gaussians
from src.models.density.moments import ClassMoments
from src.models.density.transforms import Projection, principal_axes
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


# How the log-likelihoods of a class become one number: from their mean and count, or from all of them.
OF_MEANS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean": lambda mean_C_K, counts_C: mean_C_K,
    "sum": lambda mean_C_K, counts_C: mean_C_K * counts_C[:, None],
}
OF_SAMPLES: dict[str, Callable[[Tensor], Tensor]] = {
    "max": lambda values_N_K: values_N_K.amax(dim=0),
    "min": lambda values_N_K: values_N_K.amin(dim=0),
    "median": _median,
}
REDUCTIONS = (*OF_MEANS, *OF_SAMPLES)

NO_VALIDATION = (
    "greedy_search compares training and validation samples of a class, and no class with two labelled samples "
    "has a validation sample: raise data.val_size, label more, or set model.mir_configs.greedy_search: False"
)


@dataclass(frozen=True)
class GreedySearch:
    """Try k = step, 2·step, … and the largest; ``metric`` and ``reduction`` in any case. UserError otherwise."""

    step: int
    metric: str
    reduction: str

    def __post_init__(self) -> None:
        if self.step < 1:
            raise UserError(
                f"search_step_size {self.step}: the step between tried dimensions is at least 1",
                "search_step_size",
            )
        for kind, choices in (("metric", METRICS), ("reduction", REDUCTIONS)):
            name = getattr(self, kind)
            if name.lower() not in choices:
                raise UserError(f"unknown greedy search {kind} {name!r}; choices: {', '.join(choices)}", kind)
            object.__setattr__(self, kind, name.lower())

    @classmethod
    def from_config(cls, mir: MirConfig) -> Self | None:
        """The search that ``search_step_size``, ``metric`` and ``reduction`` describe; None without greedy_search."""
        return cls(mir.search_step_size, mir.metric, mir.reduction) if mir.greedy_search else None

    @property
    def moments_suffice(self) -> bool:
        """Whether the search needs no samples, only their moments."""
        return self.reduction in OF_MEANS

    def dimensions(self, largest: int) -> list[int]:
        """The k that are tried."""
        return [*range(self.step, largest, self.step), largest]

    def discrepancy(self, train_C_K: Tensor, val_C_K: Tensor, dimensions_K: Tensor) -> Tensor:
        """discrepancy_C_K of the reduced log-likelihoods in these dimensions."""
        return METRICS[self.metric](train_C_K / dimensions_K, val_C_K / dimensions_K)


def best(dimensions: list[int], discrepancy: list[float]) -> int:
    """The dimension of least discrepancy, the smallest of them on ties."""
    return dimensions[discrepancy.index(min(discrepancy))]


@dataclass(frozen=True)
class Samples:
    """Labelled features, where a reduction asks for more than their moments."""

    features_N_D: Tensor
    labels_N: Tensor


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
    train: ClassMoments,
    val: ClassMoments,
    samples: tuple[Samples, Samples] | None = None,
    covariance: str = "full",
) -> SearchResult:
    """The number k of leading principal axes with the smallest discrepancy; the smallest such k on ties.

    The axes are those of all training features about their mean, and k goes up to their numerical rank. The
    discrepancy is averaged over the classes that have a Gaussian and validation samples; UserError where there
    is none. Nothing is refitted on the way: the Gaussians at k are the leading blocks of those in all axes, with
    the intensity that shrinkage has there. ``samples`` (training, validation) are read unless
    ``search.moments_suffice``.
    """
    projection = principal_axes(*train.pooled())
    train = train.projected(projection)
    gaussians = fit_class_gaussians(train, covariance)
    judged = gaussians.of_labels(val.labels_C)
    if not len(judged.labels_C):
        raise UserError(NO_VALIDATION)
    dimensions = search.dimensions(projection.axes_D_K.shape[1])
    k_K = torch.tensor(dimensions, device=train.means_C_D.device)
    mean_curves, reduced = [], []
    for split, (moments, before) in enumerate(((train, None), (val, projection))):
        own = moments.over(judged.labels_C)
        mean_C_K, counts_C = judged.nested_mean_log_likelihood(own, before)[:, k_K - 1], own.counts_C
        mean_curves.append((counts_C.double() @ mean_C_K / counts_C.sum()).tolist())
        if search.moments_suffice:
            reduced.append(OF_MEANS[search.reduction](mean_C_K, counts_C))
        else:
            assert samples is not None
            reduced.append(_reduced(search, judged, projection, samples[split], dimensions))
    train_C_K, val_C_K = reduced
    discrepancy = search.discrepancy(train_C_K, val_C_K, k_K).mean(dim=0).tolist()
    chosen = best(dimensions, discrepancy)
    return SearchResult(
        projection.leading(chosen), gaussians.leading(chosen), dimensions, discrepancy, *mean_curves
    )


def _reduced(
    search: GreedySearch,
    gaussians: ClassGaussians,
    projection: Projection,
    samples: Samples,
    dimensions: list[int],
) -> Tensor:
    """reduced_C_K: each class's log-likelihoods of its own samples at each k, reduced to one number."""
    reduce = OF_SAMPLES[search.reduction]
    return torch.stack(
        [
            reduce(
                gaussians.nested_log_likelihood(
                    c, projection(samples.features_N_D[samples.labels_N == label]), dimensions
                )
            )
            for c, label in enumerate(gaussians.labels_C)
        ]
    )
