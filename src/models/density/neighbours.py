"""Exact nearest neighbours by brute force in bounded memory. How a bank is searched coarsely is told in coarse.py,
what is done with the neighbours elsewhere."""

import math
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from src.models.density.coarse import (
    CoarseSearch,
    DistanceSearch,
    ProductSearch,
    bfloat16_pays,
    group_count,
    leading_axes,
    not_above,
    smallest,
)
from src.models.density.memory import rows_in_cache, rows_per_block
from src.models.density.transforms import l2_normalize
from src.utils.errors import UserError

NORM_ORDERS = {"euclidean": 2.0, "cosine": 2.0, "manhattan": 1.0, "chebyshev": math.inf}

CPU_SCORES_BYTES = 24 * 2**20
"""Scores of one block on a CPU, whose cache they leave before they are read where they are many more."""

SAMPLE = 256
"""Rows of the bank that try the cheap searches out, where it has at least 16 times as many."""
AXES_ROWS = 4096
"""Rows of the bank whose principal axes these have, at most."""


class Found(NamedTuple):
    """Neighbours by one coarse search, whether no other row can be nearer, and how many were looked at closely."""

    distances_N_K: Tensor
    rows_N_K: Tensor
    certain_N: Tensor
    looked_at_N: Tensor


class NeighbourIndex:
    """The ``count`` nearest rows of a bank, or all of a smaller one.

    A coarse search proposes a few candidates, whose distances are computed in float64 by difference, without
    cancellation. The furthest of the nearest tells which scores a nearer row can have, rounding included, and all
    rows with such scores are looked at in the same way. Queries for which these are too many are searched again
    less coarsely, in the end, as in collapsed classes, in float64.
    UserError where ``metric`` is none of NORM_ORDERS.
    """

    def __init__(self, bank_M_D: Tensor, metric: str, count: int) -> None:
        self._cosine = metric == "cosine"
        self._order = norm_order(metric)
        self._bank_M_D = bank_M_D if bank_M_D.dtype == torch.float64 else bank_M_D.float()
        self._count = min(count, len(bank_M_D))
        self._candidates = min(count + 3, len(bank_M_D))
        self._limit = 16 * (count + 3)
        self._centre_D = self._mean()
        self._cheap = self._cheap_searches()

    def __call__(self, queries_N_D: Tensor) -> tuple[Tensor, Tensor]:
        """distances_N_K, ascending, in float64, and rows_N_K of the bank.

        Equally near rows come by position, unless more than 16·count + 48 tie: then any of those are taken.
        """
        distances_N_K = self._centre_D.new_empty(len(queries_N_D), self._count)
        rows_N_K = torch.empty_like(distances_N_K, dtype=torch.int64)
        left = torch.arange(len(queries_N_D), device=queries_N_D.device)
        for search in self._searches():
            block_rows = self._block_rows(search)
            scores_N_P = torch.empty(
                (min(block_rows, len(left)), search.columns), dtype=search.dtype, device=left.device
            )
            uncertain = []
            for block in left.split(block_rows):
                found = self._nearest(queries_N_D[block], search, scores_N_P[: len(block)], self._count)
                distances_N_K[block], rows_N_K[block] = found.distances_N_K, found.rows_N_K
                uncertain.append(block[~found.certain_N])
            left = torch.cat(uncertain)
            if len(left) == 0:
                break
        return distances_N_K, rows_N_K

    def _mean(self) -> Tensor:
        blocks = self._bank_M_D.split(rows_per_block(3 * 8 * self._bank_M_D.shape[1]))
        sums = [self._comparable(block).sum(dim=0) for block in blocks]
        return torch.stack(sums).sum(dim=0) / len(self._bank_M_D)

    def _searches(self) -> Iterator[CoarseSearch]:
        """From the cheapest to the last, which is as certain as can be."""
        yield from self._cheap
        yield self._single
        yield self._double

    @cached_property
    def _single(self) -> CoarseSearch:
        return self._coarse(torch.float32)

    @cached_property
    def _double(self) -> CoarseSearch:
        return self._coarse(torch.float64)

    def _cheap_searches(self) -> list[CoarseSearch]:
        """The searches worth trying before a full one in float32, cheapest first.

        A sample of the bank's own rows shows for what share of queries each of them would do. Principal axes are
        halved in number for as long as that saves work.
        """
        rows, dims = self._bank_M_D.shape
        if self._order != 2 or rows < 16 * SAMPLE:
            return []
        sample_N_D = self._bank_M_D[:: rows // SAMPLE][:SAMPLE]
        full: list[CoarseSearch] = []
        cost, dtype = _cost(torch.float32, dims), torch.float32
        if self._bank_M_D.device.type == "cpu" and bfloat16_pays():
            search = self._coarse(torch.bfloat16)
            tried = self._tried_cost(search, dims, sample_N_D, cost)
            if tried < cost:
                full, cost, dtype = [search], tried, torch.bfloat16
        searches, best = full, cost
        # Some rows show the axes well enough, since any axes give lower bounds.
        some_R_D = self._bank_M_D[:: -(-rows // AXES_ROWS)]
        for axes_D_R in leading_axes(self._comparable(some_R_D) - self._centre_D):
            search = self._coarse(dtype, axes_D_R)
            tried = self._tried_cost(search, axes_D_R.shape[1], sample_N_D, cost)
            if tried >= best:
                break
            searches, best = [search, *full], tried
        return searches

    def _tried_cost(self, search: CoarseSearch, axes: int, sample_N_D: Tensor, cost_of_next: float) -> float:
        """A search's cost by what the sample needs; each of it has itself as a neighbour too many."""
        scores_N_P = torch.empty(
            (len(sample_N_D), search.columns), dtype=search.dtype, device=sample_N_D.device
        )
        found = self._nearest(sample_N_D, search, scores_N_P, self._count + 1)
        failing = 1 - float(found.certain_N.double().mean())
        return _cost(search.dtype, axes, float(found.looked_at_N.double().mean())) + failing * cost_of_next

    def _coarse(self, dtype: torch.dtype, axes_D_R: Tensor | None = None) -> CoarseSearch:
        rows = len(self._bank_M_D)
        groups = group_count(rows, self._candidates)
        if self._order != 2:
            return DistanceSearch(self._bank_blocks(), rows, groups, dtype, self._order)
        return ProductSearch(self._bank_blocks(), rows, groups, dtype, axes_D_R)

    def _bank_blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The bank as coarse searches want it; in blocks, since float64 takes twice the room of all of it."""
        for block_B_D in self._bank_M_D.split(rows_per_block(6 * 8 * self._bank_M_D.shape[1])):
            penalties_B = _is_zero(block_B_D) * self._cosine
            yield self._comparable(block_B_D) - self._centre_D, penalties_B

    def _block_rows(self, search: CoarseSearch) -> int:
        score_bytes = search.dtype.itemsize * search.columns
        fitting = rows_per_block(2 * score_bytes)
        if self._bank_M_D.device.type != "cpu":
            return fitting
        # Products are slow with fewer than 256 rows, and no faster with more than 1024.
        return min(fitting, max(256, min(CPU_SCORES_BYTES // score_bytes, 1024)))

    def _nearest(self, queries_N_D: Tensor, search: CoarseSearch, scores_N_P: Tensor, count: int) -> Found:
        """Found by one search, whose scores go to ``scores_N_P``."""
        comparable_N_D = self._comparable(queries_N_D)
        queries = search.queries(comparable_N_D - self._centre_D)
        search.scores(queries, scores_N_P)
        least_N_G, worst_N, rows_N_C = smallest(scores_N_P, search.groups, self._candidates)
        if self._candidates == len(self._bank_M_D):  # also where scores overflowed and chose padding
            rows_N_C = torch.arange(self._candidates, device=rows_N_C.device).expand(len(rows_N_C), -1)
        # Scores that overflowed may leave nothing but padding to choose. The rest is by position first, so that
        # the stable sort by distance leaves equally near rows in that order.
        rows_N_C = rows_N_C.clamp(max=len(self._bank_M_D) - 1).sort(dim=1).values
        positions_N_C = torch.arange(len(rows_N_C), device=rows_N_C.device)[:, None].expand_as(rows_N_C)
        exact_N_C = self._exact(comparable_N_D, positions_N_C.flatten(), rows_N_C.flatten()).view_as(rows_N_C)
        exact_N_K, rows_N_K = _nearest_of(exact_N_C, rows_N_C, count)
        looked_at_N = torch.full_like(rows_N_C[:, 0], self._candidates)
        if self._candidates == len(self._bank_M_D):
            certain_N = torch.ones_like(looked_at_N, dtype=torch.bool)
        else:
            cut_N = search.cut(queries, exact_N_K[:, -1])
            certain_N = worst_N.double() > cut_N
            pairs = not_above(scores_N_P, least_N_G, cut_N, ~certain_N & cut_N.isfinite(), self._limit)
            hits_N = self._look_closer(comparable_N_D, pairs, exact_N_K, rows_N_K)
            certain_N |= hits_N > 0
            looked_at_N += hits_N
        return Found(self._distances(comparable_N_D, exact_N_K), rows_N_K, certain_N, looked_at_N)

    def _look_closer(
        self, comparable_N_D: Tensor, pairs: tuple[Tensor, Tensor], exact_N_K: Tensor, rows_N_K: Tensor
    ) -> Tensor:
        """Put the nearest of the rows that a query is paired with into the last two arguments.

        hits_N, how many those are; 0 for queries that were let be, since they have more than the limit or none.
        """
        positions_T, rows_T = pairs
        paired_N = positions_T.bincount(minlength=len(rows_N_K))
        hits_N = torch.where(paired_N <= self._limit, paired_N, 0)
        slots_T = (
            torch.arange(len(rows_T), device=rows_T.device) - (paired_N.cumsum(0) - paired_N)[positions_T]
        )
        taken_T, taken_N = hits_N[positions_T] > 0, hits_N > 0
        if taken_N.any():
            positions_T, rows_T, slots_T = positions_T[taken_T], rows_T[taken_T], slots_T[taken_T]
            exact_N_L = exact_N_K.new_full((len(hits_N), int(hits_N.max())), math.inf)
            exact_N_L[positions_T, slots_T] = self._exact(comparable_N_D, positions_T, rows_T)
            rows_N_L = torch.zeros_like(exact_N_L, dtype=torch.int64)
            rows_N_L[positions_T, slots_T] = rows_T
            exact_N_K[taken_N], rows_N_K[taken_N] = _nearest_of(
                exact_N_L[taken_N], rows_N_L[taken_N], rows_N_K.shape[1]
            )
        return hits_N

    def _comparable(self, features_N_D: Tensor) -> Tensor:
        """In float64, and on the unit sphere where only directions count."""
        features = features_N_D.double()
        return l2_normalize(features) if self._cosine else features

    def _exact(self, comparable_N_D: Tensor, positions_T: Tensor, rows_T: Tensor) -> Tensor:
        """exact_T between queries and rows of the bank: |q − b|², or the distance of the other norms.

        A zero vector has no direction: its cosine with any vector is taken as 0, as scikit-learn does. One
        is added beside a zero row of the bank, which makes 1 − cos half of this and of a zero query's one.
        """
        pairs = rows_in_cache(3 * 8 * comparable_N_D.shape[1], rows_T.device)
        exact = []
        for positions_B, rows_B in zip(positions_T.split(pairs), rows_T.split(pairs), strict=True):
            bank_B_D = self._comparable(self._bank_M_D.index_select(0, rows_B))
            differences_B_D = bank_B_D - comparable_N_D.index_select(0, positions_B)
            norms_B = torch.linalg.vector_norm(differences_B_D, ord=self._order, dim=1)
            exact_B = norms_B.square() if self._order == 2 else norms_B
            exact.append(exact_B + _is_zero(bank_B_D) if self._cosine else exact_B)
        return torch.cat(exact)

    def _distances(self, comparable_N_D: Tensor, exact_N_K: Tensor) -> Tensor:
        if self._cosine:
            return (exact_N_K + _is_zero(comparable_N_D)[:, None]) / 2
        return exact_N_K.sqrt() if self._order == 2 else exact_N_K


def norm_order(metric: str) -> float:
    """The order p of the norm that measures differences under ``metric``; UserError on an unknown one."""
    if metric not in NORM_ORDERS:
        raise UserError(f"unknown knn_metric {metric!r}; choices: {', '.join(NORM_ORDERS)}", "knn_metric")
    return NORM_ORDERS[metric]


def _nearest_of(exact_N_C: Tensor, rows_N_C: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` nearest of candidates, ascending; of equally near ones the first."""
    exact_N_K, order_N_K = (x[:, :count] for x in exact_N_C.sort(dim=1, stable=True))
    return exact_N_K, rows_N_C.gather(1, order_N_K)


def _cost(dtype: torch.dtype, axes: int, looked_at: float = 0) -> float:
    """Of a search, in products of bfloat16 numbers a row and query; a row looked at closely costs as 4 of them."""
    return (1 if dtype == torch.bfloat16 else 2) * axes + 50 + 4 * looked_at


def _is_zero(features_D: Tensor) -> Tensor:
    """1.0 for each vector along the last axis that is zero, else 0.0."""
    return (features_D == 0).all(dim=-1).double()
