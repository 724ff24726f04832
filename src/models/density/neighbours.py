"""Exact nearest neighbours by brute force in bounded memory. What is done with the neighbours is decided elsewhere."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from src.models.density.memory import rows_per_block
from src.models.density.transforms import l2_normalize
from src.utils.errors import UserError

NORM_ORDERS = {"euclidean": 2.0, "cosine": 2.0, "manhattan": 1.0, "chebyshev": math.inf}


@dataclass(frozen=True)
class _CoarseBank:
    """The bank as the fast search sees it: centred, in one precision, padded to a rectangle of groups.

    ``offsets_P`` is added to every score: the squared norm where scores come from a matrix product, infinity
    where there is padding.
    """

    centred_P_D: Tensor
    offsets_P: Tensor
    largest_norm: Tensor
    groups: int


class NeighbourIndex:
    """The ``count`` nearest rows of a bank, or all of a smaller one.

    A fast search in the bank's precision proposes somewhat more candidates than needed, and their distances are
    computed in float64 by difference, without cancellation. A query is done when no row outside its candidates
    can be nearer, rounding included. The others, as in collapsed classes, are searched again in float64.
    UserError where ``metric`` is none of NORM_ORDERS.
    """

    def __init__(self, bank_M_D: Tensor, metric: str, count: int) -> None:
        self._cosine = metric == "cosine"
        self._order = norm_order(metric)
        self._bank_M_D = bank_M_D if bank_M_D.dtype == torch.float64 else bank_M_D.float()
        self._count = min(count, len(bank_M_D))
        self._candidates = min(2 * count + 8, len(bank_M_D))
        self._centre_D = self._comparable(self._bank_M_D).mean(dim=0)
        self._coarse = self._coarse_bank(self._bank_M_D.dtype)

    def __call__(self, queries_N_D: Tensor) -> tuple[Tensor, Tensor]:
        """distances_N_K, ascending, in float64, and rows_N_K of the bank.

        Equally near rows come by position, unless more than 2·count + 8 tie: then any of those are taken.
        """
        score_bytes = 2 * self._coarse.centred_P_D.itemsize * len(self._coarse.centred_P_D)
        candidate_bytes = 3 * 8 * self._candidates * self._bank_M_D.shape[1]
        blocks = queries_N_D.split(rows_per_block(score_bytes + candidate_bytes))
        distances, rows = zip(*map(self._query, blocks), strict=True)
        return torch.cat(distances), torch.cat(rows)

    def _query(self, queries_N_D: Tensor) -> tuple[Tensor, Tensor]:
        distances_N_K, rows_N_K, certain_N = self._search(queries_N_D, self._coarse)
        uncertain = (~certain_N).nonzero().flatten()
        if len(uncertain) and self._bank_M_D.dtype != torch.float64:
            double = self._coarse_bank(torch.float64)
            for again in uncertain.split(max(1, len(queries_N_D) // 2)):  # its scores take twice the memory
                distances_N_K[again], rows_N_K[again], _ = self._search(queries_N_D[again], double)
        return distances_N_K, rows_N_K

    def _search(self, queries_N_D: Tensor, bank: _CoarseBank) -> tuple[Tensor, Tensor, Tensor]:
        """distances_N_K, rows_N_K and certain_N: whether rounding cannot have hidden a nearer row."""
        comparable_N_D = self._comparable(queries_N_D)
        centred_N_D = comparable_N_D - self._centre_D
        worst_N, rows_N_C = _smallest(
            self._scores(centred_N_D.to(bank.centred_P_D.dtype), bank), bank.groups, self._candidates
        )
        # By position first, so that the stable sort by distance leaves equally near rows in that order.
        rows_N_C = rows_N_C.sort(dim=1).values
        exact_N_C = self._exact(comparable_N_D, rows_N_C)
        exact_N_K, order_N_K = (x[:, : self._count] for x in exact_N_C.sort(dim=1, stable=True))
        certain_N = self._certain(centred_N_D, exact_N_K[:, -1], worst_N.double(), bank)
        return self._distances(comparable_N_D, exact_N_K), rows_N_C.gather(1, order_N_K), certain_N

    def _comparable(self, features_N_D: Tensor) -> Tensor:
        """In float64, and on the unit sphere where only directions count."""
        features = features_N_D.double()
        return l2_normalize(features) if self._cosine else features

    def _coarse_bank(self, dtype: torch.dtype) -> _CoarseBank:
        comparable_M_D = self._comparable(self._bank_M_D)
        centred_M_D = comparable_M_D - self._centre_D
        norms_M = torch.linalg.vector_norm(centred_M_D, ord=self._order, dim=1)
        offsets_M = norms_M.square() if self._order == 2 else torch.zeros_like(norms_M)
        if self._cosine:
            offsets_M = offsets_M + _is_zero(comparable_M_D)
        rows = len(norms_M)
        group_size = max(1, math.isqrt(rows // self._candidates))
        groups = -(-rows // group_size)
        padding = groups * group_size - rows
        return _CoarseBank(
            torch.nn.functional.pad(centred_M_D, (0, 0, 0, padding)).to(dtype),
            torch.nn.functional.pad(offsets_M, (0, padding), value=math.inf).to(dtype),
            norms_M.max(),
            groups,
        )

    def _scores(self, centred_N_D: Tensor, bank: _CoarseBank) -> Tensor:
        """scores_N_P: |q − b|² − |q|², which orders rows as the distance does, or the distance itself."""
        if self._order == 2:
            return torch.addmm(bank.offsets_P, centred_N_D, bank.centred_P_D.T, alpha=-2)
        return torch.cdist(centred_N_D, bank.centred_P_D, p=self._order).add_(bank.offsets_P)

    def _exact(self, comparable_N_D: Tensor, rows_N_C: Tensor) -> Tensor:
        """exact_N_C: |q − b|², or the distance of the other norms.

        A zero vector has no direction: its cosine with any vector is taken as 0, as scikit-learn does. One
        is added beside a zero row of the bank, which makes 1 − cos half of this and of a zero query's one.
        """
        bank_N_C_D = self._comparable(self._bank_M_D[rows_N_C])
        norms_N_C = torch.linalg.vector_norm(bank_N_C_D - comparable_N_D[:, None], ord=self._order, dim=2)
        exact_N_C = norms_N_C.square() if self._order == 2 else norms_N_C
        return exact_N_C + _is_zero(bank_N_C_D) if self._cosine else exact_N_C

    def _distances(self, comparable_N_D: Tensor, exact_N_K: Tensor) -> Tensor:
        if self._cosine:
            return (exact_N_K + _is_zero(comparable_N_D)[:, None]) / 2
        return exact_N_K.sqrt() if self._order == 2 else exact_N_K

    def _certain(self, centred_N_D: Tensor, furthest_N: Tensor, worst_N: Tensor, bank: _CoarseBank) -> Tensor:
        """Is the furthest chosen row nearer than every row left out, whose coarse score is at least ``worst_N``?

        Rounding errors of a sum of D terms grow as √D units of roundoff (Higham & Mary 2019); eight times that
        is allowed for. It presumes PyTorch's default float32 matmul precision, "highest".
        """
        if self._candidates == len(self._bank_M_D):
            return torch.ones_like(furthest_N, dtype=torch.bool)
        roundoff = 8 * math.sqrt(centred_N_D.shape[1]) * torch.finfo(bank.centred_P_D.dtype).eps / 2
        norms_N = torch.linalg.vector_norm(centred_N_D, ord=self._order, dim=1)
        reach_N = norms_N + bank.largest_norm
        if self._order == 2:
            return furthest_N - norms_N.square() < worst_N - roundoff * reach_N.square()
        return furthest_N < worst_N - roundoff * reach_N


def norm_order(metric: str) -> float:
    """The order p of the norm that measures differences under ``metric``; UserError on an unknown one."""
    if metric not in NORM_ORDERS:
        raise UserError(f"unknown knn_metric {metric!r}; choices: {', '.join(NORM_ORDERS)}")
    return NORM_ORDERS[metric]


def _is_zero(features_D: Tensor) -> Tensor:
    """1.0 for each vector along the last axis that is zero, else 0.0."""
    return (features_D == 0).all(dim=-1).double()


def _smallest(scores_N_P: Tensor, groups: int, count: int) -> tuple[Tensor, Tensor]:
    """The largest of the ``count`` smallest scores of each row, and the columns of all of them.

    The ``count`` smallest lie in the ``count`` groups with the smallest minima. Selecting groups first and
    then within them reads the scores once, where top-k over a whole row would take most of the search.
    """
    members_N_S_G = scores_N_P.unflatten(1, (-1, groups))
    chosen_N_C = (
        members_N_S_G.amin(dim=1).topk(min(count, groups), dim=1, largest=False, sorted=False).indices
    )
    sizes = torch.arange(members_N_S_G.shape[1], device=scores_N_P.device) * groups
    columns_N_X = (chosen_N_C[:, None, :] + sizes[:, None]).flatten(1)
    scores_N_C, within_N_C = scores_N_P.gather(1, columns_N_X).topk(count, dim=1, largest=False)
    return scores_N_C[:, -1], columns_N_X.gather(1, within_N_C)
