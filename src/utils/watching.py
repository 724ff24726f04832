"""Who is told how a run comes along while it works: the terminal, and whatever keeps track of it elsewhere. They look
on; nothing that they do has a say in a run's results."""

from collections.abc import Sequence
from typing import Protocol

from src.utils.records import Row


class Watcher(Protocol):
    """As the loop sees those who look on."""

    def epoch(self, round_: int, labelled: int, epoch: int, train_loss: float, val_loss: float) -> None:
        """An epoch has ended: ``round_`` counts from 0, ``epoch`` from 1 within the round; losses are the members'
        mean."""
        ...

    def round(self, row: Row) -> None:
        """A round has ended, and is on disk."""
        ...


class Watchers:
    """Several of them as one."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self._watchers = watchers

    def epoch(self, round_: int, labelled: int, epoch: int, train_loss: float, val_loss: float) -> None:
        """Tell all."""
        for watcher in self._watchers:
            watcher.epoch(round_, labelled, epoch, train_loss, val_loss)

    def round(self, row: Row) -> None:
        """Tell all."""
        for watcher in self._watchers:
            watcher.round(row)
