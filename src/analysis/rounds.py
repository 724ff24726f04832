"""What finished and running experiments left on disk, read into arrays. Tables and figures live elsewhere.

Accuracies are fractions here, as on disk; only what a person reads is in percent.
"""

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from src.analysis.naming import METHODS, method_of
from src.utils.errors import UserError
from src.utils.records import Row, read_rows


@dataclass(frozen=True)
class Measure:
    """What a test set says of a method: in the rows of a run, in a column of the wide CSVs, and in one of a CSV of
    published results."""

    name: str
    metric: str
    column: str
    published: str
    percent: bool
    """Shown in percent, and published in percent; else a plain fraction everywhere."""

    @property
    def scale(self) -> int:
        """From a fraction to what people read."""
        return 100 if self.percent else 1

    @property
    def title(self) -> str:
        """Its name with its unit."""
        return f"{self.name} (%)" if self.percent else self.name


ACCURACY = Measure("test accuracy", "accuracy", "test_accuracy", "test_accuracy_mean", percent=True)
MIOU = Measure("test mIoU", "miou", "test_ious", "miou_mean", percent=True)
AUROC = Measure(
    "AUROC of uncertainty against pixel error", "auroc", "test_auroc", "auroc_mean", percent=False
)


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
        if not self.labels_R.size:
            return np.full(len(self.values_K_R), np.nan)
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
    records = record_files(experiment_dir)
    runs = {path.parent.name: _values_by_labels(read_rows(path.parent), metric, path) for path in records}
    if not any(runs.values()):
        raise UserError(f"{experiment_dir}: no finished rounds (run_<k>/rounds.jsonl) to draw")
    return list(runs), curve_of(list(runs.values()))


def curve_of(runs: Sequence[Mapping[int, float]]) -> Curve:
    """The curve of runs that each map labels to a value; label counts where all have NaN are left out."""
    labels = sorted({count for run in runs for count, value in run.items() if np.isfinite(value)})
    values_K_R = np.array([[run.get(count, np.nan) for count in labels] for run in runs], dtype=float)
    return Curve(np.array(labels, dtype=np.int64), values_K_R.reshape(len(runs), len(labels)))


def number(value: object) -> float:
    """A metric of a row; NaN for one that is not defined (null)."""
    return math.nan if value is None else float(cast(float, value))


def by_labels(rows: Iterable[Row]) -> dict[int, Row]:
    """A run's rows by their number of labels; of rounds that added none the last counts."""
    return {row["labelled"]: row for row in rows}


def density_entries(row: Row) -> list[Row]:
    """What the density of a round tells: an entry a class where each has its own, else one, empty without a density."""
    density = row.get("density") or {}
    return list(density.get("classes", [density]))


def read_dimension_searches(experiment_dir: Path) -> list[DimensionSearch]:
    """The searches of an experiment's rounds, run after run; none where its density head searches nothing.

    Of rounds that added no label the last counts. UserError where a search's record is incomplete.
    """
    found = []
    for path in record_files(experiment_dir):
        for labels, row in by_labels(read_rows(path.parent)).items():
            for entry in density_entries(row):
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


def record_files(experiment_dir: Path) -> list[Path]:
    """rounds.jsonl of every run, in the order of their numbers."""
    numbered = (
        path for path in experiment_dir.glob("run_*/rounds.jsonl") if path.parent.name[4:].isdecimal()
    )
    return sorted(numbered, key=lambda path: int(path.parent.name[4:]))


def _values_by_labels(rows: list[Row], metric: str, path: Path) -> dict[int, float]:
    try:
        return {row["labelled"]: float(row["test"][metric]) for row in rows}
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: its rows have no single number for the test metric {metric!r}") from error


def measures_of(path: Path) -> tuple[Measure, ...]:
    """What a wide CSV tells of the test set: mIoU and AUROC of a segmentation, accuracy of a classifier."""
    columns = _run_columns(_read_csv(path)[0], MIOU.column)
    return (MIOU, AUROC) if columns else (ACCURACY,)


def read_wide_csv(path: Path, column: str = ACCURACY.column) -> Curve:
    """`column` of every run in a wide CSV: index `samples`, `<column>_run<k>`, an empty cell where no round is.

    UserError if the file is missing, has other columns, or holds something that is no number.
    """
    return read_wide_csv_runs(path, column)[1]


def read_wide_csv_runs(path: Path, column: str = ACCURACY.column) -> tuple[list[int], Curve]:
    """As `read_wide_csv`, with the numbers of the runs."""
    header, *rows = _read_csv(path)
    runs = _run_columns(header, column)
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
    numbers = [int(header[place].rpartition("run")[2]) for place in runs]
    return numbers, Curve(np.array(labels), np.array(values_R_K).T)


def read_reference(
    path: Path, experiments: Iterable[str], measure: Measure = ACCURACY
) -> dict[str, dict[int, float]]:
    """Published means for these experiments, as fractions: experiment name → labels → mean.

    The CSV's columns are method, labels, ``measure.published`` and, if it has more than one dataset, dataset: a
    row belongs to the experiment ``<dataset>_<ending of METHODS>``; without a dataset to each with that ending.
    Methods outside METHODS and empty cells are left out. UserError where a column is missing or a cell no number.
    """
    header, *rows = _read_csv(path)
    wanted = {name: method_of(name) for name in experiments}
    endings = {method: ending for ending, method in METHODS.items()}
    reference: dict[str, dict[int, float]] = {}
    for number, cells in enumerate(rows, start=2):
        row = dict(zip(header, cells, strict=False))
        try:
            ending, mean, labels = endings.get(row["method"]), row[measure.published], int(row["labels"])
            value = float(mean) / measure.scale if mean else None
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{path}:{number}: expected method, labels, {measure.published}; {error} is amiss"
            ) from error
        if ending is None or value is None:
            continue
        for name, its_ending in wanted.items():
            if its_ending == ending and row.get("dataset") in (None, name.removesuffix(f"_{ending}")):
                reference.setdefault(name, {})[labels] = value
    return reference


def _run_columns(header: Sequence[str], column: str) -> list[int]:
    """Where `column` of each run is."""
    return [place for place, name in enumerate(header) if re.fullmatch(rf"{re.escape(column)}_run\d+", name)]


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
