"""How long a run will go on, judged by its rounds so far. A guess for people: early stopping makes rounds uneven."""

import time
from collections.abc import Callable, Sequence

import numpy as np

from src.utils.records import Row


class TimeLeft:
    """The seconds that rounds with ``labels`` labels still take; ``rows`` are those that are over.

    Training takes longer the more inputs there are to an epoch: its seconds are a line over them, of which neither the
    start nor the slope is negative. An epoch trains on the labelled inputs and validates on ``validated`` others, each
    of which counts a third, as it has no backward pass. All other phases take what they took on average.
    """

    def __init__(
        self,
        labels: Sequence[int],
        rows: Sequence[Row] = (),
        validated: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._labels, self._validated, self._clock = labels, validated, clock
        self._fits: list[tuple[float, float]] = []
        self._others: list[float] = []
        self._line: tuple[float, float] | None = None
        for row in rows:
            self.end_round(row)
        self._begin_round()

    def _begin_round(self) -> None:
        self._began = self._clock()
        self._first: tuple[int, float] | None = None

    def end_round(self, row: Row) -> None:
        """Learn from a round that is over; the next one begins."""
        fit = row["seconds"].get("fit", 0.0)
        self._fits.append((self._inputs(row["labelled"]), fit))
        self._others.append(sum(row["seconds"].values()) - fit)
        self._line = None
        self._begin_round()

    def after_round(self) -> float:
        """Of all rounds to come."""
        return sum(map(self._whole_round, self._labels[len(self._fits) :]))

    def after_epoch(self, epoch: int, epochs: int) -> float | None:
        """Of the round at work, of ``epochs`` epochs at most, and all that follow; None while nothing can be said."""
        now = self._clock()
        first, *later = self._labels[len(self._fits) :]
        if self._fits:
            passed = now - self._began
            return max(0.0, self._whole_round(first) - passed) + sum(map(self._whole_round, later))
        if self._first is None:
            # Whatever came before it was not an epoch; nor need it be number 1, if a round was stopped in its midst.
            self._first = epoch, now
            return None
        an_epoch = (now - self._first[1]) / (epoch - self._first[0])
        return an_epoch * (epochs - epoch) + sum(
            an_epoch * epochs * self._inputs(labels) / self._inputs(first) for labels in later
        )

    def _inputs(self, labels: int) -> float:
        """Of an epoch, as if it trained on all of them."""
        return labels + self._validated / 3

    def _whole_round(self, labels: int) -> float:
        if self._line is None:
            # Here, since it takes half a second that --check need not wait for.
            from scipy.optimize import nnls  # type: ignore[import-untyped]

            inputs, seconds = zip(*self._fits, strict=True)
            (start, slope), _ = nnls(np.array([(1.0, count) for count in inputs]), np.array(seconds))
            self._line = float(start), float(slope)
        start, slope = self._line
        return start + slope * self._inputs(labels) + sum(self._others) / len(self._others)


def about(seconds: float) -> str:
    """The time in words of two digits or so, as a guess deserves."""
    if seconds < 60:
        return f"about {max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"about {minutes} min"
    hours = minutes / 60
    return f"about {hours:.1f} h" if hours < 10 else f"about {hours:.0f} h"
