"""The experiments that are compared, with all that their runs left, lined up so that runs of one seed are pairs.

Records (``<name>/run_<k>``) are read where there are any, and the wide CSV alone where there are none. Nothing is
computed here, and nothing written.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml
from numpy.typing import NDArray

from src.analysis.curves import method_names
from src.analysis.naming import name_of_method
from src.analysis.rounds import (
    ACCURACY,
    AUROC,
    MIOU,
    Curve,
    DimensionSearch,
    Measure,
    curve_of,
    measures_of,
    read_dimension_searches,
    read_wide_csv_runs,
    record_files,
)
from src.utils.errors import UserError
from src.utils.records import Row, read_rows


@dataclass(frozen=True)
class Run:
    """One run: its rows, and the dataset indices that each round asked for, by round (None: no such file)."""

    number: int
    seed: int | None
    rows: list[Row]
    queries: dict[int, NDArray[np.int64]] | None


@dataclass(frozen=True, eq=False)
class Method:
    """One experiment. Run by run, ``numbers`` and ``seeds`` (None: not known) go with the rows of its curves."""

    experiment: str
    name: str
    numbers: list[int]
    seeds: list[int] | None
    curves: dict[Measure, Curve]
    runs: list[Run] = field(default_factory=list)
    """Empty where there is only a CSV."""
    searches: list[DimensionSearch] = field(default_factory=list)
    device: str | None = None
    planned: tuple[int, int] | None = None
    """Runs, and rounds of each, where they are known."""

    @property
    def unfinished(self) -> str:
        """What its config asks for beyond what there is, for people; "" where that is nothing, or not known."""
        if self.planned is None:
            return ""
        runs, rounds = self.planned
        missing = [f"{len(self.numbers)} of {runs} runs"] * (len(self.numbers) < runs)
        for run in self.runs:
            # Rounds also end when nothing is left to label.
            if len(run.rows) < rounds and run.rows[-1].get("pool", 0) > 0:
                missing.append(f"{len(run.rows)} of {rounds} rounds in run {run.number}")
        return ", ".join(missing)

    @property
    def source(self) -> str:
        """Where its numbers come from, for people."""
        return "records" if self.runs else "CSV alone"


@dataclass(frozen=True)
class Study:
    """Methods in the order in which they are shown, all of one dataset and one kind of task."""

    methods: list[Method]
    measures: tuple[Measure, ...]

    @property
    def measure(self) -> Measure:
        """The one that methods are compared by."""
        return self.measures[0]

    @cached_property
    def paired_by_seed(self) -> bool:
        """Else by run number: some method's seeds are not known."""
        return all(method.seeds is not None for method in self.methods)

    def pairs_of(self, method: Method) -> list[int]:
        """What each run of the method is paired by."""
        return method.seeds if self.paired_by_seed and method.seeds is not None else method.numbers

    @property
    def recorded(self) -> list[Method]:
        """The methods with more than a CSV."""
        return [method for method in self.methods if method.runs]

    def common_labels(self) -> list[int]:
        """Label counts that every method has a value for."""
        return sorted(
            set.intersection(
                *({int(count) for count in method.curves[self.measure].labels_R} for method in self.methods)
            )
        )

    def budgets(self) -> list[int]:
        """The label counts that tables stop at: a third and two thirds through the common rounds, and the last.

        None of them is the first, which has only the initial labels, so that no method has chosen anything yet.
        """
        chosen = self.common_labels()[1:]
        places = {math.ceil(len(chosen) * third / 3) - 1 for third in (1, 2, 3)}
        return [chosen[place] for place in sorted(places) if place >= 0]

    def differences(self, one: Method, other: Method, count: int) -> NDArray[np.float64]:
        """``one`` − ``other`` in the study's measure at that many labels, of the runs that are pairs and have it."""
        mine, theirs = (self._values_at(method, count) for method in (one, other))
        return np.array([mine[pair] - theirs[pair] for pair in sorted(mine.keys() & theirs.keys())])

    def _values_at(self, method: Method, count: int) -> dict[int, float]:
        curve = method.curves[self.measure]
        at = np.flatnonzero(curve.labels_R == count)
        values = curve.values_K_R[:, at[0]] if at.size else np.full(len(curve.values_K_R), np.nan)
        pairs = zip(self.pairs_of(method), values.tolist(), strict=True)
        return {pair: value for pair, value in pairs if math.isfinite(value)}


def read_study(pattern: str, outputs: Path) -> Study:
    """The experiments below ``outputs`` whose names match the pattern, or one of several with spaces between.

    UserError where there is none, where they are of different datasets or kinds of task, and where a file is damaged.
    """
    if not pattern.split() or "/" in pattern:
        raise UserError(f"{pattern!r} is no pattern of names; give one like 'mnist_*'")
    folders: dict[str, Path] = {}
    tables: dict[str, Path] = {}
    for one in pattern.split():
        recorded = {path.name: path for path in outputs.glob(one) if any(map(_has_rows, record_files(path)))}
        tabled = {path.stem: path for path in (outputs / "final_runs").glob(f"{one}.csv")}
        if not recorded and not tabled:
            raise UserError(
                f"no experiment in {outputs} matches {one!r}: neither {outputs / one / 'run_<k>' / 'rounds.jsonl'} "
                f"nor {outputs / 'final_runs' / f'{one}.csv'}{_near(one, outputs)}; --outputs names another folder"
            )
        folders |= recorded
        tables |= tabled
    names = method_names(folders.keys() | tables.keys())
    configs = {name: _read_config(folder / "config.yaml") for name, folder in folders.items()}
    # What a config does counts for more than what its name ends in.
    names |= {name: title for name, config in configs.items() if config and (title := name_of_method(config))}
    titles = list(names.values())
    names = {name: title if titles.count(title) == 1 else name for name, title in names.items()}
    read = [
        _from_records(name, title, folders[name], configs[name])
        if name in folders
        else _from_csv(name, title, tables[name])
        for name, title in names.items()
    ]
    _refuse_mixture({method.experiment: set(method.curves) for method, _ in read}, "measures")
    _refuse_mixture({method.experiment: dataset for method, dataset in read if dataset}, "datasets")
    methods = [method for method, _ in read]
    return Study(methods, tuple(methods[0].curves))


def _near(name: str, outputs: Path) -> str:
    """What was perhaps meant, to be read on; "" where nothing is near."""
    known = {path.stem for path in (outputs / "final_runs").glob("*.csv")} | {
        path.name for path in outputs.glob("*") if record_files(path)
    }
    near = get_close_matches(name, sorted(known))
    return f"; near it: {', '.join(near)}" if near else ""


def _has_rows(path: Path) -> bool:
    return path.stat().st_size > 0


def _refuse_mixture(kinds: Mapping[str, object], what: str) -> None:
    (first, kind), *others = kinds.items() if kinds else [("", None)]
    for name, other in others:
        if other != kind:
            raise UserError(f"{first} and {name} hold different {what}; choose a pattern with one kind only")


def _from_csv(experiment: str, name: str, path: Path) -> tuple[Method, None]:
    first, *others = measures_of(path)
    numbers, curve = read_wide_csv_runs(path, first.column)
    curves = {first: curve}
    for measure in others:
        try:
            curves[measure] = read_wide_csv_runs(path, measure.column)[1]
        except UserError:  # as records are read whose values are all undefined
            curves[measure] = Curve(np.empty(0, np.int64), np.empty((len(numbers), 0)))
    return Method(experiment, name, numbers, None, curves), None


def _from_records(
    experiment: str, name: str, folder: Path, config: dict[str, Any] | None
) -> tuple[Method, str | None]:
    seeds = config.get("random_state") if config else None
    runs = []
    for path in record_files(folder):
        number, rows = int(path.parent.name[4:]), read_rows(path.parent)
        if not rows:
            continue
        if seeds is not None and number > len(seeds):
            raise UserError(
                f"{folder / 'config.yaml'}: random_state has no seed for run {number}; restore it"
            )
        queries = _read_queries(path.parent / "queries.npz", len(rows))
        runs.append(Run(number, None if seeds is None else seeds[number - 1], rows, queries))
    numbers = [run.number for run in runs]
    known = None if seeds is None else [seeds[number - 1] for number in numbers]
    curves = _curves(runs, folder)
    method = Method(
        experiment,
        name,
        numbers,
        known,
        curves,
        runs,
        read_dimension_searches(folder),
        _device(folder / "provenance.json"),
        _planned(config),
    )
    data = config.get("data") if config else None
    return method, data.get("dataset") if isinstance(data, dict) else None


def _planned(config: dict[str, Any] | None) -> tuple[int, int] | None:
    try:
        return (int(config["runs"]), int(config["training"]["iterations"])) if config else None
    except (KeyError, TypeError, ValueError):
        return None


def _curves(runs: list[Run], folder: Path) -> dict[Measure, Curve]:
    try:
        dense = any("miou" in row["test"] for run in runs for row in run.rows)
        return {
            measure: curve_of(
                [
                    {int(row["labelled"]): number(row["test"][measure.metric]) for row in run.rows}
                    for run in runs
                ]
            )
            for measure in ((MIOU, AUROC) if dense else (ACCURACY,))
        }
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder}/run_<k>/rounds.jsonl: a row has no labelled or no test metrics ({error}); restore it"
        ) from error


def number(value: object) -> float:
    """A metric of a row; NaN for one that is not defined (null)."""
    return math.nan if value is None else float(cast(float, value))


def _read_config(path: Path) -> dict[str, Any] | None:
    """The resolved config; None where it is missing, as of records that were moved alone."""
    if not path.exists():
        return None
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot read ({type(error).__name__}); restore it") from error
    seeds = config.get("random_state") if isinstance(config, dict) else None
    if not isinstance(seeds, list) or not all(isinstance(seed, int) for seed in seeds):
        raise UserError(f"{path}: random_state is no list of seeds; restore it")
    return config


def _read_queries(path: Path, rounds: int) -> dict[int, NDArray[np.int64]] | None:
    """What the rounds asked for that have a row: of a running experiment the file may be one ahead."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            named = {
                name: int(name.removeprefix("indices_")) for name in file.files if name.startswith("indices_")
            }
            return {round_: file[name] for name, round_ in named.items() if round_ < rounds}
    except Exception as error:  # a damaged archive raises many kinds
        raise UserError(f"{path}: damaged ({type(error).__name__}); restore it or use --overwrite") from error


def _device(path: Path) -> str | None:
    try:
        device = json.loads(path.read_text(encoding="utf-8"))["device"]
        return f"{device['name']}, {device['threads']} thread{'s' * (device['threads'] != 1)}"
    except (OSError, ValueError, KeyError, TypeError):  # it serves one remark only
        return None
