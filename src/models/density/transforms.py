"""Fixed maps of feature vectors: length normalisation and principal axes. No densities here."""

from dataclasses import dataclass

import torch
from torch import Tensor


def l2_normalize(features_N_D: Tensor) -> Tensor:
    """Every row at Euclidean length 1, in the given dtype; a zero row stays zero.

    The length is taken in float64, where the squares of small float32 features do not underflow.
    """
    lengths = torch.linalg.vector_norm(features_N_D, dim=-1, keepdim=True, dtype=torch.float64)
    return (features_N_D / torch.where(lengths > 0, lengths, 1.0)).to(features_N_D.dtype)


@dataclass(frozen=True)
class Projection:
    """Coordinates of features in an orthonormal basis about a mean, both float64."""

    mean_D: Tensor
    axes_D_K: Tensor

    def __call__(self, features_N_D: Tensor) -> Tensor:
        """projected_N_K in float64."""
        return (features_N_D.double() - self.mean_D) @ self.axes_D_K

    def leading(self, dimension: int) -> "Projection":
        """The same projection onto its first ``dimension`` axes."""
        return Projection(self.mean_D, self.axes_D_K[:, :dimension])


def principal_axes(count: int, mean_D: Tensor, scatter_D_D: Tensor) -> Projection:
    """All principal axes with variance in them, by falling variance, of ``count`` samples scattered about their mean.

    Beyond the numerical rank of the centred features, at most min(D, N − 1), an axis is an arbitrary
    vector of the null space: two machines would choose different ones. Those axes are left out, but one
    axis always stays, so that identical features still have a coordinate.
    """
    variances_D, axes_D_D = torch.linalg.eigh(scatter_D_D / count)
    tolerance = max(count, len(mean_D)) * torch.finfo(torch.float64).eps * variances_D[-1]
    rank = max(1, min(int((variances_D > tolerance).sum()), count - 1))
    return Projection(mean_D, axes_D_D.flip(1)[:, :rank].contiguous())
