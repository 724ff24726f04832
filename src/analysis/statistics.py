"""What few seeds can tell: intervals, paired tests, Holm's correction and the power of such a test.

Arrays of numbers come in and numbers go out; which runs make a pair is decided in ``study.py``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats  # type: ignore[import-untyped]

ALPHA = 0.05
"""The level of every test: how often differences that are none are called some."""

POWER = 0.8
"""The share of studies in which a difference ought to be found, by custom."""


@dataclass(frozen=True)
class PairedTest:
    """Two-sided paired t-test (Student's) of n differences against 0.

    ``p`` is 1 where the differences have no spread: then there is nothing to hold their mean against, and numbers that
    are rounded, as accuracies are, can agree by chance. It is NaN for fewer than two.
    """

    n: int
    mean: float
    std: float
    low: float
    high: float
    t: float
    p: float


def t_interval(values_K: NDArray[np.float64], level: float = 1 - ALPHA) -> tuple[float, float]:
    """The interval that holds the mean of normal numbers with that probability, by Student's t; NaN values have no say.

    (NaN, NaN) for fewer than two.
    """
    known = values_K[np.isfinite(values_K)]
    if len(known) < 2:
        return math.nan, math.nan
    half = float(stats.t.isf((1 - level) / 2, len(known) - 1)) * known.std(ddof=1) / math.sqrt(len(known))
    return float(known.mean() - half), float(known.mean() + half)


def paired_t_test(differences_K: NDArray[np.float64]) -> PairedTest:
    """Test whether differences of pairs have the mean 0, with the interval of their mean; NaN values have no say."""
    known = differences_K[np.isfinite(differences_K)]
    n, mean = len(known), float(known.mean()) if len(known) else math.nan
    if n < 2:
        return PairedTest(n, mean, math.nan, math.nan, math.nan, math.nan, math.nan)
    std, (low, high) = float(known.std(ddof=1)), t_interval(known)
    # The differences of equal fractions differ by their rounding.
    if std <= 1e-12 * max(1.0, np.abs(known).max()):
        return PairedTest(n, mean, std, low, high, math.nan, 1.0)
    found = stats.ttest_1samp(known, 0.0)
    return PairedTest(n, mean, std, low, high, float(found.statistic), float(found.pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number, so that one false finding or more has at most the probability ALPHA.

    Holm's step-down method (S. Holm 1979, "A simple sequentially rejective multiple test procedure"). A NaN is no
    test: it stays NaN and does not count.
    """
    adjusted = np.array(p_values, dtype=float)
    tested = np.flatnonzero(np.isfinite(adjusted))
    order = tested[np.argsort(adjusted[tested], kind="stable")]
    weights = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(weights * adjusted[order]))
    return adjusted.tolist()


def smallest_exact_p(n: int) -> float:
    """The least p that n differences can give where nothing is assumed of them but symmetry: 2^(1 − n).

    It is the sign-flip test's where all differences have one sign. What a t-test says below it rests on normality,
    which so few numbers cannot show.
    """
    return min(1.0, 2.0 ** (1 - n))


def can_decide(n: int) -> bool:
    """Whether n pairs can be significant at ALPHA without the assumption of normality: from six on."""
    return smallest_exact_p(n) <= ALPHA


def power_function(n: int, alpha: float = ALPHA) -> Callable[[float], float]:
    """The power of a two-sided paired t-test by effect: the differences' mean in units of their standard deviation.

    The noncentral t's tails, averaged over 10,000 quantiles of the variance: scipy's own are NaN for some effects.
    """
    ratio_Q = np.sqrt(stats.chi2.ppf((np.arange(10_000) + 0.5) / 10_000, n - 1) / (n - 1))
    critical_Q = stats.t.isf(alpha / 2, n - 1) * ratio_Q

    def power(effect: float) -> float:
        shift = effect * math.sqrt(n)
        return float(np.mean(stats.norm.sf(critical_Q - shift) + stats.norm.cdf(-critical_Q - shift)))

    return power


def detectable_effect(n: int, alpha: float = ALPHA) -> float:
    """The effect, as in ``power_function``, that n pairs find with probability POWER; NaN for fewer than two."""
    if n < 2:
        return math.nan
    power = power_function(n, alpha)
    upper = 1.0
    while power(upper) < POWER:
        upper *= 2
    return float(optimize.brentq(lambda effect: power(effect) - POWER, 0, upper, xtol=1e-6))


def normalised_area(
    labels_R: NDArray[np.int64], values_R: NDArray[np.float64], budget: float, start: float | None = None
) -> float:
    """A curve's mean over the labels from ``start`` to ``budget``: its area by trapezoids, over their number.

    Without ``start`` it is from the first round. Between rounds the curve is a straight line. NaN where it ends before
    ``budget``, starts after ``start``, or these are no stretch.
    """
    known = np.isfinite(values_R)
    labels, values = labels_R[known].astype(float), values_R[known]
    if len(labels) < 2:
        return math.nan
    start = labels[0] if start is None else start
    if not labels[0] <= start < budget <= labels[-1]:
        return math.nan
    at = np.array([start, *labels[(start < labels) & (labels < budget)], budget])
    return float(np.trapezoid(np.interp(at, labels, values), at) / (budget - start))
