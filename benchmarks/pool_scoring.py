"""A pool that is larger than memory should have to be, scored by the density heads from a file: seconds and peak memory
against the size of the pool, and how the time grows with it. The path is the one that a round takes, ``score_pool``;
what stands in for the network passes features through, so that nothing but reading and scoring is timed.

The peer is scikit-learn without streaming: load the whole file, then hand all rows to it at once.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks._features import FeatureClouds
from benchmarks._memory import peak, refuse_without_peaks, start_of_peak
from src.active.heuristics import HEURISTICS
from src.active.scoring import PoolView, score_pool
from src.models.density import GMM, KNN, DensityModel
from src.models.network import Network
from src.utils.errors import UserError
from src.utils.seeding import RoundSeeds

DIMS = 128
ROWS = [10_000, 30_000, 100_000, 300_000, 1_000_000]
LABELLED = {"gmm": 1_000, "knn": 10_000}
NEIGHBOURS = 5
WARM_UP = 64
COMPARED = 1_000
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Measured:
    """One scoring of a pool: wall-clock seconds, growth of resident memory in bytes at its peak, and the first
    ``COMPARED`` surprises."""

    seconds: float
    growth: int
    first_N: np.ndarray


class FeatureFile:
    """A ``Source`` whose inputs are rows of a file of float32, read when asked for and not kept.

    It is not mapped into memory, since mapped pages that were read count as resident.
    """

    def __init__(self, path: Path, rows: int) -> None:
        self.device = torch.device("cpu")
        self._file = path.open("rb", buffering=0)

    def labels(self, indices_B: Tensor) -> Tensor:
        """There are none: −1."""
        return torch.full_like(indices_B, -1)

    def inputs(self, indices_B: Tensor) -> Tensor:
        """inputs_B_D of consecutive rows. UserError where the file ends before the last."""
        first, count = int(indices_B[0]), len(indices_B)
        assert int(indices_B[-1]) == first + count - 1, "the rows of a batch are consecutive"
        inputs_B_D = torch.empty(count, DIMS)
        self._file.seek(first * DIMS * inputs_B_D.itemsize)
        if self._file.readinto(inputs_B_D.numpy().data) != inputs_B_D.nbytes:
            raise UserError(f"{self._file.name} ends before row {first + count}: is its disk full?")
        return inputs_B_D


class PassThrough(Network):
    """A network of one member whose inputs are features already; it has no classifier."""

    feature_dims = DIMS

    def __init__(self) -> None:
        super().__init__()
        self.unused_M = nn.Parameter(torch.zeros(1))

    def encode(self, inputs_M_N_S: Tensor) -> Tensor:
        """The inputs."""
        return inputs_M_N_S

    def classify(self, features_M_N_D: Tensor) -> Tensor:
        """Not to be called: surprise needs features only."""
        raise NotImplementedError


def main(arguments: Sequence[str]) -> None:
    """Score pools of all sizes with both heads, each in a process of its own; print the table, the exponent of the
    time in the size and, last, the ratio at the largest size, summed over heads."""
    options = _parse(arguments)
    refuse_without_peaks()
    largest = max(options.rows)
    print(
        f"{DIMS} float32 features a row, streamed from a file; fitted on "
        + " and ".join(f"{count:,} ({head})" for head, count in LABELLED.items())
        + f" labelled ones of 10 classes\n{torch.get_num_threads()} threads, {platform.machine()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, scikit-learn {version('scikit-learn')}\n\n"
        f"{'':<20}{'rows':>11}{'seconds':>12}{'rows/s':>12}{'peak growth':>14}",
        flush=True,
    )
    totals = np.zeros(2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.f32"
        write_features(path, largest)
        for head in LABELLED:
            runs = []
            for rows in options.rows:
                runs.append(run := in_fresh_process(ours, head, path, rows))
                _print_row(head, rows, run)
            theirs = in_fresh_process(peer, head, path, min(largest, options.peer_rows))
            _print_row(f"scikit-learn {head}", largest, theirs)
            refuse_disagreement(head, runs[-1].first_N, theirs.first_N)
            exponent = fitted_exponent(options.rows, [run.seconds for run in runs])
            print(f"{head}: seconds grow as rows to the power of {exponent:.3f}\n", flush=True)
            totals += runs[options.rows.index(largest)].seconds, theirs.seconds
    if options.peer_rows < largest:
        print(
            f"scikit-learn loaded all rows and scored {options.peer_rows:,} of them at once: the time of scoring is "
            "scaled to all,\nthe peak is not."
        )
    print(
        f"Exponents are least squares in logarithms, over all sizes. A batch of {WARM_UP} rows is scored before the "
        "clock starts,\nafter resident memory is first read.\n\n"
        f"pool_scoring: ours {totals[0]:.2f} s, scikit-learn {totals[1]:.2f} s, ratio {totals[1] / totals[0]:.1f}"
    )


def write_features(path: Path, rows: int) -> None:
    """The pool: ``rows`` rows of DIMS float32, in blocks."""
    clouds = FeatureClouds(DIMS)
    with path.open("wb") as file:
        for start in range(0, rows, 100_000):
            features_N_D, _ = clouds.draw(min(100_000, rows - start), seed=10 + start)
            features_N_D.numpy().tofile(file)


def in_fresh_process(
    measure: Callable[[str, Path, int], Measured], head: str, path: Path, rows: int
) -> Measured:
    """``measure`` where nothing ran before, whose peak is therefore its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(measure, head, path, rows).result()


def ours(head: str, path: Path, rows: int) -> Measured:
    """This project's scoring, by ``score_pool``, of the first ``rows`` rows of the file."""
    density = DensityModel({"gmm": GMM, "knn": KNN}[head](), normalize=False, dim_reduction=-1)
    features_N_D, labels_N = labelled(head)
    density.fit(features_N_D, labels_N, features_N_D, labels_N)
    source, indices_N = FeatureFile(path, rows), torch.arange(rows)
    network, surprise, seeds = PassThrough(), HEURISTICS.get("precomputed"), RoundSeeds(0, 0)
    labelled_L = torch.arange(0)  # the surprise asks the density alone

    def view(candidates_N: torch.Tensor) -> PoolView:
        return PoolView(network, density, source, labelled_L, candidates_N, int(labels_N.max()) + 1, 1, seeds)

    resident = start_of_peak()
    score_pool(surprise, view(indices_N[:WARM_UP]))
    start = time.perf_counter()
    scores_N = score_pool(surprise, view(indices_N))
    seconds = time.perf_counter() - start
    return Measured(seconds, peak() - resident, scores_N[:COMPARED].numpy())


def peer(head: str, path: Path, rows: int) -> Measured:
    """scikit-learn on all rows of the file, loaded at once, of which it scores the first ``rows``.

    ``seconds`` are of loading, and of scoring scaled to the whole file.
    """
    features_N_D, labels_N = (values.numpy() for values in labelled(head))
    score = {"gmm": _mixture, "knn": _neighbours}[head](features_N_D, labels_N)
    score(FeatureClouds(DIMS).draw(WARM_UP, seed=2)[0].numpy())
    resident = start_of_peak()
    start = time.perf_counter()
    pool_N_D = np.fromfile(path, dtype=np.float32).reshape(-1, DIMS)
    loaded = time.perf_counter()
    surprise_N = score(pool_N_D[:rows])
    seconds = loaded - start + (time.perf_counter() - loaded) * len(pool_N_D) / rows
    return Measured(seconds, peak() - resident, surprise_N[:COMPARED])


def labelled(head: str) -> tuple[Tensor, Tensor]:
    """features_N_D and labels_N that this head is fitted on, of the same clouds as the pool."""
    return FeatureClouds(DIMS).draw(LABELLED[head], seed=1)


def _mixture(features_N_D: np.ndarray, labels_N: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    from scipy.special import logsumexp  # type: ignore[import-untyped]
    from sklearn.mixture import GaussianMixture

    labels_C, counts_C = np.unique(labels_N, return_counts=True)
    gaussians = [
        GaussianMixture(1, covariance_type="full", reg_covar=1e-6).fit(
            features_N_D[labels_N == label].astype(np.float64)
        )
        for label in labels_C
    ]

    def surprise(pool_N_D: np.ndarray) -> np.ndarray:
        log_p_C_N = np.stack([gaussian.score_samples(pool_N_D) for gaussian in gaussians])
        return -logsumexp(log_p_C_N + np.log(counts_C / counts_C.sum())[:, None], axis=0)

    return surprise


def _neighbours(features_N_D: np.ndarray, labels_N: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=NEIGHBOURS, algorithm="brute").fit(features_N_D)

    def surprise(pool_N_D: np.ndarray) -> np.ndarray:
        distances_N_K, rows_N_K = index.kneighbors(pool_N_D)
        own_N_K_C = labels_N[rows_N_K][:, :, None] == np.unique(labels_N)
        winner_N = (own_N_K_C / distances_N_K[:, :, None]).sum(axis=1).argmax(axis=1)
        agrees_N_K = np.take_along_axis(own_N_K_C, winner_N[:, None, None], axis=2)[:, :, 0]
        return (distances_N_K * agrees_N_K).sum(axis=1) / agrees_N_K.sum(axis=1)

    return surprise


def fitted_exponent(rows: Sequence[int], seconds: Sequence[float]) -> float:
    """The power of ``rows`` that ``seconds`` grow with: the slope of least squares in logarithms."""
    return float(np.polyfit(np.log(rows), np.log(seconds), 1)[0])


def refuse_disagreement(head: str, mine_N: np.ndarray, theirs_N: np.ndarray) -> None:
    """UserError where the contestants' scores of the same rows differ relatively by more than TOLERANCE."""
    count = min(len(mine_N), len(theirs_N))
    worst = np.max(np.abs(mine_N[:count] - theirs_N[:count]) / np.abs(theirs_N[:count]))
    if not worst <= TOLERANCE:
        raise UserError(
            f"{head}: the contestants' scores differ by {worst:.1e}, relatively (at most {TOLERANCE})"
        )


def _print_row(who: str, rows: int, run: Measured) -> None:
    print(
        f"{who:<20}{rows:>11,}{run.seconds:>10.2f} s{rows / run.seconds:>12,.0f}{run.growth / 2**20:>11.0f} MB",
        flush=True,
    )


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks pool_scoring", allow_abbrev=False)
    parser.add_argument(
        "--rows", type=int, nargs="+", default=ROWS, help="sizes of pools, two or more (%(default)s)"
    )
    parser.add_argument(
        "--peer-rows",
        type=int,
        default=100_000,
        help="of the largest pool, for the peer to score (%(default)s)",
    )
    options = parser.parse_args(arguments)
    if len(set(options.rows)) < 2 or min(*options.rows, options.peer_rows) < WARM_UP:
        parser.error(f"--rows: two different sizes or more; --rows and --peer-rows: at least {WARM_UP}")
    return options
