"""The search over PCA dimensions of greedy HU, ours and scikit-learn's, in steps of one: the discrepancy m(k) between
train and validation log-likelihoods at every k. Ours refits nothing; the peer refits PCA and Gaussians at each k.

Timing the peer at every k would take minutes, so it is timed at some k, evenly spaced, and its time at those
between is taken from the straight line between their neighbours (the trapezoid rule). At the timed k both must
give the same log-likelihoods and the same m(k), or the benchmark fails.
"""

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks._features import FeatureClouds
from src.models.density import GMM, GreedySearch
from src.models.density.gaussians import COVARIANCE_FLOOR
from src.utils.errors import UserError

METRIC = "train_val_l2"
REDUCTIONS: dict[str, Callable[[np.ndarray], float]] = {"mean": np.mean, "median": np.median}
"""The default, for which moments might do, and one that needs the log-likelihood of every sample at every k."""
TIMED = {128: 13, 512: 9}
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Samples:
    """What is searched on: labelled features in float32, as a network gives them."""

    features_N_D: Tensor
    labels_N: Tensor
    val_features_M_D: Tensor
    val_labels_M: Tensor


@dataclass(frozen=True)
class Curve:
    """One contestant's search: per k the discrepancy and the mean log-likelihoods in nats, and the time of all k.

    ``seconds`` are wall-clock; the peer's are estimated for the ``dimensions`` that it left out.
    """

    dimensions: list[int]
    discrepancy: list[float]
    train_log_likelihood: list[float]
    val_log_likelihood: list[float]
    seconds: float

    def at(self, dimensions: list[int]) -> "Curve":
        """The same search at these k only; the time stays that of all."""
        positions = [self.dimensions.index(k) for k in dimensions]
        m, train, val = (
            [column[p] for p in positions]
            for column in (self.discrepancy, self.train_log_likelihood, self.val_log_likelihood)
        )
        return Curve(dimensions, m, train, val, self.seconds)

    @property
    def chosen(self) -> int:
        """The k with the smallest discrepancy."""
        return self.dimensions[int(np.argmin(self.discrepancy))]


def main(arguments: Sequence[str]) -> None:
    """For every D and reduction take turns (ours, scikit-learn, ours), check that both found the same curve, print
    the table and, last, the ratio over D of the mean reduction; ours is the mean of its two turns.

    The peer has two turns, with the BLAS threads that it takes by itself and with one, and the faster counts: on
    matrices this small more threads may wait for each other longer than they compute. Raises UserError where the
    contestants disagree.
    """
    options = _parse(arguments)
    print(
        f"{options.train:,} labelled and {options.val:,} validation features, 10 classes; metric {METRIC}, every k "
        f"from 1 to D\n{torch.get_num_threads()} threads, {platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, scikit-learn {version('scikit-learn')}\n",
        flush=True,
    )
    for contestant in (ours, peer, peer_one_thread):  # imports, thread pools and buffers, outside the clock
        contestant(draw(16, 100, 100), "mean")
    print(
        f"{'':>16}{'':>11}{'scikit-learn':>14}{'1 BLAS':>12}{'':>11}{'':>7}{'':>10}{'largest difference of':>27}\n"
        f"{'D':>5}  {'reduction':<9}{'ours':>11}{'by itself':>14}{'thread':>12}{'ours':>11}{'ratio':>7}"
        f"{'chosen k':>10}{'log-likelihood':>18}{'m(k)':>9}",
        flush=True,
    )
    totals = np.zeros(2)
    for dims in options.dims:
        samples = draw(dims, options.train, options.val)
        for reduction in REDUCTIONS:
            curves = [run(samples, reduction) for run in (ours, peer, peer_one_thread, ours)]
            first, by_itself, one_thread, second = (curve.seconds for curve in curves)
            mean, best = (first + second) / 2, min(by_itself, one_thread)
            likelihoods, discrepancy = differences(curves[0], curves[1])
            print(
                f"{dims:>5}  {reduction:<9}{first:>9.3f} s{by_itself:>12.2f} s{one_thread:>10.2f} s{second:>9.3f} s"
                f"{best / mean:>7.0f}{curves[0].chosen:>10}{likelihoods:>18.1e}{discrepancy:>9.1e}",
                flush=True,
            )
            refuse_disagreement(curves[0], curves[1])
            if reduction == "mean":
                totals += mean, best
        timed = ", ".join(map(str, timed_dimensions(dims)))
        print(f"       scikit-learn at k = {timed}; its time is linear between them", flush=True)
    print(
        "\nDifferences are relative and, like the choice of the same k among them, at the k of scikit-learn.\n"
        "Ratios are to its faster turn."
    )
    mean, best = totals
    print(f"\ngreedy_search: ours {mean:.3f} s, scikit-learn {best:.1f} s, ratio {best / mean:.0f}")


def draw(dims: int, train: int, val: int) -> Samples:
    """Labelled and validation features of the same clouds, as many of each class."""
    clouds = FeatureClouds(dims)
    return Samples(*clouds.draw(train, seed=1), *clouds.draw(val, seed=2))


def timed_dimensions(dims: int) -> list[int]:
    """The k at which the peer is timed: 1, D and evenly spaced ones between."""
    return np.linspace(1, dims, min(dims, TIMED.get(dims, 9))).round().astype(int).tolist()


def ours(samples: Samples, reduction: str) -> Curve:
    """This project's search, at every k up to the rank of the training features."""
    head = GMM(GreedySearch(1, METRIC, reduction))
    start = time.perf_counter()
    head.fit(samples.features_N_D, samples.labels_N, samples.val_features_M_D, samples.val_labels_M)
    seconds = time.perf_counter() - start
    found: dict[str, Any] = head.diagnostics()
    return Curve(
        found["dimensions"],
        found["discrepancy"],
        found["train_log_likelihood"],
        found["val_log_likelihood"],
        seconds,
    )


def peer(samples: Samples, reduction: str) -> Curve:
    """The search by refitting at the timed k, in float64, with the fastest of PCA's exact solvers."""
    features_N_D, val_features_M_D = (
        features.double().numpy() for features in (samples.features_N_D, samples.val_features_M_D)
    )
    labels_N, val_labels_M = samples.labels_N.numpy(), samples.val_labels_M.numpy()
    timed = timed_dimensions(features_N_D.shape[1])
    columns, seconds = [], []
    for k in timed:
        start = time.perf_counter()
        columns.append(_refit(k, reduction, features_N_D, labels_N, val_features_M_D, val_labels_M))
        seconds.append(time.perf_counter() - start)
    discrepancy, train, val = (list(column) for column in zip(*columns, strict=True))
    every_k = np.arange(1, timed[-1] + 1)
    return Curve(timed, discrepancy, train, val, float(np.interp(every_k, timed, seconds).sum()))


def peer_one_thread(samples: Samples, reduction: str) -> Curve:
    """The same on one BLAS thread."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1, user_api="blas"):
        return peer(samples, reduction)


def _refit(
    k: int,
    reduction: str,
    features_N_D: np.ndarray,
    labels_N: np.ndarray,
    val_features_M_D: np.ndarray,
    val_labels_M: np.ndarray,
) -> tuple[float, float, float]:
    """m(k) and the mean train and validation log-likelihoods of a sample under its own class, in nats."""
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    pca = PCA(k, svd_solver="covariance_eigh").fit(features_N_D)
    train_N_K, val_M_K = pca.transform(features_N_D), pca.transform(val_features_M_D)
    reduce = REDUCTIONS[reduction]
    discrepancies, train, val = [], [], []
    for label in np.unique(labels_N):
        own_N_K = train_N_K[labels_N == label]
        gaussian = GaussianMixture(1, covariance_type="full", reg_covar=COVARIANCE_FLOOR).fit(own_N_K)
        train.append(gaussian.score_samples(own_N_K))
        val.append(gaussian.score_samples(val_M_K[val_labels_M == label]))
        t, v = reduce(train[-1]) / k, reduce(val[-1]) / k
        discrepancies.append(-t - v + (t - v) ** 2)
    means = np.mean(discrepancies), np.concatenate(train).mean(), np.concatenate(val).mean()
    return float(means[0]), float(means[1]), float(means[2])


def differences(mine: Curve, theirs: Curve) -> tuple[float, float]:
    """The largest relative difference, at the peer's k, of the log-likelihoods, train and validation, and of m(k)."""
    mine = mine.at(theirs.dimensions)
    likelihoods = max(
        _largest(mine.train_log_likelihood, theirs.train_log_likelihood),
        _largest(mine.val_log_likelihood, theirs.val_log_likelihood),
    )
    return likelihoods, _largest(mine.discrepancy, theirs.discrepancy)


def refuse_disagreement(mine: Curve, theirs: Curve) -> None:
    """UserError where the two differ by more than TOLERANCE at the peer's k, or choose another one of them."""
    likelihoods, discrepancy = differences(mine, theirs)
    chosen = mine.at(theirs.dimensions).chosen
    if max(likelihoods, discrepancy) > TOLERANCE or chosen != theirs.chosen:
        raise UserError(
            f"the contestants did not find the same curve: log-likelihoods differ by {likelihoods:.1e} and m(k) by "
            f"{discrepancy:.1e}, relatively (at most {TOLERANCE}); of k = {', '.join(map(str, theirs.dimensions))}, "
            f"ours chooses {chosen}, scikit-learn {theirs.chosen}"
        )


def _largest(mine: list[float], theirs: list[float]) -> float:
    return float(np.max(np.abs(np.subtract(mine, theirs)) / np.abs(theirs)))


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks greedy_search", allow_abbrev=False)
    parser.add_argument(
        "--dims", type=int, nargs="+", default=list(TIMED), help="the D to search in (%(default)s)"
    )
    parser.add_argument("--train", type=int, default=1_000, help="labelled features (%(default)s)")
    parser.add_argument("--val", type=int, default=12_000, help="validation features (%(default)s)")
    options = parser.parse_args(arguments)
    if min(options.train, options.val) < 20 or not all(1 < dims < options.train for dims in options.dims):
        parser.error("--train and --val: at least 20, two a class; --dims: from 2 to one less than --train")
    return options
