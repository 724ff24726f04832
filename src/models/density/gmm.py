"""HU: surprise under a mixture of class Gaussians, in all dimensions or in a greedily chosen subspace."""

import math

import torch
from torch import Tensor

from src.models.density.base import DENSITY_HEADS
from src.models.density.gaussians import ClassGaussians, fit_class_gaussians
from src.models.density.greedy import GreedySearch, search_dimension
from src.models.density.memory import rows_per_block
from src.models.density.transforms import Projection


@DENSITY_HEADS.register("gmm")
class GMM:
    """p(x) = Σ_c π_c N(x; μ_c, Σ_c), π_c = n_c / n over the classes with at least two samples.

    With ``greedy``, x stands for its coordinates on the leading principal axes, as many as the search chooses.
    """

    def __init__(self, greedy: GreedySearch | None = None) -> None:
        self.greedy = greedy

    @torch.no_grad()
    def fit(
        self, features_N_D: Tensor, labels_N: Tensor, val_features_M_D: Tensor, val_labels_M: Tensor
    ) -> None:
        """Fit one Gaussian per class on the training features; UserError where no class has two samples."""
        self._projection: Projection | None = None
        if self.greedy is None:
            gaussians = fit_class_gaussians(features_N_D, labels_N)
            self._diagnostics: dict[str, object] = {
                "dimension": features_N_D.shape[1],
                "train_log_likelihood": _own_class_mean(gaussians, features_N_D, labels_N),
                "val_log_likelihood": _own_class_mean(gaussians, val_features_M_D, val_labels_M),
            }
        else:
            found = search_dimension(self.greedy, features_N_D, labels_N, val_features_M_D, val_labels_M)
            gaussians, self._projection = found.gaussians, found.projection
            self._diagnostics = {
                "dimension": found.projection.axes_D_K.shape[1],
                "dimensions": found.dimensions,
                "discrepancy": found.discrepancy,
                "train_log_likelihood": found.train_log_likelihood,
                "val_log_likelihood": found.val_log_likelihood,
            }
        absent = set(labels_N.tolist()) - set(gaussians.labels_C.tolist())
        self._diagnostics["classes_left_out"] = sorted(absent)
        self._prepare(gaussians)

    def _prepare(self, gaussians: ClassGaussians) -> None:
        """What scoring needs: whitening as one matrix product for all classes.

        Features are centred on the mean of the class means first, so that the whitened coordinates of a class
        come out as a small difference from ``_offsets_C_K`` even where features lie far from the origin.
        """
        classes, dimension = gaussians.means_C_D.shape
        identity = torch.eye(dimension, dtype=torch.float64, device=gaussians.means_C_D.device)
        inverses_C_K_K = torch.linalg.solve_triangular(gaussians.factors_C_D_D, identity, upper=False)
        self._centre_K = gaussians.means_C_D.mean(dim=0)
        self._whitening_K_CK = inverses_C_K_K.reshape(classes * dimension, dimension).T.contiguous()
        self._offsets_C_K = torch.einsum("ckj,cj->ck", inverses_C_K_K, gaussians.means_C_D - self._centre_K)
        log_weights_C = (gaussians.counts_C / gaussians.counts_C.sum()).double().log()
        log_determinants_C = gaussians.factors_C_D_D.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        self._log_scales_C = log_weights_C - log_determinants_C - 0.5 * dimension * math.log(2 * math.pi)

    @torch.no_grad()
    def log_density(self, features_N_D: Tensor) -> Tensor:
        """log_density_N = log p(x) in nats, float64; temporaries stay under the memory budget."""
        classes, dimension = self._offsets_C_K.shape
        bytes_per_row = 8 * (2 * classes * dimension + 3 * features_N_D.shape[1])
        return torch.cat(
            [self._block_log_density(block) for block in features_N_D.split(rows_per_block(bytes_per_row))]
        )

    def _block_log_density(self, features_N_D: Tensor) -> Tensor:
        features_N_K = self._projection(features_N_D) if self._projection else features_N_D.double()
        whitened_N_C_K = (features_N_K - self._centre_K) @ self._whitening_K_CK
        whitened_N_C_K = whitened_N_C_K.unflatten(1, self._offsets_C_K.shape).sub_(self._offsets_C_K)
        squares_N_C = whitened_N_C_K.square_().sum(dim=2)
        return torch.logsumexp(self._log_scales_C - 0.5 * squares_N_C, dim=1)

    def surprise(self, features_N_D: Tensor) -> Tensor:
        """surprise_N = −log p(x) in nats, float64."""
        return -self.log_density(features_N_D)

    def diagnostics(self) -> dict[str, object]:
        """``dimension``; mean ``train_log_likelihood`` and ``val_log_likelihood`` of a sample under its own class,
        in nats, whose gap is the overfit; ``classes_left_out``, with a single sample each.

        Under greedy search the likelihoods are lists over the tried ``dimensions``, with their ``discrepancy``;
        otherwise they are numbers, None where no validation sample has a fitted class.
        """
        return self._diagnostics


def _own_class_mean(gaussians: ClassGaussians, features_N_D: Tensor, labels_N: Tensor) -> float | None:
    dimension = features_N_D.shape[1]
    log_likelihood = torch.cat(
        [
            gaussians.nested_log_likelihood(c, features_N_D[labels_N == label], [dimension])
            for c, label in enumerate(gaussians.labels_C.tolist())
        ]
    )
    return log_likelihood.mean().item() if len(log_likelihood) else None
