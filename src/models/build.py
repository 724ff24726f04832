"""From a config to networks and density heads; the one place in ``models`` that reads ``config.model``."""

import re
from collections.abc import Callable, Sequence

import torch

from src.config import Config, MirConfig
from src.layers.consistent_dropout import dropout_layers
from src.layers.stacked import stack_members
from src.models.density import DENSITY_HEADS, DensityModel
from src.models.mir import MIR
from src.models.mlp import MLP, MLPDecoder
from src.models.network import Network
from src.utils.errors import UserError
from src.utils.registry import Registry
from src.utils.seeding import RoundSeeds

Architecture = Callable[[Config, Sequence[int], int], Network]
"""(config, input_shape, nb_classes) → a network of one member."""

PLANNED = (
    *("CNN", "BNN", "BCNN", "UNet", "deeplabv3plus"),
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2"),
    *(f"drn_c_{depth}" for depth in (26, 42, 58)),
    *(f"drn_d_{depth}" for depth in (22, 24, 38, 40, 54, 56, 105, 107)),
)
ARCHITECTURES: Registry[Architecture] = Registry("model", planned=PLANNED)
BACKBONES: Registry[Architecture] = Registry("MIR backbone", planned=PLANNED)


def build_model(
    config: Config, input_shape: Sequence[int], nb_classes: int, seeds: RoundSeeds, device: torch.device
) -> Network:
    """The experiment's network with its initial weights, on the device.

    Weights depend on the run's seed and the member alone: the same every round (Gal et al. 2017), and the same
    encoder and classifier with and without a decoder, so that methods are compared as pairs.
    """
    architecture = ARCHITECTURES.get(config.model.name)
    every_round = RoundSeeds(seeds.run_seed, 0)
    members = []
    for member in range(config.model.ensemble):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(every_round.seed(f"initial weights of member {member}"))
            members.append(architecture(config, input_shape, nb_classes))
    stacked = stack_members(members)
    assert isinstance(stacked, Network)
    return stacked.to(device)


def build_density(config: Config, seeds: RoundSeeds) -> DensityModel | None:
    """The density head of a MIR model, unfitted; None for other models, and for an ensemble, whose members each have
    features of their own."""
    if config.model.name != "mir" or config.model.ensemble > 1:
        return None
    mir = config.model.mir_configs
    head = DENSITY_HEADS.get(mir.density_model).from_config(mir, seeds.seed("density samples"))
    normalize = mir.normalize_features and not head.normalizes_projections
    return DensityModel(head, normalize, mir.dim_reduction)


def check_model(config: Config, input_shape: Sequence[int], nb_classes: int) -> int:
    """The model's number of parameters, from building it and its density head once without memory.

    Raises UserError at the line of the key that cannot be built.
    """
    model, mir = config.model, config.model.mir_configs
    for key, name, registry in (
        ("model.name", model.name, ARCHITECTURES),
        ("model.mir_configs.backbone", mir.backbone, BACKBONES),
        ("model.mir_configs.density_model", mir.density_model, DENSITY_HEADS),
    ):
        if key == "model.name" or model.name == "mir":
            try:
                registry.get(name)
            except UserError as error:
                raise config.error(key, str(error)) from None
    if model.pretrained:
        raise config.error("model.pretrained", f"{model.name} has no pretrained weights; set it to false")
    if model.pretrained_model is not None:
        raise config.error(
            "model.pretrained_model", f"{model.name} has no pretrained weights; set it to null"
        )
    with torch.device("meta"):
        try:
            network = ARCHITECTURES.get(model.name)(config, input_shape, nb_classes)
        except ValueError as error:
            raise config.error("model.dropout_probabilities", str(error)) from None
    if model.mc_dropout and model.mc_iterations > 1 and not dropout_layers(network):
        raise config.error(
            "model.mc_dropout",
            "Monte-Carlo passes need a dropout layer and this network has none; an MLP has one after every hidden "
            "layer but the first (model.hidden_layers, model.dropout_probabilities)",
        )
    if model.name == "mir":
        _check_density(config, network.feature_dims)
    return model.ensemble * sum(parameter.numel() for parameter in network.parameters())


def _check_density(config: Config, feature_dims: int) -> None:
    mir = config.model.mir_configs
    if mir.feature_dims not in (None, feature_dims):
        raise config.error(
            "model.mir_configs.feature_dims",
            f"{mir.feature_dims} contradicts the backbone, whose hidden features are {feature_dims} wide",
        )
    if mir.dim_reduction > feature_dims:
        raise config.error(
            "model.mir_configs.dim_reduction",
            f"{mir.dim_reduction} exceeds the {feature_dims} hidden features; lower it, or -1 for no reduction",
        )
    if mir.greedy_search and not DENSITY_HEADS.get(mir.density_model).searches_dimension:
        searching = ", ".join(name for name in DENSITY_HEADS if DENSITY_HEADS.get(name).searches_dimension)
        raise config.error(
            "model.mir_configs.greedy_search",
            f"{mir.density_model} has no dimension to search; {searching} have; set it to false",
        )
    try:
        build_density(config, RoundSeeds(0, 0))
    except UserError as error:
        # A head's message names the key that it is about; the choice of the head is to blame where it names none.
        named = [word for word in re.findall(r"\w+", str(error)) if word in MirConfig.model_fields]
        key = named[0] if named else "density_model"
        raise config.error(f"model.mir_configs.{key}", str(error)) from None


@ARCHITECTURES.register("MLP")
@BACKBONES.register("MLP")
def _mlp(config: Config, input_shape: Sequence[int], nb_classes: int) -> MLP:
    model = config.model
    return MLP(input_shape, model.hidden_layers, nb_classes, model.dropout_probabilities)


@ARCHITECTURES.register("MIR")
def _mir(config: Config, input_shape: Sequence[int], nb_classes: int) -> MIR:
    mir = config.model.mir_configs
    backbone = BACKBONES.get(mir.backbone)(config, input_shape, nb_classes)
    decoder = MLPDecoder(input_shape, config.model.hidden_layers)
    return MIR(backbone, decoder, mir.reconstruction_weight, mir.warmup or 0)
