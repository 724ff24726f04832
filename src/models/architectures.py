"""What each name of ``model.name`` stands for: from a config to a network of one member with its initial weights."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from torch import nn

from src.config import Config
from src.config.schema import DenseFeatures
from src.layers.variational import VariationalConv2d, VariationalLinear
from src.models.bayesian import BayesianNetwork
from src.models.cnn import CNN
from src.models.dense_loss import DenseLoss
from src.models.mir import MIR
from src.models.mlp import MLP, MLPDecoder
from src.models.network import Network
from src.models.pretrained import Weights, download_weights, published_weights, read_weights
from src.models.resnet import RESNETS, ResNet
from src.models.resnet_decoder import ResNetDecoder
from src.models.unet import UNet
from src.utils.errors import UserError
from src.utils.registry import Registry

Architecture = Callable[[Config, Sequence[int], int, Weights | None], Network]
"""(config, input_shape, nb_classes, pretrained weights) → a network of one member."""
Backbone = Callable[[Config, Sequence[int], int, Weights | None], tuple[Network, nn.Module | None]]
"""The same → the network and the decoder of its features, made in this order; dense networks have none."""

ARCHITECTURES: Registry[Architecture] = Registry("model")
BACKBONES: Registry[Backbone] = Registry("MIR backbone")
DRNS = (
    *(f"drn_c_{depth}" for depth in (26, 42, 58)),
    *(f"drn_d_{depth}" for depth in (22, 24, 38, 40, 54, 56, 105, 107)),
)
SEGMENTATION = ("unet", "deeplabv3plus", *DRNS)
"""The names of dense networks, in the registry of models; all but the first are MIR backbones too."""
PUBLISHED_DRNS = ("drn_c_26", "drn_c_42", "drn_c_58", "drn_d_22", "drn_d_38", "drn_d_54", "drn_d_105")
"""Those whose authors publish ImageNet weights."""


@ARCHITECTURES.register("MLP")
def _mlp(config: Config, input_shape: Sequence[int], nb_classes: int, weights: Weights | None) -> Network:
    model = config.model
    return MLP(input_shape, model.hidden_layers, nb_classes, model.dropout_probabilities)


@ARCHITECTURES.register("CNN")
def _cnn(config: Config, input_shape: Sequence[int], nb_classes: int, weights: Weights | None) -> Network:
    _check_convolutions(config, input_shape)
    model = config.model
    return CNN(input_shape, model.hidden_layers, model.kernel_sizes, nb_classes, model.dropout_probabilities)


@ARCHITECTURES.register("BNN")
def _bnn(config: Config, input_shape: Sequence[int], nb_classes: int, weights: Weights | None) -> Network:
    model = config.model
    linear = partial(VariationalLinear, use_bias=model.use_bias)
    mlp = MLP(input_shape, model.hidden_layers, nb_classes, model.dropout_probabilities, linear)
    return BayesianNetwork(mlp, model.kl_div_weight)


@ARCHITECTURES.register("BCNN")
def _bcnn(config: Config, input_shape: Sequence[int], nb_classes: int, weights: Weights | None) -> Network:
    _check_convolutions(config, input_shape)
    model = config.model
    cnn = CNN(
        input_shape,
        model.hidden_layers,
        model.kernel_sizes,
        nb_classes,
        model.dropout_probabilities,
        partial(VariationalConv2d, use_bias=model.use_bias),
        partial(VariationalLinear, use_bias=model.use_bias),
    )
    return BayesianNetwork(cnn, model.kl_div_weight)


def _resnet(
    name: str, config: Config, input_shape: Sequence[int], nb_classes: int, weights: Weights | None
) -> ResNet:
    small_image_stem = config.model.small_image_stem
    with _weights_blamed(config):
        return ResNet(name, input_shape, nb_classes, _first_dropout(config), small_image_stem, weights)


for _name in RESNETS:
    ARCHITECTURES.register(_name)(partial(_resnet, _name))


@ARCHITECTURES.register("UNet")
def _unet(config: Config, input_shape: Sequence[int], nb_classes: int, weights: Weights | None) -> UNet:
    return UNet(input_shape, nb_classes, _first_dropout(config), _objective(config))


@ARCHITECTURES.register("deeplabv3plus")
def _deeplab(config: Config, input_shape: Sequence[int], nb_classes: int, weights: Weights | None) -> Network:
    # Here, as the DRN is.
    from src.models.deeplab import DeepLabV3Plus

    backbone = config.model.deeplab_configs.backbone
    if backbone not in RESNETS:
        raise config.error(
            "model.deeplab_configs.backbone",
            f"'{backbone}' is no residual network; choices: {', '.join(RESNETS)}",
        )
    dropout, features, objective = _first_dropout(config), _features(config), _objective(config)
    with _weights_blamed(config):
        return DeepLabV3Plus(backbone, input_shape, nb_classes, dropout, features, objective, weights)


def _drn(
    name: str, config: Config, input_shape: Sequence[int], nb_classes: int, weights: Weights | None
) -> Network:
    # Here, because it imports torchvision: seconds that other networks need not wait for.
    from src.models.drn import DRN

    dropout, features, objective = _first_dropout(config), _features(config), _objective(config)
    use_torch_up = config.model.use_torch_up
    with _weights_blamed(config):
        return DRN(name, input_shape, nb_classes, dropout, features, objective, use_torch_up, weights)


for _name in DRNS:
    ARCHITECTURES.register(_name)(partial(_drn, _name))


@ARCHITECTURES.register("MIR")
def _mir(config: Config, input_shape: Sequence[int], nb_classes: int, weights: Weights | None) -> Network:
    mir = config.model.mir_configs
    backbone, decoder = BACKBONES.get(mir.backbone)(config, input_shape, nb_classes, weights)
    return MIR(backbone, decoder, mir.reconstruction_weight, mir.warmup or 0, mir.reconstruct_pool or 0.0)


@BACKBONES.register("MLP")
def _mlp_backbone(
    config: Config, input_shape: Sequence[int], nb_classes: int, weights: Weights | None
) -> tuple[Network, nn.Module]:
    return _mlp(config, input_shape, nb_classes, weights), MLPDecoder(input_shape, config.model.hidden_layers)


def _resnet_backbone(
    name: str, config: Config, input_shape: Sequence[int], nb_classes: int, weights: Weights | None
) -> tuple[Network, nn.Module]:
    mir = config.model.mir_configs
    backbone = _resnet(name, config, input_shape, nb_classes, weights)
    decoder = ResNetDecoder(
        backbone.map_channels, backbone.map_sizes, input_shape[0], mir.decoder_bn, mir.num_res_blocks
    )
    return backbone, decoder


for _name in RESNETS:
    BACKBONES.register(_name)(partial(_resnet_backbone, _name))


def _dense_backbone(
    name: str, config: Config, input_shape: Sequence[int], nb_classes: int, weights: Weights | None
) -> tuple[Network, None]:
    return ARCHITECTURES.get(name)(config, input_shape, nb_classes, weights), None


for _name in SEGMENTATION[1:]:
    BACKBONES.register(_name)(partial(_dense_backbone, _name))


def _first_dropout(config: Config) -> float:
    return config.model.dropout_probabilities[0] if config.model.dropout_probabilities else 0.0


def _features(config: Config) -> DenseFeatures:
    """What is handed to a density head, which MIR alone has."""
    return config.model.mir_configs.features if config.model.name == "mir" else "logits"


def _objective(config: Config) -> DenseLoss:
    return DenseLoss(config.training.loss, config.data.ignore_label)


def pretrained_weights(config: Config, download: bool = True) -> Weights | None:
    """What the network of ``model.pretrained`` (in DeepLabv3+ the residual one) begins with: the file's weights, or
    torchvision's where that is null.

    None for a network that begins at random, and, without ``download``, in place of torchvision's. Raises UserError
    at the key that asks for what cannot be had.
    """
    model = config.model
    name = model.mir_configs.backbone if model.name == "mir" else model.name
    if not model.pretrained:
        if model.pretrained_model is not None:
            raise config.error(
                "model.pretrained_model",
                "is given and model.pretrained is false; set that to true, or this to null",
            )
        return None
    published = _published_under(config)
    if published not in (*RESNETS, *DRNS):
        raise config.error("model.pretrained", f"{name} has no pretrained weights; set it to false")
    with _weights_blamed(config):
        if model.pretrained_model is not None:
            return read_weights(Path(model.pretrained_model).expanduser())
        if published in DRNS:
            raise UserError(_where_drn_weights_are(name))
        if model.small_image_stem and name in RESNETS:
            raise UserError(
                "torchvision's weights are for the usual stem; set model.small_image_stem to false"
            )
        return download_weights(published) if download else None


def _where_drn_weights_are(name: str) -> str:
    source = (
        f"get the file {name}-*.pth that its authors publish at http://dl.yf.io/drn/"
        if name in PUBLISHED_DRNS
        else "its authors publish none, so give a file of a network that you trained"
    )
    return f"the weights of {name} are not downloaded; {source}, and name its path in model.pretrained_model"


def weights_origin(config: Config) -> str | None:
    """Where ``pretrained_weights`` come from, in words; None for a network that begins at random."""
    model = config.model
    if not model.pretrained:
        return None
    if model.pretrained_model is not None:
        return f"in {Path(model.pretrained_model).expanduser()}"
    address, cached = published_weights(_published_under(config))
    return f"cached at {cached}" if cached.exists() else f"to be downloaded from {address}"


def _published_under(config: Config) -> str:
    """The name of the network that pretrained weights are for: the residual one inside of DeepLabv3+."""
    model = config.model
    name = model.mir_configs.backbone if model.name == "mir" else model.name
    return model.deeplab_configs.backbone if name == "deeplabv3plus" else name


@contextmanager
def _weights_blamed(config: Config) -> Iterator[None]:
    """What is wrong with pretrained weights is told at the key that asks for them."""
    try:
        yield
    except UserError as error:
        from_file = config.model.pretrained_model is not None
        raise config.error(f"model.pretrained{'_model' * from_file}", str(error)) from None


def _check_convolutions(config: Config, input_shape: Sequence[int]) -> None:
    """What a CNN asks of its config; UserError at the key."""
    layers, kernels = len(config.model.hidden_layers), len(config.model.kernel_sizes)
    if layers != kernels:
        raise config.error(
            "model.kernel_sizes",
            f"has {kernels} entries and model.hidden_layers has {layers} convolutions; give one for each",
        )
    if min(input_shape[1:]) < 2:
        raise config.error(
            "model.name", f"images of {input_shape[1]}×{input_shape[2]} pixels cannot be pooled; use an MLP"
        )
