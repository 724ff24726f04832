import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from src.utils.errors import UserError
from src.utils.records import Query, RunRecords, read_rows, write_wide_csv

ROW = {"round": 0, "labelled": 10}
START = [-2, 0, 0, *[-1] * 12]
"""One input held out, two labelled at first."""


def labels(rounds: int) -> torch.Tensor:
    """The history after so many rounds, each of which asked for two inputs."""
    history = torch.tensor(START)
    for round_ in range(rounds):
        history[[13 - 2 * round_, 12 - 2 * round_]] = round_ + 1
    return history


def commit(records: RunRecords, finished: bool = False) -> None:
    """A further round, whose last asks for nothing."""
    round_ = len(records.rows)
    indices = torch.tensor([13 - 2 * round_, 12 - 2 * round_])
    query = Query(indices, torch.tensor([0.5, 0.25]), torch.arange(3), torch.full((3,), 0.5))
    row = {**ROW, "round": round_, "loss": 0.1 * round_, "seconds": {"fit": float(torch.rand(()))}}
    records.commit(row, None if finished else query, labels(round_ + (not finished)), finished)


def committed(folder: Path, rounds: int = 3, finished: bool = False) -> RunRecords:
    records = RunRecords(folder, run_seed=3)
    for round_ in range(rounds):
        commit(records, finished and round_ == rounds - 1)
    return records


def test_what_was_committed_is_taken_up_again(tmp_path: Path) -> None:
    committed(tmp_path)
    records = RunRecords(tmp_path, run_seed=3)
    assert [row["round"] for row in records.rows] == [0, 1, 2]
    assert records.labelled_in_round_N.tolist() == labels(3).tolist()
    assert not records.finished


def test_queries_hold_indices_and_scores_of_each_round(tmp_path: Path) -> None:
    committed(tmp_path)
    with np.load(tmp_path / "queries.npz") as file:
        assert sorted(file.files) == sorted(
            f"{name}_{r}" for r in range(3) for name in ("indices", "scores", "pool_indices", "pool_scores")
        )
        assert file["indices_1"].tolist() == [11, 10]
        assert file["scores_1"].tolist() == [0.5, 0.25]


def test_the_last_query_is_the_latest_rounds(tmp_path: Path) -> None:
    records = RunRecords(tmp_path, run_seed=3)
    assert records.last_query() is None
    committed(tmp_path)
    records = RunRecords(tmp_path, run_seed=3)
    query = records.last_query()
    assert query is not None
    assert (query.indices_Q.tolist(), query.scores_Q.tolist()) == ([9, 8], [0.5, 0.25])
    records.commit({**ROW, "round": 3}, None, torch.zeros(3), finished=True)
    assert records.last_query() is None
    records.continue_to(5)
    query = records.last_query()
    assert query is not None and query.indices_Q.tolist() == [9, 8]


def test_rows_and_queries_beyond_the_state_are_dropped(tmp_path: Path) -> None:
    """A crash between the files of a round: rows and queries are there, the state is not."""
    committed(tmp_path, 2)
    state = (tmp_path / "state.pt").read_bytes()
    commit(RunRecords(tmp_path, 3))
    (tmp_path / "state.pt").write_bytes(state)
    records = RunRecords(tmp_path, 3)
    assert [row["round"] for row in records.rows] == [0, 1]
    records.commit({**ROW, "round": 2, "again": True}, None, labels(2), True)
    assert [row.get("again") for row in read_rows(tmp_path)] == [None, None, True]
    with np.load(tmp_path / "queries.npz") as file:
        assert "indices_2" not in file.files


def test_another_seed_is_refused(tmp_path: Path) -> None:
    committed(tmp_path)
    with pytest.raises(UserError, match="seed 3, not 4"):
        RunRecords(tmp_path, run_seed=4)


def test_another_dataset_is_refused_and_records_that_tell_of_none_are_not(tmp_path: Path) -> None:
    committed(tmp_path, 1)
    records = RunRecords(tmp_path, run_seed=3)
    records.check_data("one")
    commit(records)
    RunRecords(tmp_path, run_seed=3).check_data("one")
    with pytest.raises(UserError, match=r"state\.pt: the dataset is not the one of its rounds"):
        RunRecords(tmp_path, run_seed=3).check_data("another")


def test_a_state_from_before_there_was_a_fingerprint_is_taken_up(tmp_path: Path) -> None:
    committed(tmp_path, 1)
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    del state["data"]
    torch.save(state, tmp_path / "state.pt")
    RunRecords(tmp_path, run_seed=3).check_data("any")


def test_non_finite_numbers_never_reach_the_disk(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        RunRecords(tmp_path, 3).commit({**ROW, "loss": float("nan")}, None, torch.zeros(3), False)
    assert not (tmp_path / "state.pt").exists()


def test_the_wide_csv_has_six_columns_a_run_and_leaves_missing_rounds_empty(tmp_path: Path) -> None:
    def row(labelled: int, value: float) -> dict:
        return {
            "labelled": labelled,
            **{s: {"accuracy": value, "loss": -value} for s in ("train", "val", "test")},
        }

    write_wide_csv(tmp_path / "t.csv", {1: [row(10, 0.5), row(20, 0.6)], 3: [row(10, 0.7)]})
    with open(tmp_path / "t.csv", newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header == ["samples"] + [
        f"{split}_{kind}_run{run}"
        for run in (1, 3)
        for split in ("test", "train", "val")
        for kind in ("accuracy", "losses")
    ]
    cells = [dict(zip(header, cells, strict=True)) for cells in rows]
    assert [c["samples"] for c in cells] == ["10", "20"]
    assert (cells[0]["test_accuracy_run3"], cells[1]["test_accuracy_run3"]) == ("0.7", "")
    assert cells[1]["val_losses_run1"] == "-0.6"


def test_rounds_are_json_lines(tmp_path: Path) -> None:
    committed(tmp_path)
    lines = (tmp_path / "rounds.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == [0, 1, 2]
