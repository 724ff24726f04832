"""A person who knows the classes of a small dataset, and the experiments that ask for them."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.experiments import Outcome, run_cli

CLASSES = ("ant", "bee", "cow")
COUNT = 12
"""Images of each class to train on; a third as many to test on."""


def image(path: Path, label: int, at: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([label, at]).integers(0, 100, (4, 4, 3)) + 70 * label
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def sorted_into_classes(root: Path) -> Path:
    for label, name in enumerate(CLASSES):
        for at in range(COUNT):
            image(root / "train" / name / f"{name}_{at:02}.png", label, at)
        for at in range(COUNT // 3):
            image(root / "test" / name / f"{name}_{at:02}.png", label, COUNT + at)
    return root


def without_classes(root: Path, test_too: bool = False) -> Path:
    """The same images in the same order, those to train on in one folder; their names tell the test their class."""
    sorted_into_classes(root)
    for part in ("train", "test") if test_too else ("train",):
        (root / part / "unlabelled").mkdir()
        for name in CLASSES:
            for path in (root / part / name).iterdir():
                path.rename(root / part / "unlabelled" / path.name)
    return root


class Experiment(NamedTuple):
    """One experiment with the images in ``images``, on disk."""

    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def outputs(self) -> Path:
        return self.folder / "outputs"

    @property
    def to_label(self) -> Path:
        return self.outputs / "own" / "run_1" / "to_label.csv"

    @property
    def labels(self) -> Path:
        return self.images / "labels.csv"

    def arguments(self, *more: str) -> list[str]:
        return [
            "--config_path",
            str(self.folder / "own.yaml"),
            "--output_dir",
            str(self.outputs),
            "--device",
            "cpu",
            *more,
        ]

    def run(self, *more: str) -> Outcome:
        return run_cli(*self.arguments(*more))

    def asked(self) -> list[dict[str, str]]:
        with self.to_label.open(newline="") as file:
            return list(csv.DictReader(file))

    def kept(self) -> list[dict[str, str]]:
        """The history of all labels that were given."""
        with self.labels.open(newline="") as file:
            return list(csv.DictReader(file))

    def write(self, rows: list[dict[str, str]]) -> None:
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with self.to_label.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    def answer(self, tell: Callable[[str], str] = lambda name: name) -> int:
        """Fill in the true labels, as ``tell`` writes them; how many there were."""
        rows = self.asked()
        self.write([{**row, "label": tell(true_class(row["path"]))} for row in rows])
        return len(rows)

    def finish(self) -> list[int]:
        """Run and answer until it is finished; how many labels each stop asked for."""
        stops: list[int] = []
        while True:
            outcome = self.run()
            assert outcome.status == 0, outcome.err
            if not self.to_label.exists():
                return stops
            stops.append(self.answer())


def true_class(path: str) -> str:
    return Path(path).name.split("_")[0]


def experiment(folder: Path, oracle: str, heuristic: str = "entropy", runs: int = 1) -> Experiment:
    folder.mkdir(exist_ok=True)
    (folder / "own.yaml").write_text(
        f"name: own\nruns: {runs}\n"
        f"training: {{heuristic: {heuristic}, iterations: 3, ndata_to_label: [4, 6], initially_labelled: 6, epochs: 2, "
        "initially_balanced: false, verbose: false}\n"
        f"data: {{dataset: image_folder, path: {folder / 'images'}, oracle: {oracle}, val_size: 0.25}}\n"
        "model: {name: MLP, hidden_layers: [8, 8]}\n"
    )
    return Experiment(folder)


def without_data(found: dict[str, object]) -> dict[str, object]:
    """Results but for the fingerprint of the dataset, which knows the paths."""
    for run in found.values():
        if isinstance(run, dict):
            run["state"].pop("data")
    return found
