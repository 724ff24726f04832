"""TensorBoard's event files, by torch's own writer."""

from collections.abc import Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """Event files in two folders, which TensorBoard shows as two runs: ``rounds`` over labels, ``epochs`` over epochs.

    Every session of a run writes files of its own. Their first event tells TensorBoard to forget what earlier sessions
    have logged from there on (``purge_step``), so that a round that is done again is there once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """One point a value."""
        self._add("epochs", epoch, values)

    def round(self, epoch: int, labelled: int, values: Mapping[str, float]) -> None:
        """One point a value, on disk when this returns."""
        self._add("rounds", labelled, values)
        for writer in self._writers.values():
            writer.flush()

    def close(self, status: int) -> None:
        """Write what is left."""
        for writer in self._writers.values():
            writer.close()

    def _add(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        if kind not in self._writers:
            self._writers[kind] = SummaryWriter(self._folder / kind, purge_step=step)
        for name, value in values.items():
            self._writers[kind].add_scalar(name, value, step)
