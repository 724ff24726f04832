"""Tables of what simulated rounds take, by stage and by method; of what breaks, and what helps. Their numbers are in
units that a reader has a feeling for. What a round consists of is told elsewhere."""

import dataclasses
from collections.abc import Iterable, Sequence

from benchmarks._cluster import Cluster, Spent, Step, peak_of, simulate, total_of
from benchmarks._stages import METHODS, Cost, Sizes, remedies

DAY = 86_400.0


def print_stages(stages: dict[str, Step], pools: Sequence[int], clusters: Sequence[Cluster]) -> None:
    """Seconds of each stage, then bytes on the fullest worker."""
    for what, shown in (("time", lambda spent: duration(spent.seconds)), ("memory", lambda s: amount(s.own))):
        _print_head(what, pools, clusters)
        for name, step in stages.items():
            cells = (shown(simulate([step], n, cluster)[0]) for n in pools for cluster in clusters)
            print_row(name, *cells)
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
        print_row(name, *cells)
    print(f"\nIn brackets: needs more than {amount(memory)} on a worker.\n")


def print_breaks(stages: dict[str, Step], pools: Sequence[int], cluster: Cluster, memory: float) -> None:
    """What breaks, by method and pool: stages too large for the memory by themselves, and stages of over a day."""
    print_row(f"breaks, {cluster.workers} workers", *(count(n) for n in pools))
    print_row(*["---"] * (1 + len(pools)))
    for name, own in METHODS.items():
        spent = [simulate([stages[stage] for stage in own], n, cluster) for n in pools]
        print_row(name, *(broken(each, memory) for each in spent))
    print()


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
    print_row(f"{count(pool)} inputs, {cluster.workers} workers", *next(iter(ways.values())))
    print_row(*["---"] * 4)
    for name, by_way in ways.items():
        rounds = [simulate(steps, pool, cluster) for steps in by_way.values()]
        print_row(name, *(f"{duration(total_of(each))}, {amount(peak_of(each))}" for each in rounds))
    steps = ways["HU gmm"]["today"]
    even, uneven = (
        total_of(simulate(steps, pool, dataclasses.replace(cluster, straggling=factor)))
        for factor in (1.0, 2.0)
    )
    print(
        f"\nShares are fixed, so that one worker of half the speed makes a round of HU gmm {uneven / even:.1f} times "
        "as long.\n"
    )


def broken(spent: Iterable[Spent], memory: float) -> str:
    """The stages that ask for more than the memory by themselves, and those that take more than a day."""
    large = [f"{each.name} {amount(each.own)}" for each in spent if each.own > memory]
    slow = [f"{each.name} {duration(each.seconds)}" for each in spent if each.seconds > DAY]
    return "; ".join([*large, *slow]) or "—"


def print_row(*cells: str) -> None:
    """A line of a Markdown table, at once: the next may take minutes."""
    print(f"| {' | '.join(cells)} |", flush=True)


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


def _print_head(what: str, pools: Sequence[int], clusters: Sequence[Cluster]) -> None:
    print_row(what, *(f"{count(n)} on {cluster.workers}" for n in pools for cluster in clusters))
    print_row(*["---"] * (1 + len(pools) * len(clusters)))


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"
