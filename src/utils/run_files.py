"""A run's three files one by one: how each is written, and read so that damage shows. It does in the checksums that
archives have, and in those of the rows, which the state holds. What then counts is the matter of ``generations``."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from src.utils.errors import UserError

# torch is imported where it is used: it takes seconds, and reading what rounds came to needs none of it.
if TYPE_CHECKING:
    from torch import Tensor

Row = dict[str, Any]
Arrays = dict[str, np.ndarray]

QUERIES, ROUNDS, STATE = "queries.npz", "rounds.jsonl", "state.pt"
STATE_VERSION = 1


class Damaged(Exception):
    """What is wrong with a file."""


def rows_file(rows: Sequence[Row]) -> bytes:
    """rounds.jsonl; ValueError where a number is not finite."""
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows).encode()


def read_lines(path: Path, checksums: Sequence[int] = ()) -> tuple[list[Row], str]:
    """The rows of rounds.jsonl up to the first that is damaged, and what is wrong with that one, or ""."""
    content = read_if_there(path)
    if content is None:
        return [], "is missing"
    rows: list[Row] = []
    for number, line in enumerate(content.splitlines()):
        try:
            row = json.loads(line)
        except ValueError:  # not UTF-8 is one too
            return rows, f"line {number + 1} is not JSON"
        if not isinstance(row, dict):
            return rows, f"line {number + 1} is not a JSON object"
        if number < len(checksums) and _checksum(row) != checksums[number]:
            return rows, f"line {number + 1} is not what was written"
        rows.append(row)
    return rows, ""


def queries_file(arrays: Arrays) -> bytes:
    """queries.npz."""
    queries = io.BytesIO()
    np.savez(queries, allow_pickle=False, **arrays)
    return queries.getvalue()


def load_queries(path: Path) -> Arrays:
    """The arrays of queries.npz; Damaged where they are not all there, or not all of a round."""
    content = _present(path)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        for name in arrays:
            round_of(name)
    except Exception as error:  # a damaged archive raises many kinds
        raise Damaged(f"is damaged ({type(error).__name__})") from error
    return arrays


def round_of(name: str) -> int:
    """The round of an array of queries.npz; ValueError where the name has none."""
    return int(name.rsplit("_", 1)[1])


def state_file(
    run_seed: int, rows: Sequence[Row], finished: bool, labelled_in_round_N: Tensor, data: str | None
) -> bytes:
    """state.pt, which holds of the rows how many there are and their checksums."""
    import torch

    held = {
        "version": STATE_VERSION,
        "run_seed": run_seed,
        "rounds": len(rows),
        "finished": finished,
        "labelled_in_round_N": labelled_in_round_N,
        "data": data,
        "checksums": [_checksum(row) for row in rows],
    }
    state = io.BytesIO()
    torch.save(held, state)
    return state.getvalue()


def load_state(path: Path) -> dict[str, Any]:
    """What state.pt holds; without data or checksums where it is of before there were any. Damaged where it is not
    whole, UserError where another version of this program wrote it."""
    import torch

    content = _present(path)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:  # torch.load looks at no checksum
            if bad := archive.testzip():
                raise zipfile.BadZipFile(bad)
        state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        version, *_ = [state[name] for name in ("version", "run_seed", "rounds", "finished")]
        if not isinstance(state["labelled_in_round_N"], torch.Tensor):
            raise TypeError
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise Damaged(f"is damaged ({type(error).__name__})") from error
    if version != STATE_VERSION:
        raise UserError(
            f"{path}: is of version {version}, this program writes {STATE_VERSION}; go on with the program that "
            "wrote it, or start anew with --overwrite"
        )
    return state


def read_if_there(path: Path) -> bytes | None:
    """The file's bytes; None where there is none. What cannot be read is not taken for damaged: it may be whole."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(
            f"{path}: cannot read ({error.strerror}); mend that, restore it or use --overwrite"
        ) from error


def _present(path: Path) -> bytes:
    content = read_if_there(path)
    if content is None:
        raise Damaged("is missing")
    return content


def _checksum(row: Row) -> int:
    """Of what a round computed. How long it took is another time every time."""
    computed = {key: value for key, value in row.items() if key != "seconds"}
    return zlib.crc32(json.dumps(computed, sort_keys=True).encode())
