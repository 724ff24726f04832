"""Keys that contradict each other are found, each under the name of a key; consistent ones pass."""

from typing import Any

import pytest
from pydantic import ValidationError

from src.config import Config

CONTRADICTIONS: list[tuple[str, dict[str, Any]]] = [
    ("random_state", {"runs": 4}),
    ("random_state", {"random_state": []}),
    ("random_state", {"random_state": [3, 11, 3], "runs": 3}),
    ("training.ndata_to_label", {"training": {"iterations": 4, "ndata_to_label": [1, 2]}}),
    ("training.patience_early_stopping", {"training": {"patience_early_stopping": 0}}),
    ("training.patience_lr_reduce", {"training": {"patience_lr_reduce": 0}}),
    ("training.lr_reduce_factor", {"training": {"scheduler": "reduce_on_plateau", "lr_reduce_factor": 1}}),
    ("data.distinct_images", {"data": {"dataset": "mnist", "distinct_images": 5}}),
    ("data.oracle", {"data": {"dataset": "mnist", "oracle": "file"}}),
    ("training.initially_balanced", {"data": {"dataset": "image_folder", "oracle": "file"}}),
    ("data.mean", {"data": {"rgb_normalization": True, "std": [1.0]}}),
    ("data.std", {"data": {"rgb_normalization": True, "mean": [0.5]}}),
    ("data.std", {"data": {"mean": [0.5], "std": [1.0, 1.0]}}),
    ("data.mean", {"data": {"mean": [0.5], "img_channels": 3}}),
    ("data.std", {"data": {"std": [0.5], "img_channels": 3}}),
    ("model.ensemble", {"model": {"ensemble": 2, "mc_iterations": 2}}),
    ("model.dropout_probabilities", {"model": {"mc_dropout": True, "dropout_probabilities": [0.0]}}),
    ("model.dropout_probabilities", {"model": {"mc_dropout": True, "dropout_probabilities": []}}),
    ("model.input_height", {"model": {"input_height": 32}, "data": {"img_rows": 28}}),
    ("model.input_width", {"model": {"input_width": 32}, "data": {"img_cols": 28}}),
    ("model.input_channels", {"model": {"input_channels": 3}, "data": {"img_channels": 1}}),
    ("model.output_size", {"model": {"output_size": 19}, "data": {"nb_classes": 10}}),
]


@pytest.mark.parametrize(("key", "data"), CONTRADICTIONS)
def test_a_contradiction_names_its_key(key: str, data: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"name": "x", **data})
    (error,) = caught.value.errors()
    assert [named for named, _ in error["ctx"]["problems"]] == [key]


@pytest.mark.parametrize(
    "data",
    [
        {"runs": 3},
        {"random_state": [3, 11, 3], "runs": 2},
        {"training": {"iterations": 3, "ndata_to_label": [1, 2]}},
        {"training": {"iterations": 3, "ndata_to_label": [1, 2, 3, 4]}},
        {"training": {"iterations": 1, "ndata_to_label": []}},
        {"training": {"early_stopping": False, "patience_early_stopping": 0}},
        {"training": {"scheduler": "reduce_on_plateau", "patience_lr_reduce": 0}},
        {"training": {"lr_reduce_factor": 1}},
        {"data": {"rgb_normalization": True, "mean": [0.5] * 3, "std": [1.0] * 3, "img_channels": 3}},
        {"data": {"dataset": "Repeated_MNIST", "distinct_images": 5}},
        {
            "data": {"dataset": "image_folder", "oracle": "File"},
            "training": {"initially_balanced": False},
        },
        {"model": {"ensemble": 5}},
        {"model": {"name": "BNN", "mc_iterations": 5}},
        {"model": {"mc_dropout": True, "mc_iterations": 5}},
        {"model": {"dropout_probabilities": [0.0]}},
        {"model": {"input_height": 28, "output_size": 10}, "data": {"img_rows": 28}},
    ],
)
def test_agreeing_keys_pass(data: dict[str, Any]) -> None:
    Config.model_validate({"name": "x", **data})
