"""One round of active learning on MNIST, ours and Baal's: train at 100 labels, validating every epoch, then score the
pool by softmax entropy. Both do the same work, from the same split and the same initial weights.

Baal (P. Atighehchian, F. Branchaud-Charron, A. Lacoste, 2020, "Bayesian active learning for production") is used the
way its documentation shows: ``ModelWrapper`` over torchvision's dataset, as many DataLoader workers as cores.
"""

import argparse
import io
import os
import platform
import struct
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from src.active.heuristics import HEURISTICS
from src.active.pool import HELD_OUT, Pool
from src.active.scoring import PoolView, score_pool
from src.config import Config, DataConfig, ModelConfig, OptimizerConfig, TrainingConfig
from src.data import DataBundle, Source, load_dataset
from src.layers.stacked import StackedLinear
from src.models.build import build_model
from src.models.network import Network
from src.models.prediction import predict
from src.models.training import fit
from src.utils.errors import UserError
from src.utils.seeding import RoundSeeds, make_deterministic
from src.utils.timing import PhaseTimer

BESIDE = Path(__file__).parents[2] / "shared" / "data" / "mnist"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
EPOCHS = 60
SEEDS = RoundSeeds(3, 0)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Turn:
    """One contestant's round: wall-clock seconds of the two phases, and the accuracy on all test inputs after it."""

    who: str
    train: float
    score: float
    accuracy: float

    @property
    def seconds(self) -> float:
        """Both phases together; measuring the accuracy is not part of them."""
        return self.train + self.score


def main(arguments: Sequence[str]) -> None:
    """Take turns (ours, Baal, ours), print the table and, last, the ratio; ours is the mean of its two turns.

    Raises UserError where Baal cannot be imported or MNIST cannot be read.
    """
    options = _parse(arguments)
    _refuse_without_baal()
    config = round_config(options.data, options.epochs)
    data = load_dataset(config, CPU)
    pool = Pool.start(
        len(data.train), data.train.labels(data.train.indices), config.data.val_size, 100, SEEDS
    )
    shortened = "" if options.epochs == EPOCHS else f" (shortened from {EPOCHS})"
    print(
        f"{options.epochs} epochs{shortened} at {len(pool.labelled_indices)} labels, each with "
        f"{len(pool.val_indices):,} validation images; then {len(pool.pool_indices):,} pool images scored.\n"
        f"{CORES} CPU cores, {platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}\n\n"
        f"{'':<12}{'train + validate':>18}{'score':>10}{'total':>10}{'test accuracy':>16}",
        flush=True,
    )
    turns = []
    for contestant in (ours, peer, ours):
        turns.append(turn := contestant(config, data, pool))
        print(
            f"{turn.who:<12}{turn.train:>16.2f} s{turn.score:>8.2f} s{turn.seconds:>8.2f} s{turn.accuracy:>16.4f}",
            flush=True,
        )
    first, baal, second = (turn.seconds for turn in turns)
    mean = (first + second) / 2
    print(f"\nal_round: ours {mean:.2f} s, Baal {baal:.2f} s, ratio {baal / mean:.1f}")


def round_config(data_path: Path, epochs: int = EPOCHS) -> Config:
    """The round as a config: an MLP 784-128-128-10 with dropout 0.25, Adam at 1e-3, no schedule, no early stopping."""
    return Config(
        name="al_round",
        training=TrainingConfig(
            heuristic="entropy",
            batch_size=64,
            epochs=epochs,
            scheduler=None,
            early_stopping=False,
            load_best_model=False,
        ),
        data=DataConfig(dataset="mnist", path=str(data_path), val_size=0.2),
        model=ModelConfig(name="mlp", hidden_layers=(128, 128), dropout_probabilities=(0.25,)),
        optimizer=OptimizerConfig(type="adam", lr=1e-3, weight_decay=0.0),
    )


def ours(config: Config, data: DataBundle, pool: Pool) -> Turn:
    """This project's round, deterministic as the command line makes it."""
    make_deterministic()
    model, timer = _initial_model(config, data), PhaseTimer(CPU)
    with timer.phase("train"):
        labelled, held_out = pool.labelled_indices, pool.val_indices
        fit(model, data.train, labelled, held_out, config.training, config.optimizer, SEEDS)
    with timer.phase("score"):
        classes = data.info.nb_classes
        view = PoolView(model, None, data.train, labelled, pool.pool_indices, classes, 1, SEEDS)
        score_pool(HEURISTICS.get("entropy"), view)
    predicted_N = predict(model, data.test, data.test.indices).argmax(1)
    return Turn("ours", **timer.take(), accuracy=_accuracy(predicted_N, data.test))


def peer(config: Config, data: DataBundle, pool: Pool) -> Turn:
    """Baal's round: a fresh DataLoader an epoch and a pass, each image decoded and converted by the workers."""
    from baal.active import ActiveLearningDataset
    from baal.active.heuristics import Entropy
    from baal.modelwrapper import ModelWrapper, TrainingArgs
    from torch.utils.data import Subset
    from torchvision.datasets import MNIST
    from torchvision.transforms import ToTensor

    torch.use_deterministic_algorithms(False)  # Baal does not ask for it, so it shall not pay for it
    torch.manual_seed(SEEDS.run_seed)
    network = as_sequential(_initial_model(config, data), config.model.dropout_probabilities[0])
    wrapper = ModelWrapper(
        network,
        TrainingArgs(
            optimizer=torch.optim.Adam(network.parameters(), lr=config.optimizer.lr),
            batch_size=config.training.batch_size,
            epoch=1,  # by call of train_on_dataset
            use_cuda=False,
            workers=CORES,
            criterion=nn.CrossEntropyLoss(),
        ),
    )
    with tempfile.TemporaryDirectory() as folder:
        write_idx_files(data, Path(folder))
        train = MNIST(folder, train=True, transform=ToTensor())
        test = MNIST(folder, train=False, transform=ToTensor())
    validation = Subset(train, pool.val_indices.tolist())
    candidates = (pool.labelled_in_round_N != HELD_OUT).nonzero().flatten()
    labelled = (pool.labelled_in_round_N[candidates] >= 0).numpy()
    active = ActiveLearningDataset(Subset(train, candidates.tolist()), labelled=labelled)

    timer = PhaseTimer(CPU)
    with redirect_stdout(io.StringIO()):  # Baal logs every call there
        with timer.phase("train"):
            for _ in range(config.training.epochs):
                wrapper.train_on_dataset(active)
                wrapper.test_on_dataset(validation)
        with timer.phase("score"):
            logits_N_C_1 = wrapper.predict_on_dataset(active.pool, iterations=1, verbose=False)
            Entropy().get_uncertainties(logits_N_C_1)
        test_logits_N_C_1 = wrapper.predict_on_dataset(test, iterations=1, verbose=False)
    predicted_N = torch.from_numpy(test_logits_N_C_1[..., 0].argmax(1))
    return Turn(f"Baal {version('baal')}", **timer.take(), accuracy=_accuracy(predicted_N, data.test))


def as_sequential(model: Network, dropout: float) -> nn.Sequential:
    """The same MLP from torch's own layers, with a copy of the one member's weights."""
    layers: list[nn.Module] = [nn.Flatten()]
    stacked = [module for module in model.modules() if isinstance(module, StackedLinear)]
    for position, source in enumerate(stacked):
        _, outputs, inputs = source.weight_M_O_I.shape
        linear = nn.Linear(inputs, outputs)
        linear.load_state_dict({"weight": source.weight_M_O_I[0], "bias": source.bias_M_O[0]})
        layers.append(linear)
        if position < len(stacked) - 1:
            layers.append(nn.ReLU())
        if 0 < position < len(stacked) - 1:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers)


def write_idx_files(data: DataBundle, folder: Path) -> None:
    """The dataset as the four raw idx files where torchvision's MNIST looks for them."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, split in (("train", data.train), ("t10k", data.test)):
        images_N_H_W, labels_N = split.pixels(split.indices)[:, 0], split.labels(split.indices).byte()
        for kind, values in (("images-idx3", images_N_H_W), ("labels-idx1", labels_N)):
            header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            (raw / f"{part}-{kind}-ubyte").write_bytes(header + values.numpy().tobytes())


def _initial_model(config: Config, data: DataBundle) -> Network:
    info = data.info
    return build_model(config, (info.channels, info.rows, info.cols), info.nb_classes, SEEDS, CPU)


def _accuracy(predicted_N: Tensor, test: Source) -> float:
    return float((predicted_N == test.labels(test.indices)).float().mean())


def _refuse_without_baal() -> None:
    try:
        import baal.modelwrapper  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"al_round is held against Baal, which cannot be imported here ({error}); "
            "python -m pip install --no-deps -r benchmarks/requirements.txt"
        ) from None


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks al_round", allow_abbrev=False)
    default = BESIDE if BESIDE.is_dir() else Path("data")
    parser.add_argument("--data", type=Path, default=default, help="as data.path in a config (%(default)s)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="fewer for a quick look (%(default)s)")
    options = parser.parse_args(arguments)
    if options.epochs < 1:
        parser.error(f"--epochs {options.epochs}: at least 1")
    return options
