"""What the stages of a round cost, measured on one device with the project's own code. Laws and predictions are made of
it elsewhere."""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks._features import FeatureClouds
from benchmarks._memory import peak, start_of_peak
from benchmarks.pool_scoring import PassThrough
from src.active.batch import BATCH_HEURISTICS, LastLayer, geometry
from src.active.batch.typiclust import MOST_CLUSTERS, typiclust
from src.active.heuristics import HEURISTICS
from src.active.scoring import PoolView, score_pool
from src.active.selection import select
from src.data import Split
from src.layers.stacked import stack_members
from src.models.density import GMM, KNN, DensityModel
from src.models.network import Network
from src.models.prediction import Source
from src.models.resnet import ResNet
from src.utils.seeding import RoundSeeds

PERIOD = 2048
"""Rows that a streamed pool repeats, so that it may have any size."""
READ_BYTES = 2**22


class Repeated:
    """A ``Source`` of any length: the inputs of a small one over and over."""

    def __init__(self, inputs_of: Callable[[Tensor], Tensor], device: torch.device) -> None:
        self.device = device
        self._inputs_of = inputs_of

    def inputs(self, indices_B: Tensor) -> Tensor:
        """inputs_B_S of any indices ≥ 0."""
        return self._inputs_of(indices_B % PERIOD)

    def labels(self, indices_B: Tensor) -> Tensor:
        """There are none: −1."""
        return torch.full_like(indices_B, -1)


class Bench:
    """The device and the sizes of a round, and what is measured on them, made when first asked for."""

    def __init__(self, device: torch.device, folder: Path, network: str, pixels: int, classes: int) -> None:
        self.device, self.folder = device, folder
        self.pixels, self.classes = pixels, classes
        torch.manual_seed(0)
        resnet = ResNet(network, (3, pixels, pixels), classes)
        stack_members([resnet])  # which becomes the result
        self.network: Network = resnet
        self.network.to(device).eval()
        self.dims = resnet.feature_dims
        self.last_inputs = resnet.map_channels
        self.gmm = lru_cache(self._gmm)
        self.knn = lru_cache(self._knn)

    @property
    def image_bytes(self) -> int:
        """Of one image as the project holds it."""
        return 3 * self.pixels**2

    @cached_property
    def clouds(self) -> FeatureClouds:
        return FeatureClouds(self.dims, self.classes)

    def features(self, rows: int, seed: int) -> Tensor:
        """features_N_D, no two alike."""
        return self.clouds.draw(rows, seed)[0].to(self.device)

    def _gmm(self) -> DensityModel:
        return self._fitted(GMM(), 4 * self.classes)  # what a Gaussian costs is no matter of its samples

    def _knn(self, bank: int) -> DensityModel:
        return self._fitted(KNN(max_samples=-1), bank)

    def _fitted(self, head: GMM | KNN, labelled: int) -> DensityModel:
        features_N_D, labels_N = (values.to(self.device) for values in self.clouds.draw(labelled, seed=1))
        density = DensityModel(head, normalize=False, dim_reduction=-1)
        density.fit(features_N_D, labels_N, features_N_D, labels_N)
        return density


@dataclass(frozen=True)
class Measured:
    """Seconds, and bytes by which memory was larger at its peak than before: the device's, or else the process'."""

    seconds: float
    growth: int


Prepared = Callable[[], object]


@dataclass(frozen=True)
class Probe:
    """One stage: at which sizes it is measured, what its law may be made of, and the work itself.

    ``prepare`` makes all that the stage is given, outside the clock, for n inputs and m of ``other``. A stage that
    ``streams`` keeps 8 bytes an input, the score, and temporaries of one size. ``on_host`` work is always the CPU's.
    """

    name: str
    sizes: tuple[int, ...]
    others: tuple[int, ...]
    other: str
    terms: tuple[str, ...]
    prepare: Callable[[Bench, int, int], Prepared]
    streams: bool = False
    on_host: bool = False
    by_the_wall: bool = False

    def measure(self, bench: Bench, n: int, m: int, repeats: int) -> Measured:
        """The fastest of some repeats, and the largest growth among them."""
        device = torch.device("cpu") if self.on_host else bench.device
        work = self.prepare(bench, n, m)
        runs = [_measured(work, device, self.by_the_wall) for _ in range(repeats)]
        return Measured(min(run.seconds for run in runs), max(run.growth for run in runs))


def _measured(work: Prepared, device: torch.device, by_the_wall: bool) -> Measured:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        start = time.perf_counter()
        work()
        torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
        return Measured(seconds, torch.cuda.max_memory_allocated(device) - before)
    # Seconds of this process' own, so that others on the machine count for nothing; waiting for a disk takes none.
    clock = time.perf_counter if by_the_wall else time.process_time
    resident = start_of_peak()
    start = clock()
    work()
    seconds = clock() - start
    return Measured(seconds, peak() - resident)


def _read(bench: Bench, n: int, m: int) -> Prepared:
    """Images of a file, which is not in the system's cache where that can be asked for, to the device in blocks."""
    path, size = bench.folder / "images.u8", n * bench.image_bytes
    if not path.exists() or path.stat().st_size < size:
        noise = os.urandom(READ_BYTES)
        with path.open("wb") as file:
            for start in range(0, size, READ_BYTES):
                file.write(noise[: size - start])
            os.fsync(file.fileno())
    block = torch.empty(READ_BYTES, dtype=torch.uint8)

    def work() -> None:
        left = size
        with path.open("rb", buffering=0) as file:
            if advise := getattr(os, "posix_fadvise", None):
                advise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while left > 0:
                left -= file.readinto(block.numpy().data[: min(left, READ_BYTES)])
                block.to(bench.device)

    return work


def _forward(bench: Bench, n: int, m: int) -> Prepared:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(
        256, (PERIOD, 3, bench.pixels, bench.pixels), dtype=torch.uint8, generator=generator
    )
    split = Split(images.to(bench.device), torch.zeros(PERIOD, dtype=torch.int64, device=bench.device))
    return _scoring("entropy", bench.network, split.inputs, None, bench, n)


def _scoring(
    heuristic: str,
    network: Network,
    inputs_of: Callable[[Tensor], Tensor],
    density: DensityModel | None,
    bench: Bench,
    n: int,
) -> Prepared:
    source: Source = Repeated(inputs_of, bench.device)
    candidates_N = torch.arange(n, device=bench.device)
    view = PoolView(
        network, density, source, candidates_N[:0], candidates_N, bench.classes, 1, RoundSeeds(0, 0)
    )
    return lambda: score_pool(HEURISTICS.get(heuristic), view)


def _surprise(bench: Bench, n: int, density: DensityModel) -> Prepared:
    rows_P_D = bench.features(PERIOD, seed=2)
    through = PassThrough()
    through.to(bench.device)
    return _scoring("precomputed", through, lambda rows_B: rows_P_D[rows_B], density, bench, n)


def _gaussians(bench: Bench, n: int, m: int) -> Prepared:
    return _surprise(bench, n, bench.gmm())


def _neighbours(bench: Bench, n: int, m: int) -> Prepared:
    return _surprise(bench, n, bench.knn(m))


def _sort(bench: Bench, n: int, m: int) -> Prepared:
    generator = torch.Generator().manual_seed(0)
    scores_N = torch.rand(n, dtype=torch.float64, generator=generator)
    return lambda: select(scores_N, m, 0.2, generator)


def _picks(name: str, bank: int | None = None) -> Callable[[Bench, int, int], Prepared]:
    """The batch-aware method of that name, picking m; with a bank, of the density ``knn``."""

    def prepare(bench: Bench, n: int, m: int) -> Prepared:
        method, features_N_D = BATCH_HEURISTICS.get(name), bench.features(n, seed=3)
        every: dict[str, Callable[[], object]] = {
            "features": lambda: features_N_D,
            "labelled_features": lambda: bench.features(LABELLED, seed=4),
            "last_layer": lambda: _last_layer(bench, features_N_D),
            "density": lambda: bench.gmm() if bank is None else bench.knn(bank),
        }
        given = [every[kind]() for kind in method.consumes]
        return lambda: method.select(*given, count=m, generator=torch.Generator().manual_seed(0))

    return prepare


def _last_layer(bench: Bench, features_N_D: Tensor) -> LastLayer:
    inputs_N_E = features_N_D[:, : bench.last_inputs].contiguous()
    generator = torch.Generator().manual_seed(0)
    head_E_C = 0.1 * torch.randn(bench.last_inputs, bench.classes, generator=generator).to(bench.device)
    return LastLayer(inputs_N_E, (inputs_N_E @ head_E_C).log_softmax(1))


def _clusters(bench: Bench, n: int, m: int) -> Prepared:
    """TypiClust of as many clusters as it ever makes, found in no more than m rounds of k-means."""
    features_N_D, labelled_1_D = bench.features(n, seed=3), bench.features(1, seed=4)
    picks = MOST_CLUSTERS - 1  # beside the one that is labelled

    def work() -> None:
        generator = torch.Generator().manual_seed(0)
        # Small pools settle in fewer rounds than large ones, which would look like a steeper law.
        with patch.object(geometry, "LLOYD_ROUNDS", m):
            typiclust(features_N_D, labelled_1_D, count=picks, generator=generator)

    return work


def _one_cluster(bench: Bench, n: int, m: int) -> Prepared:
    """TypiClust of one cluster: all distances within it, and no picks."""
    features_N_D, labelled_1_D = bench.features(n, seed=3), bench.features(1, seed=4)
    return lambda: typiclust(features_N_D, labelled_1_D, count=0, generator=torch.Generator().manual_seed(0))


LABELLED = 1_000
"""Labelled inputs beside the pool for CoreSet."""
HU_BANK = 10_000
"""Labelled features of batch HU with the density ``knn``."""
STREAMED = ("1", "n", "n·log n", "n²")
SORTED = STREAMED[:-1]
"""A merge sort's. Caches make sorts that leave them seem steeper, which as n² would be magnified beyond reason."""
PICKED = ("1", "m", "m²", "n", "n·m", "n²")
BANKED = ("1", "n", "n·m", "n²")

PROBES = (
    Probe("read", (32_000, 64_000, 128_000), (1,), "", ("1", "n"), _read, streams=True, by_the_wall=True),
    Probe("forward", (500, 1_000, 2_000, 4_000), (1,), "", STREAMED, _forward, streams=True),
    Probe("gmm", (4_000, 8_000, 16_000, 32_000), (1,), "", STREAMED, _gaussians, streams=True),
    Probe("knn", (4_000, 8_000, 16_000), (10_000, 25_000, 50_000), "bank", BANKED, _neighbours, streams=True),
    Probe("sort", (1_000_000, 2_000_000, 4_000_000, 8_000_000), (1,), "", SORTED, _sort, on_host=True),
    Probe("coreset", (8_000, 16_000, 32_000), (10, 100, 1_000), "picks", PICKED, _picks("coreset")),
    Probe("badge", (16_000, 32_000, 64_000), (10, 30, 100), "picks", PICKED, _picks("badge")),
    Probe("typiclust", (8_000, 16_000, 32_000), (2, 8, 20), "rounds", BANKED[:-1], _clusters),
    Probe("one cluster", (1_000, 2_000, 4_000, 8_000), (1,), "", STREAMED, _one_cluster),
    Probe("batch HU gmm", (2_000, 4_000, 8_000), (2, 5, 15), "picks", PICKED, _picks("batch_hu")),
    Probe("batch HU knn", (4_000, 8_000, 16_000), (2, 10, 20), "picks", PICKED, _picks("batch_hu", HU_BANK)),
)


def folder() -> tempfile.TemporaryDirectory[str]:
    """Where files are read from, removed afterwards; TMPDIR says where."""
    return tempfile.TemporaryDirectory()
