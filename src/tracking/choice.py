"""Which trackers a config asks for, and whether they can be had."""

from importlib.util import find_spec
from pathlib import Path

from src.config import Config
from src.tracking.tracker import Tracked, Tracker


def tracking_of_run(config: Config, run: int, folder: Path) -> list[Tracked]:
    """What is to be told of run ``run``, whose folder that is; not begun before it is entered."""
    epochs = epochs_a_round(config)
    found = []
    if config.tensorboard_logging:
        found.append(Tracked("tensorboard_logging", lambda: _tensorboard(folder), epochs))
    if config.wandb_logging and _is_installed("wandb"):
        found.append(Tracked("wandb_logging", lambda: _wandb(config, run, folder), epochs))
    return found


def unavailable(config: Config) -> list[str]:
    """A line for each tracker that the config asks for and a run can do without.

    Raises UserError where TensorBoard is not installed. That wandb is not is no error: configs have had its key before
    it did anything, and have to run as they are.
    """
    if config.tensorboard_logging and not _is_installed("tensorboard"):
        raise config.error(
            "tensorboard_logging",
            "TensorBoard is not installed; `pip install tensorboard`, or set the key to false",
        )
    if config.wandb_logging and not _is_installed("wandb"):
        return [
            "note: wandb_logging: wandb is not installed, so nothing is sent to Weights & Biases; `pip install wandb`"
        ]
    return []


def epochs_a_round(config: Config) -> int:
    """How many epochs a round has at most, over members that train one after the other."""
    one_by_one = config.training.scheduler == "reduce_on_plateau"
    return config.training.epochs * (config.model.ensemble if one_by_one else 1)


def _is_installed(package: str) -> bool:
    return find_spec(package) is not None


# Imported where they are used: neither has to be there, and both take a while.
def _tensorboard(folder: Path) -> Tracker:
    from src.tracking.tensorboard import TensorBoard

    return TensorBoard(folder / "tensorboard")


def _wandb(config: Config, run: int, folder: Path) -> Tracker:
    from src.tracking.wandb import WeightsAndBiases

    return WeightsAndBiases(
        folder,
        name=f"{config.name}/run_{run}",
        group=config.name,
        project=config.wandb_project,
        entity=config.wandb_entity,
        mode=config.wandb_mode,
        config={**config.model_dump(mode="json"), "run": run, "seed": config.random_state[run - 1]},
    )
