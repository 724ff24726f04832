"""The stages that are simulated are those of a round, with bytes that can be counted by hand; and the whole runs, tiny.
No time is asserted."""

import dataclasses
from pathlib import Path

import pytest
import torch

from benchmarks import _probes, scaling_model
from benchmarks.__main__ import main
from benchmarks._cluster import Cluster, Spent, simulate
from benchmarks._laws import Law
from benchmarks._memory import STATUS
from benchmarks._probes import PROBES, Bench, Probe
from benchmarks.scaling_model import METHODS, Cost, Sizes, all_stages, amount, broken, duration, remedies

pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="peaks are read from Linux's /proc")

SIZES = Sizes(image_bytes=3072, dims=512, last_inputs=512, classes=10, picks=100)
COSTS = {probe.name: Cost(Law({"n": 1e-3}), Law({"1": 1e6, "n": 10.0})) for probe in PROBES}
STAGES = all_stages(COSTS, SIZES)
SIXTY_FOUR = Cluster(64)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(torch.device("cpu"), tmp_path_factory.mktemp("pool"), "resnet18", 32, 10)


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
    peaks = [scaling_model.peak_of(spent) for spent in (today, sampled, apart)]
    # A random subset saves time; every worker holds all the images all the same.
    assert scaling_model.total_of(sampled) < scaling_model.total_of(today)
    assert peaks[1] >= 10**8 * SIZES.image_bytes
    assert peaks[2] < 0.1 * peaks[1]
    own = {spent.name: spent.own for spent in apart}
    assert own["images, own share"] == (3072 + 20) * 10**8 / 64
    assert own["sort, own share"] == 1e6 + 10 * 10**8 / 64


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
    assert [scaling_model.count(inputs) for inputs in (1, 10**10, 20_000)] == ["1e0", "1e10", "20,000"]


def test_amounts_are_in_powers_of_a_thousand() -> None:
    assert [amount(size) for size in (10, 2e6, 31e12, 1.25e15)] == ["<1 MB", "2.0 MB", "31 TB", "1.2 PB"]


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_every_probe_does_its_work(probe: Probe, bench: Bench) -> None:
    measured = probe.measure(bench, 64, min(probe.others[0], 50), 1)
    assert measured.seconds > 0
    assert measured.growth >= 0


def test_scoring_scores_every_input(bench: Bench) -> None:
    """A repeated source has as many inputs as it is asked for, which repeat."""
    count = _probes.PERIOD + 10
    scores_N = next(probe for probe in PROBES if probe.name == "gmm").prepare(bench, count, 1)()
    assert isinstance(scores_N, torch.Tensor)
    assert len(scores_N) == count
    torch.testing.assert_close(scores_N[-10:], scores_N[:10])


def test_typiclust_is_held_to_its_rounds_and_let_go(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(_probes, "typiclust", lambda *_, **__: seen.append(_probes.geometry.LLOYD_ROUNDS))
    _probes._clusters(bench, 64, 3)()
    assert seen == [3]
    assert _probes.geometry.LLOYD_ROUNDS == scaling_model.LLOYD_ROUNDS == 100


def test_it_runs_from_the_command_line_and_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    tiny = [
        dataclasses.replace(
            probe,
            sizes=(64, 80, 96),
            others=(min(probe.others[0], 40),),
            prepare=_probes._picks("batch_hu", 50) if probe.name == "batch HU knn" else probe.prepare,
        )
        for probe in PROBES
    ]
    monkeypatch.setattr(scaling_model, "PROBES", tiny)
    monkeypatch.setattr(tempfile := _probes.tempfile, "tempdir", str(tmp_path))
    threads = torch.get_num_threads()
    try:
        assert main(["scaling_model", "--device", "cpu", "--repeats", "1", "--workers", "1", "4"]) == 0
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    for words in ("| forward |", "1e10 on 4", "Assumed, not measured", "shares and two stages"):
        assert words in printed
    assert printed.splitlines()[-1].startswith("scaling_model: ours ")
    assert tempfile.gettempdir() == str(tmp_path)
    assert not list(tmp_path.rglob("*.u8"))  # torch may leave a folder for its own


@pytest.mark.parametrize(
    "wrong",
    [["--pools", "0"], ["--workers", "0"], ["--scale", "0"], ["--speedup", "inf"], ["--classes", "1"]],
)
def test_sizes_that_say_nothing_are_refused(wrong: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["scaling_model", *wrong])
