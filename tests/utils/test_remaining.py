"""Guesses of the time left, held against rounds whose seconds follow a law."""

from typing import Any

import pytest

from src.utils.remaining import TimeLeft, about

LABELS = [20, 40, 80, 160]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def row(labelled: int, fit: float, other: float) -> dict[str, Any]:
    return {"labelled": labelled, "seconds": {"fit": fit, "score": other / 4, "evaluate": other * 3 / 4}}


def test_training_that_is_a_line_over_labels_is_told_exactly() -> None:
    rounds = [row(count, 3 + 0.5 * count, 2) for count in LABELS]
    left = TimeLeft(LABELS, rounds[:2])
    assert left.after_round() == pytest.approx((3 + 40 + 2) + (3 + 80 + 2))
    left.end_round(rounds[2])
    assert left.after_round() == pytest.approx(3 + 80 + 2)
    left.end_round(rounds[3])
    assert left.after_round() == 0


def test_one_round_is_taken_to_grow_with_its_labels() -> None:
    assert TimeLeft(LABELS, [row(20, 10, 1)]).after_round() == pytest.approx(20 + 40 + 80 + 3)


def test_what_an_epoch_validates_takes_a_third_of_what_it_trains() -> None:
    """One input trained is three seconds here and one validated is one."""
    rounds = [row(count, 3 * count + 600, 2) for count in LABELS]
    left = TimeLeft(LABELS, rounds[:1], validated=600)
    assert left.after_round() == pytest.approx(sum(3 * count + 602 for count in LABELS[1:]))
    left.end_round(rounds[1])
    assert left.after_round() == pytest.approx(sum(3 * count + 602 for count in LABELS[2:]))


def test_rounds_that_get_faster_do_not_let_later_ones_take_negative_time() -> None:
    left = TimeLeft(LABELS, [row(20, 10, 0), row(40, 4, 0)])
    assert left.after_round() == pytest.approx(7 + 7)


def test_within_the_first_round_its_epochs_tell() -> None:
    clock = Clock()
    left, validating = TimeLeft([20, 60], clock=clock), TimeLeft([20, 60], validated=60, clock=clock)
    clock.now += 50  # until the network is there
    assert left.after_epoch(1, 10) is None
    assert validating.after_epoch(1, 10) is None
    clock.now += 4
    assert left.after_epoch(5, 10) == pytest.approx(5 + 30)
    assert validating.after_epoch(5, 10) == pytest.approx(5 + 20), "80 inputs trained, for 40"


def test_epochs_of_an_earlier_session_took_none_of_this_ones_time() -> None:
    clock = Clock()
    left = TimeLeft([20], clock=clock)
    clock.now += 2
    assert left.after_epoch(7, 10) is None
    clock.now += 2
    assert left.after_epoch(8, 10) == pytest.approx(4)


def test_within_a_later_round_what_has_passed_is_taken_off_but_never_more_than_all() -> None:
    clock = Clock()
    left = TimeLeft([20, 20, 20], [row(20, 10, 2)], clock=clock)
    clock.now += 5
    assert left.after_epoch(3, 10) == pytest.approx(7 + 12)
    clock.now += 100
    assert left.after_epoch(4, 10) == pytest.approx(12)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "about 1 s"),
        (41.6, "about 42 s"),
        (61, "about 1 min"),
        (59.4 * 60, "about 59 min"),
        (59.6 * 60, "about 1.0 h"),
        (4.26 * 3600, "about 4.3 h"),
        (30.2 * 3600, "about 30 h"),
    ],
)
def test_a_guess_has_two_digits(seconds: float, words: str) -> None:
    assert about(seconds) == words
