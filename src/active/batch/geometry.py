"""Squared Euclidean distances within a pool, blocked, and two things made of them: k-means++ draws and k-means. Which
of them means something for labelling is the methods' business."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from src.models.density.memory import rows_in_cache
from src.utils.errors import NonFiniteError

LLOYD_ROUNDS = 100
"""k-means stops there at the latest; it moves little after a few dozen rounds."""


@dataclass(frozen=True)
class Points:
    """A pool's features_N_D about their mean, where products lose the fewest digits, and their squared lengths."""

    centre_D: Tensor
    features_N_D: Tensor
    squares_N: Tensor

    @classmethod
    def of(cls, features_N_D: Tensor) -> "Points":
        """Those of at least one input."""
        centre_D = features_N_D.mean(dim=0)
        centred_N_D = features_N_D - centre_D
        rows = rows_in_cache(centred_N_D[0].nbytes, centred_N_D.device)
        # In blocks, without a third copy of the pool.
        squares_N = torch.cat([rows_B_D.square().sum(dim=1) for rows_B_D in centred_N_D.split(rows)])
        # No squared distance between two of them is more than four times the largest of these.
        if not (4 * squares_N.max()).isfinite():
            raise NonFiniteError(
                f"squared distances between the hidden features of {len(squares_N)} inputs are beyond the largest "
                "number: the network has diverged; lower optimizer.lr"
            )
        return cls(centre_D, centred_N_D, squares_N)

    def squares_to(self, point_D: Tensor) -> Tensor:
        """squares_N: squared distances to one point in these coordinates."""
        return (
            torch.addmv(self.squares_N, self.features_N_D, point_D, alpha=-2)
            .add_(point_D.square().sum())
            .clamp_(min=0)
        )

    def only(self, rows_R: Tensor) -> "Points":
        """Copies of some of these, in the same coordinates."""
        return Points(self.centre_D, self.features_N_D[rows_R], self.squares_N[rows_R])

    def squares_between(self, rows_B: slice | Tensor, points_M_D: Tensor) -> Tensor:
        """squares_B_M: squared distances of some rows to points in these coordinates. A slice copies no features."""
        squares_M = points_M_D.square().sum(dim=1)
        products_B_M = torch.addmm(squares_M, self.features_N_D[rows_B], points_M_D.T, alpha=-2)
        return products_B_M.add_(self.squares_N[rows_B, None]).clamp_(min=0)

    def nearest(self, points_M_D: Tensor) -> tuple[Tensor, Tensor]:
        """squares_N to the nearest of M ≥ 1 points in these coordinates, and which it is; the first of equal ones."""
        squares_M, squares_N = points_M_D.square().sum(dim=1), torch.empty_like(self.squares_N)
        found_N = torch.empty_like(squares_N, dtype=torch.int64)
        # All blocks in one piece of memory: what is freed between small results is not found again.
        rows = min(self._rows(2 * len(points_M_D)), len(squares_N))
        room_P = squares_N.new_empty(rows * len(points_M_D))
        for rows_B in self.blocks(len(points_M_D)):
            rows_B_D = self.features_N_D[rows_B]
            products_B_M = room_P[: len(rows_B_D) * len(points_M_D)].view(len(rows_B_D), -1)
            torch.addmm(squares_M, rows_B_D, points_M_D.T, alpha=-2, out=products_B_M)
            torch.min(products_B_M, dim=1, out=(squares_N[rows_B], found_N[rows_B]))
        # What all distances of a row have in common is added to the smallest alone.
        return squares_N.add_(self.squares_N).clamp_(min=0), found_N

    def blocks(self, points: int) -> Iterator[slice]:
        """The whole pool in blocks whose distances to so many points fit the budget."""
        rows = self._rows(2 * points)
        return (slice(start, start + rows) for start in range(0, len(self.squares_N), rows))

    def scattered_blocks(self, rows_R: Tensor, points: int) -> tuple[Tensor, ...]:
        """Some rows in blocks whose distances to so many points fit the budget, with copies of their features."""
        return rows_R.split(self._rows(2 * points + self.features_N_D.shape[1]))

    def nearest_squares(self, outside_M_D: Tensor) -> Tensor:
        """squares_N to the nearest of M ≥ 1 points that are not of this pool."""
        return self.nearest(outside_M_D.to(self.features_N_D) - self.centre_D)[0]

    def _rows(self, values_per_row: int) -> int:
        return rows_in_cache(values_per_row * self.squares_N.element_size(), self.squares_N.device)


def draw_in_proportion(weights_N: Tensor, generator: torch.Generator) -> int:
    """A position, each with a probability in proportion to its weight; some weight has to be positive.

    One uniform number is looked up in the running sum, both on the CPU: CUDA has no deterministic sum of that kind.
    """
    weights_N = weights_N.cpu()
    running_N = weights_N.double().cumsum(dim=0)
    target = torch.rand((), dtype=torch.float64, generator=generator).item() * running_N[-1]
    position = int(torch.searchsorted(running_N, target, right=True))
    # Rounding may carry the target to the very end, beyond the last positive weight.
    return min(position, int(weights_N.nonzero()[-1]))


def k_means(points: Points, count: int, generator: torch.Generator) -> Tensor:
    """cluster_N of Lloyd's algorithm from k-means++ seeds (Arthur & Vassilvitskii 2007), numbered from 0; a cluster
    that runs empty stays empty."""
    count = min(count, len(points.squares_N))
    first = int(torch.randint(len(points.squares_N), (), generator=generator))
    seeds, nearest_N = [first], points.squares_to(points.features_N_D[first])
    while len(seeds) < count and bool((nearest_N > 0).any()):
        seeds.append(draw_in_proportion(nearest_N, generator))
        nearest_N = torch.minimum(nearest_N, points.squares_to(points.features_N_D[seeds[-1]]))
    centres_M_D = points.features_N_D[seeds]
    _, cluster_N = points.nearest(centres_M_D)
    for _ in range(LLOYD_ROUNDS):
        sums_M_D = torch.zeros_like(centres_M_D).index_add_(0, cluster_N, points.features_N_D)
        sizes_M_1 = cluster_N.bincount(minlength=len(seeds))[:, None]
        centres_M_D = torch.where(sizes_M_1 > 0, sums_M_D / sizes_M_1.clamp(min=1), centres_M_D)
        before_N, (_, cluster_N) = cluster_N, points.nearest(centres_M_D)
        if torch.equal(before_N, cluster_N):
            break
    return cluster_N
