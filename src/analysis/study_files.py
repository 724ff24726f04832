"""A study read from what its experiments left: records (``<name>/run_<k>``) where there are any, and the wide CSV
alone where there are none. What a study is stands in ``study``; nothing is computed here, and nothing written."""

import json
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from src.analysis.naming import method_names, name_of_method
from src.analysis.rounds import (
    ACCURACY,
    AUROC,
    MIOU,
    Curve,
    Measure,
    curve_of,
    measures_of,
    number,
    read_dimension_searches,
    read_wide_csv_runs,
    record_files,
)
from src.analysis.study import Method, Run, Study
from src.utils.errors import UserError
from src.utils.records import read_rows


def read_study(pattern: str, outputs: Path, budgets: Sequence[int] = ()) -> Study:
    """The experiments below ``outputs`` whose names match the pattern, or one of several with spaces between.

    ``budgets``: the label counts that tables stop at; none: some are chosen. UserError where no experiment matches,
    where they are of different datasets or kinds of task, lack a budget, and where a file is damaged.
    """
    if not pattern.split() or "/" in pattern:
        raise UserError(f"{pattern!r} is no pattern of names; give one like 'mnist_*'")
    folders, tables = _find(pattern.split(), outputs)
    configs = {name: _read_config(folder / "config.yaml") for name, folder in folders.items()}
    read = [
        _from_records(name, title, folders[name], configs[name])
        if name in folders
        else _from_csv(name, title, tables[name])
        for name, title in _titles(folders.keys() | tables.keys(), configs).items()
    ]
    _refuse_mixture(
        {method.experiment: " and ".join(measure.name for measure in method.curves) for method, _ in read},
        "measures",
    )
    _refuse_mixture({method.experiment: dataset for method, dataset in read if dataset}, "datasets")
    methods = [method for method, _ in read]
    return Study(methods, tuple(methods[0].curves), tuple(budgets))


def _find(patterns: Sequence[str], outputs: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """By name, folders of experiments with records, and wide CSVs; UserError where a pattern matches nothing."""
    folders: dict[str, Path] = {}
    tables: dict[str, Path] = {}
    for one in patterns:
        recorded = {path.name: path for path in outputs.glob(one) if any(map(_has_rows, record_files(path)))}
        tabled = {path.stem: path for path in (outputs / "final_runs").glob(f"{one}.csv")}
        if not recorded and not tabled:
            raise UserError(
                f"no experiment in {outputs} matches {one!r}: neither {outputs / one / 'run_<k>' / 'rounds.jsonl'} "
                f"nor {outputs / 'final_runs' / f'{one}.csv'}{_near(one, outputs)}; --outputs names another folder"
            )
        folders |= recorded
        tables |= tabled
    return folders, tables


def _titles(experiments: Iterable[str], configs: Mapping[str, dict[str, Any] | None]) -> dict[str, str]:
    """What to call each experiment, in the order in which they are shown; its own name where two would share one."""
    titles = method_names(experiments)
    # What a config does counts for more than what its name ends in.
    titles |= {
        name: title for name, config in configs.items() if config and (title := name_of_method(config))
    }
    given = list(titles.values())
    return {name: title if given.count(title) == 1 else name for name, title in titles.items()}


def _near(name: str, outputs: Path) -> str:
    """What was perhaps meant, to be read on; "" where nothing is near."""
    known = {path.stem for path in (outputs / "final_runs").glob("*.csv")} | {
        path.name for path in outputs.glob("*") if record_files(path)
    }
    near = get_close_matches(name, sorted(known))
    return f"; near it: {', '.join(near)}" if near else ""


def _has_rows(path: Path) -> bool:
    return path.stat().st_size > 0


def _refuse_mixture(kinds: Mapping[str, str], what: str) -> None:
    (first, kind), *others = kinds.items() if kinds else [("", "")]
    for name, other in others:
        if other != kind:
            raise UserError(
                f"{first} ({kind}) and {name} ({other}) hold different {what}; choose a pattern with one kind only"
            )


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
