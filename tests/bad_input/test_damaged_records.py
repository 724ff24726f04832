"""Damaged records cost one round at most: the run says so, keeps what is damaged and comes to the same. Where no round
or config is left they are refused until ``--overwrite``."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_input.said import says
from tests.experiments import Outcome, command, results, run_cli, tree


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_line(path: Path, number: int, line: str) -> None:
    lines = path.read_text().splitlines()
    lines[number - 1] = line
    path.write_text("".join(f"{line}\n" for line in lines))


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


# What is damaged of a run, how, what is told of it, and how many of its three rounds are kept.
DAMAGES: dict[str, tuple[str, Callable[[Path], object], str, int]] = {
    "state_truncated": ("state.pt", truncate, "is damaged (BadZipFile", 3),
    "state_empty": ("state.pt", lambda path: path.write_bytes(b""), "is damaged (BadZipFile", 3),
    "state_of_text": ("state.pt", lambda path: path.write_text("hello"), "is damaged (BadZipFile", 3),
    "state_with_a_flipped_byte": ("state.pt", flip_byte, "is damaged (BadZipFile", 3),
    "state_deleted": ("state.pt", Path.unlink, "is missing", 3),
    "queries_truncated": ("queries.npz", truncate, "is damaged (BadZipFile", 3),
    "queries_empty": ("queries.npz", lambda path: path.write_bytes(b""), "is damaged (EOFError", 3),
    "queries_of_text": ("queries.npz", lambda path: path.write_text("hello"), "is damaged (ValueError", 3),
    "queries_with_a_flipped_byte": ("queries.npz", flip_byte, "is damaged (BadZipFile", 3),
    "queries_deleted": ("queries.npz", Path.unlink, "is missing", 3),
    "rounds_cut_off": ("rounds.jsonl", lambda path: path.write_bytes(path.read_bytes()[:-20]), "line 3", 2),
    "rounds_with_garbage": (
        "rounds.jsonl",
        lambda path: replace_line(path, 2, '{"round": 1, "lab'),
        "line 2 is not JSON",
        2,
    ),
    "rounds_with_another_kind_of_line": (
        "rounds.jsonl",
        lambda path: replace_line(path, 3, "5"),
        "line 3 is not a JSON object",
        2,
    ),
    "rounds_with_another_number": (
        "rounds.jsonl",
        lambda path: path.write_text(path.read_text().replace('"labelled": 30', '"labelled": 31')),
        "line 2 is not what was written",
        2,
    ),
    "rounds_with_a_line_lost": (
        "rounds.jsonl",
        lambda path: path.write_text("".join(path.read_text().splitlines(keepends=True)[:2])),
        "has 2 of 3 rounds",
        2,
    ),
    "rounds_deleted": ("rounds.jsonl", Path.unlink, "is missing", 2),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_records_are_recovered_and_run_on_to_the_same(
    kind: str, outputs: Path, digits_config: Path, finished: Path
) -> None:
    name, damage, what, kept = DAMAGES[kind]
    run = outputs / "quick" / "run_1"
    damage(run / name)
    bad = (run / name).read_bytes() if (run / name).exists() else None
    arguments = command(digits_config, outputs)
    told = f"rounds 1 to {kept} are kept, {'none is lost' if kept == 3 else 'round 3 is run again'}"
    before = tree(outputs)
    outcome = run_cli(*arguments, "--check")
    assert tree(outputs) == before
    for words in (f"{name} {what}", told):
        assert words in outcome.out, outcome.out
    outcome = run_cli(*arguments)
    assert outcome.status == 0, outcome.err
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"{run}: {name} {what}")
    assert told in line
    assert results(outputs, "quick") == results(finished, "quick")
    if bad is not None:
        assert (run / f"{name}.damaged").read_bytes() == bad
    assert run_cli(*arguments).err == ""


@pytest.mark.parametrize("name", ["state.pt", "queries.npz", "rounds.jsonl"])
def test_records_of_which_no_round_is_left_are_refused(
    name: str, outputs: Path, refused: Callable[..., Outcome]
) -> None:
    run = outputs / "quick" / "run_1"
    for path in (run / name, run / "previous" / name):
        path.write_text("hello")
    says(refused(), f"{run / name}: ", "restore it or use --overwrite")


def test_damage_of_another_run_is_recovered_before_the_table_is_made(
    digits_config: Path, tmp_path: Path
) -> None:
    """Run 2 is damaged, and run 1 has rounds to come."""
    both = command(digits_config, tmp_path, "runs=2")
    assert run_cli(*both).status == 0
    whole, path = results(tmp_path, "quick"), tmp_path / "quick" / "run_2" / "rounds.jsonl"
    shutil.rmtree(tmp_path / "quick" / "run_1")
    truncate(path)
    outcome = run_cli(*both, "--run", "1")
    assert outcome.status == 0, outcome.err
    assert outcome.err.startswith(f"{path.parent}: rounds.jsonl line ")
    assert run_cli(*both).status == 0
    assert results(tmp_path, "quick") == whole


def test_damage_does_not_hide_that_the_config_is_another(
    outputs: Path, refused: Callable[..., Outcome]
) -> None:
    truncate(outputs / "quick" / "run_1" / "state.pt")
    says(refused("--set", "training.epochs=3"), "training.epochs: 2 -> 3")


def test_damaged_resolved_config_is_refused(outputs: Path, refused: Callable[..., Outcome]) -> None:
    path = outputs / "quick" / "config.yaml"
    path.write_text("name: [quick\n")
    says(refused(), str(path), "not valid YAML")


def test_records_damaged_beyond_reading_can_be_overwritten(
    digits_config: Path, outputs: Path, finished: Path
) -> None:
    for path in (outputs / "quick").rglob("*.*"):
        path.write_bytes(b"\x80garbage")
    outcome = run_cli(*command(digits_config, outputs), "--overwrite")
    assert outcome.status == 0
    assert results(outputs, "quick") == results(finished, "quick")
