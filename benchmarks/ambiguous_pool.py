"""What each method does where half of the pool is ambiguous and no label mends that: test accuracies of whole runs, and
how many of the inputs that were asked for are ambiguous. The methods are five of ``experiment_configs/cold_start``.

The ambiguous half of Dirty-MNIST (``src/data/dirty_mnist.py``) has to be fetched by hand, so that a stand-in is made in
its files' shape: 6,000 images, each the mean of two of MNIST's digits of different classes, with ten labels that a coin
drew from those two classes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from benchmarks._whole_runs import AUBC, COLD_START, HEADINGS, LABELS, add_options, curve_cells, run_all
from src.config import Config
from src.data.dirty_mnist import LABELS as LABELS_FILE
from src.data.dirty_mnist import SAMPLES as SAMPLES_FILE
from src.data.mnist import Mnist
from src.utils.errors import UserError
from src.utils.files import replacing
from src.utils.records import read_query
from src.utils.seeding import seed

METHODS = ("random", "softmax", "knn", "badge", "hidden_coverage")
BLENDS, LABELS_OF_EACH = 6_000, 10


def blend(images_N_1_28_28: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """samples_B_1_28_28 in 0 … 1, each the mean of two of these uint8 images whose classes differ, and labels_B_L, each
    one of those two classes, as often as not."""
    generator = torch.Generator().manual_seed(seed(0, 0, "blends of MNIST"))
    first_B = torch.randint(len(labels_N), (BLENDS,), generator=generator)
    second_B = torch.randint(len(labels_N), (BLENDS,), generator=generator)
    while (alike_B := labels_N[first_B] == labels_N[second_B]).any():
        second_B[alike_B] = torch.randint(len(labels_N), (int(alike_B.sum()),), generator=generator)
    samples_B_1_28_28 = (images_N_1_28_28[first_B].float() + images_N_1_28_28[second_B].float()) / (2 * 255)
    coin_B_L = torch.randint(2, (BLENDS, LABELS_OF_EACH), generator=generator)
    return samples_B_1_28_28, labels_N[torch.stack([first_B, second_B], dim=1)].gather(1, coin_B_L)


def main(arguments: Sequence[str]) -> None:
    """Make the pool, run what is missing of each method, and print its line.

    Raises UserError where MNIST is not to be had and where a run fails.
    """
    options = _parse(arguments)
    pool = options.out / "blended_mnist"
    _write_pool(pool, options.data)
    print(
        f"test accuracy in percent on MNIST's own test images, mean of {options.runs} runs; {AUBC};\n"
        f"ambiguous: of the {LABELS[-1] - LABELS[0]} inputs that were asked for, of whose pool they are a half\n\n"
        f"{'':<28}{HEADINGS}{'ambiguous':>12}"
    )
    ambiguous = {}
    for method in options.methods:
        config = COLD_START / f"cold_mnist_{method}.yaml"
        overrides = ("data.dataset=dirty_mnist", f"data.path={pool}")
        made = run_all(config, f"ambiguous_{method}", overrides, options)
        ambiguous[method] = fmean(_ambiguous(folder) for folder, _ in made)
        line = curve_cells([rows for _, rows in made], "test")
        print(f"{method.replace('_', ' '):<28}{line}{ambiguous[method]:>12.1%}", flush=True)
    shares = ", ".join(f"{method} {share:.1%}" for method, share in ambiguous.items())
    print(f"\nambiguous_pool: asked for ambiguous inputs: {shares}")


def _write_pool(pool: Path, data: Path) -> None:
    """The files of Dirty-MNIST with blends in place of its ambiguous images; MNIST's own are linked to."""
    mnist = Mnist(Config.model_validate({"name": "blends", "data": {"dataset": "mnist", "path": str(data)}}))
    found = mnist.find()
    if found is None:
        raise UserError(f"{mnist.availability()}; give --data the folder that holds it")
    (pool / "raw").mkdir(parents=True, exist_ok=True)
    for file in found.files.values():
        link = pool / "raw" / file.name
        link.unlink(missing_ok=True)
        link.symlink_to(file.resolve())
    for name, tensor in zip((SAMPLES_FILE, LABELS_FILE), blend(*mnist.read()[0]), strict=True):
        with replacing(pool / name) as beside:
            torch.save(tensor, beside)


def _ambiguous(folder: Path) -> float:
    """The share of a run's queries that are behind MNIST's own training images, where Dirty-MNIST has the ambiguous."""
    indices_Q = torch.cat([read_query(folder, round_)[0].indices_Q for round_ in range(len(LABELS) - 1)])
    return (indices_Q >= Mnist.info.train_size).double().mean().item()


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks ambiguous_pool",
        description="Whole runs on a pool that is half ambiguous: accuracies, and how many queries are ambiguous.",
        allow_abbrev=False,
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="which (all)")
    add_options(parser)
    return parser.parse_args(arguments)
