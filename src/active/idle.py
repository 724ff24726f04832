"""Keys that a config gives in vain: what they ask for, another key has to switch on. Such a config is valid, and runs.
Keys of other tasks and networks, which complete configs give as a matter of course, are not looked at."""

from collections.abc import Iterator

from src.active.plan import mc_passes, reconstructs_pool
from src.config import Config
from src.models.bayesian import BAYESIAN
from src.models.resnet import RESNETS


def idle_keys(config: Config) -> list[tuple[str, str]]:
    """Every (dotted key, why) that is not at its default and has no effect."""
    return [*_tracking(config), *_training(config), *_data(config), *_model(config)]


def _tracking(config: Config) -> Iterator[tuple[str, str]]:
    for key in ("wandb_project", "wandb_entity", "wandb_mode"):
        if getattr(config, key) != Config.model_fields[key].default and not config.wandb_logging:
            yield key, "wandb_logging is false"


def _training(config: Config) -> Iterator[tuple[str, str]]:
    training = config.training
    if training.combination and training.heuristic != "combination":
        yield "training.combination", f"training.heuristic is {training.heuristic}"
    if training.stochastic_coldness != 1 and training.stochastic_batch is None:
        yield "training.stochastic_coldness", "training.stochastic_batch is null"


def _data(config: Config) -> Iterator[tuple[str, str]]:
    for key in ("mean", "std"):
        if getattr(config.data, key) and not config.data.rgb_normalization:
            yield f"data.{key}", "data.rgb_normalization is false"


def _model(config: Config) -> Iterator[tuple[str, str]]:
    model = config.model
    if model.mc_iterations > 1 and mc_passes(config) == 1:
        yield "model.mc_iterations", "model.mc_dropout is false"
    if model.mc_dropout and model.name in BAYESIAN:
        yield "model.mc_dropout", f"the passes of a {model.name.upper()} sample its weights"
    elif model.mc_dropout and model.mc_iterations == 1:
        yield "model.mc_dropout", "model.mc_iterations is 1"
    if reconstructs_pool(config) and model.mir_configs.reconstruction_weight == 0:
        yield "model.mir_configs.reconstruct_pool", "model.mir_configs.reconstruction_weight is 0"
    network = model.mir_configs.backbone if model.name == "mir" else model.name
    if model.small_image_stem and network not in RESNETS:
        yield "model.small_image_stem", f"{network} is no resnet"
