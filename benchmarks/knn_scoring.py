"""The nearest labelled features of a whole pool: our exact search on the CPU beside FAISS's and scikit-learn's.

Timed is what a round does anew: putting the labelled features into an index and asking it for the 5 nearest of every
pool feature. That is ``NeighbourIndex`` for us and ``IndexFlatL2`` (add, search) for FAISS. The ball tree is that of
``KNeighborsClassifier(algorithm="ball_tree", weights="distance")``, by which such heads are often written, asked for
neighbours once and for no vote. Slow contestants are asked for a part of the pool, and that time is scaled up. All
must find the same distances, or the benchmark fails. Two kinds of features are searched:

- noise of equal variance in all directions about the classes' centres, where there is nothing to exploit;
- hidden features of MNIST: this project trains an MLP with hidden layers (D, D) on 50,000 images, the labelled ones.
  The pool is the other 10,000, the test set, and copies of both moved by a pixel.
"""

import argparse
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from benchmarks.al_round import BESIDE, CORES, CPU, SEEDS
from src.active.pool import Pool
from src.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainingConfig
from src.data import DataBundle, Split, load_dataset
from src.models.build import build_model
from src.models.density import neighbours
from src.models.density.neighbours import NeighbourIndex
from src.models.prediction import feature_batches
from src.models.training import fit
from src.utils.errors import UserError

NEIGHBOURS = 5
BANKS = [10_000, 50_000]
POOL = 50_000
DIMS = [128, 512]
CLASSES = 10
CENTRE_DEVIATION = 0.5
EPOCHS = 5
TOLERANCE = 1e-3
MOVES = [(0, 1), (1, 0), (0, -1), (-1, 0)]

Ask = Callable[[Tensor], np.ndarray]
"""distances_N_K, ascending, of features_N_D in float32."""


@dataclass(frozen=True)
class Case:
    """One search: labelled features and the pool's, in float32, and the labels, which only a classifier wants."""

    name: str
    bank_M_D: Tensor
    labels_M: Tensor
    pool_N_D: Tensor


def ours(case: Case) -> Ask:
    index = NeighbourIndex(case.bank_M_D, "euclidean", NEIGHBOURS)
    return lambda features_N_D: index(features_N_D)[0].numpy()


def ours_without_bfloat16(case: Case) -> Ask:
    """Ours as on a processor that multiplies bfloat16 no faster than float32."""
    with mock.patch.object(neighbours, "bfloat16_pays", return_value=False):
        return ours(case)


def with_faiss(case: Case) -> Ask:
    faiss = import_module("faiss")
    index = faiss.IndexFlatL2(case.bank_M_D.shape[1])
    index.add(case.bank_M_D.numpy())
    return lambda features_N_D: np.sqrt(np.maximum(0, index.search(features_N_D.numpy(), NEIGHBOURS)[0]))


def with_torch(case: Case) -> Ask:
    """What one writes down first: a matrix product and top-k, a thousand queries at a time."""
    squares_M = case.bank_M_D.square().sum(dim=1)

    def ask(features_N_D: Tensor) -> np.ndarray:
        blocks = []
        for block_B_D in features_N_D.split(1000):
            scores_B_M = torch.addmm(squares_M, block_B_D, case.bank_M_D.T, alpha=-2)
            nearest_B_K = scores_B_M.topk(NEIGHBOURS, dim=1, largest=False).values
            blocks.append((nearest_B_K + block_B_D.square().sum(dim=1, keepdim=True)).clamp(min=0).sqrt())
        return torch.cat(blocks).numpy()

    return ask


def with_sklearn(algorithm: str) -> Callable[[Case], Ask]:
    def build(case: Case) -> Ask:
        classifier = KNeighborsClassifier(NEIGHBOURS, weights="distance", algorithm=algorithm)
        classifier.fit(case.bank_M_D.numpy(), case.labels_M.numpy())
        return lambda features_N_D: classifier.kneighbors(features_N_D.numpy())[0]

    return build


CONTESTANTS: dict[str, tuple[Callable[[Case], Ask], int, int]] = {
    "ours": (ours, 2, POOL),
    "FAISS": (with_faiss, 2, POOL),
    "ours, f32": (ours_without_bfloat16, 2, POOL),
    "torch": (with_torch, 1, 5_000),
    "brute": (with_sklearn("brute"), 1, 5_000),
    "ball tree": (with_sklearn("ball_tree"), 1, 200),
}
"""How each is built, its turns, of which the fastest counts, and the pool features that it is asked for at most."""


def main(arguments: Sequence[str]) -> None:
    """Time every contestant on every case, print a row a case and, last, the ratio over the cases of noise.

    Raises UserError where FAISS cannot be imported, a file of MNIST cannot be read or distances disagree.
    """
    options = _parse(arguments)
    _refuse_without_faiss()
    asked = ", ".join(
        f"{name} {queries:,}" for name, (_, _, queries) in CONTESTANTS.items() if queries < POOL
    )
    print(
        f"Seconds for the {NEIGHBOURS} nearest labelled features of {options.pool:,} pool features in float32, index "
        f"included;\nscaled up from fewer pool features for {asked}.\n"
        f"{CORES} CPU cores, {platform.machine()}, torch {torch.__version__}, faiss-cpu {version('faiss-cpu')}, "
        f"scikit-learn {version('scikit-learn')}, numpy {np.__version__}\n\n"
        f"{'features':<10}{'labelled':>10}{'D':>5}"
        + "".join(f"{name:>11}" for name in CONTESTANTS)
        + f"{'FAISS/ours':>13}{'tree/ours':>11}{'largest difference':>20}",
        flush=True,
    )
    totals: dict[str, dict[str, float]] = {}
    for case in _cases(options):
        seconds = time_case(case)
        total = totals.setdefault(case.name, dict.fromkeys(seconds, 0.0))
        for name, more in seconds.items():
            total[name] += more
    print()
    for kind, total in reversed(totals.items()):
        mine, theirs = total["ours"], total["FAISS"]
        print(
            f"{'knn_scoring' if kind == 'noise' else kind}: "
            f"ours {mine:.2f} s, FAISS {theirs:.2f} s, ratio {theirs / mine:.2f}"
        )


def time_case(case: Case) -> dict[str, float]:
    """Seconds by contestant, printed as a row of the table; UserError where distances differ from ours.

    The largest difference is given as a share of the mean distance.
    """
    seconds = dict.fromkeys(CONTESTANTS, float("inf"))
    distances: dict[str, np.ndarray] = {}
    for turn in range(max(turns for _, turns, _ in CONTESTANTS.values())):
        for name, (build, turns, most) in CONTESTANTS.items():
            if turn < turns:
                took, distances[name] = timed(build, case, min(most, len(case.pool_N_D)))
                seconds[name] = min(seconds[name], took)
    mine_N_K = distances["ours"]
    difference = max(np.abs(theirs - mine_N_K[: len(theirs)]).max() for theirs in distances.values())
    difference /= mine_N_K.mean()
    rows, dims = case.bank_M_D.shape
    print(
        f"{case.name:<10}{rows:>10,}{dims:>5}"
        + "".join(f"{each:>9.2f} s" for each in seconds.values())
        + f"{seconds['FAISS'] / seconds['ours']:>13.2f}{seconds['ball tree'] / seconds['ours']:>11.1f}"
        f"{difference:>20.1e}",
        flush=True,
    )
    if not difference <= TOLERANCE:
        raise UserError(f"distances differ by {difference:.1e} of their mean: a contestant is not exact")
    return seconds


def timed(build: Callable[[Case], Ask], case: Case, queries: int) -> tuple[float, np.ndarray]:
    """Seconds to build the index and, scaled up, to ask it for the whole pool; distances of the first ``queries``."""
    begin = time.perf_counter()
    ask = build(case)
    built = time.perf_counter()
    distances_N_K = ask(case.pool_N_D[:queries])
    asked = time.perf_counter() - built
    return built - begin + asked * len(case.pool_N_D) / queries, distances_N_K


def noise(rows: int, dims: int, pool: int) -> Case:
    """Unit variance in every direction about centres that are half as far apart, so that classes overlap."""
    generator = torch.Generator().manual_seed(0)
    centres_C_D = CENTRE_DEVIATION * torch.randn(CLASSES, dims, generator=generator)
    labels_N = torch.arange(rows + pool) % CLASSES
    features_N_D = torch.randn(rows + pool, dims, generator=generator) + centres_C_D[labels_N]
    return Case("noise", features_N_D[:rows], labels_N[:rows], features_N_D[rows:])


def mnist_features(data: DataBundle, config: Config, rows: int, pool: int) -> Case:
    """Hidden features of a network trained here, of ``rows`` images and of ``pool`` others at most."""
    held_out = Pool.start(len(data.train), None, config.data.val_size, rows, SEEDS)
    info = data.info
    model = build_model(config, (info.channels, info.rows, info.cols), info.nb_classes, SEEDS, CPU)
    labelled, validation = held_out.labelled_indices, held_out.val_indices
    fit(model, data.train, labelled, validation, config.training, config.optimizer, SEEDS)
    still_N_C_H_W = torch.cat([data.train.pixels(validation), data.test.pixels(data.test.indices)])
    moved = [still_N_C_H_W.roll(move, dims=(2, 3)) for move in MOVES]
    unseen_N_C_H_W = torch.cat([still_N_C_H_W, *moved])[:pool]
    unseen = Split(unseen_N_C_H_W, torch.zeros(len(unseen_N_C_H_W), dtype=torch.int64))
    bank_M_D, pool_N_D = (
        torch.cat([features_B_D for _, features_B_D in feature_batches(model, source, indices)])
        for source, indices in ((data.train, labelled), (unseen, unseen.indices))
    )
    return Case("MNIST", bank_M_D, data.train.labels(labelled), pool_N_D)


def mnist_config(data_path: Path, dims: int, epochs: int = EPOCHS) -> Config:
    """An MLP 784-D-D-10 with dropout 0.25, Adam at 1e-3."""
    return Config(
        name="knn_scoring",
        training=TrainingConfig(
            batch_size=128, epochs=epochs, scheduler=None, early_stopping=False, load_best_model=False
        ),
        data=DataConfig(dataset="mnist", path=str(data_path), val_size=1 / 6),
        model=ModelConfig(name="mlp", hidden_layers=(dims, dims), dropout_probabilities=(0.25,)),
        optimizer=OptimizerConfig(type="adam", lr=1e-3, weight_decay=0.0),
    )


def _cases(options: argparse.Namespace) -> Iterator[Case]:
    for dims in options.dims:
        for rows in options.bank:
            yield noise(rows, dims, options.pool)
    for dims in options.dims:
        config = mnist_config(options.data, dims)
        try:
            data = load_dataset(config, CPU)
        except UserError as error:
            print(f"the hidden features of MNIST are left out: {error}", flush=True)
            return
        yield mnist_features(data, config, max(options.bank), options.pool)


def _refuse_without_faiss() -> None:
    try:
        import_module("faiss")
    except ImportError as error:
        raise UserError(
            f"knn_scoring is held against FAISS, which cannot be imported here ({error}); "
            "python -m pip install --no-deps -r benchmarks/requirements.txt"
        ) from None


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks knn_scoring", allow_abbrev=False)
    default = BESIDE if BESIDE.is_dir() else Path("data")
    parser.add_argument("--data", type=Path, default=default, help="as data.path in a config (%(default)s)")
    parser.add_argument("--pool", type=int, default=POOL, help="pool features (%(default)s)")
    parser.add_argument("--bank", type=int, nargs="+", default=BANKS, help="labelled features (%(default)s)")
    parser.add_argument(
        "--dims", type=int, nargs="+", default=DIMS, help="features' dimensions (%(default)s)"
    )
    options = parser.parse_args(arguments)
    for name in ("pool", "bank", "dims"):
        if min(np.atleast_1d(getattr(options, name))) < NEIGHBOURS:
            parser.error(f"--{name}: at least {NEIGHBOURS}")
    return options
