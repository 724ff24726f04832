"""What must hold between the keys of one config. What takes data or a network to judge, owners check."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from src.config.schema import Config

# Each pair says the same thing twice; null on either side defers to the other.
SAME_SIZE = (
    ("input_height", "img_rows"),
    ("input_width", "img_cols"),
    ("input_channels", "img_channels"),
    ("output_size", "nb_classes"),
)


def contradictions(config: "Config") -> list[tuple[str, str]]:
    """Every (dotted key, message) at which keys, each valid alone, cannot be meant together."""
    return [*_budget(config), *_training(config), *_data(config), *_normalization(config), *_model(config)]


def _budget(config: "Config") -> Iterator[tuple[str, str]]:
    if len(config.random_state) < config.runs:
        yield (
            "random_state",
            f"{config.runs} runs need {config.runs} seeds and the list has {len(config.random_state)}; "
            "add seeds or lower runs",
        )
    seeds = config.random_state[: config.runs]
    if repeated := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
        yield (
            "random_state",
            f"{', '.join(map(str, repeated))} is given to several of the {config.runs} runs, which would come out the "
            "same; give each a seed of its own",
        )
    labels, iterations = config.training.ndata_to_label, config.training.iterations
    if isinstance(labels, tuple) and len(labels) < iterations - 1:
        yield (
            "training.ndata_to_label",
            f"{iterations} iterations label {iterations - 1} times and the list has {len(labels)} entries; "
            "add entries or lower training.iterations",
        )


def _training(config: "Config") -> Iterator[tuple[str, str]]:
    training = config.training
    if training.early_stopping and training.patience_early_stopping < 1:
        yield "training.patience_early_stopping", "must be at least 1 where training.early_stopping is true"
    if training.scheduler == "step" and training.patience_lr_reduce < 1:
        yield "training.patience_lr_reduce", "must be at least 1: it is the step scheduler's step in epochs"
    if training.scheduler == "reduce_on_plateau" and training.lr_reduce_factor >= 1:
        yield "training.lr_reduce_factor", "must be below 1 for the reduce_on_plateau scheduler"


def _data(config: "Config") -> Iterator[tuple[str, str]]:
    data = config.data
    if data.distinct_images is not None and data.dataset != "repeated_mnist":
        yield (
            "data.distinct_images",
            f"is for repeated_mnist and data.dataset is {data.dataset}; set it to null",
        )
    if data.oracle == "file" and data.dataset != "image_folder":
        yield "data.oracle", f"file is for image_folder and data.dataset is {data.dataset}; set it to dataset"
    elif data.oracle == "file" and config.training.initially_balanced:
        yield (
            "training.initially_balanced",
            "cannot be true where data.oracle is file, since classes are not known yet; set it to false",
        )


def _normalization(config: "Config") -> Iterator[tuple[str, str]]:
    data = config.data
    if data.rgb_normalization:
        for key, entries in (("mean", data.mean), ("std", data.std)):
            if not entries:
                yield f"data.{key}", "data.rgb_normalization is true and needs one entry a channel here"
    if data.mean and data.std and len(data.mean) != len(data.std):
        yield (
            "data.std",
            f"has {len(data.std)} entries and data.mean {len(data.mean)}; give one a channel",
        )
    elif data.img_channels is not None:
        for key, entries in (("mean", data.mean), ("std", data.std)):
            if entries and len(entries) != data.img_channels:
                yield (
                    f"data.{key}",
                    f"has {len(entries)} entries and data.img_channels is {data.img_channels}",
                )


def _model(config: "Config") -> Iterator[tuple[str, str]]:
    model, data = config.model, config.data
    if model.ensemble > 1 and model.mc_iterations > 1:
        yield (
            "model.ensemble",
            f"members come from an ensemble ({model.ensemble}) or from Monte-Carlo passes "
            f"(model.mc_iterations {model.mc_iterations}), not both; set one of them to 1",
        )
    if model.mc_dropout and not any(model.dropout_probabilities):
        yield "model.dropout_probabilities", "model.mc_dropout is true and needs a probability above 0"
    for model_key, data_key in SAME_SIZE:
        ours, theirs = getattr(model, model_key), getattr(data, data_key)
        if ours is not None and theirs is not None and ours != theirs:
            yield (
                f"model.{model_key}",
                f"is {ours} and data.{data_key} is {theirs}; make them agree",
            )
