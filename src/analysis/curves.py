"""Learning curves as figures: one experiment's runs, or several methods beside published results.

Reads finished or running experiments only. The committed figure and table come from, for instance:

    python3 -m src.analysis.curves 'mnist_*' --reference thesis_mnist.csv --out experiment_outputs/figures
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from src.analysis.figures import panels, save_numbers, save_picture, style
from src.analysis.naming import method_names
from src.analysis.rounds import (
    Curve,
    Measure,
    measures_of,
    read_experiment,
    read_reference,
    read_wide_csv,
)
from src.analysis.tables import PERCENT_METRICS, method_table, reach_table
from src.utils.errors import UserError
from src.utils.files import write_atomically
from src.utils.records import metric_title


def plot_learning_curve(experiment_dir: Path, metric: str = "accuracy") -> Path:
    """Draw an experiment's test `metric` against labels: a thin line per run, and their mean.

    Writes learning_curve.png and its numbers as learning_curve.csv (labels, mean, sample standard deviation,
    each run; accuracies as fractions) into `experiment_dir`, and returns the picture's path. UserError where no
    run has finished a round, or the metric is not among the records.
    """
    runs, curve = read_experiment(experiment_dir, metric)
    scale = 100 if metric in PERCENT_METRICS else 1
    figure, (axes,) = panels()
    for number, values_R in enumerate(curve.values_K_R):
        label = "each run" if number == 0 else None
        axes.plot(
            curve.labels_R, scale * values_R, color="C0", alpha=0.5, linewidth=0.9, marker=".", label=label
        )
    axes.plot(curve.labels_R, scale * curve.mean_R, color="black", linewidth=2, label="mean")
    axes.legend()
    ylabel = f"test {metric_title(metric)}" + (" (%)" if scale == 100 else "")
    axes.set(title=experiment_dir.resolve().name, xlabel="labels", ylabel=ylabel)
    path = experiment_dir / "learning_curve.png"
    save_picture(figure, path)
    save_numbers(_numbers(runs, curve), path.with_suffix(".csv"))
    return path


def plot_methods(
    csv_paths: Mapping[str, Path], out: Path, reference: Path | None = None, log_x: bool = True
) -> Path:
    """Draw several methods in one figure, a panel for each measure: mean ± sample standard deviation over runs.

    The measures are test accuracy or, of segmentations, test mIoU and AUROC. `csv_paths` maps the legend's names to
    wide CSVs, whose file names say which published curve of `reference` (see `read_reference`) is drawn dashed
    beside each. Writes `out`, a PNG, and returns it. UserError where classifiers and segmentations are mixed.
    """
    measures = _common_measures(csv_paths.values())
    figure, row = panels(len(measures), xscale="log" if log_x else "linear")
    for axes, measure in zip(row, measures, strict=True):
        published = _published(reference, (path.stem for path in csv_paths.values()), measure)
        for number, (label, path) in enumerate(csv_paths.items()):
            curve = read_wide_csv(path, measure.column)
            mean_R, std_R = measure.scale * curve.mean_R, measure.scale * curve.std_R
            color, marker = style(number)
            axes.plot(curve.labels_R, mean_R, color=color, marker=marker, markersize=4, label=label)
            axes.fill_between(
                curve.labels_R, mean_R - std_R, mean_R + std_R, color=color, alpha=0.15, linewidth=0
            )
            if path.stem in published:
                labels, means = zip(*sorted(published[path.stem].items()), strict=True)
                axes.plot(labels, measure.scale * np.array(means), color=color, linestyle="--", linewidth=0.9)
        if published:
            axes.plot([], [], color="grey", linestyle="--", linewidth=0.9, label="as published")
        axes.set(xlabel="labels", ylabel=measure.title)
    row[0].legend()
    save_picture(figure, out)
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    """Write figure and table for the experiments that match a pattern; the exit status, 2 for bad input."""
    parser = argparse.ArgumentParser(
        prog="python3 -m src.analysis.curves",
        description="Several methods' learning curves in one figure (PNG) and one table (Markdown).",
    )
    parser.add_argument("pattern", help="experiment names, with * for any text; quote it: 'mnist_*'")
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("experiment_outputs/final_runs"),
        help="where the experiments' wide CSVs are (default: %(default)s)",
    )
    parser.add_argument("--reference", type=Path, help="a CSV of published results to compare with")
    parser.add_argument("--out", type=Path, default=Path("."), help="folder to write into (default: here)")
    parser.add_argument(
        "--linear", action="store_true", help="number of labels on a linear axis, not a log one"
    )
    parser.add_argument(
        "--reach",
        type=float,
        nargs="+",
        metavar="PERCENT",
        help="tell in the table how many labels these test accuracies (or mIoUs) took, not every round's",
    )
    options = parser.parse_args(arguments)
    try:
        for path in _figure_and_table(options):
            print(f"wrote {path}")
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _figure_and_table(options: argparse.Namespace) -> tuple[Path, Path]:
    experiments = {path.stem: path for path in options.runs.glob(f"{options.pattern}.csv")}
    if not experiments:
        raise UserError(f"no {options.pattern}.csv in {options.runs}; --runs names another folder")
    names = method_names(experiments)
    measures = _common_measures(experiments.values())
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.pattern.replace("*", "").strip("_") or "methods"
    figure, table = options.out / f"{stem}.png", options.out / f"{stem}.md"
    paths = {name: experiments[experiment] for experiment, name in names.items()}
    plot_methods(paths, figure, options.reference, log_x=not options.linear)

    def curves(measure: Measure) -> dict[str, Curve]:
        return {experiment: read_wide_csv(experiments[experiment], measure.column) for experiment in names}

    if options.reach:
        text = reach_table(curves(measures[0]), names, options.reach, measures[0])
    else:
        tables = {
            measure.title: method_table(
                curves(measure), names, _published(options.reference, names, measure), measure
            )
            for measure in measures
        }
        titled = len(tables) > 1
        text = "\n".join(f"{title}\n\n{rows}" if titled else rows for title, rows in tables.items())
    write_atomically(table, text.encode())
    return figure, table


def _common_measures(csv_paths: Iterable[Path]) -> tuple[Measure, ...]:
    """What all these CSVs measure."""
    kinds = {measures_of(path): path for path in csv_paths}
    if len(kinds) > 1:
        mixed = " and ".join(str(path) for path in kinds.values())
        raise UserError(
            f"{mixed} hold different measures (accuracy, mIoU); choose a pattern with one kind only"
        )
    return next(iter(kinds))


def _published(
    reference: Path | None, experiments: Iterable[str], measure: Measure
) -> dict[str, dict[int, float]]:
    return read_reference(reference, experiments, measure) if reference else {}


def _numbers(runs: Sequence[str], curve: Curve) -> Iterator[list[object]]:
    yield ["labels", "mean", "std", *runs]
    for count, *values in zip(curve.labels_R, curve.mean_R, curve.std_R, *curve.values_K_R, strict=True):
        yield [int(count), *("" if np.isnan(value) else float(value) for value in values)]


if __name__ == "__main__":
    sys.exit(main())
