"""Estimators of the covariance of each class from its moments. The floor that keeps them invertible is added where
they become Gaussians."""

from collections.abc import Callable

import torch
from torch import Tensor

from src.models.density.moments import ClassMoments


def full(moments: ClassMoments) -> Tensor:
    """The maximum-likelihood estimate, divided by n_c: of rank n_c − 1 at most."""
    return moments.scatters_C_D_D / moments.counts_C.double()[:, None, None]


def tied(moments: ClassMoments) -> Tensor:
    """One for all classes: the mean scatter of a sample about its own class mean."""
    return (moments.scatters_C_D_D.sum(0) / moments.counts_C.sum()).repeat(len(moments.counts_C), 1, 1)


def diag(moments: ClassMoments) -> Tensor:
    """The variances alone. The one estimate here that depends on the coordinates the features come in."""
    return torch.diag_embed(full(moments).diagonal(dim1=1, dim2=2))


def shrinkage(moments: ClassMoments) -> Tensor:
    """Oracle approximating shrinkage towards a sphere, the better the fewer samples (Chen, Wiesel, Eldar & Hero 2010,
    "Shrinkage algorithms for MMSE covariance estimation", eq. 23, without its 2/D, as scikit-learn has it)."""
    covariances_C_D_D, dimensions_C = full(moments), moments.dimensions_C
    spherical_C, squares_C = _sphere(covariances_C_D_D, dimensions_C)
    wanted_C = squares_C / dimensions_C**2 + spherical_C.square()
    spread_C = squares_C / dimensions_C**2 - spherical_C.square() / dimensions_C
    return _shrunk(covariances_C_D_D, spherical_C, wanted_C / ((moments.counts_C + 1) * spread_C))


def ledoit_wolf(moments: ClassMoments) -> Tensor:
    """Shrinkage towards a sphere of least mean squared error as n_c grows (Ledoit & Wolf 2004, "A well-conditioned
    estimator for large-dimensional covariance matrices")."""
    covariances_C_D_D, dimensions_C = full(moments), moments.dimensions_C
    spherical_C, squares_C = _sphere(covariances_C_D_D, dimensions_C)
    spread_C = squares_C - dimensions_C * spherical_C.square()
    error_C = (moments.quartics_C / moments.counts_C - squares_C) / moments.counts_C
    return _shrunk(covariances_C_D_D, spherical_C, error_C / spread_C)


COVARIANCES: dict[str, Callable[[ClassMoments], Tensor]] = {
    "full": full,
    "tied": tied,
    "diag": diag,
    "shrinkage": shrinkage,
    "ledoit_wolf": ledoit_wolf,
}


def _sphere(covariances_C_D_D: Tensor, dimensions_C: Tensor) -> tuple[Tensor, Tensor]:
    """The variance of the sphere that each is shrunk towards, and the squared Frobenius norms."""
    variances_C_D = covariances_C_D_D.diagonal(dim1=1, dim2=2)
    return variances_C_D.sum(1) / dimensions_C, covariances_C_D_D.square().sum((1, 2))


def _shrunk(covariances_C_D_D: Tensor, spherical_C: Tensor, intensity_C: Tensor) -> Tensor:
    """Mixed with the sphere by min(intensity, 1); all sphere where nothing differs from it (0/0, x/0)."""
    share_C_1_1 = intensity_C.nan_to_num(nan=1.0, posinf=1.0, neginf=1.0).clamp(0, 1)[:, None, None]
    spheres_C_D_D = torch.diag_embed(spherical_C[:, None].expand(covariances_C_D_D.shape[:2]))
    return (1 - share_C_1_1) * covariances_C_D_D + share_C_1_1 * spheres_C_D_D
