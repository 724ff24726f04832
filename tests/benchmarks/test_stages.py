"""The stages that are simulated are those of a round, with bytes that can be counted by hand. Costs are made up."""

import pytest

from benchmarks._cluster import Cluster, peak_of, simulate, total_of
from benchmarks._laws import Law
from benchmarks._probes import PROBES
from benchmarks._stages import METHODS, Cost, Sizes, all_stages, remedies

SIZES = Sizes(image_bytes=3072, dims=512, last_inputs=512, classes=10, picks=100)
COSTS = {probe.name: Cost(Law({"n": 1e-3}), Law({"1": 1e6, "n": 10.0})) for probe in PROBES}
STAGES = all_stages(COSTS, SIZES)
SIXTY_FOUR = Cluster(64)


def own(name: str, inputs: int, workers: int) -> float:
    return simulate([STAGES[name]], inputs, Cluster(workers))[0].own


def test_every_stage_of_every_method_is_there() -> None:
    assert {stage for stages in METHODS.values() for stage in stages} == set(STAGES)


def test_bytes_are_those_that_can_be_counted() -> None:
    assert own("images", 10**6, 64) == 10**6 * (3072 + 8 + 4 + 8)  # held whole by all
    assert own("features", 6_400, 64) == 4 * 512 * (2 * 6_400 + 2 * 100)
    assert own("last layers", 6_400, 64) == 4 * (512 + 10) * (2 * 6_400 + 2 * 100)
    assert own("scores", 6_400, 64) == 8 * (2 * 6_400 + 2 * 100)
    assert own("scores", 6_400, 1) == 8 * 6_400  # nothing to put together
    assert own("forward", 6_400, 64) == 1e6 + 8 * 100
    assert own("moments", 10**9, 64) == 2 * 8 * 10 * (512**2 + 2 * 512 + 3)
    assert own("bank 50,000", 10**9, 64) == 50_000 * 4 * 512


def test_shares_speed_up_scoring_and_nothing_else() -> None:
    for name, step in STAGES.items():
        alone, shared = (simulate([step], 64_000, Cluster(workers))[0].seconds for workers in (1, 64))
        if name in ("forward", "gmm", "knn 10,000", "knn 50,000"):
            assert shared == pytest.approx(alone / 64)
        else:
            assert shared >= alone


def test_typiclust_adds_the_distances_within_clusters() -> None:
    costs = {**COSTS, "one cluster": Cost(Law({"n²": 2e-9}), COSTS["sort"].growth)}
    alone, with_distances = (
        simulate([all_stages(c, SIZES)["typiclust"]], 500_000, Cluster(1))[0].seconds
        for c in ({**costs, "one cluster": Cost(Law({}), COSTS["sort"].growth)}, costs)
    )
    assert with_distances - alone == pytest.approx(500 * 2e-9 * 1_000**2)


@pytest.mark.parametrize("name", list(METHODS))
def test_remedies_need_less(name: str) -> None:
    today, sampled, apart = (
        simulate(steps, 10**8, SIXTY_FOUR)
        for steps in remedies(name, STAGES, COSTS, SIZES, subset=10**6).values()
    )
    peaks = [peak_of(spent) for spent in (today, sampled, apart)]
    # A random subset saves time; every worker holds all the images all the same.
    assert total_of(sampled) < total_of(today)
    assert peaks[1] >= 10**8 * SIZES.image_bytes
    assert peaks[2] < 0.1 * peaks[1]
    own = {spent.name: spent.own for spent in apart}
    assert own["images, own share"] == (3072 + 20) * 10**8 / 64
    assert own["sort, own share"] == 1e6 + 10 * 10**8 / 64
