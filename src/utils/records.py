"""What a run leaves on disk and how it is picked up again: its rounds one by one, and the table of several runs.
Which files hold it is in ``run_files``, and what is left where some are damaged in ``generations``."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from src.utils.errors import UserError
from src.utils.files import exclusive, write_atomically
from src.utils.generations import PREVIOUS, Found, Generation, find, write_next
from src.utils.run_files import ROUNDS, STATE, Arrays, Row, read_lines

if TYPE_CHECKING:
    from torch import Tensor

LOCK = "lock"
"""What a process at work on a run holds locked."""

COLUMNS = (("accuracy", "accuracy"), ("loss", "losses"))
DENSE_COLUMNS = (("miou", "ious"), ("loss", "losses"), ("auroc", "auroc"))
"""A metric of the rows and what the wide table calls it."""


def metric_title(metric: str) -> str:
    """What people read in the place of a metric's key in the rows."""
    return "mean IoU" if metric == "miou" else metric


@dataclass(frozen=True)
class Query:
    """What one round asked for: the indices to label, in query order, with their scores.

    ``pool_indices_N`` and ``pool_scores_N`` hold everything that was scored, where that is to be kept.
    """

    indices_Q: Tensor
    scores_Q: Tensor
    pool_indices_N: Tensor | None = None
    pool_scores_N: Tensor | None = None


class RunRecords:
    """The files of one run: rounds.jsonl, queries.npz and state.pt in ``folder``, as they stand or not yet there.

    Where some are damaged, the rounds that can be recovered are kept, a line on stderr says which, and the damaged
    files are kept as ``<name>.damaged``. Raises UserError where none can be, and where they were made with another
    seed. The dataset, which takes long to load, is held against them later, by ``check_data``.
    """

    def __init__(self, folder: Path, run_seed: int) -> None:
        self.folder = folder
        self.run_seed = run_seed
        self.rows: list[Row] = []
        self.labelled_in_round_N: Tensor | None = None
        self.finished = False
        self._data: str | None = None
        self._arrays: Arrays = {}
        _remove_parts(folder)
        found = find(folder)
        if found is None:
            return
        kept = found.kept
        if kept.run_seed != run_seed:
            raise UserError(
                f"{folder / STATE}: was made with seed {kept.run_seed}, not {run_seed}; use --overwrite"
            )
        _repair(folder, found)
        self.rows, self._arrays, self._data = kept.rows, kept.arrays, kept.data
        self.labelled_in_round_N, self.finished = kept.labelled_in_round_N, kept.finished

    def continue_to(self, rounds: int) -> None:
        """Take up a run that a plan of fewer rounds finished. Its last one asked for nothing, and is done again."""
        if self.finished and len(self.rows) < rounds:
            self.rows.pop()
            self.finished = False

    def check_data(self, fingerprint: str) -> None:
        """Refuse rounds of another dataset, whose indices mean other inputs; rounds to come keep the fingerprint."""
        if self._data not in (None, fingerprint):
            raise UserError(
                f"{self.folder / STATE}: the dataset is not the one of its rounds: inputs were added, removed, "
                "renamed or given other labels; bring it back as it was, or use --overwrite to start anew"
            )
        self._data = fingerprint

    def last_query(self) -> Query | None:
        """What the latest round asked for; None before there is one. Only the process that writes the records knows."""
        round_ = len(self.rows) - 1
        if f"indices_{round_}" not in self._arrays:
            return None
        import torch

        indices, scores = (
            torch.from_numpy(self._arrays[f"{name}_{round_}"]) for name in ("indices", "scores")
        )
        return Query(indices, scores)

    def commit(self, row: Row, query: Query | None, labelled_in_round_N: Tensor, finished: bool) -> None:
        """Write a finished round; after a crash anywhere in here, resuming repeats the round or has it whole."""
        round_ = len(self.rows)
        self.rows.append(row)
        if query is not None:
            for name, tensor in vars(query).items():
                if tensor is not None:
                    self._arrays[f"{name.rsplit('_', 1)[0]}_{round_}"] = tensor.cpu().numpy()
        generation = Generation(
            self.run_seed, self.rows, self._arrays, labelled_in_round_N, finished, self._data
        )
        write_next(self.folder, generation)
        self.labelled_in_round_N, self.finished = labelled_in_round_N, finished


def recover(folder: Path) -> None:
    """Repair what is damaged of a run, as RunRecords does, while no process is at work on it. UserError where nothing
    can be recovered, and where one is."""
    found = find(folder)
    if found is not None and found.damaged:
        with exclusive(folder / LOCK):
            found = find(folder)
            if found is not None:
                _repair(folder, found)


def _repair(folder: Path, found: Found) -> None:
    if found.damaged:
        kept = [f"{name}.damaged" for name in found.damaged if (folder / name).exists()]
        found.repair(folder)
        where = f"; what is damaged is in {', '.join(kept)}" if kept else ""
        print(f"{folder}: {found.told()}{where}", file=sys.stderr, flush=True)


def read_rows(folder: Path) -> list[Row]:
    """The rows of rounds.jsonl; UserError with the line that cannot be read."""
    rows, wrong = read_lines(folder / ROUNDS)
    if wrong:
        raise UserError(
            f"{folder / ROUNDS}: {wrong}; run this experiment again (without --overwrite): it goes on from the rounds "
            "that can be recovered"
        )
    return rows


def progress(folder: Path, rounds: int) -> str:
    """How many of its ``rounds`` a run has, and what is damaged; read only, so that a process at work on it is not
    disturbed. UserError where nothing can be recovered."""
    found = find(folder)
    if found is None:
        return "not begun"
    done = len(found.kept.rows)
    state = f"{done} of {rounds} rounds" if done < rounds else f"finished, {done} rounds"
    return f"{state}, though {found.told()}" if found.damaged else state


def read_query(folder: Path, round_: int) -> tuple[Query, str | None]:
    """What a round (from 0) asked for, read only, and the fingerprint of its dataset, if known; UserError where the run
    has no such round, or none is left of damaged files."""
    found = find(folder)
    if found is None:
        raise UserError(f"{folder}: has no finished round")
    arrays = found.kept.arrays
    if f"indices_{round_}" not in arrays:
        asking = sorted(int(name.removeprefix("indices_")) for name in arrays if name.startswith("indices_"))
        having = f"rounds {asking[0]} to {asking[-1]} have" if asking else "no round has"
        raise UserError(f"{folder}: round {round_}, from 0, has asked for nothing; {having}")

    import torch

    def tensor(name: str) -> Tensor | None:
        return torch.from_numpy(arrays[f"{name}_{round_}"]) if f"{name}_{round_}" in arrays else None

    indices_Q, scores_Q = tensor("indices"), tensor("scores")
    assert indices_Q is not None and scores_Q is not None
    return Query(indices_Q, scores_Q, tensor("pool_indices"), tensor("pool_scores")), found.kept.data


def write_wide_csv(path: Path, runs: Mapping[int, Sequence[Row]]) -> None:
    """The wide table of an experiment: index ``samples``, then six columns a run: accuracies (or, of segmentation, mean
    IoUs) and losses of test, train and val, as shares and nats. Segmentation has the uncertainty's AUROCs too.

    A run that has no round with that many labels leaves its cells empty; of rounds that
    added no label, the last counts.
    """
    dense = any("miou" in row["test"] for rows in runs.values() for row in rows)
    columns = {
        f"{split}_{title}_run{run}": {row["labelled"]: row[split][metric] for row in rows}
        for run, rows in runs.items()
        for split in ("test", "train", "val")
        for metric, title in (DENSE_COLUMNS if dense else COLUMNS)
    }
    samples = sorted({label for column in columns.values() for label in column})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["samples", *columns])
    # A metric that is not defined (null in the rows) is an empty cell too.
    cells = ([label, *(column.get(label) for column in columns.values())] for label in samples)
    writer.writerows(["" if value is None else value for value in row] for row in cells)
    write_atomically(path, text.getvalue().encode())


def _remove_parts(folder: Path) -> None:
    """Remove what a crash left beside the files of a run, on whichever host: its lock is held here."""
    try:
        for place in (folder, folder / PREVIOUS):
            for path in place.glob(".*.part"):
                path.unlink()
    except OSError as error:
        raise UserError(f"{error.filename}: cannot remove ({error.strerror}); mend permissions") from error
