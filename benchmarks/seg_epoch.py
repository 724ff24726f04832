"""One training epoch and one validation pass over full-size street scenes, from this project's cache of decoded scenes
and from PNG files with the obvious pipeline. Both feed the same small network, resize alike and crop alike.

The peer is what most training scripts of the field do: PIL decodes a 2048×1024 image and its label, resizes
and crops them, in two worker processes of torch's DataLoader.
"""

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from src.config import Config, DataConfig, TrainingConfig
from src.data import Source, load_dataset
from src.data.cityscapes import IDS, IMAGE
from src.data.cityscapes_labels import CLASS_NAMES, ID_OF_TRAIN_ID, TRAIN_ID_OF_ID
from src.data.label_images import VOID, id_table
from src.data.scene_augment import SceneAugmentation
from src.data.scenes import SceneSplit
from src.data.street_camera import photograph
from src.data.street_scenes import KINDS, draw_street
from src.utils.errors import UserError

FULL = (1024, 2048)
RESIZED = (256, 512)
CROP = 224
BATCH = 8
WORKERS = 2
SCENES = {"train": 24, "val": 8}
MEAN, STD = (0.29, 0.33, 0.29), (0.18, 0.18, 0.18)
TOLERANCE = 1e-5

Batches = Iterable[tuple[Tensor, Tensor]]
"""inputs_B_C_H_W and masks_B_H_W."""


@dataclass(frozen=True)
class Epoch:
    """Wall-clock seconds of training and validation: waiting for batches (``data``), and all of it."""

    who: str
    data: float
    total: float
    val_loss: float
    decoded: int
    """Image files that this process opened meanwhile."""


class OpenedImages:
    """Counts what Python opens with a name that ends in .png, in all threads of this process, as long as it lives."""

    def __init__(self) -> None:
        self.count = 0
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str | Path) and str(arguments[0]).endswith(".png"):
            self.count += 1


def main(arguments: Sequence[str]) -> None:
    """Write the scenes, fill the cache, then two epochs each; print the table and, last, the ratio of data times, by
    the faster epoch of each. UserError where the contestants validate on different pixels."""
    options = _parse(arguments)
    opened = OpenedImages()
    print(
        f"{options.train} scenes to train on and {options.val} to validate on, {FULL[1]}×{FULL[0]} PNG files resized "
        f"to {RESIZED[1]}×{RESIZED[0]}, crops of {CROP}, batches of {BATCH}\n{torch.get_num_threads()} threads, "
        f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}\n",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_scenes(root, {"train": options.train, "val": options.val})
        start = time.perf_counter()
        before = opened.count
        data = load_dataset(config(root), "cpu")
        filled = time.perf_counter() - start
        print(
            f"filling the cache, once and for all: {filled:.2f} s, {opened.count - before} image files opened\n\n"
            f"{'':<22}{'data':>10}{'total':>12}{'validation loss':>18}{'images opened':>16}",
            flush=True,
        )
        refuse_disagreement(cached_batches(data.test), loader_batches(root, "val"))
        epochs: dict[str, list[Epoch]] = {"ours": [], "DataLoader": []}
        training: Batches
        held_out: Batches
        for who, runs in epochs.items():
            torch.use_deterministic_algorithms(
                who == "ours"
            )  # as the command line asks for; most scripts do not
            network = small_network()
            for number in (1, 2):
                generator = torch.Generator().manual_seed(number)
                if who == "ours":
                    training, held_out = cached_batches(data.train, generator), cached_batches(data.test)
                else:
                    training = loader_batches(root, "train", generator)
                    held_out = loader_batches(root, "val")
                runs.append(epoch(f"{who}, epoch {number}", network, training, held_out, opened))
                _print_row(runs[-1])
    ours, theirs = (min(run.data for run in runs) for runs in epochs.values())
    totals = (min(run.total for run in runs) for runs in epochs.values())
    print(
        f"\nDataLoader's {WORKERS} workers open its images, which are not counted here; its data time is what the "
        "network waited for them.\n"
        "Totals of the faster epochs: ours {:.2f} s, DataLoader {:.2f} s. The last line is for the data alone.\n\n"
        "seg_epoch: ours {:.3f} s, DataLoader {:.3f} s, ratio {:.1f}".format(
            *totals, ours, theirs, theirs / ours
        )
    )


def write_scenes(root: Path, scenes: dict[str, int]) -> None:
    """Generated streets in the folders of Cityscapes, with its label ids; every frame of a street of its own."""
    from PIL import Image

    ids_256 = id_table(ID_OF_TRAIN_ID)
    rng = np.random.default_rng(0)
    for part, count in scenes.items():
        for number in range(count):
            image_3_H_W, mask_H_W = photograph(draw_street(KINDS, rng), 0, FULL, rng)
            for (kind, end), pixels in (
                (("leftImg8bit", IMAGE), image_3_H_W.transpose(1, 2, 0)),
                (("gtFine", IDS), ids_256[mask_H_W]),
            ):
                path = root / kind / part / "street" / f"street_{number:06d}{end}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.ascontiguousarray(pixels)).save(path)


def config(root: Path) -> Config:
    """These scenes as the dataset of an experiment."""
    return Config(
        name="seg_epoch",
        training=TrainingConfig(crop_size=CROP, verbose=False),
        data=DataConfig(
            dataset="cityscapes",
            path=str(root),
            resize=True,
            img_rows=RESIZED[0],
            img_cols=RESIZED[1],
            augmentation=True,
            rgb_normalization=True,
            mean=MEAN,
            std=STD,
        ),
    )


def cached_batches(
    source: Source, generator: torch.Generator | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """A split's scenes as ``fit`` takes them: shuffled and augmented with a generator, whole and in order without."""
    assert isinstance(source, SceneSplit)
    order_N = source.indices if generator is None else torch.randperm(len(source), generator=generator)
    augment = SceneAugmentation(source, CROP)
    for indices_B in order_N.split(BATCH):
        batch = source.inputs(indices_B), source.labels(indices_B)
        yield batch if generator is None else augment(*batch, [generator])


class PngScenes(Dataset[tuple[Tensor, Tensor]]):
    """One part of the scenes, decoded whenever asked for, cropped and mirrored where ``augment`` says so."""

    def __init__(self, root: Path, part: str, augment: bool) -> None:
        self.images = sorted((root / "leftImg8bit" / part).glob(f"*/*{IMAGE}"))
        self.labels = sorted((root / "gtFine" / part).glob(f"*/*{IDS}"))
        self.augment = augment
        self.table_256 = id_table(TRAIN_ID_OF_ID)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        from PIL import Image
        from torchvision.transforms import RandomCrop
        from torchvision.transforms import functional as transforms

        size = RESIZED[::-1]
        image = Image.open(self.images[index]).convert("RGB").resize(size, Image.Resampling.BILINEAR)
        label = Image.open(self.labels[index]).resize(size, Image.Resampling.NEAREST)
        if self.augment:
            window = RandomCrop.get_params(image, (CROP, CROP))
            image, label = transforms.crop(image, *window), transforms.crop(label, *window)
            if torch.rand(()) < 0.5:
                image, label = transforms.hflip(image), transforms.hflip(label)
        inputs_C_H_W = transforms.normalize(transforms.to_tensor(image), MEAN, STD)
        return inputs_C_H_W, torch.from_numpy(self.table_256[np.asarray(label)]).long()


def loader_batches(root: Path, part: str, generator: torch.Generator | None = None) -> Batches:
    """The same scenes from PNG files: shuffled and augmented with a generator, whole and in order without."""
    scenes = PngScenes(root, part, augment=generator is not None)
    return DataLoader(scenes, BATCH, shuffle=generator is not None, num_workers=WORKERS, generator=generator)


def small_network() -> nn.Module:
    """The same weights each time; class scores at 1/4 of the size, which ``epoch`` reads the labels at."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=4, padding=2), nn.ReLU(), nn.Conv2d(16, len(CLASS_NAMES), 3, padding=1)
    )


def epoch(who: str, network: nn.Module, training: Batches, held_out: Batches, opened: OpenedImages) -> Epoch:
    """Train on all of ``training``, then take the mean loss over ``held_out``; what is waited for is timed apart."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    start, before, waited = time.perf_counter(), opened.count, 0.0

    def timed(batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal waited
        asked = time.perf_counter()
        for batch in batches:  # the first wait includes the start of the workers
            waited += time.perf_counter() - asked
            yield batch
            asked = time.perf_counter()
        waited += time.perf_counter() - asked

    def loss(inputs_B_C_H_W: Tensor, masks_B_H_W: Tensor) -> Tensor:
        logits_B_C_h_w = network(inputs_B_C_H_W)
        return nn.functional.cross_entropy(logits_B_C_h_w, masks_B_H_W[:, ::4, ::4], ignore_index=VOID)

    for batch in timed(training):
        optimizer.zero_grad()
        loss(*batch).backward()
        optimizer.step()
    with torch.no_grad():
        losses = [loss(*batch).item() for batch in timed(held_out)]
    total = time.perf_counter() - start
    return Epoch(who, waited, total, sum(losses) / len(losses), opened.count - before)


def refuse_disagreement(mine: Batches, theirs: Batches) -> None:
    """UserError where two streams differ: inputs by more than TOLERANCE anywhere, or masks at all."""
    for (inputs, masks), (other_inputs, other_masks) in zip(mine, theirs, strict=True):
        worst = (inputs - other_inputs).abs().max().item()
        if not worst <= TOLERANCE or not torch.equal(masks, other_masks):
            raise UserError(
                f"the contestants validate on different pixels: inputs by {worst:.1e} (at most {TOLERANCE}), "
                f"{int((masks != other_masks).sum())} labels"
            )


def _print_row(run: Epoch) -> None:
    print(
        f"{run.who:<22}{run.data:>8.3f} s{run.total:>10.3f} s{run.val_loss:>18.4f}{run.decoded:>16}",
        flush=True,
    )


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks seg_epoch", allow_abbrev=False)
    for part, count in SCENES.items():
        parser.add_argument(f"--{part}", type=int, default=count, help="scenes to generate (%(default)s)")
    options = parser.parse_args(arguments)
    if min(options.train, options.val) < 1:
        parser.error("--train and --val: at least 1 scene each")
    return options
