"""What a run says while it works: one progress bar on a terminal, plain lines elsewhere. Numbers come from the loop."""

import sys

from tqdm import tqdm

from src.utils.records import Row


class RunConsole:
    """Progress of one run. With ``verbose``, or on a terminal, a bar; in any case a line at the start and after each
    round (on standard output). ``quiet``: never a bar."""

    def __init__(
        self,
        run: int,
        runs: int,
        rounds: int,
        done: int,
        verbose: bool,
        metric: str = "accuracy",
        quiet: bool = False,
    ) -> None:
        self._metric = metric
        self._prefix = f"run {run}/{runs}"
        self._rounds, self._done = rounds, done
        self._bar = tqdm(
            total=rounds,
            initial=done,
            desc=self._prefix,
            unit="round",
            leave=False,
            disable=quiet or not (verbose or sys.stderr.isatty()),
            mininterval=0.1 if sys.stderr.isatty() else 10,
        )

    def start(self, what: str) -> None:
        """A run begins, or goes on."""
        going_on = f"; goes on with round {self._done + 1}" if self._done else ""
        tqdm.write(f"{self._prefix}  {what}{going_on}", file=sys.stdout)
        sys.stdout.flush()

    def epoch(self, labelled: int, epoch: int, train_loss: float, val_loss: float) -> None:
        """An epoch has ended; losses are the members' mean."""
        if not self._bar.disable:
            self._bar.set_postfix_str(
                f"{labelled} labels, epoch {epoch}, loss {train_loss:.3f}, val {val_loss:.3f}", refresh=False
            )
            self._bar.update(0)

    def round(self, row: Row) -> None:
        """A round has ended."""
        self._bar.update(1)
        tqdm.write(
            f"{self._prefix}  round {row['round'] + 1:>2}/{self._rounds}  {row['labelled']:>6} labels  "
            f"test {self._metric} {row['test'][self._metric]:.4f}  loss {row['test']['loss']:.4f}  "
            f"{sum(row['seconds'].values()):.1f} s",
            file=sys.stdout,
        )
        sys.stdout.flush()

    def __enter__(self) -> "RunConsole":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()
