"""The command that draws a round's highest and lowest scores from the records of a run, also long after it:

    python3 -m src.gallery mnist_hu --run 1 --round 0

Needs ``training.save_scores`` for the whole pool; without it there are only the inputs that were asked for. The models
are gone by then, so that there are no predictions; ``save_gallery`` draws those while the run is at work.
"""

import src.utils.openmp  # noqa: F401  isort: skip  (before torch)

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from src.active.experiment import Experiment
from src.active.gallery import save_gallery
from src.active.plan import make_plan
from src.config import load_config
from src.data import load_dataset
from src.utils.errors import UserError
from src.utils.records import read_query


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the picture and say where it is; the exit status, 2 for bad input."""
    options = parse(arguments)
    try:
        path = draw(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {path}")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line; argparse exits with status 2 where they are wrong."""
    parser = argparse.ArgumentParser(
        prog="python3 -m src.gallery",
        description="Draw the inputs with the highest and the lowest scores of a round.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("name", help="the experiment, a folder of --output_dir")
    add("--run", type=int, default=1, metavar="K", help="counted from 1 (default: %(default)s)")
    add(
        "--round",
        type=int,
        default=0,
        metavar="R",
        help="counted from 0, as in records (default: %(default)s)",
    )
    add("--set", action="append", default=[], metavar="KEY.SUB=VALUE", help="such as data.path=ELSEWHERE")
    add("--output_dir", type=Path, default=Path("experiment_outputs"), help="default: %(default)s")
    add("--out", type=Path, help="the PNG (default: run_<K>/gallery_<R>.png of the experiment)")
    return parser.parse_args(arguments)


def draw(options: argparse.Namespace) -> Path:
    """Draw what the options ask for; the picture's path. UserError where the records or the data are not there."""
    config_path = options.output_dir / options.name / "config.yaml"
    if not config_path.exists():
        raise UserError(
            f"{config_path}: is not there; {options.name} has not begun, or --output_dir is another"
        )
    config = load_config(config_path, options.set)
    folder = Experiment(config, options.output_dir).run_folder(options.run)
    path: Path = options.out or folder / f"gallery_{options.round}.png"
    if options.out is None and path.exists():
        raise UserError(f"{path}: is there already, perhaps with predictions; --out draws another")
    query, fingerprint = read_query(folder, options.round)
    data = load_dataset(config, "cpu")
    if fingerprint not in (None, data.fingerprint()):
        raise UserError(f"{folder}: the dataset is not the one of its rounds; bring it back as it was")
    if query.pool_indices_N is not None and query.pool_scores_N is not None:
        indices_N, scores_N, of = query.pool_indices_N, query.pool_scores_N, "scored"
    else:
        indices_N, scores_N, of = query.indices_Q, query.scores_Q, "asked for (no others are kept)"
    if not len(indices_N):
        raise UserError(
            f"{folder}: round {options.round} asked for nothing, so that there is nothing to draw"
        )
    save_gallery(
        path, indices_N, scores_N, data.train, make_plan(config).task, None, f"the {len(indices_N)} {of}"
    )
    return path


if __name__ == "__main__":
    sys.exit(main())
