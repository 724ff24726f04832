"""A run's three files, in two generations, and what can be had of them when some are damaged.

After each round ``queries.npz``, ``rounds.jsonl`` and ``state.pt`` are replaced, in this order, and those before are
kept in ``previous/``. The state decides: what the other two hold beyond its rounds was left by a crash. Where

- ``state.pt`` is damaged, the previous one serves: seed, dataset and split are the same in both, and which label was
  asked for in which round is in the queries. No round is lost.
- ``rounds.jsonl`` is damaged, its lines before the damage count, or the previous generation's, if those are more.
- ``queries.npz`` is damaged, the previous one counts. The last round is lost, and run again.

Rounds are kept up to the first that rows or queries do not have. How each file is written, and its damage found, is
in ``run_files``.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from src.utils.errors import UserError
from src.utils.files import keep_as, write_atomically
from src.utils.run_files import (
    QUERIES,
    ROUNDS,
    STATE,
    Arrays,
    Damaged,
    Row,
    load_queries,
    load_state,
    queries_file,
    read_if_there,
    read_lines,
    round_of,
    rows_file,
    state_file,
)

# torch is imported where it is used: it takes seconds, and reading what rounds came to needs none of it.
if TYPE_CHECKING:
    from torch import Tensor

PREVIOUS = "previous"
UNLABELLED = -1
"""The pool's inputs in ``labelled_in_round_N``."""


@dataclass
class Generation:
    """What the three files of a run hold. ``data`` is the dataset's fingerprint, where it is known."""

    run_seed: int
    rows: list[Row]
    arrays: Arrays
    labelled_in_round_N: Tensor
    finished: bool
    data: str | None

    def contents(self) -> dict[str, bytes]:
        """The files, in the order in which they are written; ValueError where a row's number is not finite."""
        state = state_file(self.run_seed, self.rows, self.finished, self.labelled_in_round_N, self.data)
        return {QUERIES: queries_file(self.arrays), ROUNDS: rows_file(self.rows), STATE: state}

    def start(self) -> Generation:
        """The one before the first round, which has only the split and the initial labels."""
        labelled_in_round_N = _labelled(self.labelled_in_round_N, [])
        return Generation(self.run_seed, [], {}, labelled_in_round_N, False, self.data)


def write_next(folder: Path, generation: Generation) -> None:
    """Replace the files, and keep those that were. After a crash anywhere in here the run has its rounds of before, or
    these."""
    contents = generation.contents()
    if not (folder / STATE).exists():
        write_atomically(folder / STATE, generation.start().contents()[STATE])
    for name in contents:
        if (folder / name).exists():
            keep_as(folder / name, folder / PREVIOUS / name)
    for name, content in contents.items():
        write_atomically(folder / name, content)


@dataclass
class Found:
    """What there is of a run, or what is left of it where ``damaged`` says what is wrong with which file."""

    kept: Generation
    damaged: dict[str, str]
    rounds: int
    """How many there were."""

    def told(self) -> str:
        """In a line: what is damaged, what is kept and what will be run again; "" where nothing is damaged."""
        if not self.damaged:
            return ""
        what = "; ".join(f"{name} {why}" for name, why in self.damaged.items())
        kept, count = len(self.kept.rows), self.rounds
        again = f"round {count} is" if count == kept + 1 else f"rounds {kept + 1} to {count} are"
        return (
            f"{what}: {'round 1 is' if kept == 1 else f'rounds 1 to {kept} are'} kept, "
            f"{f'{again} run again' if count > kept else 'none is lost'}"
        )

    def repair(self, folder: Path) -> None:
        """Write what is kept, and what is damaged beside it as ``<name>.damaged``."""
        for name in self.damaged:
            if (folder / name).exists():
                write_atomically(folder / f"{name}.damaged", (folder / name).read_bytes())
        # The state first, so that what the others have beyond it no longer counts.
        for name, content in reversed(self.kept.contents().items()):
            write_atomically(folder / name, content)


def find(folder: Path) -> Found | None:
    """The rounds of a run, read only; None where it has none. UserError where no round can be recovered, where a file
    is there and cannot be read, and where another version of this program wrote it."""
    damaged: dict[str, str] = {}
    state = _find_state(folder, damaged)
    if state is None:
        return None
    sound, rounds, finished = STATE not in damaged, state["rounds"], state["finished"]
    rows = _find_rows(folder, state, damaged)
    if not sound:  # it was of the round after the previous one's, or of the same where a crash came between
        rounds = max(rounds + 1, len(rows))
    arrays = _find_queries(folder, rounds - (finished if sound else 1), damaged)
    kept, asked = min(rounds, len(rows)), _rounds_of(arrays)
    if sound:
        finished = finished and kept == rounds and asked >= rounds - 1
    else:  # queries are written before rows: the last row that has none asked for nothing
        finished = kept == asked + 1 and QUERIES not in damaged
    kept = min(kept, asked + finished)
    if damaged and not kept:
        what = "; ".join(f"{folder / name}: {why}" for name, why in damaged.items())
        raise UserError(f"{what}; no round can be recovered; restore it or use --overwrite")
    labelled_in_round_N = state["labelled_in_round_N"]
    if not sound or kept < rounds:
        queries = [arrays[f"indices_{round_}"] for round_ in range(kept - finished)]
        try:
            labelled_in_round_N = _labelled(labelled_in_round_N, queries)
        except (IndexError, RuntimeError) as error:
            raise UserError(
                f"{folder / QUERIES}: is of another dataset ({type(error).__name__}); restore it or use --overwrite"
            ) from error
    arrays = {name: array for name, array in arrays.items() if round_of(name) < kept - finished}
    # Records from before there was a fingerprint have none.
    data = state.get("data")
    generation = Generation(state["run_seed"], rows[:kept], arrays, labelled_in_round_N, finished, data)
    return Found(generation, damaged, rounds)


def _find_state(folder: Path, damaged: dict[str, str]) -> dict[str, Any] | None:
    """The state, or the previous one; None where there is neither."""
    path = folder / STATE
    try:
        return load_state(path)
    except Damaged as error:
        wrong = str(error)
    try:
        state = load_state(folder / PREVIOUS / STATE)
    except Damaged:
        # A first round that a crash cut short leaves a row, or none.
        if not path.exists() and len((read_if_there(folder / ROUNDS) or b"").splitlines()) < 2:
            return None
        raise UserError(
            f"{path}: {wrong}, and there is no good {PREVIOUS}/{STATE}; restore it or use --overwrite"
        ) from None
    damaged[STATE] = wrong
    return state


def _find_rows(folder: Path, state: dict[str, Any], damaged: dict[str, str]) -> list[Row]:
    """The rows before the first damaged one, of the generation that has more of them."""
    checksums, wanted = state.get("checksums", []), state["rounds"]
    rows, wrong = read_lines(folder / ROUNDS, checksums)
    if not wrong and len(rows) < wanted:
        wrong = f"has {len(rows)} of {wanted} rounds"
    if wrong and (wanted or rows or STATE in damaged):
        damaged[ROUNDS] = wrong
        rows = max(rows, read_lines(folder / PREVIOUS / ROUNDS, checksums)[0], key=len)
    return rows


def _find_queries(folder: Path, wanted: int, damaged: dict[str, str]) -> Arrays:
    """The queries of the generation that has more of them; damaged if there are less than of ``wanted`` rounds."""
    arrays: Arrays = {}
    try:
        arrays = load_queries(folder / QUERIES)
        if _rounds_of(arrays) < wanted:
            raise Damaged(f"has {_rounds_of(arrays)} of {wanted} rounds")
    except Damaged as error:
        if wanted > 0:
            damaged[QUERIES] = str(error)
            with suppress(Damaged):
                arrays = max(arrays, load_queries(folder / PREVIOUS / QUERIES), key=_rounds_of)
    return arrays


def _labelled(labelled_in_round_N: Tensor, queries: Sequence[np.ndarray]) -> Tensor:
    """The labels' history after these queries, from any later or earlier one of the same run."""
    import torch

    history_N = labelled_in_round_N.clone()
    history_N[history_N > 0] = UNLABELLED
    for round_, indices_Q in enumerate(queries):
        history_N[torch.from_numpy(indices_Q)] = round_ + 1
    return history_N


def _rounds_of(arrays: Arrays) -> int:
    """How many rounds from the first on have a query."""
    return next(round_ for round_ in range(len(arrays) + 1) if f"indices_{round_}" not in arrays)
