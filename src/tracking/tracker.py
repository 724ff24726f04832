"""What a run tells a tracker, by which names, and what happens when one fails: a note, and the run goes on."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from src.utils.console import note
from src.utils.errors import in_a_line
from src.utils.records import Row

SPLITS = ("train", "val", "test")


class Tracker(Protocol):
    """Something that keeps numbers for people to look at. Whatever it raises is told once, and it is left alone."""

    def epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        """The values after an epoch; ``epoch`` counts from 1 over the whole run, as if no round had stopped early."""
        ...

    def round(self, epoch: int, labelled: int, values: Mapping[str, float]) -> None:
        """The values of a round with ``labelled`` labels, whose last epoch ``epoch`` is or could have been."""
        ...

    def close(self, status: int) -> None:
        """No more will come; ``status`` is 0 unless something ended the run before its end."""
        ...


class Tracked:
    """A Watcher that passes on what it is told to the tracker that ``start`` makes, as long as that works.

    ``key`` is what the config calls it; ``epochs`` are those of a round at most.
    """

    def __init__(self, key: str, start: Callable[[], Tracker], epochs: int) -> None:
        self._key, self._start, self._epochs = key, start, epochs
        self._tracker: Tracker | None = None

    def epoch(self, round_: int, labelled: int, epoch: int, train_loss: float, val_loss: float) -> None:
        """Pass on the losses."""
        values = {"epoch/train_loss": train_loss, "epoch/val_loss": val_loss}
        self._attempt(lambda tracker: tracker.epoch(round_ * self._epochs + epoch, values))

    def round(self, row: Row) -> None:
        """Pass on the row's numbers."""
        last = (row["round"] + 1) * self._epochs
        self._attempt(lambda tracker: tracker.round(last, row["labelled"], numbers_of(row)))

    def _attempt(self, action: Callable[[Tracker], None]) -> None:
        if self._tracker is None:
            return
        try:
            action(self._tracker)
        except Exception as error:  # of libraries, networks and disks, none of which is worth a run
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._tracker = None
        note(f"note: {self._key}: {in_a_line(error)}; the run goes on without")

    def __enter__(self) -> "Tracked":
        try:
            self._tracker = self._start()
        except Exception as error:
            self._give_up(error)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._attempt(lambda tracker: tracker.close(0 if kind is None else 1))


def numbers_of(row: Row) -> dict[str, float]:
    """The single numbers of a round by name: ``test/accuracy`` and the like of each split, ``seconds/fit`` of each
    phase, ``pool``. What is a list, or not defined, is left out."""
    values: dict[str, float] = {"pool": row["pool"]}
    parts: dict[str, Mapping[str, Any]] = {split: row[split] for split in SPLITS}
    for part, metrics in (*parts.items(), ("seconds", row["seconds"])):
        values |= {
            f"{part}/{name}": value for name, value in metrics.items() if isinstance(value, int | float)
        }
    return values
