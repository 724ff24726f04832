"""What finished and running experiments left on disk, read into arrays. Tables and figures live elsewhere.

Accuracies are fractions here, as on disk; only what a person reads is in percent.
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from src.utils.errors import UserError
from src.utils.records import Row, read_rows

# The ending of an experiment's name after `<dataset>_`, and what the method is called: in the thesis, or its paper.
METHODS = {
    "random": "Random",
    "softmax": "Softmax entropy",
    "mcd": "MC-dropout entropy",
    "de": "Ensemble (3) entropy",
    "hu": "HU",
    "hu_greedy_l2": "HU greedy L2",
    "knn": "HU-KDE",
    "bald": "BALD",
    "batchbald": "BatchBALD",
    "batch_hu": "Batch-aware HU",
    "batch_hu_kde": "Batch-aware HU-KDE",
}


@dataclass(frozen=True)
class Curve:
    """A metric against the number of labels, for K runs; NaN where a run has no such round (yet)."""

    labels_R: NDArray[np.int64]
    values_K_R: NDArray[np.float64]

    @property
    def mean_R(self) -> NDArray[np.float64]:
        """Mean over the runs that have the round."""
        return np.nansum(self.values_K_R, axis=0) / self._runs_R

    @property
    def std_R(self) -> NDArray[np.float64]:
        """Sample standard deviation (n − 1) over the runs that have the round; NaN where only one has."""
        squares_R = np.nansum((self.values_K_R - self.mean_R) ** 2, axis=0)
        return np.sqrt(squares_R / np.where(self._runs_R > 1, self._runs_R - 1, np.nan))

    def labels_to_reach(self, value: float) -> NDArray[np.float64]:
        """labels_K of each run's first round whose metric is at least ``value``; NaN where none is."""
        reached_K_R = self.values_K_R >= value
        return np.where(reached_K_R.any(axis=1), self.labels_R[reached_K_R.argmax(axis=1)], np.nan)

    @property
    def _runs_R(self) -> NDArray[np.int64]:
        return np.isfinite(self.values_K_R).sum(axis=0)


@dataclass(frozen=True)
class DimensionSearch:
    """One greedy search for the density's dimension: of a round, or of one class (`label`) in a round.

    `train_log_likelihood` and `val_log_likelihood` are means in nats of a sample under its own class.
    """

    run: str
    labels: int
    label: int | None
    chosen: int
    dimensions: list[int]
    discrepancy: list[float]
    train_log_likelihood: list[float]
    val_log_likelihood: list[float]


def read_experiment(experiment_dir: Path, metric: str) -> tuple[list[str], Curve]:
    """An experiment's runs, by name, and their test `metric`. UserError where no run has finished a round."""
    records = _records(experiment_dir)
    runs = {path.parent.name: _by_labels(read_rows(path.parent), metric, path) for path in records}
    labels = sorted({count for run in runs.values() for count in run})
    if not labels:
        raise UserError(f"{experiment_dir}: no finished rounds (run_<k>/rounds.jsonl) to draw")
    values_K_R = np.array([[run.get(count, np.nan) for count in labels] for run in runs.values()])
    return list(runs), Curve(np.array(labels), values_K_R)


def read_dimension_searches(experiment_dir: Path) -> list[DimensionSearch]:
    """The searches of an experiment's rounds, run after run; none where its density head searches nothing.

    Of rounds that added no label the last counts. UserError where a search's record is incomplete.
    """
    found = []
    for path in _records(experiment_dir):
        densities = {row["labelled"]: row.get("density") or {} for row in read_rows(path.parent)}
        for labels, density in densities.items():
            for entry in density.get("classes", [density]):
                if entry.get("discrepancy") is not None:
                    found.append(_search(entry, path, labels))
    return found


def _search(entry: Row, path: Path, labels: int) -> DimensionSearch:
    curves = ("dimensions", "discrepancy", "train_log_likelihood", "val_log_likelihood")
    try:
        lists = {name: list(entry[name]) for name in curves}
        search = DimensionSearch(path.parent.name, labels, entry.get("label"), entry["dimension"], **lists)
        if len({len(values) for values in lists.values()}) > 1 or search.chosen not in search.dimensions:
            raise ValueError("its lists disagree")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: the dimension search at {labels} labels is incomplete ({error}); restore it or use --overwrite"
        ) from error
    return search


def _records(experiment_dir: Path) -> list[Path]:
    """rounds.jsonl of every run, in the order of their numbers."""
    numbered = (
        path for path in experiment_dir.glob("run_*/rounds.jsonl") if path.parent.name[4:].isdecimal()
    )
    return sorted(numbered, key=lambda path: int(path.parent.name[4:]))


def _by_labels(rows: list[Row], metric: str, path: Path) -> dict[int, float]:
    try:
        return {row["labelled"]: float(row["test"][metric]) for row in rows}
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: its rows have no single number for the test metric {metric!r}") from error


def read_wide_csv(path: Path, column: str = "test_accuracy") -> Curve:
    """`column` of every run in a wide CSV: index `samples`, `<column>_run<k>`, an empty cell where no round is.

    UserError if the file is missing, has other columns, or holds something that is no number.
    """
    header, *rows = _read_csv(path)
    runs = [place for place, name in enumerate(header) if re.fullmatch(rf"{re.escape(column)}_run\d+", name)]
    if header[0] != "samples" or not runs:
        raise UserError(f"{path}: expected the columns samples, {column}_run1, …; it has {', '.join(header)}")
    labels, values_R_K = [], []
    for number, row in enumerate(rows, start=2):
        try:
            values = [float(row[place] or "nan") for place in runs]
            count = int(row[0])
        except (ValueError, IndexError) as error:
            raise UserError(f"{path}:{number}: a cell is missing or no number ({error})") from error
        if np.isfinite(values).any():
            labels.append(count)
            values_R_K.append(values)
    if not labels:
        raise UserError(f"{path}: no round has a {column}")
    return Curve(np.array(labels), np.array(values_R_K).T)


def read_reference(path: Path) -> dict[str, dict[int, float]]:
    """Published mean test accuracies (percent on disk, fractions here): experiment name → labels → accuracy.

    The CSV's columns are dataset, method, labels, test_accuracy_mean; methods outside METHODS are left out.
    """
    header, *rows = _read_csv(path)
    endings = {method: ending for ending, method in METHODS.items()}
    reference: dict[str, dict[int, float]] = {}
    for number, cells in enumerate(rows, start=2):
        row = dict(zip(header, cells, strict=False))
        try:
            if row["method"] in endings:
                name = f"{row['dataset']}_{endings[row['method']]}"
                accuracy = float(row["test_accuracy_mean"]) / 100
                reference.setdefault(name, {})[int(row["labels"])] = accuracy
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{path}:{number}: expected dataset, method, labels, test_accuracy_mean; {error} is amiss"
            ) from error
    return reference


def _read_csv(path: Path) -> list[list[str]]:
    """Header and rows of a CSV, blank lines left out."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    if not rows:
        raise UserError(f"{path}: the file is empty")
    return rows
