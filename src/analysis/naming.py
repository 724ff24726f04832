"""What to call the method of an experiment, by what its config says it does."""

from collections.abc import Mapping
from typing import Any

HEURISTICS = {
    "bald": "BALD",
    "batchbald": "BatchBALD",
    "badge": "BADGE",
    "coreset": "CoreSet",
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


def _hidden(heuristic: str, mir: Mapping[str, Any]) -> str:
    name = DENSITIES.get(mir["density_model"], f"HU, {mir['density_model']}")
    if heuristic == "batch_hu":
        return f"Batch-aware {name}"
    if mir["density_model"] == "gmm" and mir["greedy_search"]:
        metric = str(mir["metric"])
        return f"HU greedy {metric.upper() if metric in ('l1', 'l2') else metric}"
    return name
