"""The model of a round: the stages that each method goes through, as the project does it and as it might, with the
bytes that each one holds and sends. What stages cost is given; nothing is measured here, and nothing printed."""

import dataclasses
from dataclasses import dataclass
from functools import partial

from benchmarks._cluster import Exchange, Footprint, Step, Work
from benchmarks._laws import Law
from src.active.batch.geometry import LLOYD_ROUNDS
from src.active.batch.typiclust import MOST_CLUSTERS

BANKS = (10_000, 50_000)
BOOKKEEPING = 8 + 4 + 8
"""Bytes an input on every worker, beside its image: its label, its round, its index in the pool."""
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


def copies(each: float) -> Footprint:
    """What is there beside the whole while that is put together: all parts, the worker's own, and its own padded."""
    return Footprint(share=2 * each, pool=each)


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


def _clustering(costs: dict[str, Cost], n: int) -> float:
    """TypiClust's k-means, in all the rounds that it may take, and the distances within clusters of one size.

    Those take longer where sizes differ, and are lost among the rest at the sizes that k-means is measured at.
    """
    within = MOST_CLUSTERS * costs["one cluster"].seconds(n / MOST_CLUSTERS)
    return costs["typiclust"].seconds(n, LLOYD_ROUNDS) + within


def _constant(bytes_: float, n: int) -> float:
    return bytes_


def _times(each: float, n: int) -> float:
    return each * n


def _seconds(law: Law, m: int, n: int) -> float:
    return law(n, m)
