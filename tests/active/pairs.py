"""Every pair of a model and a way to choose that a config can name, and which of these pairs can work.

Architectures, backbones and density heads are the registries'. What a way to choose needs is written down here by
hand, so that the program's own account of it is not what it is judged by.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from src.active.selection import PERTURBATIONS
from src.config import Config
from src.models.architectures import ARCHITECTURES, BACKBONES, SEGMENTATION
from src.models.density import DENSITY_HEADS

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "mc_dropout": {"mc_dropout": True, "mc_iterations": 3},
    "ensemble": {"ensemble": 2},
}
BAYESIAN_KINDS = {"plain": {}, "weight_samples": {"mc_iterations": 3}, "ensemble": {"ensemble": 2}}

HEADS: dict[str, dict[str, Any]] = {
    **{head: {"density_model": head} for head in DENSITY_HEADS},
    **{
        f"{head} greedy": {"density_model": head, "greedy_search": True}
        for head in DENSITY_HEADS
        if DENSITY_HEADS.get(head).searches_dimension
    },
}

NETWORKS = [
    *(name for name in ARCHITECTURES if name not in ("mir", *SEGMENTATION)),
    *(f"mir {backbone}" for backbone in BACKBONES if backbone not in SEGMENTATION),
]


class Model(NamedTuple):
    """A network, its kind of members, its density head (None without one), and the keys that say so."""

    network: str
    kind: str
    head: str | None
    keys: dict[str, Any]

    @property
    def has(self) -> set[str]:
        """What there is to choose by."""
        has = {"members"} if self.kind != "plain" else set()
        if self.kind != "ensemble":
            has |= {"one network"}
            has |= {"density"} if self.head else set()
            has |= {"density that learns"} if self.head in ("gmm", "gmm greedy", "knn") else set()
        return has


def models(network: str) -> Iterator[Model]:
    """All kinds of members of this network, with all density heads where it has one."""
    small = {"hidden_layers": [12, 8], "dropout_probabilities": [0.25]}
    if network.startswith("mir "):
        backbone = network.removeprefix("mir ")
        for kind, members in KINDS.items():
            for head, keys in HEADS.items():
                # So few directions that a residual network's 2048 features cost no more than a perceptron's.
                mir = {"backbone": backbone, "dim_reduction": 4, **keys}
                yield Model(network, kind, head, {"name": "mir", **small, **members, "mir_configs": mir})
    else:
        for kind, members in (BAYESIAN_KINDS if network in ("bnn", "bcnn") else KINDS).items():
            yield Model(network, kind, None, {"name": network, **small, **members})


class Way(NamedTuple):
    """How to choose: keys of ``training``, and what has to be there for them to mean anything."""

    needs: set[str]
    keys: dict[str, Any]

    @property
    def reads_density(self) -> bool:
        return bool(self.needs & {"density", "density that learns"})


def _mixed(*names: str) -> dict[str, Any]:
    return {"heuristic": "combination", "combination": dict.fromkeys(names, 0.5)}


WAYS = [
    *(Way(set(), {"heuristic": name}) for name in ("random", "entropy", "margin", "certainty")),
    *(Way({"members"}, {"heuristic": name}) for name in ("bald", "variance", "batchbald")),
    *(
        Way({"one network"}, {"heuristic": name})
        for name in ("badge", "coreset", "hidden_coverage", "probcover", "typiclust")
    ),
    Way({"density"}, {"heuristic": "precomputed"}),
    Way({"density that learns"}, {"heuristic": "batch_hu"}),
    Way(set(), _mixed("entropy", "certainty")),
    Way({"members"}, _mixed("bald", "margin")),
    Way({"density"}, _mixed("precomputed", "random")),
    Way({"density", "members"}, _mixed("precomputed", "bald")),
    *(Way({"members"}, {"heuristic": "bald", "stochastic_batch": kind}) for kind in PERTURBATIONS),
    Way({"density"}, {"heuristic": "precomputed", "stochastic_batch": "softmax"}),
]


def config(model: Model, way: Way, **training: object) -> Config:
    """Two queries by that pair, for data so small that one batch holds all labelled inputs."""
    keys = {
        "epochs": 1,
        "iterations": 3,
        "initially_labelled": 30,
        "ndata_to_label": 6,
        "batch_size": 64,
        "verbose": False,
    }
    return Config.model_validate(
        {
            "name": "pair",
            "training": {**keys, **training, **way.keys},
            "model": model.keys,
            # Plain steps: a wide network's moments would take more memory than it does.
            "optimizer": {"type": "sgd", "lr": 1e-4, "momentum": 0.0},
        }
    )
