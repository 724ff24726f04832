"""Keys that are given in vain are told, each with its reason; keys that have an effect, and defaults, are not."""

from typing import Any

import pytest

from src.active.idle import idle_keys
from src.config import Config

IN_VAIN: list[tuple[str, str, dict[str, Any]]] = [
    ("model.mc_iterations", "mc_dropout is false", {"model": {"name": "MLP", "mc_iterations": 5}}),
    ("model.mc_dropout", "mc_iterations is 1", {"model": {"name": "MLP", "mc_dropout": True}}),
    ("model.mc_dropout", "BNN", {"model": {"name": "BNN", "mc_dropout": True, "mc_iterations": 5}}),
    (
        "training.combination",
        "is entropy",
        {"training": {"heuristic": "entropy", "combination": {"bald": 1.0}}},
    ),
    ("wandb_mode", "wandb_logging is false", {"wandb_mode": "offline"}),
    ("wandb_project", "wandb_logging is false", {"wandb_project": "mine"}),
    ("training.stochastic_coldness", "is null", {"training": {"stochastic_coldness": 4.0}}),
    ("data.mean", "rgb_normalization is false", {"data": {"mean": [0.5]}}),
    ("data.std", "rgb_normalization is false", {"data": {"std": [0.5]}}),
    (
        "model.mir_configs.reconstruct_pool",
        "reconstruction_weight is 0",
        {"model": {"mir_configs": {"reconstruct_pool": 1.0, "reconstruction_weight": 0}}},
    ),
    ("model.small_image_stem", "cnn is no resnet", {"model": {"name": "CNN", "small_image_stem": True}}),
    ("model.small_image_stem", "mlp is no resnet", {"model": {"name": "MIR", "small_image_stem": True}}),
]


@pytest.mark.parametrize(("key", "why", "data"), IN_VAIN)
def test_a_key_given_in_vain_is_told(key: str, why: str, data: dict[str, Any]) -> None:
    ((told, reason),) = idle_keys(Config.model_validate({"name": "x", **data}))
    assert told == key
    assert why in reason


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"wandb_logging": True, "wandb_entity": "us", "wandb_project": "mine", "wandb_mode": "offline"},
        {"model": {"name": "MLP", "mc_dropout": True, "mc_iterations": 5}},
        {"model": {"name": "BCNN", "mc_iterations": 5}},
        {"training": {"heuristic": "combination", "combination": {"entropy": 1.0}}},
        {"training": {"stochastic_batch": "power", "stochastic_coldness": 4.0}},
        {"training": {"stochastic_coldness": 1.0, "crop_size": 64}, "data": {"resize": True}},
        {"data": {"rgb_normalization": True, "mean": [0.5], "std": [0.5]}},
        {"model": {"name": "MIR", "mir_configs": {"reconstruct_pool": 1.0}}},
        {"model": {"name": "resnet18", "small_image_stem": True}},
        {"model": {"name": "MIR", "small_image_stem": True, "mir_configs": {"backbone": "resnet50"}}},
    ],
)
def test_keys_that_have_an_effect_are_not_told(data: dict[str, Any]) -> None:
    assert idle_keys(Config.model_validate({"name": "x", **data})) == []
