"""Gaussian kernels on the samples of one class: distances to them, and the density that they make. How wide the
kernels are is decided elsewhere."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from src.models.density.memory import rows_in_cache


@dataclass(frozen=True, eq=False)
class ClassKernels:
    """The samples of one class that carry a kernel each, about their mean, in float64.

    About the class's own mean, |x|² − 2 x·b + |b|² errs by a few roundings of the square of its extent, so that
    a tight class far from the others, or all of them far from the origin, loses nothing.
    """

    mean_D: Tensor
    samples_B_D: Tensor
    norms_B: Tensor

    @classmethod
    def of(cls, features_B_D: Tensor) -> "ClassKernels":
        """Those on B ≥ 1 samples, whose deviations are exactly zero where they are identical."""
        features = features_B_D.double()
        mean_D = features[0] + (features - features[0]).mean(dim=0)
        samples_B_D = features - mean_D
        return cls(mean_D, samples_B_D, samples_B_D.square().sum(dim=1))

    def __len__(self) -> int:
        return len(self.samples_B_D)

    @property
    def dimension(self) -> int:
        return self.samples_B_D.shape[1]

    def squares(self, features_N_D: Tensor) -> Tensor:
        """squares_N_B: squared Euclidean distances to the samples."""
        centred_N_D = features_N_D.double() - self.mean_D
        squares_N_B = torch.addmm(self.norms_B, centred_N_D, self.samples_B_D.T, alpha=-2)
        return squares_N_B.add_(centred_N_D.square().sum(dim=1, keepdim=True)).clamp_(min=0)

    def blocks(self, features_N_D: Tensor) -> Iterator[Tensor]:
        """The same, so many rows at once that what is made of a block stays in a CPU's cache; none for no rows."""
        if len(features_N_D):
            rows = rows_in_cache(8 * (4 * len(self) + 3 * self.dimension), features_N_D.device)
            yield from map(self.squares, features_N_D.split(rows))

    def log_density(self, features_N_D: Tensor, bandwidth: float) -> Tensor:
        """log_density_N = log 1/B Σ_b N(x; x_b, h²·I) in nats, for h the ``bandwidth``."""
        blocks = [
            kernel_log_density(squares, bandwidth, self.dimension) for squares in self.blocks(features_N_D)
        ]
        return torch.cat(blocks) if blocks else self.norms_B[:0]


def kernel_log_density(squares_N_B: Tensor, bandwidth: float, dimension: int) -> Tensor:
    """log_density_N in nats, the mean over B kernels at these squared distances in ``dimension`` dimensions."""
    log_norm = math.log(squares_N_B.shape[1]) + dimension * (
        math.log(bandwidth) + 0.5 * math.log(2 * math.pi)
    )
    return torch.logsumexp(squares_N_B * (-0.5 / bandwidth**2), dim=1) - log_norm
