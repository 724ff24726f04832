"""What is said of an experiment before it runs: for ``--check`` all of it, and for a run what it gives in vain."""

import argparse

import torch

from src import tracking
from src.active.experiment import Experiment
from src.active.idle import idle_keys
from src.active.plan import Plan, mc_passes
from src.config import Config
from src.data import availability
from src.models.architectures import weights_origin
from src.models.build import build_density
from src.utils.errors import UserError
from src.utils.seeding import RoundSeeds


def idle_note(config: Config) -> str | None:
    """What the config gives in vain, in a line; None where that is nothing."""
    idle = "; ".join(f"{key} ({why})" for key, why in idle_keys(config))
    return f"note: no effect here: {idle}" if idle else None


def state_of(config: Config, plan: Plan, options: argparse.Namespace) -> str:
    """How far the experiment has come, and whatever a run with these options would refuse in its folder."""
    experiment = Experiment(config, options.output_dir)
    try:
        if options.overwrite:
            experiment.check_overwrite(options.run)
            return f"--overwrite removes {'all runs' if options.run is None else f'run {options.run}'} first"
        return experiment.state(len(plan.labels))
    except UserError as error:
        return f"refused: {error}".replace("\n", "\n             ")


def describe(config: Config, plan: Plan, device: torch.device, options: argparse.Namespace) -> str:
    """The plan of an experiment for ``--check``, and what there is of it."""
    info, training, model = plan.info, config.training, config.model
    members = f", {model.ensemble} members" if model.ensemble > 1 else ""
    if mc_passes(config) > 1:
        members = f", {mc_passes(config)} Monte-Carlo passes"
    density, mir = "", model.mir_configs
    if build_density(config, RoundSeeds(0, 0)):
        density = f", density {mir.density_model}{', greedy search' * mir.greedy_search}"
        if mir.greedy_search and mir.dim_reduction != -1:
            density += f" in up to {mir.dim_reduction} dimensions (dim_reduction bounds greedy_search)"
    where, weights = availability(config), weights_origin(config)
    absent = " is absent: " in where
    assumed = f" (sizes assumed: those published of {info.name})" if absent else ""
    return "\n".join(
        [
            f"{config.name}: the config is good{', but the data is absent' * absent}",
            f"  data       {info.name}, {info.channels}×{info.rows}×{info.cols}, {info.nb_classes} classes: "
            f"{plan.train_size} to train on, {plan.val_size} for validation, {info.test_size} for testing"
            f"{assumed}",
            f"             {where}",
            f"  model      {model.name}, {plan.parameters:,} parameters{members}{density}",
            *([f"  weights    {weights}"] if weights else []),
            f"  query      {', '.join(filter(None, (training.heuristic, plan.acquisition.chance)))}",
            f"  rounds     {len(plan.labels)}, labels {', '.join(map(str, plan.labels))}",
            f"  runs       {config.runs}, seeds {', '.join(map(str, config.random_state[: config.runs]))}",
            f"  device     {device}",
            f"  state      {state_of(config, plan, options)}",
            *filter(None, [crop_note(config, plan), idle_note(config), tracking_note(config)]),
        ]
    )


def tracking_note(config: Config) -> str | None:
    """What trackers that the config asks for are not there, in a line; None where that is nothing."""
    try:
        return "; ".join(tracking.unavailable(config)) or None
    except UserError as error:
        return f"refused: {error}"


def crop_note(config: Config, plan: Plan) -> str | None:
    """That crops of scenes are larger than these, in a line; None where they are not, or nothing is cropped."""
    size, info = config.training.crop_size, plan.info
    if info.task != "segmentation" or not config.data.augmentation or size <= min(info.rows, info.cols):
        return None
    return (
        f"note: training.crop_size {size} exceeds the scenes' {info.rows}×{info.cols} pixels: what is outside "
        "of them is black and void in a crop"
    )
