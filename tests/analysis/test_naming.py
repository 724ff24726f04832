"""What a method is called goes by its config, and is what the thesis calls its own."""

from pathlib import Path

import pytest
import yaml

from src.analysis.naming import METHODS, method_names, method_of, name_of_method
from src.config import load_config, to_yaml
from tests.experiments import FINAL_RUNS


def name(path: Path, *overrides: str) -> str | None:
    return name_of_method(yaml.safe_load(to_yaml(load_config(path, overrides))))


@pytest.mark.parametrize("path", sorted(FINAL_RUNS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_experiment_is_called_what_its_name_ends_in(path: Path) -> None:
    ending = method_of(path.stem)
    assert ending is not None
    assert name(path) == METHODS[ending]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (("training.heuristic=entropy", "model.name=MLP"), "Softmax entropy"),
        (("training.heuristic=margin", "model.name=MLP", "model.ensemble=5"), "Ensemble (5) margin"),
        (("model.mir_configs.greedy_search=true", "model.mir_configs.metric=val_l1"), "HU greedy val_l1"),
        (("training.heuristic=coreset",), "CoreSet"),
    ],
)
def test_a_config_counts_and_not_its_name(overrides: tuple[str, ...], expected: str) -> None:
    assert name(FINAL_RUNS / "mnist_hu.yaml", *overrides) == expected


@pytest.mark.parametrize(
    "config", [{}, {"training": {"heuristic": "entropy"}}, {"training": None, "model": 3}]
)
def test_what_is_no_resolved_config_has_no_name(config: dict[str, object]) -> None:
    assert name_of_method(config) is None


def test_methods_of_several_datasets_keep_their_own_names() -> None:
    assert method_names(["mnist_hu", "mnist_mine", "svhn_hu", "mnist_hu_greedy_l2", "mnist_random"]) == {
        "mnist_random": "Random",
        "mnist_hu": "mnist_hu",
        "svhn_hu": "svhn_hu",
        "mnist_hu_greedy_l2": "HU greedy L2",
        "mnist_mine": "mnist_mine",
    }
