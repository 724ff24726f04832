"""Hidden coverage: cover the hidden features of the pool where the network doubts what it would say. Distances within
a pool are ``geometry.py``'s."""

import torch
from torch import Tensor

from src.active.batch.base import Batch, DoubtfulFeatures, Picks, batch_heuristic
from src.active.batch.geometry import Points
from src.utils.errors import NonFiniteError

LLOYD_ROUNDS = 10
NEGLIGIBLE = 1e-3
"""The lightest inputs are left out as long as they hold no more than this share of all weight: in late rounds they
are most of the pool."""
LEAST_INPUTS = 10
"""Inputs for each pick that are never left out."""
DRAWN_AT_ONCE = 64


@batch_heuristic("hidden_coverage", consumes=("doubtful_features", "labelled_features"))
def hidden_coverage(
    pool: DoubtfulFeatures, labelled_features_L_D: Tensor, count: int, generator: torch.Generator
) -> Batch:
    """The batch B that leaves least of Σ_x (doubt(x) · min over y in L ∪ B of |h(x) − h(y)|)², nearly.

    The squared distance to the nearest labelled input is the surprise of h(x) under narrow Gaussian kernels on the
    labelled features, but for constants; doubt, 1 − (p₁ − p₂), is what the last layer reads from the same h(x). While
    the network knows little, most of the pool has a part in the sum, and to lower it is to cover the pool; the more it
    has learnt, the fewer inputs have one, and they are those that uncertainty would have picked.

    The sum is that of a weighted k-means some of whose centres, the labelled features, cannot move. The others are
    drawn as in k-means++ (Arthur & Vassilvitskii 2007) and moved by a few of Lloyd's rounds, and the input nearest to
    each is picked, those first that take most off the sum. Clustering by uncertainty is Zhdanov's 2019 ("Diverse
    mini-batch Active Learning") and CLUE's (Prabhu et al. 2021); ``docs/hidden_coverage.md`` tells what is whose.
    Scores are an input's part of the sum before any pick, 0 if it was left out for its little doubt. Time goes with
    N·D·(L + count); beside the features one or two copies of them are held, of the inputs that were not left out.
    Raises NonFiniteError as ``cover``.
    """
    return cover(pool.features_N_D, labelled_features_L_D, pool.doubt_N.square(), count, generator)


def cover(
    features_N_D: Tensor,
    labelled_features_L_D: Tensor,
    weight_N: Tensor,
    count: int,
    generator: torch.Generator,
    lloyd_rounds: int = LLOYD_ROUNDS,
    negligible: float = NEGLIGIBLE,
) -> Batch:
    """As ``hidden_coverage``, with any weight_N ≥ 0 for doubt²: a batch that leaves little of
    Σ_x weight(x) · min |h(x) − h(y)|².

    The lightest inputs, which hold no more than the share ``negligible`` of all weight, are left out as far as ten for
    each pick stay. Raises NonFiniteError where distances are too large for the features' dtype.
    """
    weight_N = weight_N.to(features_N_D)
    among_R = _weighty(weight_N, negligible, LEAST_INPUTS * max(count, 1))
    all_of_them = len(among_R) == len(weight_N)
    pool, weight_R = Points.of(features_N_D if all_of_them else features_N_D[among_R]), weight_N[among_R]
    uncovered_R = pool.nearest_squares(labelled_features_L_D)
    if too_large := int((~uncovered_R.isfinite()).sum()):
        raise NonFiniteError(
            f"the squared distances of {too_large} of {len(weight_N)} pool inputs' hidden features to the labelled "
            "ones are beyond the largest number: the network has diverged; lower optimizer.lr"
        )
    scores_N = torch.zeros_like(weight_N).index_copy_(0, among_R, weight_R * uncovered_R)
    picks = Picks(scores_N, count)
    while picks.wanting and bool((weight_R * uncovered_R > 0).any()):
        missing = picks.wanted - len(picks.positions)
        drawn = _draw(pool, weight_R, uncovered_R, missing, generator)
        centres_M_D = _move(pool, weight_R, uncovered_R, pool.features_N_D[drawn], lloyd_rounds)
        nearest = _nearest_inputs(pool, weight_R, uncovered_R, centres_M_D)
        if not nearest:  # distances are all rounding
            break
        positions_M = among_R[nearest]
        for position, score in zip(positions_M.tolist(), scores_N[positions_M].tolist(), strict=True):
            picks.add(position, score)
        # Cells that ran empty gave nothing: as many are drawn anew beside what was picked.
        uncovered_R = _covered_by(pool, uncovered_R, nearest)
    picks.fill(scores_N, generator)
    return picks.batch()


def _weighty(weight_N: Tensor, negligible: float, least: int) -> Tensor:
    """Positions of the inputs that hold all weight but a ``negligible`` share, or of the ``least`` heaviest where those
    are more."""
    ascending_N = weight_N.cpu().double().sort(stable=True)
    running_N = ascending_N.values.cumsum(dim=0)
    left_out = int((running_N <= negligible * running_N[-1]).sum())
    left_out = max(0, min(left_out, len(weight_N) - least))
    return ascending_N.indices[left_out:].sort().values.to(weight_N.device)


def _draw(
    pool: Points, weight_N: Tensor, uncovered_N: Tensor, count: int, generator: torch.Generator
) -> list[int]:
    """Positions drawn one after the other in proportion to weight and squared distance to all that cover, drawn ones
    included; fewer than ``count`` where everything is covered.

    Many are drawn at once, and each stays with a probability: the share of its part of the sum that those kept before
    it leave. The law is that of single draws, and the pool is measured up to 64 times less often.
    """
    drawn: list[int] = []
    while len(drawn) < count:
        running_N = (weight_N * uncovered_N).cpu().double().cumsum(dim=0)
        if not running_N[-1] > 0:
            break
        draws = min(DRAWN_AT_ONCE, count - len(drawn))
        uniform_2_B = torch.rand(2, draws, generator=generator, dtype=torch.float64)
        found_B = torch.searchsorted(running_N, uniform_2_B[0] * running_N[-1], right=True)
        # Rounding may carry a target to the very end, beyond the last positive weight.
        found = found_B.clamp(max=int(running_N.argmax())).tolist()
        # Looked at one by one on the CPU, where that makes no GPU wait.
        squares = pool.squares_between(
            torch.tensor(found, device=uncovered_N.device), pool.features_N_D[found]
        ).tolist()
        before = uncovered_N[found].tolist()
        kept: dict[int, int] = {}
        for b, (position, chance) in enumerate(zip(found, uniform_2_B[1].tolist(), strict=True)):
            now = min([before[b], *(squares[b][other] for other in kept.values())])
            if position not in kept and now > chance * before[b]:
                kept[position] = b
        uncovered_N = _covered_by(pool, uncovered_N, list(kept))
        drawn += kept
    return drawn


def _covered_by(pool: Points, uncovered_N: Tensor, positions: list[int]) -> Tensor:
    """Squared distances to the nearest of all that cover once these inputs do too: 0 for themselves."""
    nearest_N, _ = pool.nearest(pool.features_N_D[positions])
    uncovered_N = torch.minimum(uncovered_N, nearest_N)
    uncovered_N[positions] = 0
    return uncovered_N


def _move(
    pool: Points, weight_N: Tensor, uncovered_N: Tensor, centres_M_D: Tensor, lloyd_rounds: int
) -> Tensor:
    """Centres after some of Lloyd's rounds, each at the weighted mean of its cell. What is nearer to something that
    covers it already is in no cell."""
    before_N: Tensor | None = None
    for _ in range(lloyd_rounds):
        cell_N, _ = _cells(pool, uncovered_N, centres_M_D)
        if before_N is not None and torch.equal(cell_N, before_N):
            break
        before_N = cell_N
        mass_M, sums_M_D = torch.zeros_like(centres_M_D[:, 0]), torch.zeros_like(centres_M_D)
        for rows_B in pool.blocks(centres_M_D.shape[1]):
            own_B = cell_N[rows_B] >= 0
            own_cell_B, weight_B = cell_N[rows_B][own_B], weight_N[rows_B][own_B]
            mass_M.index_add_(0, own_cell_B, weight_B)
            sums_M_D.index_add_(0, own_cell_B, pool.features_N_D[rows_B][own_B] * weight_B[:, None])
        mass_M_1 = mass_M[:, None]
        centres_M_D = torch.where(mass_M_1 > 0, sums_M_D / mass_M_1.where(mass_M_1 > 0, 1), centres_M_D)
    return centres_M_D


def _nearest_inputs(pool: Points, weight_N: Tensor, uncovered_N: Tensor, centres_M_D: Tensor) -> list[int]:
    """The input of each cell that is nearest to its centre; those cells first that take most off the sum."""
    cell_N, squares_N = _cells(pool, uncovered_N, centres_M_D)
    rows_R = (cell_N >= 0).nonzero().flatten()
    rows_R = rows_R[squares_N[rows_R].argsort(stable=True)]
    rows_R = rows_R[cell_N[rows_R].argsort(stable=True)]
    cells_R = cell_N[rows_R]
    first_R = torch.ones_like(cells_R, dtype=torch.bool)
    first_R[1:] = cells_R[1:] != cells_R[:-1]
    gain_M = torch.zeros_like(centres_M_D[:, 0]).index_add_(
        0, cells_R, (weight_N * (uncovered_N - squares_N))[rows_R]
    )
    order_K = gain_M[cells_R[first_R]].argsort(descending=True, stable=True)
    return rows_R[first_R][order_K].tolist()


def _cells(pool: Points, uncovered_N: Tensor, centres_M_D: Tensor) -> tuple[Tensor, Tensor]:
    """cell_N, the nearest centre, or −1 where something that covers is as near; squares_N, the distance to it."""
    squares_N, cell_N = pool.nearest(centres_M_D)
    return cell_N.masked_fill(squares_N >= uncovered_N, -1), squares_N
