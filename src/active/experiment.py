"""An experiment's folder: its resolved config, its provenance and its runs. What a run holds is ``utils.records``."""

import json
import platform
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import count
from pathlib import Path

import torch

from src.active.oracle import FILE, filled_in
from src.active.plan import queries
from src.config import Config, differences, load_config, to_yaml
from src.utils.errors import UserError
from src.utils.files import exclusive, remove_leftovers, write_atomically
from src.utils.generations import PREVIOUS
from src.utils.records import LOCK, progress, read_rows, recover, write_wide_csv
from src.utils.run_files import ROUNDS, STATE

# What says how many rounds there are and how many labels each asks for.
BUDGET = frozenset({"training.iterations", "training.ndata_to_label"})
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
        return self.run_folder(run) / LOCK

    def check(self) -> None:
        """Check that the rounds in the folder, if it has any, came from this config; UserError with the differences.

        More rounds after the same ones are no difference: those that are there would come out as they are.
        """
        if not self.begun():
            return
        path = self.folder / "config.yaml"
        if not path.exists():
            raise UserError(f"{self.folder} has runs but no config.yaml; restore it or use --overwrite")
        if changed := self._changes():
            listed = "\n  ".join(changed)
            raise UserError(
                f"{self.folder} holds an experiment of another config:\n  {listed}\n"
                "Give this one another `name`, change the config back, or start anew with --overwrite"
            )

    def begun(self) -> list[int]:
        """The runs that have rounds, also those beyond the config's ``runs``."""
        found = [
            re.fullmatch(r"run_([1-9]\d*)", path.relative_to(self.folder).parts[0])
            for name in (ROUNDS, STATE, f"{PREVIOUS}/{STATE}")
            for path in self.folder.glob(f"run_*/{name}")
        ]
        return sorted({int(match[1]) for match in found if match})

    def state(self, rounds: int) -> str:
        """How far each run of the config has come, for ``--check``: nothing is written, so that none is disturbed.

        ``rounds`` is how many a run has in all. Raises UserError as ``check``, and for records that are damaged.
        """
        self.check()
        asking = {
            run: f", waits for the labels of {path}"
            for run in range(1, self.config.runs + 1)
            if (path := self.run_folder(run) / FILE).exists()
        }
        kept = (
            f"; {self._told_of_kept(self._free_name())}"
            if self.config.save_df and self._csv_of_others()
            else ""
        )
        if not self.begun() and not asking:
            return f"not begun{kept}"
        runs = (
            f"run {run}: {progress(self.run_folder(run), rounds)}{asking.get(run, '')}"
            for run in range(1, self.config.runs + 1)
        )
        return f"{'; '.join(runs)}{kept}"

    def write_description(self, run: int, device: torch.device) -> None:
        """Write config and provenance of rounds to come; for a process that holds that run's lock. What is damaged of
        other runs is recovered, as the table and the plots show them too.

        Another config's is replaced, as it may be while that has no rounds; UserError where a process is at work on
        some.
        """
        with ExitStack() as others:
            if self._changes():
                self._lock_all(others, but=run)
                self.check()
            write_atomically(self.folder / "config.yaml", to_yaml(self.config).encode())
        for other in self.begun():
            if other != run:
                with suppress(UserError):  # that run's own process tells
                    recover(self.run_folder(other))
        text = json.dumps(provenance(device), indent=2).encode() + b"\n"
        write_atomically(self.folder / "provenance.json", text)

    def check_overwrite(self, run: int | None) -> None:
        """Check that ``--overwrite`` of that run alone leaves the others what they are, and that it loses no labels
        that a person has filled in; UserError naming them."""
        lost = [other for other in self.begun() if other != run]
        for path in self.folder.glob(f"run_{run if lost and run is not None else '*'}/{FILE}"):
            if filled_in(path):
                raise UserError(
                    f"{path}: has labels that --overwrite would lose; run once without it to take them up, or remove "
                    "the file"
                )
        if run is None or not lost:
            return
        try:
            self.check()
        except UserError as error:
            raise UserError(
                f"--run {run} --overwrite: {', '.join(f'run {other}' for other in lost)} would be lost, since\n{error}"
                "; without --run that overwrites all runs"
            ) from None

    def clear(self, run: int | None = None) -> None:
        """Remove the experiment for ``--overwrite``, or that run alone where others have rounds of the same config.

        Raises UserError as ``check_overwrite``, and while a process is at work on what is to be removed.
        """
        self.check_overwrite(run)
        alone = run is not None and any(other != run for other in self.begun())
        with ExitStack() as locks:
            if run is not None and alone:
                if self.lock(run).exists():
                    locks.enter_context(exclusive(self.lock(run)))
                if self.csv.exists():
                    self.write_csv(but=run)
                _remove(self.run_folder(run))
            else:
                self._lock_all(locks)
                self._keep_csv_of_others()
                # What is queued, and what it said, is no result. The config last: runs are nothing without it.
                results = [path for path in self.folder.glob("*") if not _is_of_queue(path)]
                for path in sorted(results, key=lambda path: path.name == "config.yaml"):
                    _remove(path)
                _remove(self.csv)

    def write_csv(self, but: int | None = None) -> None:
        """Merge the runs that have rounds, less one, into the wide CSV. What dead processes left beside the
        experiment's files is removed. A CSV with runs that have no records here, such as a published one, is kept
        beside it, and a line on stderr says so."""
        self._keep_csv_of_others()
        for folder in (self.folder, self.csv.parent):
            remove_leftovers(folder)
        runs = [run for run in self.begun() if run != but and (self.run_folder(run) / ROUNDS).exists()]
        write_wide_csv(self.csv, {run: read_rows(self.run_folder(run)) for run in runs})

    def _csv_of_others(self) -> bytes | None:
        """The content of the wide CSV where that has runs of which there are no records here."""
        try:
            content = self.csv.read_bytes()
        except OSError:
            return None
        runs = {int(run) for run in re.findall(rb"_run(\d+)\b", content.partition(b"\n")[0])}
        return None if runs <= {*self.begun()} else content

    def _keep_csv_of_others(self) -> None:
        """Copy such a CSV to a name of its own and say so. Processes that do so at once all keep the same."""
        if content := self._csv_of_others():
            kept = self._free_name()
            write_atomically(kept, content)
            print(f"note: {self._told_of_kept(kept)}", file=sys.stderr)

    def _free_name(self) -> Path:
        """The first of <name>.csv.1, <name>.csv.2, … that is not there."""
        names = (self.csv.with_name(f"{self.csv.name}.{number}") for number in count(1))
        return next(path for path in names if not path.exists())

    def _told_of_kept(self, kept: Path) -> str:
        return f"{self.csv} has runs without records here and is kept as {kept.name}"

    def changes_since(self, path: Path) -> list[str]:
        """What would come out otherwise than by the config in that file, a line a key; nothing where it is not there.

        More rounds after the same ones are no change.
        """
        if not path.exists():
            return []
        old = load_config(path)
        before, now = queries(old), queries(self.config)
        longer = now[: len(before)] == before
        return differences(old, self.config, BUDGET if longer else frozenset())

    def _changes(self) -> list[str]:
        """What the rounds in the folder were made with that would be otherwise now, a line a key."""
        return self.changes_since(self.folder / "config.yaml")

    def _lock_all(self, locks: ExitStack, but: int | None = None) -> None:
        for lock in self.folder.glob("run_*/lock"):
            if but is None or lock != self.lock(but):
                locks.enter_context(exclusive(lock))


def _is_of_queue(path: Path) -> bool:
    """Whether a job that is queued reads it or writes to it."""
    return path.name == "logs" or path.match("submitted-*.yaml")


def _remove(path: Path) -> None:
    """Remove a file or a folder; UserError where the system will not."""
    try:
        if path.is_dir():
            # Moved first: a removal that is cut short leaves nothing that looks like results.
            doomed = path.with_name(f".{path.name}.removed")
            shutil.rmtree(doomed, ignore_errors=True)
            path.rename(doomed)
            shutil.rmtree(doomed)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot remove ({error.strerror}); mend permissions") from error


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
