"""An experiment's folder: its resolved config, its provenance and its runs. What a run holds is ``utils.records``."""

import json
import platform
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from src.config import Config, differences, load_config, to_yaml
from src.utils.errors import UserError
from src.utils.files import exclusive, write_atomically
from src.utils.records import read_rows, write_wide_csv

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "torchmetrics", "pydantic")


class Experiment:
    """The folder ``output_dir/<name>`` and the wide CSV ``output_dir/final_runs/<name>.csv``."""

    def __init__(self, config: Config, output_dir: Path) -> None:
        self.config = config
        self.folder = output_dir / config.name
        self.csv = output_dir / "final_runs" / f"{config.name}.csv"

    def run_folder(self, run: int) -> Path:
        """The folder of run ``run``, counted from 1."""
        return self.folder / f"run_{run}"

    def lock(self, run: int) -> Path:
        """The file that the process at work on that run holds locked."""
        return self.run_folder(run) / "lock"

    def check(self) -> None:
        """Check that what the folder holds, if it is there, came from this config; UserError with the differences."""
        path = self.folder / "config.yaml"
        if not path.exists() and list(self.folder.glob("run_*/state.pt")):
            raise UserError(f"{self.folder} has runs but no config.yaml; restore it or use --overwrite")
        if path.exists():
            changed = differences(load_config(path), self.config)
            if changed:
                listed = "\n  ".join(changed)
                raise UserError(
                    f"{self.folder} holds an experiment of another config:\n  {listed}\n"
                    "Give this one another `name`, change the config back, or start anew with --overwrite"
                )

    def write_description(self, device: torch.device) -> None:
        """Write config and provenance of rounds to come; for a process that holds a run's lock and has rounds to do."""
        write_atomically(self.folder / "config.yaml", to_yaml(self.config).encode())
        text = json.dumps(provenance(device), indent=2).encode() + b"\n"
        write_atomically(self.folder / "provenance.json", text)

    def clear(self) -> None:
        """Remove the experiment for ``--overwrite``; UserError while a process is at work on one of its runs."""
        with ExitStack() as locks:
            for lock in self.folder.glob("run_*/lock"):
                locks.enter_context(exclusive(lock))
            try:
                if self.folder.exists():
                    # Moved first: a removal that is cut short leaves nothing that looks like an experiment.
                    doomed = self.folder.with_name(f".{self.folder.name}.removed")
                    shutil.rmtree(doomed, ignore_errors=True)
                    self.folder.rename(doomed)
                    shutil.rmtree(doomed)
                self.csv.unlink(missing_ok=True)
            except OSError as error:
                raise UserError(
                    f"{error.filename}: cannot remove ({error.strerror}); mend permissions"
                ) from error

    def write_csv(self) -> None:
        """Merge the runs that have rounds, also those beyond the config's ``runs``, into the wide CSV."""
        found = [
            re.fullmatch(r"run_([1-9]\d*)", path.parent.name)
            for path in self.folder.glob("run_*/rounds.jsonl")
        ]
        runs = sorted(int(match[1]) for match in found if match)
        write_wide_csv(self.csv, {run: read_rows(self.run_folder(run)) for run in runs})


def provenance(device: torch.device) -> dict[str, object]:
    """What a reader needs to judge or repeat the numbers: code, versions, hardware, command."""
    name = (
        torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else platform.processor() or platform.machine()
    )
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "git": {
            "sha": _git("rev-parse", "HEAD"),
            "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        },
        "python": platform.python_version(),
        "packages": {package: version(package) for package in PACKAGES},
        "device": {"type": device.type, "name": name, "threads": torch.get_num_threads()},
        "host": platform.node(),
    }


def _git(*arguments: str) -> str | None:
    """Git's answer about this program's own repository; None outside one."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
