"""Whole runs of a config up to 1,000 labels, some of its keys changed, by the command line: gone on with where they
were stopped. What is made of their rounds is each benchmark's own."""

import argparse
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from statistics import fmean, stdev

import numpy as np

from src.analysis.statistics import normalised_area
from src.cli import main as run_experiment
from src.utils.errors import UserError
from src.utils.records import Row, read_rows

COLD_START = Path(__file__).parent.parent / "experiment_configs" / "cold_start"
QUERIES = [100, 200, 200, 200, 200]
LABELS = [100, 200, 400, 600, 800, 1000]
HEADINGS = f"{''.join(f'{labels:>8,}' for labels in LABELS)}{'AUBC':>16}"
"""Above what ``curve_cells`` makes."""
AUBC = f"AUBC: of the curve to {LABELS[-1]:,} labels, ± the standard deviation over runs"


def run_all(
    config: Path, name: str, overrides: Sequence[str], options: argparse.Namespace
) -> list[tuple[Path, list[Row]]]:
    """The folder and the rows of each of the first ``options.runs`` runs, which are made where they are not there yet.

    The experiment is called ``name``; ``overrides`` go to ``--set``. ``options`` are those of ``add_options``. Raises
    UserError where a run fails.
    """
    keys = (
        f"name={name}",
        f"training.ndata_to_label={QUERIES}",
        f"training.iterations={len(LABELS)}",
        f"training.initially_labelled={LABELS[0]}",
        "save_df=false",
        *overrides,
    )
    made = []
    for run in range(1, options.runs + 1):
        arguments = ["--config_path", str(config), "--output_dir", str(options.out), "--run", str(run)]
        for key in keys:
            arguments += ["--set", key]
        with redirect_stdout(StringIO()):
            status = run_experiment("classification", arguments)
        if status:
            raise UserError(f"{name}, run {run}: ended with status {status}; see above")
        folder = options.out / name / f"run_{run}"
        made.append((folder, read_rows(folder)))
    return made


def curve_cells(rows_K: Sequence[Sequence[Row]], split: str) -> str:
    """In a table's line, the mean accuracies over K runs on the split, in percent, and the area under them with its
    spread."""
    accuracy_K_R = 100 * np.array([[row[split]["accuracy"] for row in rows] for rows in rows_K])
    areas = [normalised_area(np.array(LABELS), curve_R, LABELS[-1]) for curve_R in accuracy_K_R]
    spread = f"± {stdev(areas):.2f}" if len(areas) > 1 else ""
    means = "".join(f"{mean:>8.2f}" for mean in accuracy_K_R.mean(axis=0))
    return f"{means}{fmean(areas):>9.2f} {spread:>6}"


def add_options(parser: argparse.ArgumentParser) -> None:
    """``--runs``, ``--data`` and ``--out``, of a benchmark whose configs have ten seeds."""
    parser.add_argument(
        "--runs",
        type=int,
        choices=range(1, 11),
        metavar="K",
        default=4,
        help="runs of each, of 10 (%(default)s)",
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="the dataset's folder (%(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("experiment_outputs"), help="of the runs (%(default)s)"
    )
