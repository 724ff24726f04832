"""Weights & Biases, online or offline."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from src.utils.console import note
from src.utils.files import write_atomically

PATIENCE = 30
"""Seconds to wait for uploads at the end: what is left is on disk, for `wandb sync`."""


class WeightsAndBiases:
    """One run of Weights & Biases for one run of an experiment, whatever sessions that takes: its id is kept beside its
    files in ``folder``/wandb. Metrics of rounds are over labels, losses over epochs."""

    def __init__(
        self,
        folder: Path,
        name: str,
        group: str,
        project: str,
        entity: str | None,
        mode: Any,
        config: dict[str, Any],
    ) -> None:
        id_file = folder / "wandb" / "run_id.txt"
        known = id_file.read_text().strip() if id_file.exists() else None
        # Silent before it begins, or else it asks on a terminal who one is, and a run must not wait for an answer.
        wandb.setup(wandb.Settings(silent=True))
        folder.mkdir(parents=True, exist_ok=True)  # or else wandb writes elsewhere
        self._run = wandb.init(
            dir=folder,
            id=known,
            resume="allow",
            name=name,
            group=group,
            project=project,
            entity=entity,
            mode=mode,
            config=config,
            settings=wandb.Settings(
                # Standard output is the run's own, and its tables are in the records.
                silent=True,
                console="off",
                finish_timeout=PATIENCE,
            ),
        )
        if known is None:
            write_atomically(id_file, f"{self._run.id}\n".encode())
        for metrics in ("train/*", "val/*", "test/*", "seconds/*", "pool"):
            self._run.define_metric(metrics, step_metric="labelled")
        if not self._run.offline and self._run.url:
            note(f"wandb_logging: {self._run.url}")

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """One point a value."""
        self._log(epoch, values, last_of_step=False)

    def round(self, epoch: int, labelled: int, values: Mapping[str, float]) -> None:
        """One point a value."""
        self._log(epoch, {"labelled": labelled, **values}, last_of_step=True)

    def close(self, status: int) -> None:
        """Upload what is left, or leave it for `wandb sync`."""
        self._run.finish(exit_code=status)

    def _log(self, step: int, values: Mapping[str, float], last_of_step: bool) -> None:
        # What an earlier session has logged is not logged again: steps only go up.
        if step >= self._run.step:
            self._run.log(dict(values), step=step, commit=last_of_step)
