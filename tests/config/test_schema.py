"""The schema takes what its table says and nothing near it."""

import pytest
from pydantic import ValidationError

from src.config import Config


def built(key: str, value: object) -> Config:
    *sections, last = key.split(".")
    data: dict[str, object] = {last: value}
    for section in reversed(sections):
        data = {section: data}
    return Config.model_validate({"name": "x"} | data)


ACCEPTED = [
    ("name", "a.b_c-9"),
    ("random_state", [0]),
    ("week", -1),
    ("training.scheduler", None),
    ("training.shuffle_prop", 0),
    ("training.shuffle_prop", 1),
    ("training.ndata_to_label", 0),
    ("training.ndata_to_label", [0] * 9),
    ("training.max_pool_samples", -1),
    ("training.max_pool_samples", 1),
    ("training.combination", {"Entropy": 0.9, "margin": 0.1}),
    ("data.mean", [0.5, -1]),
    ("data.std", [0.5]),
    ("model.dropout_probabilities", []),
    ("model.dropout_probabilities", [0, 0.999]),
    ("model.mir_configs.warmup", False),
    ("model.mir_configs.reconstruct_pool", False),
    ("model.mir_configs.reconstruct_pool", 0.5),
    ("model.mir_configs.warmup", 1),
    ("model.mir_configs.dim_reduction", -1),
    ("model.mir_configs.max_samples", -1),
    ("model.mir_configs.reconstruction_weight", 0),
    ("optimizer.lr", 1),
    ("optimizer.betas", [0, 0.5]),
]
REFUSED = [
    ("name", ""),
    ("name", ".hidden"),
    ("name", "../up"),
    ("name", "a/b"),
    ("name", "a\n"),
    ("name", "Final_Runs"),
    ("name", 2024),
    ("random_state", 3),
    ("random_state", [-1]),
    ("random_state", [3.0]),
    ("random_state", {"a": 1}),
    ("runs", 0),
    ("runs", True),
    ("save_df", 1),
    ("save_df", "true"),
    ("training", 3),
    ("training.batch_size", 60.0),
    ("training.batch_size", "60"),
    ("training.heuristic", ""),
    ("training.heuristic", None),
    ("training.scheduler", "cosine"),
    ("training.reduction", None),
    ("training.shuffle_prop", 1.01),
    ("training.ndata_to_label", -1),
    ("training.ndata_to_label", [1] * 9 + [-1]),
    ("training.ndata_to_label", [1.0] * 9),
    ("training.ndata_to_label", "all"),
    ("training.max_pool_samples", 0),
    ("training.lr_reduce_factor", 0),
    ("training.combination", {"Entropy": 0.9, "entropy": 0.1}),
    ("data.val_size", 0),
    ("data.val_size", 1),
    ("data.std", [0.0]),
    ("data.mean", 0.5),
    ("model.ensemble", 0),
    ("model.hidden_layers", []),
    ("model.kernel_sizes", [0]),
    ("model.dropout_probabilities", [1.0]),
    ("model.mir_configs.warmup", True),
    ("model.mir_configs.reconstruct_pool", True),
    ("model.mir_configs.reconstruct_pool", 0),
    ("model.mir_configs.reconstruct_pool", -1.0),
    ("model.mir_configs.warmup", 0),
    ("model.mir_configs.warmup", 0.0),
    ("model.mir_configs.dim_reduction", 0),
    ("model.mir_configs.dim_reduction", -1.0),
    ("model.mir_configs.max_samples", -2),
    ("model.mir_configs.metric", "l3"),
    ("model.mir_configs.knn_weights", "inverse"),
    ("optimizer.type", "adamw"),
    ("optimizer.lr", 0),
    ("optimizer.lr", True),
    ("optimizer.lr", float("nan")),
    ("optimizer.lr", float("inf")),
    ("optimizer.lr", 10**400),
    ("optimizer.betas", [0.9]),
    ("optimizer.betas", [0.9, 0.9, 0.9]),
    ("optimizer.betas", [0.9, 1]),
]


@pytest.mark.parametrize(("key", "value"), ACCEPTED)
def test_values_at_the_edge_are_accepted(key: str, value: object) -> None:
    built(key, value)


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_values_past_the_edge_are_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        built(key, value)


@pytest.mark.parametrize(
    ("key", "written", "stored"),
    [
        ("training.heuristic", "BatchBALD", "batchbald"),
        ("training.scheduler", "CosAnnWarmup", "cosineannealing"),
        ("training.scheduler", "Poly", "poly"),
        ("training.reduction", "NONE", "none"),
        ("data.dataset", "MNIST", "mnist"),
        ("model.name", "DRN_D_22", "drn_d_22"),
        ("model.mir_configs.metric", "Train_Val_L1", "train_val_l1"),
        ("model.mir_configs.knn_weights", "Uniform", "uniform"),
        ("optimizer.type", "SGD", "sgd"),
    ],
)
def test_choices_are_read_in_any_case(key: str, written: str, stored: str) -> None:
    value: object = built(key, written)
    for part in key.split("."):
        value = getattr(value, part)
    assert value == stored


def test_name_is_the_only_key_without_a_default() -> None:
    with pytest.raises(ValidationError, match=r"1 validation error[\s\S]*name"):
        Config.model_validate({})


def test_a_config_cannot_be_changed() -> None:
    config = Config(name="x")
    with pytest.raises(ValidationError):
        config.training.epochs = 3  # type: ignore[misc]
    with pytest.raises(AttributeError):
        config.random_state.append(3)  # type: ignore[attr-defined]


def test_an_empty_section_takes_its_defaults() -> None:
    assert built("training", None) == Config(name="x")


def test_an_error_about_a_constructed_config_names_the_key_alone() -> None:
    assert str(Config(name="x").error("model.name", "no such model")) == "model.name: no such model"
