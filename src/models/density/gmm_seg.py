"""Class-greedy HU: surprise under class Gaussians that see a PCA subspace of their own class each. The metrics that
choose a dimension, the estimators and the Gaussians are shared with HU and live beside this file."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from src.config import MirConfig
from src.models.density.base import DENSITY_HEADS
from src.models.density.covariance import COVARIANCES
from src.models.density.gaussians import ClassGaussians, fit_class_gaussians, fittable
from src.models.density.greedy import NO_VALIDATION, OF_MEANS, OF_SAMPLES, GreedySearch, best
from src.models.density.memory import rows_in_cache, rows_per_block
from src.models.density.moments import ClassMoments
from src.models.density.transforms import Projection, l2_normalize, principal_axes
from src.utils.errors import UserError


@DENSITY_HEADS.register("gmm_seg")
class ClassGreedyGMM:
    """p(x) = Σ_c π_c N(x_c; μ_c, Σ_c), π_c = n_c / n over the classes with at least two samples, where x_c are the
    coordinates of x on the k_c leading principal axes of class c, about its mean; at unit length with ``normalize``.

    ``greedy`` chooses k_c among step, 2·step, …, the rank of the class, by its own training and validation samples.
    A class without validation samples takes the median of the others' choices (the lower of two), at most its
    rank. Without ``greedy`` every class keeps all its axes. ``covariance`` is one of COVARIANCES but "tied".

    Unit length changes with k, so that the Gaussians at k are no leading blocks of those at the rank. They are
    fitted anew, all k at once: 2·K·n·R² + O(K·R³) flops for a class of n samples, rank R and K tried dimensions.
    A query costs 2·D·k_c + 2·k_c² for every class. Everything is in float64.

    Densities over spaces of different dimension are compared here, in units of different powers of a length: p is
    not a density over one space. That is fair where the k_c are close to each other. Otherwise, as the spread of a
    class is mostly below one (and always with ``normalize``), the class with the most axes gives the highest values
    near it. Two more ways to fail: what lies off a class's axes costs nothing; and under ``normalize`` a class
    with k_c = 1 sees every x at +1 or −1, and so bounds the surprise of all inputs.
    """

    samples_per_class: ClassVar[int] = 2
    searches_dimension: ClassVar[bool] = True
    normalizes_projections: ClassVar[bool] = True
    fit_moments: ClassVar[None] = None

    def __init__(
        self, greedy: GreedySearch | None = None, covariance: str = "full", normalize: bool = False
    ) -> None:
        if covariance == "tied":
            choices = ", ".join(name for name in COVARIANCES if name != "tied")
            raise UserError(
                f"covariance {covariance!r}: classes of gmm_seg have subspaces of their own, and no covariance in "
                f"common; choices: {choices}",
                "covariance",
            )
        self.greedy = greedy
        self.covariance = covariance
        self.normalize = normalize

    @classmethod
    def from_config(cls, mir: MirConfig, seed: int) -> Self:
        """The head that ``greedy_search`` and its keys, ``covariance`` and ``normalize_features`` describe."""
        return cls(GreedySearch.from_config(mir), mir.covariance, mir.normalize_features)

    @torch.no_grad()
    def fit(
        self, features_N_D: Tensor, labels_N: Tensor, val_features_M_D: Tensor, val_labels_M: Tensor
    ) -> None:
        """Choose and fit a subspace and a Gaussian per class. UserError where no class has two samples, or under
        ``greedy`` where none of those has a validation sample."""
        moments = ClassMoments.of(features_N_D, labels_N)
        kept = fittable(moments)
        searched = [
            self._search(
                int(label),
                principal_axes(int(count), mean_D, scatter_D_D),
                features_N_D[labels_N == label],
                val_features_M_D[val_labels_M == label],
            )
            for label, count, mean_D, scatter_D_D in zip(
                kept.labels_C, kept.counts_C, kept.means_C_D, kept.scatters_C_D_D, strict=True
            )
        ]
        dimensions = _chosen(searched, self.greedy)
        subspaces = [found.axes.leading(k) for found, k in zip(searched, dimensions, strict=True)]
        k_C, width = torch.tensor(dimensions, device=labels_N.device), max(dimensions)
        own = ClassMoments.of_classes(
            self._moments(label[None], k[None], width, subspace, features_N_D[labels_N == label])
            for label, k, subspace in zip(kept.labels_C, k_C, subspaces, strict=True)
        )
        self._origins_C_D = kept.means_C_D
        self._axes_C_D_K = torch.stack([pad(x.axes_D_K, (0, width - x.axes_D_K.shape[1])) for x in subspaces])
        self._log_pdf = _LogPdf.of(fit_class_gaussians(own, self.covariance), k_C)
        self._log_weights_C = (kept.counts_C.double() / kept.counts_C.sum()).log()
        left_out = ~torch.isin(moments.labels_C, kept.labels_C)
        self._diagnostics: dict[str, object] = {
            "classes": [
                found.diagnostics(k, self.greedy is not None)
                for found, k in zip(searched, dimensions, strict=True)
            ],
            "classes_left_out": moments.labels_C[left_out].tolist(),
        }

    def _search(self, label: int, axes: Projection, train_N_D: Tensor, val_M_D: Tensor) -> "_Searched":
        """What a class's own samples say of every k that is tried."""
        rank = axes.axes_D_K.shape[1]
        dimensions = self.greedy.dimensions(rank) if self.greedy else [rank]
        k_K = torch.tensor(dimensions, device=train_N_D.device)
        splits = [train_N_D, val_M_D] if len(val_M_D) else [train_N_D]
        blocks = [
            self._log_likelihoods(block_K, axes, splits)
            for block_K in k_K.split(rows_per_block(16 * 8 * rank**2))
        ]
        mean_S_K, reduced_S_K = (torch.cat(parts, dim=1) for parts in zip(*blocks, strict=True))
        discrepancy = None
        if self.greedy and len(splits) == 2:
            discrepancy = self.greedy.discrepancy(reduced_S_K[0], reduced_S_K[1], k_K).tolist()
        train, *val = mean_S_K.tolist()
        return _Searched(label, axes, dimensions, discrepancy, train, val[0] if val else None)

    def _log_likelihoods(
        self, dimensions_K: Tensor, subspace: Projection, splits: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """mean_S_K and reduced_S_K: each split's log-likelihoods under the Gaussian fitted to the first one, in nats.

        To moments and Gaussians a dimension k is what a class is elsewhere, so that all k are worked on at once.
        """
        width = int(dimensions_K.max())
        moments = [self._moments(dimensions_K, dimensions_K, width, subspace, split) for split in splits]
        gaussians = fit_class_gaussians(moments[0], self.covariance)
        every_K = torch.arange(len(dimensions_K), device=dimensions_K.device)
        mean_S_K = torch.stack(
            [gaussians.nested_mean_log_likelihood(theirs)[every_K, dimensions_K - 1] for theirs in moments]
        )
        if self.greedy is None:
            return mean_S_K, mean_S_K
        if self.greedy.moments_suffice:
            counts_S = torch.tensor([len(split) for split in splits], device=dimensions_K.device)
            return mean_S_K, OF_MEANS[self.greedy.reduction](mean_S_K, counts_S)
        log_pdf, of_samples = _LogPdf.of(gaussians, dimensions_K), OF_SAMPLES[self.greedy.reduction]
        reduced = []
        for split in splits:
            blocks = self._coordinates(dimensions_K, width, subspace, split)
            reduced.append(of_samples(torch.cat([log_pdf(block).T for block in blocks])))
        return mean_S_K, torch.stack(reduced)

    def _moments(
        self, labels_K: Tensor, dimensions_K: Tensor, width: int, subspace: Projection, features_N_D: Tensor
    ) -> ClassMoments:
        """Those of the coordinates in each dimension, by these labels."""
        blocks = self._coordinates(dimensions_K, width, subspace, features_N_D)
        return reduce(add, (ClassMoments.stacked(labels_K, block, dimensions_K) for block in blocks))

    def _coordinates(
        self, dimensions_K: Tensor, width: int, subspace: Projection, features_N_D: Tensor
    ) -> Iterator[Tensor]:
        """coordinates_K_B_W block by block: the first k for each k of ``dimensions_K``, then zeros up to ``width``."""
        own_K_1_W = torch.arange(width, device=dimensions_K.device) < dimensions_K[:, None, None]
        bytes_per_row = 8 * (features_N_D.shape[1] + 5 * own_K_1_W.numel())
        # Moments of blocks are added up, which costs as much as many more rows than dimensions.
        rows = max(rows_in_cache(bytes_per_row, features_N_D.device), 32 * width)
        for block in features_N_D.split(min(rows, rows_per_block(bytes_per_row))):
            projected_B_W = subspace.leading(width)(block)
            projected_B_W = pad(projected_B_W, (0, width - projected_B_W.shape[1]))
            yield self._scaled(projected_B_W * own_K_1_W)

    def _scaled(self, coordinates_C_N_K: Tensor) -> Tensor:
        return l2_normalize(coordinates_C_N_K) if self.normalize else coordinates_C_N_K

    @torch.no_grad()
    def log_density(self, features_N_D: Tensor) -> Tensor:
        """log_density_N = log p(x), float64; temporaries stay under the memory budget."""
        classes, dims, width = self._axes_C_D_K.shape
        rows = rows_in_cache(8 * classes * (dims + 4 * width), features_N_D.device)
        return torch.cat([self._block_log_density(block) for block in features_N_D.split(rows)])

    def _block_log_density(self, features_N_D: Tensor) -> Tensor:
        # Each class by difference from its own mean: an input there has coordinates of exactly zero, which unit
        # length leaves alone and would otherwise blow up from rounding.
        projected_C_N_K = (features_N_D.double() - self._origins_C_D[:, None]) @ self._axes_C_D_K
        log_pdfs_C_N = self._log_pdf(self._scaled(projected_C_N_K))
        return torch.logsumexp(self._log_weights_C[:, None] + log_pdfs_C_N, dim=0)

    def surprise(self, features_N_D: Tensor) -> Tensor:
        """surprise_N = −log p(x), float64."""
        return -self.log_density(features_N_D)

    def diagnostics(self) -> dict[str, object]:
        """``classes``, by label: its chosen ``dimension``; the mean ``train_log_likelihood`` and
        ``val_log_likelihood`` of its samples under its own Gaussian, in nats, whose gap is the overfit.
        ``classes_left_out``: those with a single sample.

        Under greedy search the likelihoods are lists over the tried ``dimensions``, with their ``discrepancy``;
        otherwise they are numbers. None replaces what validation samples would tell of a class that has none.
        """
        return self._diagnostics


@dataclass(frozen=True)
class _Searched:
    """All ``axes`` of a class and one value per tried dimension; None where validation samples are needed and it
    has none, and for the discrepancy where nothing is searched."""

    label: int
    axes: Projection
    dimensions: list[int]
    discrepancy: list[float] | None
    train_log_likelihood: list[float]
    val_log_likelihood: list[float] | None

    @property
    def choice(self) -> int | None:
        """The dimension that its own samples choose, if they do."""
        return best(self.dimensions, self.discrepancy) if self.discrepancy else None

    def diagnostics(self, dimension: int, searched: bool) -> dict[str, object]:
        """Those of this class, which ended up with that dimension."""
        train, val = self.train_log_likelihood, self.val_log_likelihood
        head: dict[str, object] = {"label": self.label, "dimension": dimension}
        if not searched:
            return head | {"train_log_likelihood": train[0], "val_log_likelihood": val[0] if val else None}
        lists = {"dimensions": self.dimensions, "discrepancy": self.discrepancy}
        return head | lists | {"train_log_likelihood": train, "val_log_likelihood": val}


def _chosen(searched: list[_Searched], greedy: GreedySearch | None) -> list[int]:
    """The dimension of each class."""
    if greedy is None:
        return [found.dimensions[0] for found in searched]
    own = sorted(found.choice for found in searched if found.choice is not None)
    if not own:
        raise UserError(NO_VALIDATION)
    median = own[(len(own) - 1) // 2]
    return [found.choice or min(median, found.dimensions[-1]) for found in searched]


@dataclass(frozen=True)
class _LogPdf:
    """log N of C Gaussians whose first ``dimensions_C`` coordinates count, prepared for many samples."""

    whitening_C_K_K: Tensor
    offsets_C_K: Tensor
    log_norms_C: Tensor

    @classmethod
    def of(cls, gaussians: ClassGaussians, dimensions_C: Tensor) -> Self:
        every_C = torch.arange(len(dimensions_C), device=dimensions_C.device)
        whitening_C_K_K = gaussians.whitening_C_D_D
        offsets_C_K = (whitening_C_K_K @ gaussians.means_C_D[:, :, None])[:, :, 0]
        return cls(whitening_C_K_K, offsets_C_K, gaussians.log_norms()[every_C, dimensions_C - 1])

    def __call__(self, coordinates_C_N_K: Tensor) -> Tensor:
        """log_pdf_C_N; padding adds nothing, as it is zero in samples and means and not correlated with the rest."""
        whitened_C_N_K = (coordinates_C_N_K @ self.whitening_C_K_K.mT).sub_(self.offsets_C_K[:, None])
        return -0.5 * whitened_C_N_K.square_().sum(dim=2) - self.log_norms_C[:, None]
