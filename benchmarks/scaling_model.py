"""Pools that no one machine holds, on paper and by simulation: time and memory of every stage of a round for any number
of inputs and workers, from costs that are measured here. What it found, and what follows, is told in docs/scaling.md.

The peer of a prediction is the measurement: each stage is measured at several sizes, a law is fitted, and the time at
four times the largest size, which the law has not seen, is predicted and then measured.
"""

import argparse
import dataclasses
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks._cluster import Cluster
from benchmarks._laws import Law, Point, exponent, fit_law
from benchmarks._memory import refuse_without_peaks
from benchmarks._probes import HU_BANK, LABELLED, PROBES, Bench, Probe, folder
from benchmarks._stage_tables import (
    amount,
    duration,
    print_breaks,
    print_remedies,
    print_rounds,
    print_row,
    print_stages,
)
from benchmarks._stages import Cost, Sizes, all_stages
from src.cli import choose_device
from src.models.resnet import RESNETS

BEYOND = 4
"""The size that is predicted, in largest fitted sizes."""


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
    _print_setting(options, device)
    costs, checks, sizes = _measure(options, device)
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
    _print_verdict(checks)


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


def _measure(
    options: argparse.Namespace, device: torch.device
) -> tuple[dict[str, Cost], dict[str, Checked], Sizes]:
    """Every probe's cost and check, printed as they come, and the sizes of what was measured."""
    costs: dict[str, Cost] = {}
    checks: dict[str, Checked] = {}
    print_row(
        "stage", "seconds for n inputs", "grows as n^", "at n", "predicted", "measured", "ratio", "memory"
    )
    print_row(*["---"] * 8)
    with folder() as temporary:
        bench = Bench(device, Path(temporary), options.network, options.pixels, options.classes)
        for probe in PROBES:
            cost, check, power = fitted(probe, bench, options.scale, options.repeats)
            costs[probe.name], checks[probe.name] = cost, check
            _print_check(probe, cost, check, power)
    sizes = Sizes(bench.image_bytes, bench.dims, bench.last_inputs, options.classes, options.picks)
    return costs, checks, sizes


def _print_setting(options: argparse.Namespace, device: torch.device) -> None:
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "one core of a CPU"
    print(
        f"costs of {where}, {platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}; "
        f"{options.network}, {options.pixels}×{options.pixels} pixels, {options.classes} classes\n",
        flush=True,
    )


def _print_check(probe: Probe, cost: Cost, check: Checked, power: float) -> None:
    with_m = f", m = {check.m:,}" if probe.other else ""
    print_row(
        probe.name,
        str(cost.seconds),
        f"{power:.2f}",
        f"{check.n:,}{with_m}",
        duration(check.predicted),
        duration(check.measured),
        _ratio(check),
        amount(cost.growth.factors["1"]) if probe.streams else f"{cost.growth.factors['n']:,.0f} B an input",
    )


def _print_verdict(checks: dict[str, Checked]) -> None:
    """Over all stages, and the one that is furthest off."""
    ours = sum(check.predicted for check in checks.values())
    theirs = sum(check.measured for check in checks.values())
    worst = max(checks, key=lambda name: abs(1 - checks[name].measured / max(checks[name].predicted, 1e-12)))
    print(
        f"scaling_model: ours {ours:.2f} s, measurement {theirs:.2f} s, ratio {theirs / ours:.2f} "
        f"(ours is the prediction; furthest off: {worst}, {_ratio(checks[worst])})"
    )


def _assumptions(options: argparse.Namespace) -> str:
    return (
        f"{options.picks:,} picks a round; {LABELLED:,} labelled inputs for coreset and typiclust, a bank of "
        f"{HU_BANK:,} for batch HU knn.\nAssumed: links of {amount(options.rate)}/s each way and "
        f"{Cluster(1).delay * 1e6:.0f} µs a message; a disk for each worker, as fast as the one measured."
    )


def _ratio(check: Checked) -> str:
    return f"{check.measured / max(check.predicted, 1e-12):.2f}"


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
