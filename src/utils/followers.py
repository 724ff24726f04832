"""The records of a run as processes see them that do not write them."""

from pathlib import Path
from typing import Any

from torch import Tensor

from src.utils import processes
from src.utils.records import Query, Row, RunRecords


class FollowedRecords(RunRecords):
    """In memory what the first process has on disk."""

    def __init__(self, folder: Path, run_seed: int, told: dict[str, Any]) -> None:
        # Not the files, which the first process may be writing.
        self.folder, self.run_seed = folder, run_seed
        self.rows: list[Row] = told["rows"]
        self.labelled_in_round_N: Tensor | None = told["labelled_in_round_N"]
        self.finished: bool = told["finished"]

    def check_data(self, fingerprint: str) -> None:
        """The first process does."""

    def commit(self, row: Row, query: Query | None, labelled_in_round_N: Tensor, finished: bool) -> None:
        """As the first process, in memory."""
        self.rows.append(row)
        self.labelled_in_round_N, self.finished = labelled_in_round_N, finished


def records_of_run(folder: Path, run_seed: int) -> RunRecords:
    """The first process's from the files, which alone writes them, and the others' from it; UserError as RunRecords."""
    records = RunRecords(folder, run_seed) if processes.first() else None
    told = processes.from_first(
        {
            "rows": records.rows,
            "labelled_in_round_N": records.labelled_in_round_N,
            "finished": records.finished,
        }
        if records is not None
        else {}
    )
    return records or FollowedRecords(folder, run_seed, told)
