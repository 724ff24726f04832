"""Whatever happens to one file of a run, the rounds before the last are kept, bit for bit, and nothing is lost
untold."""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from src.active.pool import HELD_OUT, POOL
from src.utils.errors import UserError
from src.utils.generations import PREVIOUS, UNLABELLED, find
from src.utils.records import RunRecords, progress, read_rows
from src.utils.run_files import QUERIES, ROUNDS, STATE
from tests.experiments import tree
from tests.utils.test_records import START, commit, committed, labels

FILES = (QUERIES, ROUNDS, STATE)
DAMAGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "text": lambda path: path.write_bytes(b"\x80garbage"),
    "missing": Path.unlink,
}


def whole(folder: Path) -> dict[str, object]:
    """What a run's files say, for comparison; not how long its rounds took."""
    found = find(folder)
    assert found is not None
    assert not found.damaged, found.told()
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in read_rows(folder)]
    with np.load(folder / QUERIES) as queries:
        arrays = {name: queries[name].tolist() for name in queries.files}
    return {
        "rows": rows,
        "queries": arrays,
        "labels": found.kept.labelled_in_round_N.tolist(),
        "finished": found.kept.finished,
    }


def gone_on(folder: Path, rounds: int = 4) -> dict[str, object]:
    """What the run comes to, from what there is of it."""
    records = RunRecords(folder, run_seed=3)
    while not records.finished:
        assert records.labelled_in_round_N.tolist() == labels(len(records.rows)).tolist()
        commit(records, finished=len(records.rows) == rounds - 1)
    return whole(folder)


@pytest.fixture(autouse=True)
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncing takes most of the time, and no power fails here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("expected")
    committed(folder, 4, finished=True)
    return whole(folder)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("rounds", [2, 3, 4])
def test_one_damaged_file_costs_a_round_at_most(
    rounds: int,
    name: str,
    damage: str,
    expected: dict[str, object],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run_1"
    committed(folder, rounds, finished=rounds == 4)
    DAMAGES[damage](folder / name)
    bad = (folder / name).read_bytes() if damage != "missing" else None
    before = tree(tmp_path)
    told = progress(folder, 4)
    assert tree(tmp_path) == before
    records = RunRecords(folder, run_seed=3)
    kept = len(records.rows)
    # A finished run asked for nothing last, so that all its queries are in the generation before too.
    lossless = name == STATE or (name == QUERIES and rounds == 4)
    assert kept == (rounds if lossless else rounds - 1)
    err = capsys.readouterr().err
    assert err.startswith(f"{folder}: {name} ")
    assert err.count("\n") == 1
    kept_are = "round 1 is kept" if kept == 1 else f"rounds 1 to {kept} are kept"
    for words in (kept_are, "none is lost" if lossless else f"round {rounds} is run again"):
        assert words in err
        assert words in told
    if bad is not None:
        assert (folder / f"{name}.damaged").read_bytes() == bad
    RunRecords(folder, run_seed=3)
    assert capsys.readouterr().err == "", "it is repaired"
    assert gone_on(folder) == expected


@pytest.mark.parametrize("name", FILES)
def test_any_cut_and_any_flipped_bit_are_found_or_harmless(
    name: str, expected: dict[str, object], tmp_path: Path
) -> None:
    folder = tmp_path / "run_1"
    committed(folder, 3)
    content = (folder / name).read_bytes()

    def damaged() -> Iterator[bytes]:
        step = max(1, len(content) // 60)
        for at in range(0, len(content), step):
            yield content[:at]
            yield content[:at] + bytes([content[at] ^ 0x01]) + content[at + 1 :]

    recovered = 0
    for bad in damaged():
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        (copy / name).write_bytes(bad)
        found = find(copy)
        assert found is not None
        recovered += bool(found.damaged)
        assert len(found.kept.rows) >= 2
        assert gone_on(copy) == expected
        shutil.rmtree(copy)
    assert recovered > 60


def test_a_cut_line_costs_its_round_and_those_after_it(tmp_path: Path) -> None:
    committed(tmp_path, 4)
    lines = (tmp_path / ROUNDS).read_bytes().splitlines(keepends=True)
    for path in (tmp_path / ROUNDS, tmp_path / PREVIOUS / ROUNDS):
        path.write_bytes(lines[0] + lines[1][:20] + b"\n" + lines[2])
    found = find(tmp_path)
    assert found is not None
    assert len(found.kept.rows) == 1
    assert found.kept.labelled_in_round_N.tolist() == labels(1).tolist()
    assert "line 2 is not JSON: round 1 is kept, rounds 2 to 4 are run again" in found.told()


@pytest.mark.parametrize("names", list(itertools.combinations(FILES, 2)), ids=" ".join)
@pytest.mark.parametrize("rounds", [3, 4])
def test_two_damaged_files_cost_a_round_at_most(
    names: tuple[str, str], rounds: int, expected: dict[str, object], tmp_path: Path
) -> None:
    committed(tmp_path, rounds, finished=rounds == 4)
    for name in names:
        DAMAGES["truncated"](tmp_path / name)
    found = find(tmp_path)
    assert found is not None
    assert set(found.damaged) == set(names)
    assert len(found.kept.rows) >= rounds - 1
    assert gone_on(tmp_path) == expected


@pytest.mark.parametrize("name", FILES)
def test_what_is_damaged_in_both_generations_is_refused_and_left_as_it_is(name: str, tmp_path: Path) -> None:
    committed(tmp_path, 3)
    for path in (tmp_path / name, tmp_path / PREVIOUS / name):
        path.write_bytes(b"\x80garbage")
    before = tree(tmp_path)
    for refused in (lambda: RunRecords(tmp_path, 3), lambda: progress(tmp_path, 4)):
        with pytest.raises(UserError, match=rf"{name}: .* restore it or use --overwrite"):
            refused()
    assert tree(tmp_path) == before


def test_damage_does_not_hide_another_seed_or_dataset(tmp_path: Path) -> None:
    records = RunRecords(tmp_path, run_seed=3)
    records.check_data("one")
    for _ in range(3):
        commit(records)
    DAMAGES["truncated"](tmp_path / STATE)
    before = tree(tmp_path)
    with pytest.raises(UserError, match="seed 3, not 4"):
        RunRecords(tmp_path, run_seed=4)
    assert tree(tmp_path) == before
    with pytest.raises(UserError, match="the dataset is not the one of its rounds"):
        RunRecords(tmp_path, run_seed=3).check_data("another")
    RunRecords(tmp_path, run_seed=3).check_data("one")


def test_rounds_without_any_state_are_not_run_over(tmp_path: Path) -> None:
    committed(tmp_path, 3)
    for path in (tmp_path / STATE, tmp_path / PREVIOUS / STATE):
        path.unlink()
    with pytest.raises(UserError, match=r"state\.pt: is missing"):
        RunRecords(tmp_path, run_seed=3)


def test_records_without_checksums_or_a_generation_before_are_taken_up(tmp_path: Path) -> None:
    """As they were written once."""
    committed(tmp_path, 3)
    state = torch.load(tmp_path / STATE, weights_only=True)
    del state["checksums"]
    torch.save(state, tmp_path / STATE)
    shutil.rmtree(tmp_path / PREVIOUS)
    assert len(RunRecords(tmp_path, run_seed=3).rows) == 3
    lines = (tmp_path / ROUNDS).read_bytes()
    (tmp_path / ROUNDS).write_bytes(lines[:-9])
    assert len(RunRecords(tmp_path, run_seed=3).rows) == 2
    assert find(tmp_path) is not None


def test_a_file_that_cannot_be_read_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed(tmp_path, 3)
    before, read_bytes = tree(tmp_path), Path.read_bytes

    def refusing(path: Path) -> bytes:
        if path == tmp_path / QUERIES:
            raise PermissionError(13, "Permission denied")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    with pytest.raises(UserError, match=r"queries\.npz: cannot read \(Permission denied\)"):
        RunRecords(tmp_path, run_seed=3)
    monkeypatch.undo()
    assert tree(tmp_path) == before


def test_the_start_is_what_is_neither_queried_nor_told_apart_from_the_pool() -> None:
    assert UNLABELLED == POOL
    assert START[0] == HELD_OUT
