"""How a cost grows: a law's terms are chosen, and their factors fitted, by what was measured. What is measured, and
what the second size means beside the number of inputs, is each benchmark's own business."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.optimize import nnls  # type: ignore[import-untyped]

TERMS: dict[str, Callable[[float, float], float]] = {
    "1": lambda n, m: 1.0,
    "m": lambda n, m: m,
    "m²": lambda n, m: m * m,
    "n": lambda n, m: n,
    "n·log n": lambda n, m: n * math.log2(max(n, 1)),
    "n²": lambda n, m: n * n,
    "n·m": lambda n, m: n * m,
}
"""What a cost may be made of, for n inputs and m of something else. None falls as n grows."""

MOST_TERMS = 3
WORTHWHILE = 2 / 3
"""A law of more terms is taken where it misses by no more than this share of what one of fewer terms misses by."""
NOISE = 0.05
"""A law that misses by less is good: more terms would follow the clock's noise, and n² carries that far."""


@dataclass(frozen=True)
class Point:
    """A cost that was measured at n inputs and m of something else."""

    n: int
    m: int
    cost: float


@dataclass(frozen=True)
class Law:
    """Factors ≥ 0 of some of TERMS."""

    factors: Mapping[str, float]

    def __call__(self, n: float, m: float = 1) -> float:
        """The cost at n inputs and m of something else."""
        return sum(factor * TERMS[term](n, m) for term, factor in self.factors.items())

    def __str__(self) -> str:
        return " + ".join(f"{factor:.3g}·{term}" for term, factor in self.factors.items() if factor) or "0"


def fit_law(points: Sequence[Point], terms: Sequence[str]) -> Law:
    """The law of at most MOST_TERMS of ``terms`` that best foretells each point from the others.

    Errors are relative, as sizes are far apart. Fewer terms are kept where they miss by no more than
    NOISE, or more are not WORTHWHILE, or there are too few points to tell. Costs are above 0.
    """
    best, missed = Law({}), math.inf
    for count in range(1, max(1, min(MOST_TERMS, len(terms), len(points) - 2)) + 1):
        if missed < NOISE:
            break
        tried = [(_mean_miss(points, chosen), chosen) for chosen in combinations(terms, count)]
        miss, chosen = min(tried, key=lambda pair: pair[0])
        if miss < WORTHWHILE * missed:
            best, missed = _least_squares(points, chosen), miss
    return best


def exponent(points: Sequence[Point]) -> float:
    """The power of n that costs grow with at the largest m: the slope of least squares in logarithms."""
    most = max(point.m for point in points)
    logs = np.log([(point.n, point.cost) for point in points if point.m == most])
    return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])


def _mean_miss(points: Sequence[Point], terms: Sequence[str]) -> float:
    misses = []
    for left_out in points:
        law = _least_squares([point for point in points if point is not left_out], terms)
        misses.append(abs(law(left_out.n, left_out.m) / left_out.cost - 1))
    return float(np.mean(misses))


def _least_squares(points: Sequence[Point], terms: Sequence[str]) -> Law:
    """Non-negative, of relative errors. Columns are scaled, since n² and 1 are many powers of ten apart."""
    relative_P_T = np.array([[TERMS[term](p.n, p.m) / p.cost for term in terms] for p in points])
    scales_T = relative_P_T.max(axis=0)
    factors_T, _ = nnls(relative_P_T / scales_T, np.ones(len(points)))
    return Law({term: float(factor) for term, factor in zip(terms, factors_T / scales_T, strict=True)})
