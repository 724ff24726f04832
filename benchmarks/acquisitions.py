"""Batch-aware acquisitions of a large pool, ours and others': CoreSet and BADGE against scikit-activeml, BatchBALD
against batchbald_redux, hidden coverage against weighted k-means of scikit-learn. Each picks the same number of inputs
from the same features and log-probabilities.

scikit-activeml (Kottke et al. 2021) is asked through the ``query`` of its strategies, batchbald_redux (Kirsch et al.
2019) through ``get_batchbald_batch`` with as many sampled outcomes as ours takes; scikit-learn's k-means knows of no
labelled inputs, and gets as many rounds as ours. The memory on a line is that of ours:
how much larger the process was at its peak while picking than just before. A peer that has not finished after
``--limit`` seconds is stopped, and its line tells at least how much longer than ours it takes.
"""

import argparse
import contextlib
import io
import os
import platform
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import numpy as np
import torch
from torch import Tensor

from benchmarks._memory import peak, refuse_without_peaks, start_of_peak
from src.active.batch import BATCH_HEURISTICS, DoubtfulFeatures, LastLayer
from src.active.batch.batchbald import LEAST_OUTCOMES, OUTCOMES_PER_LABEL
from src.active.batch.hidden_coverage import LLOYD_ROUNDS
from src.active.heuristics import doubt
from src.utils.errors import UserError

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
FEATURES, MEMBERS, CLASSES = 128, 20, 10


@dataclass(frozen=True)
class Evidence:
    """A made-up pool: features around one corner a class behind a ReLU, and members that are linear heads on them."""

    features_N_D: Tensor
    labelled_L_D: Tensor
    heads_K_D_C: Tensor

    @classmethod
    def draw(cls, pool: int, labelled: int, seed: int = 0) -> "Evidence":
        """That of ``pool`` inputs beside so many labelled ones, in float32."""
        generator = torch.Generator().manual_seed(seed)
        corners_C_D = torch.randn(CLASSES, FEATURES, generator=generator)
        labels_P = torch.randint(CLASSES, (labelled + pool,), generator=generator)
        noise_P_D = torch.randn(labelled + pool, FEATURES, generator=generator)
        features_P_D = (corners_C_D[labels_P] + noise_P_D).relu()
        heads_K_D_C = corners_C_D.T + torch.randn(MEMBERS, FEATURES, CLASSES, generator=generator)
        return cls(features_P_D[labelled:], features_P_D[:labelled], 0.1 * heads_K_D_C)

    def log_probs_N_K_C(self, members: int = MEMBERS) -> Tensor:
        """Of the pool, under the first so many members."""
        heads = self.heads_K_D_C[:members]
        return torch.stack([(self.features_N_D @ head).log_softmax(1) for head in heads], dim=1)

    def doubt_N(self) -> Tensor:
        """Of the pool, under the first member."""
        return doubt(self.log_probs_N_K_C(1))


@dataclass(frozen=True)
class Method:
    """An acquisition with the peer that it is held against."""

    name: str
    peer: str
    package: str
    run_peer: Callable[[Evidence, int], list[int]]


def ours(name: str, evidence: Evidence, count: int) -> list[int]:
    """The positions that our method picks."""
    entry = BATCH_HEURISTICS.get(name)
    every: dict[str, Callable[[], object]] = {
        "features": lambda: evidence.features_N_D,
        "labelled_features": lambda: evidence.labelled_L_D,
        "last_layer": lambda: LastLayer(evidence.features_N_D, evidence.log_probs_N_K_C(1)[:, 0]),
        "doubtful_features": lambda: DoubtfulFeatures(evidence.features_N_D, evidence.doubt_N()),
        "member_log_probs": evidence.log_probs_N_K_C,
    }
    given = [every[kind]() for kind in entry.consumes]
    batch = entry.select(*given, count=count, generator=torch.Generator().manual_seed(0))
    return batch.positions_Q.tolist()


def peer_coreset(evidence: Evidence, count: int) -> list[int]:
    """scikit-activeml's k-center greedy; positions in the pool, after which its labelled inputs come."""
    from skactiveml.pool import CoreSet

    features, labels = _for_scikit(evidence)
    return list(CoreSet(random_state=0).query(features, labels, batch_size=count))


def peer_badge(evidence: Evidence, count: int) -> list[int]:
    """scikit-activeml's BADGE, of a classifier that is the first member."""
    from skactiveml.base import SkactivemlClassifier
    from skactiveml.pool import Badge

    head_D_C = evidence.heads_K_D_C[0].numpy()

    class Head(SkactivemlClassifier):
        """A fitted linear head."""

        def __init__(self, classes: list[int]) -> None:
            super().__init__(classes=classes)

        def fit(self, X: np.ndarray, y: np.ndarray, sample_weight: object = None) -> "Head":
            """Nothing is left to fit."""
            return self

        def predict_proba(self, X: np.ndarray) -> np.ndarray:
            """probs_N_C."""
            return torch.from_numpy(X.astype(np.float32) @ head_D_C).softmax(1).numpy()

    features, labels = _for_scikit(evidence)
    head = Head(list(range(CLASSES)))
    return list(Badge(random_state=0).query(features, labels, clf=head, fit_clf=False, batch_size=count))


def peer_batchbald(evidence: Evidence, count: int) -> list[int]:
    """batchbald_redux's greedy BatchBALD, in its own float64 for scores and float32 for probabilities."""
    from batchbald_redux.batchbald import get_batchbald_batch

    outcomes = max(LEAST_OUTCOMES, OUTCOMES_PER_LABEL * count)
    with contextlib.redirect_stderr(io.StringIO()):  # progress bars
        return list(get_batchbald_batch(evidence.log_probs_N_K_C(), count, outcomes).indices)


def peer_hidden_coverage(evidence: Evidence, count: int) -> list[int]:
    """scikit-learn's k-means, weighted by squared doubt, and the input nearest to each centre."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import pairwise_distances_argmin

    features, weights = evidence.features_N_D.numpy(), evidence.doubt_N().square().numpy()
    with warnings.catch_warnings(action="ignore"):  # that it has not converged
        found = KMeans(count, n_init=1, max_iter=LLOYD_ROUNDS, random_state=0).fit(features, None, weights)
    return pairwise_distances_argmin(found.cluster_centers_, features).tolist()


METHODS = (
    Method("coreset", "scikit-activeml", "skactiveml", peer_coreset),
    Method("badge", "scikit-activeml", "skactiveml", peer_badge),
    Method("batchbald", "batchbald-redux", "batchbald_redux", peer_batchbald),
    Method("hidden_coverage", "scikit-learn", "sklearn", peer_hidden_coverage),
)


def main(arguments: Sequence[str]) -> None:
    """Time each method and its peer once, print a line each and, last, the smallest ratio's line.

    Raises UserError where a peer cannot be imported, and where the system tells no peaks of memory.
    """
    options = _parse(arguments)
    refuse_without_peaks()
    methods = [method for method in METHODS if method.name in options.methods]
    for method in methods:
        _refuse_without(method)
    evidence = Evidence.draw(options.pool, options.labelled)
    print(
        f"{options.count:,} of {options.pool:,} inputs, {options.labelled:,} labelled: "
        f"{CLASSES} classes, {FEATURES} features, {MEMBERS} members\n"
        f"{CORES} CPU cores, {torch.get_num_threads()} threads, {platform.machine()}, Python "
        f"{platform.python_version()}, torch {torch.__version__}\n\n"
        f"{'':<16}{'ours':>10}{'memory':>12}{'peer':>12}{'ratio':>9}",
        flush=True,
    )
    warm_up = Evidence.draw(500, 100, seed=1)
    own = []
    for method in methods:
        ours(method.name, warm_up, 10)
        resident = start_of_peak()
        seconds, picked = _timed(partial(ours, method.name, evidence, options.count))
        own.append((method, seconds, (peak() - resident) / 2**20, picked))
    lines = []
    for method, seconds, mib, picked in own:
        try:
            with _limited(options.limit):
                peer_seconds, peer_picked = _timed(partial(method.run_peer, evidence, options.count))
            sign, outcome = "", f"{len(set(picked) & set(peer_picked))} of {len(picked)} picks shared"
        except TimeoutError:
            peer_seconds = float(options.limit)
            sign, outcome = ">", "stopped before it had finished"
        times, ratio = f"{sign}{peer_seconds:.2f} s", f"{sign}{peer_seconds / seconds:.1f}"
        print(
            f"{method.name:<16}{seconds:>8.2f} s{mib:>8.0f} MiB{times:>12}{ratio:>9}"
            f"   {method.peer} {version(method.peer)}, {outcome}",
            flush=True,
        )
        lines.append((peer_seconds / seconds, method, seconds, times, ratio))
    _, method, seconds, times, ratio = min(lines, key=lambda line: line[0])
    print(
        f"\nacquisitions: ours {seconds:.2f} s, {method.peer} {times}, ratio {ratio} ({method.name}, the smallest)"
    )


@contextlib.contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """TimeoutError in what is done meanwhile, ``seconds`` from now, at its next step of Python."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _for_scikit(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    """features_P_D and labels_P, NaN for the pool; the pool comes first."""
    features = torch.cat([evidence.features_N_D, evidence.labelled_L_D]).numpy()
    labels = np.full(len(features), np.nan)
    labels[len(evidence.features_N_D) :] = np.arange(len(evidence.labelled_L_D)) % CLASSES
    return features, labels


def _timed(work: Callable[[], list[int]]) -> tuple[float, list[int]]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def _refuse_without(method: Method) -> None:
    try:
        __import__(method.package)
    except ImportError as error:
        raise UserError(
            f"{method.name} is held against {method.peer}, which cannot be imported here ({error}); "
            "python -m pip install --no-deps -r benchmarks/requirements.txt"
        ) from None


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks acquisitions", allow_abbrev=False)
    names = [method.name for method in METHODS]
    parser.add_argument("--methods", nargs="+", choices=names, default=names, help="which (all)")
    parser.add_argument("--pool", type=int, default=50_000, help="inputs to pick from (%(default)s)")
    parser.add_argument("--count", type=int, default=100, help="inputs to pick (%(default)s)")
    parser.add_argument("--labelled", type=int, default=100, help="labelled inputs (%(default)s)")
    parser.add_argument("--limit", type=int, default=3600, help="seconds that each peer has (%(default)s)")
    options = parser.parse_args(arguments)
    if options.limit < 1:
        parser.error(f"--limit {options.limit}: at least 1")
    if options.labelled < 1:
        parser.error(f"--labelled {options.labelled}: at least 1")
    if not 1 <= options.count <= options.pool:
        parser.error(f"--count {options.count}: at least 1 and no more than --pool {options.pool}")
    return options
