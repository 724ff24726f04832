"""HU: surprise under a mixture of class Gaussians, in all dimensions or in a greedily chosen subspace."""

import math
from collections.abc import Callable
from typing import ClassVar, Self

import torch
from torch import Tensor

from src.config import MirConfig
from src.models.density.base import DENSITY_HEADS
from src.models.density.gaussians import ClassGaussians, fit_class_gaussians
from src.models.density.greedy import GreedySearch, Samples, search_dimension
from src.models.density.memory import rows_in_cache
from src.models.density.moments import ClassMoments
from src.models.density.transforms import Projection


@DENSITY_HEADS.register("gmm")
class GMM:
    """p(x) = Σ_c π_c N(x; μ_c, Σ_c), π_c = n_c / n over the classes with at least two samples.

    With ``greedy``, x stands for its coordinates on the leading principal axes, as many as the search chooses.
    ``covariance`` is one of COVARIANCES. Fitting is in float64, scoring in ``scoring_precision``.
    """

    samples_per_class: ClassVar[int] = 2
    searches_dimension: ClassVar[bool] = True
    normalizes_projections: ClassVar[bool] = False

    def __init__(
        self,
        greedy: GreedySearch | None = None,
        covariance: str = "full",
        scoring_precision: torch.dtype = torch.float64,
    ) -> None:
        self.greedy = greedy
        self.covariance = covariance
        self.scoring_precision = scoring_precision

    @classmethod
    def from_config(cls, mir: MirConfig, seed: int) -> Self:
        """The head that ``greedy_search`` and its keys, ``covariance`` and ``scoring_precision`` describe."""
        return cls(GreedySearch.from_config(mir), mir.covariance, getattr(torch, mir.scoring_precision))

    @property
    def fit_moments(self) -> Callable[[ClassMoments, ClassMoments], None] | None:
        """As ``fit``, from the moments of training and validation features that need not be held; None under a
        greedy search whose reduction looks at samples."""
        moments_suffice = self.greedy is None or self.greedy.moments_suffice
        return self._fit if moments_suffice else None

    @torch.no_grad()
    def fit(
        self, features_N_D: Tensor, labels_N: Tensor, val_features_M_D: Tensor, val_labels_M: Tensor
    ) -> None:
        """Fit one Gaussian per class on the training features; UserError where no class has two samples."""
        self._fit(
            ClassMoments.of(features_N_D, labels_N),
            ClassMoments.of(val_features_M_D, val_labels_M),
            (Samples(features_N_D, labels_N), Samples(val_features_M_D, val_labels_M)),
        )

    @torch.no_grad()
    def _fit(
        self, train: ClassMoments, val: ClassMoments, samples: tuple[Samples, Samples] | None = None
    ) -> None:
        self._projection: Projection | None = None
        if self.greedy is None:
            gaussians = fit_class_gaussians(train, self.covariance)
            self._diagnostics: dict[str, object] = {
                "dimension": gaussians.means_C_D.shape[1],
                "train_log_likelihood": _own_class_mean(gaussians, train),
                "val_log_likelihood": _own_class_mean(gaussians, val),
            }
        else:
            found = search_dimension(self.greedy, train, val, samples, self.covariance)
            gaussians, self._projection = found.gaussians, found.projection
            self._diagnostics = {
                "dimension": found.projection.axes_D_K.shape[1],
                "dimensions": found.dimensions,
                "discrepancy": found.discrepancy,
                "train_log_likelihood": found.train_log_likelihood,
                "val_log_likelihood": found.val_log_likelihood,
            }
        left_out = ~torch.isin(train.labels_C, gaussians.labels_C)
        self._diagnostics["classes_left_out"] = train.labels_C[left_out].tolist()
        self.gaussians = gaussians
        self._prepare(gaussians)

    def _prepare(self, gaussians: ClassGaussians) -> None:
        """What scoring needs: whitening as one matrix product for all classes.

        Features are centred on the mean of the class means first, so that the whitened coordinates of a class
        come out as a small difference from ``_offsets_C_K`` even where features lie far from the origin. The
        centre is rounded to the scoring precision before the offsets are taken, so that it costs nothing.
        """
        dimension, precision = gaussians.means_C_D.shape[1], self.scoring_precision
        self._centre_K = gaussians.means_C_D.mean(dim=0).to(precision)
        whitening_C_K_K = gaussians.whitening_C_D_D
        offsets_C_K = torch.einsum(
            "ckj,cj->ck", whitening_C_K_K, gaussians.means_C_D - self._centre_K.double()
        )
        self._whitening_K_CK = whitening_C_K_K.reshape(-1, dimension).T.contiguous().to(precision)
        self._offsets_C_K = offsets_C_K.to(precision)
        log_weights_C = (gaussians.counts_C.double() / gaussians.counts_C.sum()).log()
        log_determinants_C = gaussians.factors_C_D_D.diagonal(dim1=1, dim2=2).log().sum(dim=1)
        self._log_scales_C = log_weights_C - log_determinants_C - 0.5 * dimension * math.log(2 * math.pi)

    @torch.no_grad()
    def log_density(self, features_N_D: Tensor) -> Tensor:
        """log_density_N = log p(x) in nats, float64; temporaries stay under the memory budget."""
        classes, dimension = self._offsets_C_K.shape
        bytes_per_row = 8 * (2 * classes * dimension + 3 * features_N_D.shape[1])
        blocks = features_N_D.split(rows_in_cache(bytes_per_row, features_N_D.device))
        return torch.cat([self._block_log_density(block) for block in blocks])

    def _block_log_density(self, features_N_D: Tensor) -> Tensor:
        features_N_K = self._projection(features_N_D) if self._projection else features_N_D
        whitened_N_CK = (features_N_K.to(self.scoring_precision) - self._centre_K) @ self._whitening_K_CK
        whitened_N_C_K = whitened_N_CK.unflatten(1, self._offsets_C_K.shape).sub_(self._offsets_C_K)
        squares_N_C = whitened_N_C_K.square_().sum(dim=2).double()
        return torch.logsumexp(self._log_scales_C - 0.5 * squares_N_C, dim=1)

    def coordinates(self, features_N_D: Tensor) -> Tensor:
        """coordinates_N_K in float64: what ``gaussians`` are Gaussians of."""
        return self._projection(features_N_D) if self._projection else features_N_D.double()

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


def _own_class_mean(gaussians: ClassGaussians, moments: ClassMoments) -> float | None:
    judged = gaussians.of_labels(moments.labels_C)
    if not len(judged.labels_C):
        return None
    own = moments.over(judged.labels_C)
    means_C = judged.nested_mean_log_likelihood(own)[:, -1]
    return float(own.counts_C.double() @ means_C / own.counts_C.sum())
