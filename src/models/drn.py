"""Dilated residual networks (Yu, Koltun & Funkhouser 2017) for segmentation: maps stop shrinking at an eighth of the
input, and the receptive field grows by dilation from there."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from src.config.schema import DenseFeatures
from src.layers.member_axis import with_member_axis
from src.layers.upsample import bilinear, bilinear_transposed
from src.models.dense import DenseNetwork, area, conv_bn_relu, dilate, dropout_after, initialized
from src.models.dense_loss import DenseLoss
from src.models.pretrained import Weights, load_weights

Block = type[BasicBlock] | type[Bottleneck]


class Design(NamedTuple):
    """One network of the family: C or D, the block of levels 3 to 6, and the depth of levels 1 to 8."""

    arch: str
    block: Block
    depths: tuple[int, ...]


DESIGNS = {
    "drn_c_26": Design("C", BasicBlock, (1, 1, 2, 2, 2, 2, 1, 1)),
    "drn_c_42": Design("C", BasicBlock, (1, 1, 3, 4, 6, 3, 1, 1)),
    "drn_c_58": Design("C", Bottleneck, (1, 1, 3, 4, 6, 3, 1, 1)),
    "drn_d_22": Design("D", BasicBlock, (1, 1, 2, 2, 2, 2, 1, 1)),
    "drn_d_24": Design("D", BasicBlock, (1, 1, 2, 2, 2, 2, 2, 2)),
    "drn_d_38": Design("D", BasicBlock, (1, 1, 3, 4, 6, 3, 1, 1)),
    "drn_d_40": Design("D", BasicBlock, (1, 1, 3, 4, 6, 3, 2, 2)),
    "drn_d_54": Design("D", Bottleneck, (1, 1, 3, 4, 6, 3, 1, 1)),
    "drn_d_56": Design("D", Bottleneck, (1, 1, 3, 4, 6, 3, 2, 2)),
    "drn_d_105": Design("D", Bottleneck, (1, 1, 3, 4, 23, 3, 1, 1)),
    "drn_d_107": Design("D", Bottleneck, (1, 1, 3, 4, 23, 3, 2, 2)),
}
CHANNELS = (16, 32, 64, 128, 256, 512, 512, 512)
STRIDES = (1, 2, 2, 2, 1, 1, 1, 1)
DILATIONS = (1, 1, 1, 1, 2, 4, 2, 1)
"""Of levels 1 to 8. Levels 7 and 8 undo the dilation step by step, against the gridding that it causes."""
OUTPUT_STRIDE, HIDDEN_DIMS = 8, CHANNELS[-1]
NOT_HERE = ("fc.", "up.", "layer7.0.downsample.")
"""What published files may hold and this network has not: the classifier of images, the fixed kernel that enlarges, and
a shortcut where there is none to take."""


class DRN(DenseNetwork):
    """inputs_M_N_I_H_W → eight levels → hidden_M_N_512_h_w, an eighth as large (rounded up) → class scores → logits.

    Scores are enlarged eightfold by the fixed transposed convolution, or by ``use_torch_up`` in bilinear
    interpolation (corners not aligned), and cut off at the input's right and lower border where its size is no
    multiple of 8. Dropout follows every residual block. Raises UserError where ``weights`` don't fit.
    """

    def __init__(
        self,
        name: str,
        input_shape: Sequence[int],
        nb_classes: int,
        dropout_probability: float = 0.0,
        features: DenseFeatures = "logits",
        objective: DenseLoss | None = None,
        use_torch_up: bool = False,
        weights: Weights | None = None,
    ) -> None:
        super().__init__(HIDDEN_DIMS, nb_classes, features, objective)
        channels, *size = input_shape
        net = _levels(DESIGNS[name], channels)
        net.add_module("seg", initialized(nn.Conv2d(HIDDEN_DIMS, nb_classes, 1)))
        if weights is not None:
            first = "conv1.weight" if DESIGNS[name].arch == "C" else "layer0.0.weight"
            load_weights(net, _plain_names(weights, list(net._modules)), classifier="seg.", stem=first)
        *levels, head = net.children()
        levels = [_with_dropout(level, dropout_probability) for level in levels]
        self.encoder = with_member_axis(nn.Sequential(*levels))
        self.head = with_member_axis(head)
        self.use_torch_up = use_torch_up
        expansion = DESIGNS[name].block.expansion
        self.largest_map = max(
            max(CHANNELS[0], nb_classes) * area(size),
            CHANNELS[1] * area(size, 2),
            CHANNELS[2] * expansion * area(size, 4),
            CHANNELS[5] * expansion * area(size, OUTPUT_STRIDE),
        )

    def hidden_map(self, inputs_M_N_I_H_W: Tensor) -> Tensor:
        return self.encoder(inputs_M_N_I_H_W)

    def enlarge(self, logits_M_N_C: Tensor, size: Sequence[int]) -> Tensor:
        if self.use_torch_up:
            return _enlarged(logits_M_N_C, size)
        rows, cols = size
        return bilinear_transposed(logits_M_N_C, OUTPUT_STRIDE)[..., :rows, :cols]

    def enlarge_scores(self, scores_N_h_w: Tensor, size: Sequence[int]) -> Tensor:
        return _enlarged(scores_N_h_w, size)


def _enlarged(map_S_h_w: Tensor, size: Sequence[int]) -> Tensor:
    """Eightfold in bilinear interpolation, cut off where the inputs end."""
    rows, cols = size
    small_rows, small_cols = map_S_h_w.shape[-2:]
    return bilinear(map_S_h_w, (OUTPUT_STRIDE * small_rows, OUTPUT_STRIDE * small_cols))[..., :rows, :cols]


class _WithoutShortcut(BasicBlock):
    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))


def _levels(design: Design, channels: int) -> nn.Sequential:
    """The network up to its last map, its modules by the names and in the order that published weights have."""
    net = nn.Sequential()
    stem = conv_bn_relu(channels, CHANNELS[0], 7)
    if design.arch == "D":
        net.add_module("layer0", nn.Sequential(*stem))
    else:
        for name, module in zip(("conv1", "bn1", "relu"), stem, strict=True):
            net.add_module(name, module)
    width = CHANNELS[0]
    for level, (depth, planes, stride, dilation) in enumerate(
        zip(design.depths, CHANNELS, STRIDES, DILATIONS, strict=True), start=1
    ):
        layers: list[nn.Module] = []
        for position in range(depth):
            step = stride if position == 0 else 1
            if 3 <= level <= 6:
                layers.append(_block(design.block, width, planes, step, dilation))
                width = planes * design.block.expansion
            elif design.arch == "D":
                layers += conv_bn_relu(width, planes, 3, step, dilation)
                width = planes
            else:
                layers.append(
                    _block(_WithoutShortcut if level > 6 else BasicBlock, width, planes, step, dilation)
                )
                width = planes
        net.add_module(f"layer{level}", nn.Sequential(*layers))
    return net


def _block(block: Block, inputs: int, planes: int, stride: int, dilation: int) -> nn.Module:
    shortcut, outputs = None, planes * block.expansion
    if (stride, inputs) != (1, outputs) and block is not _WithoutShortcut:
        conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))
    made = block(inputs, planes, stride, shortcut)
    for conv in made.modules():
        if isinstance(conv, nn.Conv2d):
            initialized(conv)
    dilate(made, dilation)
    return made


def _with_dropout(level: nn.Module, probability: float) -> nn.Module:
    if not isinstance(level, nn.Sequential):
        return level
    blocks = BasicBlock | Bottleneck
    return nn.Sequential(
        *(dropout_after(layer, probability) if isinstance(layer, blocks) else layer for layer in level)
    )


def _plain_names(weights: Weights, children: list[str]) -> Weights:
    """The weights by the names of the plain network, from those or from a segmentation network's, in which all but the
    head are numbered ("base.0.0.weight")."""
    plain = {}
    for name, tensor in weights.items():
        numbered = re.fullmatch(r"base\.(\d+)\.(.+)", name)
        if numbered and int(numbered[1]) < len(children) - 1:
            name = f"{children[int(numbered[1])]}.{numbered[2]}"
        if not name.startswith(NOT_HERE):
            plain[name] = tensor
    return plain
