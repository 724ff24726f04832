"""HU with a Gaussian kernel density per class. How wide its kernels are is the business of ``bandwidth.py``."""

from typing import ClassVar, Self

import torch
from torch import Tensor

from src.config import MirConfig
from src.models.density.bandwidth import scott_bandwidths, validation_bandwidths
from src.models.density.bank import check_max_samples, draw_bank
from src.models.density.base import DENSITY_HEADS
from src.models.density.kernels import ClassKernels
from src.models.density.memory import rows_per_block
from src.utils.errors import UserError

RULES = {"scott", "validation"}
# Between these, squared distances of float32 features over squared bandwidths stay finite numbers.
SMALLEST, LARGEST = 1e-100, 1e100


@DENSITY_HEADS.register("kde")
class KDE:
    """p(x) = Σ_c π_c p_c(x), p_c(x) = 1/n_c Σ_i N(x; x_i, h_c²·I), a kernel on each labelled sample of class c.

    ``bandwidth``: "validation" or "scott" for an h_c per class, chosen as ``bandwidth.py`` says, or one length in
    the features' units for all. ``max_samples`` labelled features of each class carry kernels, drawn with
    ``seed``; −1 keeps all. π_c is the class's share of all labelled samples, also of those that were not kept.

    With M kernels in D dimensions a query costs 2·M·D flops and M exponentials, and the head holds 8·M·D bytes.
    One width for all directions fits elongated classes badly, and in many dimensions the nearest kernel alone
    decides: surprise is then about its squared distance over 2·h_c², plus a constant of its class.
    """

    samples_per_class: ClassVar[int] = 1
    searches_dimension: ClassVar[bool] = False
    normalizes_projections: ClassVar[bool] = False
    fit_moments: ClassVar[None] = None

    def __init__(self, bandwidth: str | float = "validation", max_samples: int = 5000, seed: int = 0) -> None:
        if isinstance(bandwidth, str):
            bandwidth = bandwidth.lower()
            if bandwidth not in RULES:
                raise UserError(
                    f"unknown kde_bandwidth {bandwidth!r}; choices: {', '.join(sorted(RULES))} or a length",
                    "kde_bandwidth",
                )
        elif not SMALLEST <= bandwidth <= LARGEST:
            raise UserError(
                f"kde_bandwidth {bandwidth}: a length is between {SMALLEST} and {LARGEST}", "kde_bandwidth"
            )
        check_max_samples(max_samples)
        self.bandwidth = bandwidth
        self.max_samples = max_samples
        self.seed = seed

    @classmethod
    def from_config(cls, mir: MirConfig, seed: int) -> Self:
        """The head that ``kde_bandwidth`` and ``max_samples`` describe."""
        return cls(mir.kde_bandwidth, mir.max_samples, seed)

    @torch.no_grad()
    def fit(
        self, features_N_D: Tensor, labels_N: Tensor, val_features_M_D: Tensor, val_labels_M: Tensor
    ) -> None:
        """Put a kernel on each kept sample and choose their widths.

        UserError where nothing is labelled, or where validation is to choose and has no sample of a labelled class.
        """
        kept = draw_bank(labels_N, self.max_samples, self.seed)
        labels_C, counts_C = labels_N.unique(return_counts=True)
        self._log_priors_C = (counts_C.double() / len(labels_N)).log()
        self._kernels_C = [ClassKernels.of(features_N_D[kept[labels_N[kept] == label]]) for label in labels_C]
        val_C_M_D = [val_features_M_D[val_labels_M == label] for label in labels_C]
        self._bandwidths_C = self._choose_bandwidths(val_C_M_D)
        own_M = torch.cat(
            [
                kernels.log_density(val_M_D, bandwidth)
                for kernels, val_M_D, bandwidth in zip(
                    self._kernels_C, val_C_M_D, self._bandwidths_C, strict=True
                )
            ]
        )
        self._val_log_likelihood = own_M.mean().item() if len(own_M) else None

    def _choose_bandwidths(self, val_C_M_D: list[Tensor]) -> list[float]:
        if self.bandwidth == "validation":
            return validation_bandwidths(self._kernels_C, val_C_M_D)
        if self.bandwidth == "scott":
            return scott_bandwidths(self._kernels_C)
        return [float(self.bandwidth)] * len(self._kernels_C)

    @torch.no_grad()
    def log_density(self, features_N_D: Tensor) -> Tensor:
        """log_density_N = log p(x) in nats, float64; temporaries stay under the memory budget."""
        rows = rows_per_block(3 * 8 * len(self._kernels_C))
        return torch.cat([self._block_log_density(block) for block in features_N_D.split(rows)])

    def _block_log_density(self, features_N_D: Tensor) -> Tensor:
        log_density_C_N = torch.stack(
            [
                kernels.log_density(features_N_D, bandwidth)
                for kernels, bandwidth in zip(self._kernels_C, self._bandwidths_C, strict=True)
            ]
        )
        return torch.logsumexp(self._log_priors_C[:, None] + log_density_C_N, dim=0)

    def surprise(self, features_N_D: Tensor) -> Tensor:
        """surprise_N = −log p(x) in nats, float64."""
        return -self.log_density(features_N_D)

    def diagnostics(self) -> dict[str, object]:
        """``bandwidth`` and ``bank_per_class``, the number of kernels, by ascending label; ``val_log_likelihood``,
        the mean of a validation sample under its own class in nats, None where none has a labelled class."""
        return {
            "bandwidth": self._bandwidths_C,
            "bank_per_class": [len(kernels) for kernels in self._kernels_C],
            "val_log_likelihood": self._val_log_likelihood,
        }
