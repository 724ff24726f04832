"""One full-covariance Gaussian per class, batched over classes in float64. What is made of their log-densities
(a mixture, a search over dimensions) is decided elsewhere."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from src.models.density.memory import rows_per_block
from src.utils.errors import UserError

COVARIANCE_FLOOR = 1e-6
"""Added to every variance: a class of n samples spans n − 1 dimensions, and has none in the others."""


@dataclass(frozen=True)
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

    def nested_log_likelihood(self, c: int, features_N_D: Tensor, dimensions: list[int]) -> Tensor:
        """log_likelihood_N_K in nats: log N(first k coordinates; class number c) for each k of ``dimensions``.

        One triangular solve serves all k: the first k whitened coordinates depend on the first k coordinates
        only, so the quadratic form and the log-determinant at k are entries of two running sums.
        """
        factor_D_D = self.factors_C_D_D[c]
        k_K = torch.tensor(dimensions, device=factor_D_D.device)
        log_norms_K = (
            factor_D_D.diagonal().log().cumsum(dim=0)[k_K - 1] + 0.5 * math.log(2 * math.pi) * k_K.double()
        )
        blocks = []
        for block in features_N_D.split(rows_per_block(4 * 8 * features_N_D.shape[1])):
            whitened_D_N = torch.linalg.solve_triangular(
                factor_D_D, (block.double() - self.means_C_D[c]).T, upper=False
            )
            squares_K_N = whitened_D_N.square().cumsum(dim=0)[k_K - 1]
            blocks.append(-0.5 * squares_K_N.T - log_norms_K)
        return torch.cat(blocks)


def fit_class_gaussians(features_N_D: Tensor, labels_N: Tensor) -> ClassGaussians:
    """Maximum-likelihood mean and covariance (divided by n_c) of each class, plus COVARIANCE_FLOOR on the diagonal.

    Classes with fewer than two samples have no covariance and are left out. UserError where none is left, or
    where the features are so large that float64 no longer resolves the floor.
    """
    all_labels, all_counts = labels_N.unique(return_counts=True)
    kept = all_counts >= 2
    labels_C, counts_C = all_labels[kept], all_counts[kept]
    if len(labels_C) == 0:
        raise UserError(
            f"no class has two labelled samples ({len(labels_N)} labelled in {len(all_labels)} classes), so no "
            "Gaussian can be fitted: label at least two samples of one class, for instance with a larger "
            "training.initially_labelled or with training.initially_balanced"
        )
    means, covariances = [], []
    for label, count in zip(labels_C.tolist(), counts_C.tolist(), strict=True):
        features = features_N_D[labels_N == label].double()
        means.append(features.mean(dim=0))
        centred = features - means[-1]
        covariances.append(centred.T @ centred / count)
    covariances_C_D_D = torch.stack(covariances)
    covariances_C_D_D.diagonal(dim1=1, dim2=2).add_(COVARIANCE_FLOOR)
    factors_C_D_D, failed_C = torch.linalg.cholesky_ex(covariances_C_D_D)
    if failed_C.any():
        raise UserError(
            f"the covariance of class {labels_C[failed_C > 0][0].item()} is singular in float64: its features vary by "
            f"up to {covariances_C_D_D.diagonal(dim1=1, dim2=2).max().sqrt().item():.1e}, beside which a variance of "
            f"{COVARIANCE_FLOOR} vanishes; set model.mir_configs.normalize_features: True"
        )
    return ClassGaussians(labels_C, counts_C, torch.stack(means), factors_C_D_D)
