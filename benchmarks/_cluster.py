"""A round on several workers, simulated: each has a clock, stages of work move clocks on, exchanges make them agree.
What a stage costs is given; nothing is measured here, and no network is assumed but a rate and a delay."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Cluster:
    """``workers`` with a link each: ``rate`` bytes a second and ``delay`` seconds a message.

    A worker's device is ``speedup`` times as fast as the one that was measured, but for the first worker's, which is
    ``straggling`` times slower than the others'.
    """

    workers: int
    rate: float = 1e10
    delay: float = 1e-4
    speedup: float = 1.0
    straggling: float = 1.0


@dataclass(frozen=True)
class Footprint:
    """Bytes of one worker: so many at any rate, so many for each input of its share, so many for each of the pool."""

    fixed: float = 0.0
    share: float = 0.0
    pool: float = 0.0

    def __call__(self, inputs: int, workers: int) -> float:
        return self.fixed + self.share * shares(inputs, workers)[0] + self.pool * inputs


@dataclass(frozen=True)
class Work:
    """A stage that every worker does alone: on its share of the pool, or (all of them the same) on the whole pool.

    ``held`` bytes stay to the end of the round, ``passing`` ones until the stage is over. Where it is not ``on_device``
    a faster device does not help. ``most`` bounds the inputs that it sees.
    """

    name: str
    seconds: Callable[[int], float]
    on: Literal["share", "pool"]
    held: Footprint = Footprint()
    passing: Footprint = Footprint()
    on_device: bool = True
    most: int | None = None

    def advance(self, clocks: list[float], inputs: int, cluster: Cluster) -> None:
        """Move every worker's clock on by what its inputs cost it."""
        parts = shares(inputs, cluster.workers) if self.on == "share" else [inputs] * cluster.workers
        for worker, part in enumerate(parts):
            slower = cluster.straggling if worker == 0 else 1.0
            clocks[worker] += self.seconds(part) * slower / (cluster.speedup if self.on_device else 1.0)


@dataclass(frozen=True)
class Exchange:
    """A stage in which workers wait for each other and pass on ``sent`` bytes, a function of the pool's inputs.

    ``all_gather``: all workers' parts, ``sent`` bytes together, to all of them, around a ring. ``all_reduce``: the sum
    of tensors of ``sent`` bytes, around a ring twice. ``tree``: half of the workers send ``sent`` bytes each to the
    other half, which go on, until one is left. Costs are those of Thakur, Rabenseifner & Gropp 2005, "Optimization of
    Collective Communication Operations in MPICH", without the time of adding. One worker alone exchanges nothing, and
    needs no ``passing`` bytes.
    """

    name: str
    kind: Literal["all_gather", "all_reduce", "tree"]
    sent: Callable[[int], float]
    held: Footprint = Footprint()
    passing: Footprint = Footprint()
    most: int | None = None

    def advance(self, clocks: list[float], inputs: int, cluster: Cluster) -> None:
        """Set every worker's clock to when the last one has all."""
        clocks[:] = [max(clocks) + self.cost(inputs, cluster)] * len(clocks)

    def cost(self, inputs: int, cluster: Cluster) -> float:
        """Seconds from when the last worker is there."""
        workers, over = cluster.workers, self.sent(inputs) / cluster.rate
        if self.kind == "tree":
            return math.ceil(math.log2(workers)) * (cluster.delay + over)
        around = (workers - 1) * cluster.delay + (workers - 1) / workers * over
        return 2 * around if self.kind == "all_reduce" else around


Step = Work | Exchange


@dataclass(frozen=True)
class Spent:
    """What a step took: seconds by which it put off the end of the round, bytes of its own on the fullest worker, and
    bytes of all that this worker then had."""

    name: str
    seconds: float
    own: float
    resident: float


def simulate(steps: Sequence[Step], inputs: int, cluster: Cluster) -> list[Spent]:
    """A round of these steps over a pool of ``inputs``; seconds add up to when the last worker is done."""
    clocks, resident, spent = [0.0] * cluster.workers, 0.0, []
    for step in steps:
        seen = inputs if step.most is None else min(inputs, step.most)
        before = max(clocks)
        step.advance(clocks, seen, cluster)
        held, passing = (part(seen, cluster.workers) for part in (step.held, step.passing))
        if isinstance(step, Exchange) and cluster.workers == 1:
            passing = 0.0
        resident += held
        spent.append(Spent(step.name, max(clocks) - before, held + passing, resident + passing))
    return spent


def total_of(spent: Iterable[Spent]) -> float:
    """Seconds of a round."""
    return sum(each.seconds for each in spent)


def peak_of(spent: Iterable[Spent]) -> float:
    """The most bytes that the fullest worker has at once."""
    return max(each.resident for each in spent)


def shares(inputs: int, workers: int) -> list[int]:
    """Inputs of each worker, the larger shares first; they differ by one at most."""
    each, over = divmod(inputs, workers)
    return [each + (worker < over) for worker in range(workers)]
