"""What a run says while it works: one progress line on a terminal, a plain line a round in a log. Numbers come from the
loop."""

import os
import sys
from collections.abc import Sequence
from typing import TextIO

from tqdm import tqdm

from src.utils.records import Row, metric_title
from src.utils.remaining import TimeLeft, about

PIPE_CLOSED = 141
"""Exit status where nobody reads on, as of a program that SIGPIPE ended."""
BOLD, PLAIN = "\033[1m", "\033[0m"


class RunConsole:
    """Progress of one run: a line at its start and after each round, on standard output, and on a terminal a progress
    line below them, with ``verbose``. ``quiet``: never that one.

    ``labels`` are the labelled inputs of each round, ``validated`` those held out and ``rows`` the rounds that are
    over, to tell how long it will go on; ``epochs`` are those of a round at most. Without them nothing is said of what
    they tell.
    """

    def __init__(
        self,
        run: int,
        runs: int,
        rounds: int,
        done: int,
        verbose: bool,
        metric: str = "accuracy",
        quiet: bool = False,
        *,
        labels: Sequence[int] = (),
        rows: Sequence[Row] = (),
        validated: int = 0,
        epochs: int | None = None,
    ) -> None:
        self._metric = metric
        self._prefix = f"run {run}/{runs}"
        self._rounds, self._done, self._epochs = rounds, done, epochs
        self._time_left = TimeLeft(labels, rows, validated) if labels else None
        self._latest = rows[-1]["test"][metric] if rows else None
        self._bar = tqdm(
            total=rounds,
            initial=done,
            desc=self._prefix,
            bar_format="{desc} {bar}",
            leave=False,
            disable=quiet or not (verbose and sys.stderr.isatty()),
            miniters=0,  # whether a tenth of a second has passed is all that counts
            dynamic_ncols=True,
            colour="green" if coloured(sys.stderr) else None,
        )

    def start(self, what: str) -> None:
        """A run begins, or goes on."""
        going_on = f"; goes on with round {self._done + 1}" if self._done else ""
        self._say(f"{self._prefix}  {what}{going_on}")

    def epoch(self, round_: int, labelled: int, epoch: int, train_loss: float, val_loss: float) -> None:
        """An epoch has ended; losses are the members' mean."""
        if self._bar.disable:
            return
        epochs = "" if self._epochs is None else f"/{self._epochs}"
        # What a narrow terminal cuts off is at the end.
        parts = [
            f"{self._prefix}  round {round_ + 1}/{self._rounds}",
            f"{labelled} labels",
            f"epoch {epoch}{epochs}",
        ]
        if self._time_left is not None and self._epochs is not None:
            left = self._time_left.after_epoch(epoch, self._epochs)
            parts += [f"{about(left)} left"] if left is not None else []
        if self._latest is not None:
            parts.append(f"{metric_title(self._metric)} {self._latest:.4f}")
        parts.append(f"loss {train_loss:.3f} (val {val_loss:.3f})")
        self._bar.set_description_str(", ".join(parts), refresh=False)
        share_of_round = epoch / self._epochs if self._epochs else 0
        self._bar.update(round_ + share_of_round - self._bar.n)

    def round(self, row: Row) -> None:
        """A round has ended."""
        self._latest = row["test"][self._metric]
        figure = f"{self._latest:.4f}"
        if coloured(sys.stdout):
            figure = f"{BOLD}{figure}{PLAIN}"
        left = ""
        if self._time_left is not None:
            self._time_left.end_round(row)
            if row["round"] + 1 < self._rounds:
                left = f"  {about(self._time_left.after_round())} left"
        self._say(
            f"{self._prefix}  round {row['round'] + 1:>2}/{self._rounds}  {row['labelled']:>6} labels  "
            f"test {metric_title(self._metric)} {figure}  loss {row['test']['loss']:.4f}  "
            f"{sum(row['seconds'].values()):.1f} s{left}"
        )
        self._bar.update(row["round"] + 1 - self._bar.n)

    @staticmethod
    def _say(line: str) -> None:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    def __enter__(self) -> "RunConsole":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def coloured(stream: TextIO) -> bool:
    """Whether to write in colour and bold there: on a terminal that can, unless NO_COLOR is set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def note(line: str) -> None:
    """Say on standard error what a person should know, above a progress line if there is one."""
    tqdm.write(line, file=sys.stderr)


def nobody_reads_on() -> int:
    """Once standard output was found closed, as by ``| head``: the exit status.

    What is still unwritten goes nowhere from here on, or else Python would complain again on its way out.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return PIPE_CLOSED
