"""Coarse searches of a bank: cheap scores of all its rows, and how far they may lie from the truth. Which rows are then
looked at closely is the business of neighbours.py."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

LANES = 64
"""Groups of scores come in multiples of this, which keeps every row of them aligned."""


class Queries(NamedTuple):
    """A block of queries as a coarse search sees them, their norms, and those of what rounding took, in float64."""

    factors_N_E: Tensor
    norms_N: Tensor
    rounding_N: Tensor


BankBlocks = Iterable[tuple[Tensor, Tensor]]
"""centred_B_D, rows of the bank less its centre, and penalties_B that are added to a row's squared norm; float64."""


class CoarseSearch(Protocol):
    """Scores that order the rows of a bank about as their distances do, in ``groups`` interleaved groups."""

    groups: int
    columns: int
    dtype: torch.dtype

    def queries(self, centred_N_D: Tensor) -> Queries:
        """What the other two methods want of float64 queries, less the bank's centre."""

    def scores(self, queries: Queries, out_N_P: Tensor) -> Tensor:
        """scores_N_P, one for each row of the bank, then infinity up to a rectangle of groups."""

    def cut(self, queries: Queries, furthest_N: Tensor) -> Tensor:
        """cut_N: every row whose true value is ``furthest_N`` or less scores this or less, rounding included."""


class ProductSearch:
    """|b|² − 2 q·b, which orders rows as |q − b|² does, as one matrix product in ``dtype``.

    With orthonormal ``axes_D_R``, q becomes its R coordinates on them and, as one more, the norm of the rest, and so
    does b. Norms stay as they are and no q·b becomes smaller, by Cauchy–Schwarz on the rest, so that scores are lower
    bounds. (Hwang, Han & Ahn 2012, "A fast nearest neighbor search algorithm by nonlinear embedding", CVPR, bound
    distances so with the mean and the deviation of coordinates.) What ``dtype`` cannot hold is bounded likewise: with
    q = q̂ + e and b = b̂ + f, the product q̂·b̂ is off by |e||b̂| + |q||f| at most. Penalties are added to |b|².
    """

    def __init__(
        self, bank: BankBlocks, rows: int, groups: int, dtype: torch.dtype, axes_D_R: Tensor | None
    ) -> None:
        self.groups, self.dtype, self._axes_D_R = groups, dtype, axes_D_R
        self.columns = _padded(rows, groups)
        done, largest_norms, lost_shares = 0, [], []
        for centred_B_D, penalties_B in bank:
            norms_B = torch.linalg.vector_norm(centred_B_D, dim=1)
            lifted_B_R = self._lift(centred_B_D, norms_B)
            rounded_B_R = lifted_B_R.to(dtype)
            offsets_B_T = _split(norms_B.square() + penalties_B, dtype)
            if not done:
                self._terms, width = offsets_B_T.shape[1], lifted_B_R.shape[1]
                self._factors_E_P = rounded_B_R.new_zeros(width + self._terms, self.columns)
                self._factors_E_P[width, rows:] = math.inf
            self._factors_E_P[:, done : done + len(norms_B)] = torch.cat([rounded_B_R, offsets_B_T], dim=1).T
            done += len(norms_B)
            lost_B = torch.linalg.vector_norm(lifted_B_R - rounded_B_R, dim=1)
            largest_norms.append(norms_B.max())
            lost_shares.append((lost_B / norms_B.clamp(min=torch.finfo(torch.float64).tiny)).max())
        self._largest_norm, self._lost_share = (
            torch.stack(largest_norms).max(),
            torch.stack(lost_shares).max(),
        )

    def queries(self, centred_N_D: Tensor) -> Queries:
        norms_N = torch.linalg.vector_norm(centred_N_D, dim=1)
        lifted_N_R = self._lift(centred_N_D, norms_N)
        rounded_N_R = lifted_N_R.to(self.dtype)
        ones_N_T = rounded_N_R.new_ones(len(norms_N), self._terms)
        return Queries(
            torch.cat([-2 * rounded_N_R, ones_N_T], dim=1),
            norms_N,
            torch.linalg.vector_norm(lifted_N_R - rounded_N_R, dim=1),
        )

    def scores(self, queries: Queries, out_N_P: Tensor) -> Tensor:
        return torch.mm(queries.factors_N_E, self._factors_E_P, out=out_N_P)

    def cut(self, queries: Queries, furthest_N: Tensor) -> Tensor:
        """furthest − |q|², and what rounding may have added.

        Nothing nearer than ``furthest_N`` has a larger norm than |q| + √furthest. Rounding errors of a sum of E
        terms grow as √E units of roundoff (Higham & Mary 2019); eight times that is allowed for. It presumes
        PyTorch's default float32 matmul precision, "highest". Sums of bfloat16 products are kept in float32.
        """
        _, norms_N, rounding_N = queries
        bank_N = torch.minimum(norms_N + furthest_N.sqrt(), self._largest_norm)
        reach_N = norms_N + bank_N
        inputs_N = 2 * bank_N * (rounding_N * (1 + self._lost_share) + norms_N * self._lost_share)
        terms, sums = len(self._factors_E_P), torch.finfo(torch.promote_types(self.dtype, torch.float32))
        sums_N = (
            4 * math.sqrt(terms) * sums.eps * reach_N.square() + terms * sums.tiny * (1 + reach_N).square()
        )
        cut_N = furthest_N - norms_N.square() + inputs_N + sums_N
        cut_N = cut_N + torch.finfo(self.dtype).eps * cut_N.abs()  # the score itself is rounded
        overflows_N = (norms_N + self._largest_norm).square() > sums.max / 8
        return cut_N.masked_fill(overflows_N, math.inf)

    def _lift(self, centred_N_D: Tensor, norms_N: Tensor) -> Tensor:
        if self._axes_D_R is None:
            return centred_N_D
        kept_N_R = centred_N_D @ self._axes_D_R
        squares_N = norms_N.square()
        rest_N = (squares_N - kept_N_R.square().sum(dim=1)).clamp(min=0)
        # The difference cancels where little is left, and must not come out too small.
        rest_N += 1e-12 * squares_N
        return torch.cat([kept_N_R, rest_N.sqrt()[:, None]], dim=1)


class DistanceSearch:
    """The distance itself, computed in ``dtype``, for norms that no product gives."""

    def __init__(self, bank: BankBlocks, rows: int, groups: int, dtype: torch.dtype, order: float) -> None:
        self.groups, self.dtype, self._order = groups, dtype, order
        self.columns = _padded(rows, groups)
        blocks, largest_norms = [], []
        for centred_B_D, _ in bank:
            blocks.append(centred_B_D.to(dtype))
            largest_norms.append(torch.linalg.vector_norm(centred_B_D, ord=order, dim=1).max())
        self._centred_M_D, self._largest_norm = torch.cat(blocks), torch.stack(largest_norms).max()

    def queries(self, centred_N_D: Tensor) -> Queries:
        norms_N = torch.linalg.vector_norm(centred_N_D, ord=self._order, dim=1)
        return Queries(centred_N_D.to(self.dtype), norms_N, torch.zeros_like(norms_N))

    def scores(self, queries: Queries, out_N_P: Tensor) -> Tensor:
        out_N_P[:, len(self._centred_M_D) :] = math.inf
        out_N_P[:, : len(self._centred_M_D)] = torch.cdist(
            queries.factors_N_E, self._centred_M_D, p=self._order
        )
        return out_N_P

    def cut(self, queries: Queries, furthest_N: Tensor) -> Tensor:
        """The furthest distance, and what rounding may have added; as for products."""
        terms, precision = self._centred_M_D.shape[1], torch.finfo(self.dtype)
        reach_N = queries.norms_N + self._largest_norm
        cut_N = furthest_N + 4 * math.sqrt(terms) * precision.eps * reach_N + terms * precision.tiny
        return cut_N.masked_fill(reach_N > precision.max / 8, math.inf)


def group_count(rows: int, chosen: int) -> int:
    """As many groups as balance finding ``chosen`` of them with searching their members.

    At least 64 to choose one from, since from fewer PyTorch's top-k takes longer.
    """
    return _padded(max(math.isqrt(rows * chosen), min(64 * chosen, rows)), LANES)


def smallest(scores_N_P: Tensor, groups: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """least_N_G, the smallest score of each group; the largest of the ``count`` smallest scores; their columns_N_C.

    The ``count`` smallest lie in the ``count`` groups with the smallest minima. Selecting groups first and
    then within them reads the scores once, where top-k over a whole row would take most of the search.
    """
    members_N_S_G = scores_N_P.unflatten(1, (-1, groups))
    least_N_G = members_N_S_G.amin(dim=1)
    chosen_N_C = least_N_G.topk(min(count, groups), dim=1, largest=False, sorted=False).indices
    sizes = torch.arange(members_N_S_G.shape[1], device=scores_N_P.device) * groups
    columns_N_X = (chosen_N_C[:, None, :] + sizes[:, None]).flatten(1)
    scores_N_C, within_N_C = scores_N_P.gather(1, columns_N_X).topk(count, dim=1, largest=False)
    return least_N_G, scores_N_C[:, -1], columns_N_X.gather(1, within_N_C)


def not_above(
    scores_N_P: Tensor, least_N_G: Tensor, cut_N: Tensor, wanted_N: Tensor, limit: int
) -> tuple[Tensor, Tensor]:
    """(positions_T, columns_T) of scores up to ``cut_N``, in order, in the rows that are wanted.

    Rows where more than ``limit`` groups hold one are left out: they have too many.
    """
    groups = least_N_G.shape[1]
    hit_N_G = (least_N_G <= cut_N[:, None]) & wanted_N[:, None]
    hit_N_G &= (hit_N_G.sum(dim=1) <= limit)[:, None]
    position_Y, group_Y = hit_N_G.nonzero(as_tuple=True)
    members_Y_S = scores_N_P.unflatten(1, (-1, groups))[position_Y, :, group_Y]
    hit_T, member_T = (members_Y_S <= cut_N[position_Y, None]).nonzero(as_tuple=True)
    flat_T = position_Y[hit_T] * scores_N_P.shape[1] + member_T * groups + group_Y[hit_T]
    flat_T = flat_T.sort().values
    return flat_T // scores_N_P.shape[1], flat_T % scores_N_P.shape[1]


def leading_axes(centred_R_D: Tensor) -> Iterator[Tensor]:
    """axes_D_R of some rows of a bank, orthonormal: half of the principal axes, a quarter of them, and so on, at least
    16.

    The first are those before a fiftieth of the variance would be left out. None where half of the axes leave a
    quarter out, as in white noise: what is left out says too little about distances then.
    """
    variances_D, axes_D_D = torch.linalg.eigh(centred_R_D.T @ centred_R_D)
    left_out_D = (variances_D.cumsum(0) / variances_D.sum()).flip(0).tolist()  # beside the first 0, 1, … axes
    width = len(left_out_D) // 2
    if width < 16 or not left_out_D[width] <= 1 / 4:
        return
    while width >= 32 and left_out_D[width // 2] < 1 / 50:
        width //= 2
    while width >= 16:
        yield axes_D_D[:, -width:]
        width //= 2


@lru_cache
def bfloat16_pays() -> bool:
    """Does this CPU multiply bfloat16 faster than float32? Decided by a race of some milliseconds."""

    def seconds(dtype: torch.dtype) -> float:
        left, right, out = (
            torch.ones(shape, dtype=dtype) for shape in ((256, 512), (512, 4096), (256, 4096))
        )
        return min(_clocked(lambda: torch.mm(left, right, out=out)) for _ in range(5))

    return seconds(torch.bfloat16) < 0.75 * seconds(torch.float32)


def _clocked(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _padded(rows: int, groups: int) -> int:
    return groups * -(-rows // groups)


def _split(values_M: Tensor, dtype: torch.dtype) -> Tensor:
    """terms_M_T in ``dtype`` whose sum is ``values_M`` to the precision in which products are summed."""
    terms, rest_M = [], values_M
    for _ in range(3 if dtype == torch.bfloat16 else 1):
        terms.append(rest_M.to(dtype))
        rest_M = rest_M - terms[-1].to(rest_M.dtype)
    return torch.stack(terms, dim=1)
