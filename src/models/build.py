"""From a config to networks of all members and to density heads, checked before there is data.
What one network is made of is in ``architectures.py``."""

from collections.abc import Sequence

import torch

from src.config import Config, MirConfig
from src.layers.convolution import use_channels_last
from src.layers.stacked import stack_members
from src.layers.stochastic import stochastic_layers
from src.models.architectures import ARCHITECTURES, BACKBONES, SEGMENTATION, pretrained_weights
from src.models.density import DENSITY_HEADS, DensityModel
from src.models.network import Network
from src.models.precision import MixedPrecision
from src.utils.errors import UserError
from src.utils.seeding import RoundSeeds


def build_model(
    config: Config, input_shape: Sequence[int], nb_classes: int, seeds: RoundSeeds, device: torch.device
) -> Network:
    """The experiment's network with its initial weights, on the device.

    Weights depend on the run's seed and the member alone: the same every round (Gal et al. 2017), and the same
    encoder and classifier with and without a decoder, so that methods are compared as pairs. Members of a
    pretrained network differ in what is not in its weights. Raises UserError where those cannot be had.
    """
    architecture = ARCHITECTURES.get(config.model.name)
    weights = pretrained_weights(config)
    every_round = RoundSeeds(seeds.run_seed, 0)
    members = []
    for member in range(config.model.ensemble):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(every_round.seed(f"initial weights of member {member}"))
            members.append(architecture(config, input_shape, nb_classes, weights))
    stacked = stack_members(members)
    assert isinstance(stacked, Network)
    network = MixedPrecision(stacked) if config.model.mixed_precision else stacked
    network.to(device)
    if config.model.channels_last:
        use_channels_last(network)
    return network


def build_density(config: Config, seeds: RoundSeeds) -> DensityModel | None:
    """The density head of a MIR model, unfitted; None for other models, and for an ensemble, whose members each have
    features of their own."""
    if config.model.name != "mir" or config.model.ensemble > 1:
        return None
    mir = config.model.mir_configs
    head = DENSITY_HEADS.get(mir.density_model).from_config(mir, seeds.seed("density samples"))
    normalize = mir.normalize_features and not head.normalizes_projections
    return DensityModel(head, normalize, mir.dim_reduction)


def check_model(config: Config, input_shape: Sequence[int], nb_classes: int, dense: bool = False) -> int:
    """The model's number of parameters, from building it and its density head once without memory.

    ``dense`` says that labels are masks, a class a pixel, which takes a segmentation network, and no other task does.
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
    _check_task(config, dense)
    weights = pretrained_weights(config, download=False)
    with torch.device("meta"):
        try:
            network = ARCHITECTURES.get(model.name)(config, input_shape, nb_classes, weights)
        except ValueError as error:
            raise config.error("model.dropout_probabilities", str(error)) from None
    if model.mc_dropout and model.mc_iterations > 1 and not stochastic_layers(network):
        raise config.error(
            "model.mc_dropout",
            "Monte-Carlo passes need a dropout layer and this network has none; an MLP has one after every hidden "
            "layer but the first (model.hidden_layers, model.dropout_probabilities)",
        )
    if model.name == "mir":
        _check_density(config, network)
    return model.ensemble * sum(parameter.numel() for parameter in network.parameters())


def _check_task(config: Config, dense: bool) -> None:
    model, in_mir = config.model, config.model.name == "mir"
    key, name = (
        ("model.mir_configs.backbone", model.mir_configs.backbone) if in_mir else ("model.name", model.name)
    )
    if name == "mir" or (name in SEGMENTATION) == dense:
        return
    own, labels = ("classification", "a class a pixel") if dense else ("segmentation", "a class an image")
    registry = BACKBONES if in_mir else ARCHITECTURES
    fitting = [other for other in registry if other == "mir" or (other in SEGMENTATION) == dense]
    raise config.error(
        key,
        f"'{name}' is a network for {own}, and {config.data.dataset} has {labels}; choices: {', '.join(fitting)}",
    )


def _check_density(config: Config, network: Network) -> None:
    mir, feature_dims = config.model.mir_configs, network.feature_dims
    if mir.feature_dims not in (None, feature_dims):
        raise config.error(
            "model.mir_configs.feature_dims",
            f"{mir.feature_dims} contradicts the backbone, whose {_features(mir, network)} are {feature_dims} wide; "
            "the key asserts that width and sets nothing: make it null"
            + (", or change the last of model.hidden_layers" if mir.backbone == "mlp" else ""),
        )
    if mir.dim_reduction > feature_dims:
        raise config.error(
            "model.mir_configs.dim_reduction",
            f"{mir.dim_reduction} exceeds the {feature_dims} {_features(mir, network)}; lower it, or -1 for none",
        )
    if mir.reconstruct_pool and network.dense:
        raise config.error(
            "model.mir_configs.reconstruct_pool",
            "a segmentation network has no decoder that could rebuild the pool's scenes; set it to false",
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
        raise config.error(f"model.mir_configs.{error.key or 'density_model'}", str(error)) from None


def _features(mir: MirConfig, network: Network) -> str:
    of_pixels = network.dense and mir.features == "logits"
    return "class scores (model.mir_configs.features logits)" if of_pixels else "hidden features"
