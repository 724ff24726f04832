"""DeepLabv3+ (Chen et al. 2018, "Encoder-Decoder with Atrous Separable Convolution") over torchvision's residual
networks, with plain convolutions; these networks by themselves are in ``resnet.py``."""

from collections.abc import Sequence

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from src.config.schema import DenseFeatures
from src.layers.member_axis import with_member_axis
from src.layers.upsample import bilinear
from src.models.dense import DenseNetwork, area, conv_bn_relu, dilate, dropout_after, initialized
from src.models.dense_loss import DenseLoss
from src.models.pretrained import Weights, load_weights

WIDTH, SKIP_CHANNELS = 256, 48
RATES = (6, 12, 18)
"""Of the dilated convolutions of the pyramid, at an output stride of 16."""


class DeepLabV3Plus(DenseNetwork):
    """inputs_M_N_I_H_W → residual network, pyramid, skip → hidden_M_N_256_h_w, a quarter as large (rounded up) → class
    scores → logits, bilinearly enlarged to any size of input.

    The residual network's last stage is dilated instead of strided, which leaves its weights as they are. Dropout
    follows every residual block and the pyramid. Raises UserError where ``weights`` (of the residual network) don't
    fit.
    """

    def __init__(
        self,
        backbone: str,
        input_shape: Sequence[int],
        nb_classes: int,
        dropout_probability: float = 0.0,
        features: DenseFeatures = "logits",
        objective: DenseLoss | None = None,
        weights: Weights | None = None,
    ) -> None:
        super().__init__(WIDTH, nb_classes, features, objective)
        channels, *size = input_shape
        net = torchvision.models.get_model(backbone, weights=None, num_classes=nb_classes)
        if channels != 3:
            net.conv1 = initialized(nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False))
        if weights is not None:
            load_weights(net, weights)
        deepest, skipped = net.fc.in_features, net.fc.in_features // 8
        dilate_stage(net.layer4)
        self.encoder = with_member_axis(_EncoderDecoder(net, skipped, deepest, dropout_probability))
        self.head = with_member_axis(initialized(nn.Conv2d(WIDTH, nb_classes, 1)))
        self.largest_map = max(
            nb_classes * area(size),
            64 * area(size, 2),
            max(skipped, SKIP_CHANNELS + WIDTH) * area(size, 4),
            max(deepest, (2 + len(RATES)) * WIDTH) * area(size, 16),
        )

    def hidden_map(self, inputs_M_N_I_H_W: Tensor) -> Tensor:
        return self.encoder(inputs_M_N_I_H_W)

    def enlarge(self, logits_M_N_C: Tensor, size: Sequence[int]) -> Tensor:
        return bilinear(logits_M_N_C, size)


class _EncoderDecoder(nn.Module):
    """x_S_I_H_W → hidden_S_256_h_w. Axes are counted from the end, since the leading ones may be members too."""

    def __init__(self, net: ResNet, skipped: int, deepest: int, dropout_probability: float) -> None:
        super().__init__()
        first, *rest = (
            nn.Sequential(*(dropout_after(block, dropout_probability) for block in stage))
            for stage in (net.layer1, net.layer2, net.layer3, net.layer4)
        )
        self.shallow = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, first)
        self.deep = nn.Sequential(*rest, dropout_after(_Pyramid(deepest), dropout_probability))
        self.skip = nn.Sequential(*conv_bn_relu(skipped, SKIP_CHANNELS, 1))
        self.merge = nn.Sequential(
            *conv_bn_relu(WIDTH + SKIP_CHANNELS, WIDTH, 3), *conv_bn_relu(WIDTH, WIDTH, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.shallow(x)
        deep = bilinear(self.deep(shallow), shallow.shape[-2:])
        return self.merge(torch.cat([deep, self.skip(shallow)], -3))


class _Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: one pixel, three dilated neighbourhoods and the mean of the map, side by side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        local = [conv_bn_relu(channels, WIDTH, 1)]
        local += [conv_bn_relu(channels, WIDTH, 3, dilation=rate) for rate in RATES]
        self.local = nn.ModuleList(nn.Sequential(*branch) for branch in local)
        self.whole = nn.Sequential(*conv_bn_relu(channels, WIDTH, 1))
        self.project = nn.Sequential(*conv_bn_relu((len(local) + 1) * WIDTH, WIDTH, 1))

    def forward(self, x: Tensor) -> Tensor:
        branches = [branch(x) for branch in self.local]
        # A mean and not torch's pooling to one pixel, whose gradient on a GPU varies from run to run.
        whole = self.whole(x.mean((-2, -1), keepdim=True)).expand(branches[0].shape)
        return self.project(torch.cat([*branches, whole], -3))


def dilate_stage(stage: nn.Sequential) -> None:
    """Make a stage of stride 2 one of stride 1, in place: at every other pixel it still computes what it did.

    What came after the stride is dilated by 2. torchvision does the same for its bottlenecks alone.
    """
    first, *blocks = stage
    if isinstance(first, BasicBlock):
        dilate(first.conv2, 2)  # the first of its two convolutions strides
    for conv in first.modules():
        if isinstance(conv, nn.Conv2d):
            conv.stride = (1, 1)
    for block in blocks:
        dilate(block, 2)
