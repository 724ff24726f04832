"""Pools that no one machine holds, on paper and by simulation: time and memory of every stage of a round for any number
of inputs and workers, from costs that are measured here. What it found, and what follows, is told in docs/scaling.md.

The peer of a prediction is the measurement: each stage is measured at several sizes, a law is fitted, and the time at
four times the largest size, which the law has not seen, is predicted and then measured.
"""

import argparse
import dataclasses
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks._cluster import Cluster, Exchange, Footprint, Spent, Step, Work, simulate
from benchmarks._laws import Law, Point, exponent, fit_law
from benchmarks._memory import refuse_without_peaks
from benchmarks._probes import HU_BANK, LABELLED, PROBES, Bench, Probe, folder
from src.active.batch.geometry import LLOYD_ROUNDS
from src.active.batch.typiclust import MOST_CLUSTERS
from src.cli import choose_device
from src.models.resnet import RESNETS

BEYOND = 4
"""The size that is predicted, in largest fitted sizes."""
BANKS = (10_000, 50_000)
BOOKKEEPING = 8 + 4 + 8
"""Bytes an input on every worker, beside its image: its label, its round, its index in the pool."""
DAY = 86_400.0
SCORE, INDEX = 8, 8

BATCH_AWARE = ("coreset", "badge", "typiclust", "batch HU gmm", "batch HU knn")
RANKED = {"entropy": (), "HU gmm": ("moments", "gmm")} | {
    f"HU-KDE {bank:,}": (f"bank {bank:,}", f"knn {bank:,}") for bank in BANKS
}
METHODS: dict[str, tuple[str, ...]] = {
    name: ("images", "forward", *own, "scores", "sort") for name, own in RANKED.items()
} | {
    name: ("images", "forward", "last layers" if name == "badge" else "features", name)
    for name in BATCH_AWARE
}
"""The stages of a round, but for training, as the project goes through them."""


@dataclass(frozen=True)
class Cost:
    """What a stage was found to cost: seconds, and bytes of memory while it runs."""

    seconds: Law
    growth: Law


@dataclass(frozen=True)
class Sizes:
    """What a round's bytes follow from. ``last_inputs`` are the numbers that go into the last layer."""

    image_bytes: int
    dims: int
    last_inputs: int
    classes: int
    picks: int


@dataclass(frozen=True)
class Checked:
    """Seconds of a stage at a size that its law has not seen."""

    n: int
    m: int
    predicted: float
    measured: float


def main(arguments: Sequence[str]) -> None:
    """Measure every stage, fit laws and check them, simulate rounds, print the tables and, last, the ratio of what the
    stages took to what was predicted, summed over them."""
    options = _parse(arguments)
    refuse_without_peaks()
    device = choose_device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "one core of a CPU"
    print(
        f"costs of {where}, {platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}; "
        f"{options.network}, {options.pixels}×{options.pixels} pixels, {options.classes} classes\n",
        flush=True,
    )
    costs: dict[str, Cost] = {}
    checks: dict[str, Checked] = {}
    _print_row(
        "stage", "seconds for n inputs", "grows as n^", "at n", "predicted", "measured", "ratio", "memory"
    )
    _print_row(*["---"] * 8)
    with folder() as temporary:
        bench = Bench(device, Path(temporary), options.network, options.pixels, options.classes)
        sizes = Sizes(bench.image_bytes, bench.dims, bench.last_inputs, options.classes, options.picks)
        for probe in PROBES:
            cost, check, power = fitted(probe, bench, options.scale, options.repeats)
            costs[probe.name], checks[probe.name] = cost, check
            _print_check(probe, cost, check, power)
    stages = all_stages(costs, sizes)
    clusters = [Cluster(workers, options.rate) for workers in options.workers]
    print(f"\nm: the bank, picks or clusters. {sizes.dims} features an input. {_assumptions(options)}\n")
    print_stages(stages, options.pools, clusters)
    print_rounds(stages, options.pools, clusters, options.memory)
    faster = [dataclasses.replace(cluster, speedup=options.speedup) for cluster in clusters]
    print(f"Assumed, not measured: devices {options.speedup:g} times as fast as what was measured\n")
    print_rounds(stages, options.pools, faster, options.memory)
    print_breaks(stages, options.pools, clusters[-1], options.memory)
    print_remedies(stages, costs, sizes, max(options.pools), clusters[-1], options.subset, options.memory)
    ours = sum(check.predicted for check in checks.values())
    theirs = sum(check.measured for check in checks.values())
    worst = max(checks, key=lambda name: abs(1 - checks[name].measured / max(checks[name].predicted, 1e-12)))
    print(
        f"scaling_model: ours {ours:.2f} s, measurement {theirs:.2f} s, ratio {theirs / ours:.2f} "
        f"(ours is the prediction; furthest off: {worst}, {_ratio(checks[worst])})"
    )


def fitted(probe: Probe, bench: Bench, scale: float, repeats: int) -> tuple[Cost, Checked, float]:
    """A stage's cost, how its law holds beyond the sizes that it was fitted to, and the power of n that time grows
    with.

    Memory has no law to be found: it is a line through the two largest sizes, where blocks of a fixed size weigh least.
    """
    sizes = [max(64, round(size * scale)) for size in probe.sizes]
    probe.measure(bench, sizes[0], probe.others[0], 1)  # whatever is slow once only
    seconds, growths = [], []
    for m in probe.others:
        for n in sizes:
            measured = probe.measure(bench, n, m, repeats)
            seconds.append(Point(n, m, max(measured.seconds, 1e-9)))
            growths.append(measured.growth)
    law = fit_law(seconds, probe.terms)
    n, m = BEYOND * sizes[-1], probe.others[-1]
    beyond = probe.measure(bench, n, m, 1)
    slope = 0.0 if probe.streams else max(0.0, (beyond.growth - growths[-1]) / (n - sizes[-1]))
    fixed = float(max(growths)) if probe.streams else max(0.0, beyond.growth - slope * n)
    cost = Cost(law, Law({"1": fixed, "n": slope}))
    return cost, Checked(n, m, law(n, m), beyond.seconds), exponent(seconds)


def all_stages(costs: dict[str, Cost], sizes: Sizes) -> dict[str, Step]:
    """Every stage that METHODS name, as the project does it."""
    features, last_layers = 4.0 * sizes.dims, 4.0 * (sizes.last_inputs + sizes.classes)
    moments = 8.0 * sizes.classes * (sizes.dims**2 + 2 * sizes.dims + 3)
    steps: list[Step] = [
        Work(
            "images",
            costs["read"].seconds,
            "pool",
            held=Footprint(pool=sizes.image_bytes + BOOKKEEPING),
            on_device=False,
        ),
        _streaming("forward", costs["forward"]),
        Exchange("moments", "all_reduce", lambda n: moments, passing=Footprint(fixed=2 * moments)),
        _streaming("gmm", costs["gmm"]),
        Exchange(
            "scores",
            "all_gather",
            lambda n: SCORE * n,
            held=Footprint(pool=SCORE),
            passing=copies(SCORE),
        ),
        _whole("sort", costs["sort"], 1),
    ]
    for bank in BANKS:
        sent = bank * features
        steps += [
            Exchange(f"bank {bank:,}", "all_gather", partial(_constant, sent), held=Footprint(fixed=sent)),
            _streaming(f"knn {bank:,}", costs["knn"], bank),
        ]
    for name, each in (("features", features), ("last layers", last_layers)):
        steps.append(
            Exchange(
                name,
                "all_gather",
                partial(_times, each),
                held=Footprint(pool=each),
                passing=copies(each),
            )
        )
    steps += [_whole(name, costs[name], sizes.picks) for name in BATCH_AWARE if name != "typiclust"]
    clusters = _whole("typiclust", costs["typiclust"], LLOYD_ROUNDS)
    steps.append(dataclasses.replace(clusters, seconds=partial(_clustering, costs)))
    return {step.name: step for step in steps}


def copies(each: float) -> Footprint:
    """What is there beside the whole while that is put together: all parts, the worker's own, and its own padded."""
    return Footprint(share=2 * each, pool=each)


def remedies(
    name: str, stages: dict[str, Step], costs: dict[str, Cost], sizes: Sizes, subset: int
) -> dict[str, list[Step]]:
    """Ways through a round of the method: as it is; of a random subset, which the project can do; and what it can't do,
    images and sorting in shares, where a batch-aware method sees the highest entropies only."""
    today = [stages[stage] for stage in METHODS[name]]
    images, scoring = today[0], [step for step in today[1:] if step.name not in ("scores", "sort")]
    assert isinstance(images, Work)
    apart = dataclasses.replace(
        images,
        name="images, own share",
        on="share",
        held=Footprint(share=sizes.image_bytes + BOOKKEEPING),
    )
    growth = costs["sort"].growth.factors
    best = dataclasses.replace(
        _whole("sort, own share", costs["sort"], 1),
        on="share",
        passing=Footprint(growth["1"], share=growth["n"]),
    )
    if name in RANKED:
        merged = Exchange("best, by tree", "tree", partial(_constant, sizes.picks * (SCORE + INDEX)))
        ways = [apart, *scoring, best, merged]
    else:
        gathered, picking = scoring[-2:]
        assert isinstance(gathered, Exchange)
        each = gathered.sent(1) + SCORE + INDEX
        merged = Exchange(
            "best, by tree", "tree", lambda n: each * min(n, subset), held=Footprint(fixed=each * subset)
        )
        ways = [apart, stages["forward"], best, merged, dataclasses.replace(picking, most=subset)]
    return {
        "today": today,
        f"max_pool_samples {subset:,}": [
            images,
            *(dataclasses.replace(step, most=subset) for step in today[1:]),
        ],
        "shares and two stages": ways,
    }


def print_stages(stages: dict[str, Step], pools: Sequence[int], clusters: Sequence[Cluster]) -> None:
    """Seconds of each stage, then bytes on the fullest worker."""
    for what, shown in (("time", lambda spent: duration(spent.seconds)), ("memory", lambda s: amount(s.own))):
        _print_head(what, pools, clusters)
        for name, step in stages.items():
            cells = (shown(simulate([step], n, cluster)[0]) for n in pools for cluster in clusters)
            _print_row(name, *cells)
        print()


def print_rounds(
    stages: dict[str, Step], pools: Sequence[int], clusters: Sequence[Cluster], memory: float
) -> None:
    """Seconds of a round of each method but for training; in brackets where some stage does not fit the memory."""
    _print_head("round", pools, clusters)
    for name, own in METHODS.items():
        steps, cells = [stages[stage] for stage in own], []
        for n in pools:
            for cluster in clusters:
                spent = simulate(steps, n, cluster)
                fits = peak_of(spent) <= memory
                cells.append(duration(total_of(spent)) if fits else f"[{duration(total_of(spent))}]")
        _print_row(name, *cells)
    print(f"\nIn brackets: needs more than {amount(memory)} on a worker.\n")


def print_breaks(stages: dict[str, Step], pools: Sequence[int], cluster: Cluster, memory: float) -> None:
    """What breaks, by method and pool: stages too large for the memory by themselves, and stages of over a day."""
    _print_row(f"breaks, {cluster.workers} workers", *(count(n) for n in pools))
    _print_row(*["---"] * (1 + len(pools)))
    for name, own in METHODS.items():
        spent = [simulate([stages[stage] for stage in own], n, cluster) for n in pools]
        _print_row(name, *(broken(each, memory) for each in spent))
    print()


def broken(spent: Iterable[Spent], memory: float) -> str:
    """The stages that ask for more than the memory by themselves, and those that take more than a day."""
    large = [f"{each.name} {amount(each.own)}" for each in spent if each.own > memory]
    slow = [f"{each.name} {duration(each.seconds)}" for each in spent if each.seconds > DAY]
    return "; ".join([*large, *slow]) or "—"


def print_remedies(
    stages: dict[str, Step],
    costs: dict[str, Cost],
    sizes: Sizes,
    pool: int,
    cluster: Cluster,
    subset: int,
    memory: float,
) -> None:
    """Time and peak memory of the ways through a round over the largest pool on the most workers, and what one worker
    of half the speed would make of it."""
    ways = {name: remedies(name, stages, costs, sizes, subset) for name in METHODS}
    _print_row(f"{count(pool)} inputs, {cluster.workers} workers", *next(iter(ways.values())))
    _print_row(*["---"] * 4)
    for name, by_way in ways.items():
        rounds = [simulate(steps, pool, cluster) for steps in by_way.values()]
        _print_row(name, *(f"{duration(total_of(each))}, {amount(peak_of(each))}" for each in rounds))
    steps = ways["HU gmm"]["today"]
    even, uneven = (
        total_of(simulate(steps, pool, dataclasses.replace(cluster, straggling=factor)))
        for factor in (1.0, 2.0)
    )
    print(
        f"\nShares are fixed, so that one worker of half the speed makes a round of HU gmm {uneven / even:.1f} times "
        "as long.\n"
    )


def total_of(spent: Iterable[Spent]) -> float:
    """Seconds of a round."""
    return sum(each.seconds for each in spent)


def peak_of(spent: Iterable[Spent]) -> float:
    """The most bytes that the fullest worker has at once."""
    return max(each.resident for each in spent)


def count(inputs: int) -> str:
    """A power of ten as one."""
    power = len(str(inputs)) - 1
    return f"1e{power}" if inputs == 10**power else f"{inputs:,}"


def duration(seconds: float) -> str:
    """In the unit that a reader has a feeling for."""
    for unit, size in (("y", 365.25 * DAY), ("d", DAY), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= size:
            return f"{_short(seconds / size)} {unit}"
    return f"{_short(seconds * 1000)} ms" if seconds >= 1e-3 else "<1 ms"


def amount(size: float) -> str:
    """Bytes in powers of a thousand."""
    for unit, one in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= one:
            return f"{_short(size / one)} {unit}"
    return "<1 MB"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"


def _constant(bytes_: float, n: int) -> float:
    return bytes_


def _times(each: float, n: int) -> float:
    return each * n


def _seconds(law: Law, m: int, n: int) -> float:
    return law(n, m)


def _clustering(costs: dict[str, Cost], n: int) -> float:
    """TypiClust's k-means, in all the rounds that it may take, and the distances within clusters of one size.

    Those take longer where sizes differ, and are lost among the rest at the sizes that k-means is measured at.
    """
    within = MOST_CLUSTERS * costs["one cluster"].seconds(n / MOST_CLUSTERS)
    return costs["typiclust"].seconds(n, LLOYD_ROUNDS) + within


def _streaming(name: str, cost: Cost, m: int = 1) -> Work:
    return Work(
        name, partial(_seconds, cost.seconds, m), "share", passing=Footprint(cost.growth(0), share=SCORE)
    )


def _whole(name: str, cost: Cost, m: int) -> Work:
    passing = Footprint(cost.growth.factors["1"], pool=cost.growth.factors["n"])
    return Work(
        name,
        partial(_seconds, cost.seconds, m),
        "pool",
        passing=passing,
        on_device=not name.startswith("sort"),
    )


def _assumptions(options: argparse.Namespace) -> str:
    return (
        f"{options.picks:,} picks a round; {LABELLED:,} labelled inputs for coreset and typiclust, a bank of "
        f"{HU_BANK:,} for batch HU knn.\nAssumed: links of {amount(options.rate)}/s each way and "
        f"{Cluster(1).delay * 1e6:.0f} µs a message; a disk for each worker, as fast as the one measured."
    )


def _ratio(check: Checked) -> str:
    return f"{check.measured / max(check.predicted, 1e-12):.2f}"


def _print_check(probe: Probe, cost: Cost, check: Checked, power: float) -> None:
    with_m = f", m = {check.m:,}" if probe.other else ""
    _print_row(
        probe.name,
        str(cost.seconds),
        f"{power:.2f}",
        f"{check.n:,}{with_m}",
        duration(check.predicted),
        duration(check.measured),
        _ratio(check),
        amount(cost.growth.factors["1"]) if probe.streams else f"{cost.growth.factors['n']:,.0f} B an input",
    )


def _print_head(what: str, pools: Sequence[int], clusters: Sequence[Cluster]) -> None:
    _print_row(what, *(f"{count(n)} on {cluster.workers}" for n in pools for cluster in clusters))
    _print_row(*["---"] * (1 + len(pools) * len(clusters)))


def _print_row(*cells: str) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks scaling_model", allow_abbrev=False)
    add: Callable[..., argparse.Action] = parser.add_argument
    add("--device", help="what is measured: cpu (one core), cuda … (default: cuda where there is one)")
    add("--network", choices=RESNETS, default="resnet18", help="default: %(default)s")
    add("--pixels", type=int, default=32, help="rows and columns of an image (%(default)s)")
    add("--classes", type=int, default=10, help="default: %(default)s")
    add("--scale", type=float, default=1.0, help="factor on the sizes measured, more for a GPU (%(default)s)")
    add("--repeats", type=int, default=1, help="of what is fitted, the fastest counts (%(default)s)")
    add("--pools", type=int, nargs="+", default=[10**6, 10**8, 10**10], help="inputs (%(default)s)")
    add("--workers", type=int, nargs="+", default=[1, 8, 64], help="default: %(default)s")
    add("--picks", type=int, default=1_000, help="labels asked for in a round (%(default)s)")
    add(
        "--subset",
        type=int,
        default=10**6,
        help="max_pool_samples, and inputs of a second stage (%(default)s)",
    )
    add("--rate", type=float, default=1e10, help="assumed bytes a second of a worker's link (%(default)g)")
    add("--memory", type=float, default=80e9, help="assumed bytes of a worker's memory (%(default)g)")
    add("--speedup", type=float, default=100.0, help="assumed of a device, for one table (%(default)g)")
    options = parser.parse_args(arguments)
    counts = (
        *options.pools,
        *options.workers,
        options.picks,
        options.subset,
        options.pixels,
        options.repeats,
    )
    if min(counts) < 1 or options.classes < 2:
        parser.error("counts are at least 1, --classes at least 2")
    if not all(0 < value < float("inf") for value in (options.scale, options.rate, options.memory)):
        parser.error("--scale, --rate and --memory are above 0")
    if not 0 < options.speedup < float("inf"):
        parser.error("--speedup is above 0")
    return options
