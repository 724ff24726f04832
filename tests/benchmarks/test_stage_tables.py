"""Tables say what breaks, and numbers in units that a reader has a feeling for."""

import pytest

from benchmarks._cluster import Spent
from benchmarks._stage_tables import amount, broken, count, duration


def test_what_breaks_is_named() -> None:
    spent = [Spent("images", 10.0, 2e12, 2e12), Spent("sort", 3 * 86_400.0, 1e9, 2e12)]
    assert broken(spent, 80e9) == "images 2.0 TB; sort 3.0 d"
    assert broken(spent[:0], 80e9) == "—"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (1e-5, "<1 ms"),
        (0.5, "500 ms"),
        (90, "1.5 min"),
        (7_200, "2.0 h"),
        (864_000, "10 d"),
        (3.2e9, "101 y"),
    ],
)
def test_durations_are_in_units_one_can_feel(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_counts_are_powers_of_ten_where_they_are_some() -> None:
    assert [count(inputs) for inputs in (1, 10**10, 20_000)] == ["1e0", "1e10", "20,000"]


def test_amounts_are_in_powers_of_a_thousand() -> None:
    assert [amount(size) for size in (10, 2e6, 31e12, 1.25e15)] == ["<1 MB", "2.0 MB", "31 TB", "1.2 PB"]
