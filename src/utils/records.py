"""What a run leaves on disk and how it is picked up again. ``state.pt`` is written last and decides: whatever the
other files hold beyond its rounds is dropped on resuming."""

import csv
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.utils.errors import UserError
from src.utils.files import write_atomically

Row = dict[str, Any]
STATE_VERSION = 1

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

    Raises UserError where a file is damaged or was made with another seed. The dataset, which takes long to load, is
    held against them later, by ``check_data``.
    """

    def __init__(self, folder: Path, run_seed: int) -> None:
        self.folder = folder
        self.run_seed = run_seed
        self.rows: list[Row] = []
        self.labelled_in_round_N: Tensor | None = None
        self.finished = False
        self._data: str | None = None
        self._arrays: dict[str, np.ndarray] = {}
        for left_by_a_crash in folder.glob(".*.part"):
            left_by_a_crash.unlink()
        if (folder / "state.pt").exists():
            self._resume(folder / "state.pt")

    def _resume(self, path: Path) -> None:
        state = _load_state(path)
        if state["run_seed"] != self.run_seed:
            raise UserError(
                f"{path}: was made with seed {state['run_seed']}, not {self.run_seed}; use --overwrite"
            )
        self.rows = read_rows(self.folder)[: state["rounds"]]
        if len(self.rows) < state["rounds"]:
            raise UserError(
                f"{self.folder / 'rounds.jsonl'}: has {len(self.rows)} of {state['rounds']} rounds; "
                "restore it or use --overwrite"
            )
        self._arrays = _load_queries(self.folder / "queries.npz", state["rounds"])
        self.labelled_in_round_N = state["labelled_in_round_N"]
        self.finished = state["finished"]
        self._data = state.get("data")  # records from before there was this key have none

    def continue_to(self, rounds: int) -> None:
        """Take up a run that a plan of fewer rounds finished. Its last one asked for nothing, and is done again."""
        if self.finished and len(self.rows) < rounds:
            self.rows.pop()
            self.finished = False

    def check_data(self, fingerprint: str) -> None:
        """Refuse rounds of another dataset, whose indices mean other inputs; rounds to come keep the fingerprint."""
        if self._data not in (None, fingerprint):
            raise UserError(
                f"{self.folder / 'state.pt'}: the dataset is not the one of its rounds: inputs were added, removed, "
                "renamed or given other labels; bring it back as it was, or use --overwrite to start anew"
            )
        self._data = fingerprint

    def commit(self, row: Row, query: Query | None, labelled_in_round_N: Tensor, finished: bool) -> None:
        """Write a finished round; after a crash anywhere in here, resuming repeats the round or has it whole."""
        round_ = len(self.rows)
        self.rows.append(row)
        if query is not None:
            for name, tensor in vars(query).items():
                if tensor is not None:
                    self._arrays[f"{name.rsplit('_', 1)[0]}_{round_}"] = tensor.cpu().numpy()
        _write_queries(self.folder / "queries.npz", self._arrays)
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in self.rows)
        write_atomically(self.folder / "rounds.jsonl", lines.encode())
        state = {
            "version": STATE_VERSION,
            "run_seed": self.run_seed,
            "rounds": len(self.rows),
            "finished": finished,
            "labelled_in_round_N": labelled_in_round_N,
            "data": self._data,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(self.folder / "state.pt", buffer.getvalue())
        self.labelled_in_round_N, self.finished = labelled_in_round_N, finished


def read_rows(folder: Path) -> list[Row]:
    """The rows of rounds.jsonl; UserError with the line that cannot be read."""
    path = folder / "rounds.jsonl"
    rows = []
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read ({error}); restore it or use --overwrite") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{path}:{number}: not JSON ({error.msg}); restore it or use --overwrite"
            ) from error
        if not isinstance(row, dict):
            raise UserError(f"{path}:{number}: not a JSON object; restore it or use --overwrite")
        rows.append(row)
    return rows


def progress(folder: Path, rounds: int) -> str:
    """How many of its ``rounds`` a run has, read only, so that a process at work on it is not disturbed; UserError
    where its state is damaged."""
    if not (folder / "state.pt").exists():
        return "not begun"
    done = _load_state(folder / "state.pt")["rounds"]
    return f"{done} of {rounds} rounds" if done < rounds else f"finished, {done} rounds"


def read_query(folder: Path, round_: int) -> tuple[Query, str | None]:
    """What a round (from 0) asked for, read only, and the fingerprint of its dataset, if known; UserError where the run
    has no such round, or the files are damaged."""
    if not (folder / "state.pt").exists():
        raise UserError(f"{folder}: has no finished round")
    state = _load_state(folder / "state.pt")
    arrays = _load_queries(folder / "queries.npz", state["rounds"])
    if f"indices_{round_}" not in arrays:
        asking = sorted(int(name.removeprefix("indices_")) for name in arrays if name.startswith("indices_"))
        having = f"rounds {asking[0]} to {asking[-1]} have" if asking else "no round has"
        raise UserError(f"{folder}: round {round_}, from 0, has asked for nothing; {having}")

    def tensor(name: str) -> Tensor | None:
        return torch.from_numpy(arrays[f"{name}_{round_}"]) if f"{name}_{round_}" in arrays else None

    indices_Q, scores_Q = tensor("indices"), tensor("scores")
    assert indices_Q is not None and scores_Q is not None
    return Query(indices_Q, scores_Q, tensor("pool_indices"), tensor("pool_scores")), state.get("data")


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


def _load_state(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:  # torch.load looks at no checksum
            if bad := archive.testzip():
                raise zipfile.BadZipFile(bad)
        state = torch.load(path, weights_only=True, map_location="cpu")
        if state["version"] != STATE_VERSION:
            raise UserError(f"{path}: is of version {state['version']}, this program writes {STATE_VERSION}")
        return state
    except UserError:
        raise
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise UserError(f"{path}: damaged ({type(error).__name__}); restore it or use --overwrite") from error


def _load_queries(path: Path, rounds: int) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if int(name.rsplit("_", 1)[1]) < rounds}
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; restore it or use --overwrite") from None
    except Exception as error:  # a damaged archive raises many kinds, as above
        raise UserError(f"{path}: damaged ({type(error).__name__}); restore it or use --overwrite") from error


def _write_queries(path: Path, arrays: dict[str, np.ndarray]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_atomically(path, buffer.getvalue())
