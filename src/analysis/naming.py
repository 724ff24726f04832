"""What to call the method of an experiment, by what its config says it does or by the experiment's name."""

from collections.abc import Iterable, Mapping
from typing import Any

# The ending of an experiment's name after `<dataset>_`, and what the method is called: in the thesis, or its paper.
METHODS = {
    "random": "Random",
    "softmax": "Softmax entropy",
    "margin": "Softmax margin",
    "mcd": "MC-dropout entropy",
    "de": "Ensemble (3) entropy",
    "hu": "HU",
    "hu_greedy_l2": "HU greedy L2",
    "knn": "HU-KDE",
    "class_greedy": "HU class-greedy",
    "bald": "BALD",
    "batchbald": "BatchBALD",
    "batch_hu": "Batch-aware HU",
    "batch_hu_kde": "Batch-aware HU-KDE",
    "coreset": "CoreSet",
    "typiclust": "TypiClust",
    "badge": "BADGE",
    "hidden_coverage": "Hidden coverage",
}

HEURISTICS = {
    "bald": "BALD",
    "batchbald": "BatchBALD",
    "badge": "BADGE",
    "coreset": "CoreSet",
    "hidden_coverage": "Hidden coverage",
    "typiclust": "TypiClust",
    "probcover": "ProbCover",
}
DENSITIES = {"gmm": "HU", "knn": "HU-KDE", "kde": "HU, kernel density", "gmm_seg": "HU class-greedy"}
OF_MEMBERS = {"bald", "batchbald", "variance"}
"""Heuristics that say by themselves that there are members."""


def name_of_method(config: Mapping[str, Any]) -> str | None:
    """Of a resolved config, as written beside an experiment's records; None where that is not what it is."""
    try:
        training, model = config["training"], config["model"]
        heuristic, mir = training["heuristic"], model["mir_configs"]
        if heuristic == "random":
            return "Random"
        if heuristic in ("precomputed", "batch_hu"):
            return _hidden(heuristic, mir)
        name = HEURISTICS.get(heuristic, heuristic.replace("_", " "))
        if heuristic in OF_MEMBERS or heuristic in HEURISTICS or heuristic == "combination":
            return str(name)
        if model["ensemble"] > 1:
            return f"Ensemble ({model['ensemble']}) {name}"
        if model["mc_dropout"]:
            return f"MC-dropout {name}"
        return f"Softmax {name}"
    except (KeyError, TypeError, AttributeError):
        return None


def method_of(experiment: str) -> str | None:
    """The longest ending of METHODS that the name has."""
    return max((ending for ending in METHODS if experiment.endswith(f"_{ending}")), key=len, default=None)


def method_names(experiments: Iterable[str]) -> dict[str, str]:
    """What to call each experiment: the method that its name ends in, or its own name if that says more.

    It does where METHODS has no such ending, or two experiments share one. Ordered as METHODS, others last.
    """
    endings = {name: method_of(name) for name in experiments}
    order = [*METHODS, None]
    ordered = sorted(endings, key=lambda name: (order.index(endings[name]), name))
    methods = [endings[name] for name in ordered]
    return {
        name: METHODS[method] if method and methods.count(method) == 1 else name
        for name, method in zip(ordered, methods, strict=True)
    }


def _hidden(heuristic: str, mir: Mapping[str, Any]) -> str:
    name = DENSITIES.get(mir["density_model"], f"HU, {mir['density_model']}")
    if heuristic == "batch_hu":
        return f"Batch-aware {name}"
    if mir["density_model"] == "gmm" and mir["greedy_search"]:
        metric = str(mir["metric"])
        return f"HU greedy {metric.upper() if metric in ('l1', 'l2') else metric}"
    return name
