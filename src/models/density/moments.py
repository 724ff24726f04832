"""Sufficient statistics of labelled features by class: all that Gaussians need of them, however many there are.
Parts of a dataset, from several batches or processes, add up to those of the whole. No densities here."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import reduce
from operator import add

import torch
from torch import Tensor

from src.models.density.memory import rows_per_block
from src.models.density.transforms import Projection
from src.utils import processes


@dataclass(frozen=True, eq=False)
class ClassMoments:
    """Counts, means and sums of central moments of the classes that have samples, by ascending label.

    With y = x − class mean, summed over a class: ``scatters_C_D_D`` Σ y yᵀ, ``cubes_C_D`` Σ |y|² y and ``quartics_C``
    Σ |y|⁴, in float64. Sums of x and x xᵀ would add up more simply, and cancel where features lie far from the
    origin. Sum with ``+``, which is associative and commutative up to rounding. ``dimensions_C`` leading coordinates
    are a class's own, and zeros pad the others: all D of them unless classes live in subspaces of their own.
    """

    labels_C: Tensor
    dimensions_C: Tensor
    counts_C: Tensor
    means_C_D: Tensor
    scatters_C_D_D: Tensor
    cubes_C_D: Tensor
    quartics_C: Tensor

    @classmethod
    def of(cls, features_N_D: Tensor, labels_N: Tensor) -> "ClassMoments":
        """Those of N ≥ 0 samples."""
        rows = rows_per_block(2 * 8 * features_N_D.shape[1])
        by_class = []
        for label in labels_N.unique():
            blocks = features_N_D[labels_N == label].split(rows)
            by_class.append(reduce(add, (cls.stacked(label[None], block[None]) for block in blocks)))
        if not by_class:
            return cls.stacked(labels_N.new_zeros(1), features_N_D.new_zeros(1, 1, features_N_D.shape[1]))[:0]
        return cls.of_classes(by_class)

    @classmethod
    def stacked(
        cls, labels_C: Tensor, features_C_N_D: Tensor, dimensions_C: Tensor | None = None
    ) -> "ClassMoments":
        """Those of N ≥ 1 samples of every class, of its own ``dimensions_C`` (D without) padded with zeros."""
        features = features_C_N_D.double()
        # About the first sample, the mean of identical samples is exactly theirs, and their scatter zero.
        centred = features - features[:, :1]
        shift_C_1_D = centred.mean(dim=1, keepdim=True)
        centred -= shift_C_1_D
        means_C_D = features[:, 0] + shift_C_1_D[:, 0]
        squares_C_N = torch.linalg.vector_norm(centred, dim=2).square()
        return cls(
            labels_C,
            torch.full_like(labels_C, features.shape[2], dtype=torch.int64)
            if dimensions_C is None
            else dimensions_C,
            torch.full_like(labels_C, features.shape[1], dtype=torch.int64),
            means_C_D,
            centred.mT @ centred,
            (squares_C_N[:, None] @ centred)[:, 0],
            squares_C_N.square().sum(dim=1),
        )

    @classmethod
    def of_classes(cls, parts: Iterable["ClassMoments"]) -> "ClassMoments":
        """Those of all parts, which share no class and ascend by label."""
        return cls(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))

    @classmethod
    def of_batches(cls, batches: Iterable[tuple[Tensor, Tensor]]) -> "ClassMoments":
        """Those of all (features_B_D, labels_B) together, at least one batch of them; no more features are held at once
        than the memory budget.

        Batches are gathered into blocks first: adding moments costs C·D² whatever the size of the batch. Of several
        processes each hands over its share, maybe none, and all get those of the whole.
        """
        parts = (cls.of(features, labels) for features, labels in _gathered(batches))
        if processes.count() == 1:
            return reduce(add, parts)
        return cls._of_all_processes(reduce(add, parts, cls._of_nothing(0)))

    @classmethod
    def _of_all_processes(cls, own: "ClassMoments") -> "ClassMoments":
        """The sum of every process's moments; C·D² numbers travel, however many features there are."""
        dimension = processes.largest(own.means_C_D.shape[1])
        labels_L = processes.joined(own.labels_C).unique()
        own = (own if len(own.labels_C) else cls._of_nothing(dimension)).over(labels_L)
        counts_L = processes.summed(own.counts_C)
        weights_L = own.counts_C / counts_L.double()
        means_L_D = processes.summed(weights_L[:, None] * own.means_C_D)
        dimensions_L = processes.joined(own.dimensions_C[None]).amax(0)
        sums = (processes.summed(values) for values in own._about(means_L_D))
        return cls(labels_L, dimensions_L, counts_L, means_L_D, *sums)

    @classmethod
    def _of_nothing(cls, dimension: int) -> "ClassMoments":
        labels_1 = torch.zeros(1, dtype=torch.int64, device=processes.device())
        return cls.stacked(labels_1, torch.zeros(1, 1, dimension, device=labels_1.device))[:0]

    def __iter__(self) -> Iterator[Tensor]:
        return (getattr(self, field.name) for field in fields(self))

    def __getitem__(self, classes: slice | Tensor) -> "ClassMoments":
        """Those of some classes, by position."""
        return ClassMoments(*(tensor[classes] for tensor in self))

    def __add__(self, other: "ClassMoments") -> "ClassMoments":
        """Those of both sets of samples together (Chan, Golub & LeVeque 1983, "Algorithms for computing the
        sample variance", carried to the moments above)."""
        if not len(self.labels_C):
            return other
        labels_C = torch.cat([self.labels_C, other.labels_C]).unique()
        a, b = self.over(labels_C), other.over(labels_C)
        dimensions_C = torch.maximum(a.dimensions_C, b.dimensions_C)
        counts_C = a.counts_C + b.counts_C
        means_C_D = a.means_C_D + (b.counts_C / counts_C.double())[:, None] * (b.means_C_D - a.means_C_D)
        sums = (x + y for x, y in zip(a._about(means_C_D), b._about(means_C_D), strict=True))
        return ClassMoments(labels_C, dimensions_C, counts_C, means_C_D, *sums)

    def over(self, labels_L: Tensor) -> "ClassMoments":
        """Those of exactly these labels, ascending; all zeros for a label without samples."""
        if torch.equal(labels_L, self.labels_C):
            return self
        here_C = torch.isin(self.labels_C, labels_L)
        position_C = torch.searchsorted(labels_L, self.labels_C[here_C])
        tensors = (
            tensor.new_zeros(len(labels_L), *tensor.shape[1:]).index_copy(0, position_C, tensor[here_C])
            for tensor in list(self)[1:]
        )
        return ClassMoments(labels_L, *tensors)

    def pooled(self) -> tuple[int, Tensor, Tensor]:
        """Count, mean_D and scatter_D_D about that mean of all samples, whatever their class."""
        weights_C = self.counts_C.double()
        mean_D = weights_C @ self.means_C_D / weights_C.sum()
        between_C_D = self.means_C_D - mean_D
        scatter_D_D = self.scatters_C_D_D.sum(0) + (between_C_D.T * weights_C) @ between_C_D
        return int(self.counts_C.sum()), mean_D, scatter_D_D

    def projected(self, projection: Projection) -> "ClassMoments":
        """Those of the projected features, whose axes have to span all of these features for ``quartics_C``."""
        axes_D_K = projection.axes_D_K
        return ClassMoments(
            self.labels_C,
            torch.full_like(self.dimensions_C, axes_D_K.shape[1]),
            self.counts_C,
            projection(self.means_C_D),
            torch.stack([axes_D_K.T @ scatter_D_D @ axes_D_K for scatter_D_D in self.scatters_C_D_D]),
            self.cubes_C_D @ axes_D_K,
            self.quartics_C,
        )

    def _about(self, means_C_D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The three sums about other points than the class means: those of y + δ instead of y."""
        shift_C_D, counts_C = self.means_C_D - means_C_D, self.counts_C.double()
        square_C = shift_C_D.square().sum(1)
        trace_C = self.scatters_C_D_D.diagonal(dim1=1, dim2=2).sum(1)
        turned_C_D = (self.scatters_C_D_D @ shift_C_D[:, :, None])[:, :, 0]
        scatters_C_D_D = self.scatters_C_D_D + counts_C[:, None, None] * (
            shift_C_D[:, :, None] * shift_C_D[:, None, :]
        )
        cubes_C_D = self.cubes_C_D + 2 * turned_C_D + (trace_C + counts_C * square_C)[:, None] * shift_C_D
        quartics_C = (
            self.quartics_C
            + 4 * (shift_C_D * (self.cubes_C_D + turned_C_D)).sum(1)
            + square_C * (2 * trace_C + counts_C * square_C)
        )
        return scatters_C_D_D, cubes_C_D, quartics_C


def _gathered(batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The same samples in fewer, larger batches."""
    held: list[tuple[Tensor, Tensor]] = []
    rows = 0
    for features_B_D, labels_B in batches:
        held.append((features_B_D, labels_B))
        rows += len(labels_B)
        if rows >= rows_per_block(4 * 8 * features_B_D.shape[1]):
            yield concatenated(held)
            held, rows = [], 0
    if held:
        yield concatenated(held)


def concatenated(batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """All features_N_D and labels_N of these batches."""
    features, labels = zip(*batches, strict=True)
    return torch.cat(features), torch.cat(labels)


def concatenated_of_all_processes(batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The same of the batches of all processes, in their order; one of them may have none."""
    own = list(batches)
    features_N_D, labels_N = concatenated(own) if own else (torch.empty(0), torch.empty(0))
    return processes.joined(features_N_D), processes.joined(labels_N)
