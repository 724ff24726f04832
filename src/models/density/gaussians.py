"""One Gaussian per class, batched over classes in float64. How covariances are estimated, and what is made of the
log-densities (a mixture, a search over dimensions), is decided elsewhere."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from src.models.density.covariance import COVARIANCES
from src.models.density.memory import rows_in_cache, rows_per_block
from src.models.density.moments import ClassMoments
from src.models.density.transforms import Projection
from src.utils.errors import UserError

COVARIANCE_FLOOR = 1e-6
"""Added to every variance: a class of n samples spans n − 1 dimensions, and has none in the others."""
LOST_SHARE = 1e-3
"""The largest relative error of a variance that rounding may leave; beyond it surprise would be noise."""


@dataclass(frozen=True, eq=False)
class ClassGaussians:
    """C Gaussians in D dimensions. ``factors_C_D_D`` are the lower Cholesky factors of their covariances."""

    labels_C: Tensor
    counts_C: Tensor
    means_C_D: Tensor
    factors_C_D_D: Tensor

    def leading(self, dimension: int) -> "ClassGaussians":
        """Their marginals over the first ``dimension`` coordinates.

        Exact and free: the Cholesky factor of a leading block is the leading block of the Cholesky factor.
        """
        return ClassGaussians(
            self.labels_C,
            self.counts_C,
            self.means_C_D[:, :dimension],
            self.factors_C_D_D[:, :dimension, :dimension],
        )

    def of_labels(self, labels_L: Tensor) -> "ClassGaussians":
        """Those of them whose label is among ``labels_L``."""
        chosen_C = torch.isin(self.labels_C, labels_L)
        if chosen_C.all():
            return self
        return ClassGaussians(
            self.labels_C[chosen_C],
            self.counts_C[chosen_C],
            self.means_C_D[chosen_C],
            self.factors_C_D_D[chosen_C],
        )

    def nested_mean_log_likelihood(
        self, moments: ClassMoments, projection: Projection | None = None
    ) -> Tensor:
        """log_likelihood_C_D in nats: at [c, k − 1] the mean of log N(first k coordinates; class number c) over the
        samples of that class that ``moments`` tells of; NaN where it tells of none.

        The mean of a quadratic form needs no samples, only their second moments about the Gaussian's mean. Where
        ``projection`` led to the coordinates, ``moments`` are those of the features before it.
        """
        theirs = moments.over(self.labels_C)
        blocks = []
        for block in self._class_blocks():
            means_B_D, whitening_B_K_D = theirs.means_C_D[block], self.whitening_C_D_D[block]
            if projection is not None:
                means_B_D = projection(means_B_D)
            shift_B_D_1 = (means_B_D - self.means_C_D[block])[:, :, None]
            squares_B_K = (whitening_B_K_D @ shift_B_D_1)[:, :, 0].square()
            if projection is not None:
                whitening_B_K_D = whitening_B_K_D @ projection.axes_D_K.T
            scattered_B_K_D = whitening_B_K_D @ theirs.scatters_C_D_D[block]
            scatters_B_K = torch.linalg.vecdot(scattered_B_K_D, whitening_B_K_D)
            blocks.append(scatters_B_K / theirs.counts_C[block, None] + squares_B_K)
        return -0.5 * torch.cat(blocks).cumsum(dim=1) - self.log_norms()

    def _class_blocks(self) -> Iterator[slice]:
        """All classes, as many at once as stay in a CPU's cache."""
        classes, dimension = self.means_C_D.shape
        step = rows_in_cache(4 * 8 * dimension**2, self.means_C_D.device)
        return (slice(start, start + step) for start in range(0, classes, step))

    def nested_log_likelihood(self, c: int, features_N_D: Tensor, dimensions: list[int]) -> Tensor:
        """log_likelihood_N_K in nats: log N(first k coordinates; class number c) for each k of ``dimensions``.

        One triangular solve serves all k: the first k whitened coordinates depend on the first k coordinates
        only, so the quadratic form and the log-determinant at k are entries of two running sums.
        """
        k_K = torch.tensor(dimensions, device=self.factors_C_D_D.device)
        log_norms_K = self.log_norms()[c, k_K - 1]
        blocks = []
        for block in features_N_D.split(rows_per_block(4 * 8 * features_N_D.shape[1])):
            whitened_D_N = torch.linalg.solve_triangular(
                self.factors_C_D_D[c], (block.double() - self.means_C_D[c]).T, upper=False
            )
            squares_K_N = whitened_D_N.square_().cumsum(dim=0)[k_K - 1]
            blocks.append(-0.5 * squares_K_N.T - log_norms_K)
        return torch.cat(blocks)

    @cached_property
    def whitening_C_D_D(self) -> Tensor:
        """The inverses of the factors, lower triangular too."""
        identity_D_D = torch.eye(self.means_C_D.shape[1], dtype=torch.float64, device=self.means_C_D.device)
        return torch.linalg.solve_triangular(self.factors_C_D_D, identity_D_D, upper=False)

    def log_norms(self) -> Tensor:
        """log_norms_C_D: at [c, k − 1] half the log-determinant of 2πΣ_c over the first k coordinates."""
        log_scales_C_D = self.factors_C_D_D.diagonal(dim1=1, dim2=2).log() + 0.5 * math.log(2 * math.pi)
        return log_scales_C_D.cumsum(dim=1)


def fittable(moments: ClassMoments) -> ClassMoments:
    """Those of the classes with at least two samples: fewer have no covariance. UserError where there is none."""
    enough_C = moments.counts_C >= 2
    kept = moments if enough_C.all() else moments[enough_C]
    if len(kept.labels_C) == 0:
        raise UserError(
            f"no class has two labelled samples ({int(moments.counts_C.sum())} labelled in {len(moments.labels_C)} "
            "classes), so no Gaussian can be fitted: label at least two samples of one class, for instance with a "
            "larger training.initially_labelled or with training.initially_balanced"
        )
    return kept


def fit_class_gaussians(moments: ClassMoments, covariance: str = "full") -> ClassGaussians:
    """The mean of each class and its covariance, estimated as ``covariance`` names in COVARIANCES, with
    COVARIANCE_FLOOR added to the diagonal.

    Only classes that are ``fittable`` have one. UserError where none is, or where variances differ so much that
    float64 no longer resolves the smallest to LOST_SHARE.
    """
    kept = fittable(moments)
    covariances_C_D_D = COVARIANCES[covariance](kept)
    covariances_C_D_D.diagonal(dim1=1, dim2=2).add_(COVARIANCE_FLOOR)
    factors_C_D_D = floored_factors(covariances_C_D_D, kept.labels_C)
    return ClassGaussians(kept.labels_C, kept.counts_C, kept.means_C_D, factors_C_D_D)


def floored_factors(covariances_C_D_D: Tensor, labels_C: Tensor) -> Tensor:
    """factors_C_D_D of covariances that have their floor. UserError where rounding loses more than LOST_SHARE of it."""
    factors_C_D_D, failed_C = torch.linalg.cholesky_ex(covariances_C_D_D)
    largest_C = covariances_C_D_D.diagonal(dim1=1, dim2=2).amax(dim=1)
    smallest_C = factors_C_D_D.diagonal(dim1=1, dim2=2).square().amin(dim=1)
    lost_C = (failed_C > 0) | (torch.finfo(torch.float64).eps * largest_C > LOST_SHARE * smallest_C)
    if lost_C.any():
        raise UserError(
            f"the covariance of class {labels_C[lost_C][0].item()} is singular in float64: its features "
            f"vary by up to {largest_C[lost_C][0].sqrt().item():.1e}, beside which a variance of "
            f"{COVARIANCE_FLOOR} vanishes; set model.mir_configs.normalize_features: True"
        )
    return factors_C_D_D
