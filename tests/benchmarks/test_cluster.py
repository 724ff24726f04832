"""The simulated round against cases worked out by hand, and laws that hold for any number of inputs and workers."""

import dataclasses
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._cluster import Cluster, Exchange, Footprint, Work, shares, simulate

COUNTS = st.integers(1, 10**10)
WORKERS = st.integers(1, 64)
KINDS: tuple[Literal["all_gather", "all_reduce", "tree"], ...] = ("all_gather", "all_reduce", "tree")
FOUR = Cluster(4, rate=100.0, delay=2.0)


def forward(seconds_each: float = 3.0) -> Work:
    return Work(
        "forward",
        lambda n: seconds_each * n,
        "share",
        held=Footprint(share=8),
        passing=Footprint(fixed=100, share=1),
    )


def sort(seconds_each: float = 0.5) -> Work:
    return Work("sort", lambda n: seconds_each * n, "pool", passing=Footprint(pool=16), on_device=False)


SCORES = Exchange("scores", "all_gather", lambda n: 8.0 * n, held=Footprint(pool=8))


@given(COUNTS, WORKERS)
def test_shares_are_all_of_the_pool_and_differ_by_one(inputs: int, workers: int) -> None:
    parts = shares(inputs, workers)
    assert sum(parts) == inputs
    assert len(parts) == workers
    assert 0 <= parts[0] - parts[-1] <= 1
    assert parts == sorted(parts, reverse=True)


def test_a_round_worked_out_by_hand() -> None:
    """10 inputs on 4 workers: 3, 3, 2, 2. The ring passes on 80 bytes' three quarters in three messages."""
    forward_, scores, sort_ = simulate([forward(), SCORES, sort()], 10, FOUR)
    assert forward_.seconds == 9
    assert scores.seconds == pytest.approx(3 * 2 + 0.75 * 80 / 100)
    assert sort_.seconds == pytest.approx(5)
    # 3 inputs a share: 8 held and 1 passing, and 100; then 10 of 8 held; then 10 of 16 passing.
    assert (forward_.own, forward_.resident) == (127, 127)
    assert (scores.own, scores.resident) == (80, 24 + 80)
    assert (sort_.own, sort_.resident) == (160, 24 + 80 + 160)


@pytest.mark.parametrize(
    ("kind", "workers", "seconds"),
    [
        ("all_gather", 1, 0),
        ("all_gather", 5, 4 * 2 + 0.8 * 10),
        ("all_reduce", 5, 2 * (4 * 2 + 0.8 * 10)),
        ("tree", 1, 0),
        ("tree", 2, 2 + 10),
        ("tree", 5, 3 * (2 + 10)),
        ("tree", 8, 3 * (2 + 10)),
    ],
)
def test_an_exchange_of_1000_bytes(
    kind: Literal["all_gather", "all_reduce", "tree"], workers: int, seconds: float
) -> None:
    cluster = dataclasses.replace(FOUR, workers=workers)
    assert Exchange("x", kind, lambda n: 1000.0).cost(7, cluster) == pytest.approx(seconds)


def test_a_straggler_makes_all_wait_and_only_where_they_work() -> None:
    spent = simulate([forward(), SCORES], 8, dataclasses.replace(FOUR, straggling=2.0))
    even = simulate([forward(), SCORES], 8, FOUR)
    assert spent[0].seconds == 2 * even[0].seconds
    assert spent[1].seconds == pytest.approx(even[1].seconds)


def test_a_faster_device_speeds_up_what_runs_on_it() -> None:
    faster = simulate([forward(), SCORES, sort()], 8, dataclasses.replace(FOUR, speedup=10.0))
    plain = simulate([forward(), SCORES, sort()], 8, FOUR)
    assert faster[0].seconds == pytest.approx(plain[0].seconds / 10)
    assert [each.seconds for each in faster[1:]] == pytest.approx([each.seconds for each in plain[1:]])


def test_a_bounded_step_sees_no_more_inputs() -> None:
    bounded = [dataclasses.replace(step, most=4) for step in (forward(), SCORES, sort())]
    assert simulate(bounded, 10**6, FOUR) == simulate([forward(), SCORES, sort()], 4, FOUR)


@given(COUNTS, WORKERS, st.floats(0, 10), st.floats(1, 5))
def test_more_workers_never_work_longer(inputs: int, workers: int, each: float, straggling: float) -> None:
    def worked(count: int) -> float:
        steps = [forward(each), sort(each)]
        return sum(s.seconds for s in simulate(steps, inputs, Cluster(count, straggling=straggling)))

    assert worked(workers + 1) <= worked(workers) * (1 + 1e-12)


@given(COUNTS, WORKERS, st.sampled_from(KINDS))
def test_exchanges_take_no_less_with_more_workers_and_nothing_with_one(
    inputs: int, workers: int, kind: Literal["all_gather", "all_reduce", "tree"]
) -> None:
    exchange = Exchange("x", kind, lambda n: 8.0 * n)
    assert exchange.cost(inputs, Cluster(1)) == 0
    assert exchange.cost(inputs, Cluster(workers + 1)) >= exchange.cost(inputs, Cluster(workers))


@given(st.integers(1, 10**6), WORKERS, st.floats(0, 1e4))
def test_memory_of_shares_falls_as_one_over_workers_and_that_of_the_pool_does_not(
    each: int, workers: int, size: float
) -> None:
    inputs = each * workers
    assert Footprint(share=size)(inputs, workers) * workers == pytest.approx(size * inputs)
    assert Footprint(pool=size)(inputs, workers) == pytest.approx(size * inputs)
    assert Footprint(fixed=size)(inputs, workers) == size


@given(COUNTS, WORKERS, st.floats(0, 10))
def test_steps_add_up_to_when_the_last_worker_is_done(inputs: int, workers: int, each: float) -> None:
    cluster = Cluster(workers)
    steps = [forward(each), SCORES, forward(each), sort(each)]
    largest = shares(inputs, workers)[0]
    total = 2 * each * largest + SCORES.cost(inputs, cluster) + each * inputs
    assert sum(spent.seconds for spent in simulate(steps, inputs, cluster)) == pytest.approx(total)
