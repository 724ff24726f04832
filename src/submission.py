"""What is decided before experiments are queued: that their configs are good, how many runs each has, and the snapshot
that the queued jobs read, so that editing a config afterwards changes nothing. Queueing itself is gpu_experiment.sh."""

import src.utils.openmp  # noqa: F401  isort: skip  (before torch)

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

from src.active.experiment import Experiment
from src.active.plan import make_plan
from src.config import Config, load_config, to_yaml
from src.data import availability
from src.utils.errors import UserError
from src.utils.files import exclusive, write_atomically


def main(arguments: Sequence[str] | None = None) -> int:
    """Check every config, then write the snapshots; a line for each: name, runs and the snapshot's path, by tabs.

    The exit status is 2 where a config is not good; then nothing is written.
    """
    options = parse(arguments)
    try:
        configs = [load_config(path, options.set) for path in options.config_path]
        names = [config.name for config in configs]
        if len(set(names)) < len(names):
            raise UserError(f"several configs of one name ({', '.join(names)}); an experiment needs its own")
        for config in configs:
            check(config, options.output_dir)
        for config in configs:
            path = snapshot_path(config, options.output_dir)
            if not options.dry_run and not path.exists():
                write_atomically(path, to_yaml(config).encode())
            print(config.name, config.runs, path, sep="\t")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line; argparse exits with status 2 where they are wrong."""
    parser = argparse.ArgumentParser(
        description="Check configs and take snapshots of them for a queue.", allow_abbrev=False
    )
    parser.add_argument("config_path", type=Path, nargs="+", help="the experiments")
    parser.add_argument("--set", action="append", default=[], metavar="KEY.SUB=VALUE", help="of all of them")
    parser.add_argument("--output_dir", type=Path, default=Path("experiment_outputs"))
    parser.add_argument("--dry-run", action="store_true", help="check and print only")
    return parser.parse_args(arguments)


def check(config: Config, output_dir: Path) -> None:
    """Refuse, with UserError, what a run would refuse, and a name that was submitted with another config."""
    plan = make_plan(config)
    experiment = Experiment(config, output_dir)
    experiment.state(len(plan.labels))
    for run in range(1, config.runs + 1):
        if experiment.lock(run).exists():
            with exclusive(experiment.lock(run)):  # refused where a process is at work on it
                pass
    for earlier in sorted(experiment.folder.glob("submitted-*.yaml")):
        if changed := experiment.changes_since(earlier):
            listed = "\n  ".join(changed)
            raise UserError(
                f"{earlier}: {config.name} was submitted with another config:\n  {listed}\n"
                "Give this one another name or change it back; or, once the earlier jobs are gone, remove that file"
            )
    if " is absent: " in (where := availability(config)):
        print(f"note: {config.name}: {where}", file=sys.stderr)


def snapshot_path(config: Config, output_dir: Path) -> Path:
    """Where the snapshot of this config is. Its content is part of the name, so that none is ever written over."""
    digest = hashlib.sha256(to_yaml(config).encode()).hexdigest()[:8]
    return Experiment(config, output_dir).folder / f"submitted-{digest}.yaml"


if __name__ == "__main__":
    sys.exit(main())
