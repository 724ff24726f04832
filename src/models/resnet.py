"""torchvision's residual networks behind the interface of members, with consistent dropout after every block."""

from collections.abc import Sequence

from torch import Tensor, nn

from src.layers.member_axis import with_member_axis
from src.models.dense import area, dropout_after, initialized, shrunk
from src.models.network import Network
from src.models.pretrained import Weights, load_weights

RESNETS = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2"),
)


class ResNet(Network):
    """inputs_M_N_C_H_W → torchvision's stem and four stages → features_M_N_D, the last map flattened → its mean over
    the map → logits_M_N_C (He et al. 2016, Xie et al. 2017, Zagoruyko & Komodakis 2016).

    Dropout follows every residual block, after the block's ReLU; before it would be the same, since a mask commutes
    with ReLU. ``small_image_stem`` is a 3×3 convolution of stride 1 without pooling, so that images of 32 pixels
    are halved three times and not five. Raises UserError where ``weights`` don't fit.
    """

    def __init__(
        self,
        name: str,
        input_shape: Sequence[int],
        nb_classes: int,
        dropout_probability: float = 0.0,
        small_image_stem: bool = False,
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        # Imported where it is used: it takes seconds, and no other architecture needs it.
        import torchvision

        channels, rows, cols = input_shape
        net = torchvision.models.get_model(name, weights=None, num_classes=nb_classes)
        if small_image_stem or channels != 3:
            net.conv1 = _stem(channels, small_image_stem)
        if small_image_stem:
            net.maxpool = nn.Identity()
        if weights is not None:
            load_weights(net, weights)
        stages = [net.layer1, net.layer2, net.layer3, net.layer4]
        self.map_channels = net.fc.in_features
        halvings = 3 if small_image_stem else 5
        self.map_sizes = [shrunk((rows, cols), 2**count) for count in range(halvings + 1)]
        """(rows, columns) of the input and after each halving of it; the last is the features'."""
        self.feature_dims = self.map_channels * area(self.map_sizes[-1])
        first_map, first_stage = self.map_sizes[:1] * 2 if small_image_stem else self.map_sizes[1:3]
        stage_channels = self.map_channels // 8  # doubled three times
        self.largest_map = max(64 * area(first_map), stage_channels * area(first_stage))
        stages = [
            nn.Sequential(*(dropout_after(block, dropout_probability) for block in stage)) for stage in stages
        ]
        self.encoder = with_member_axis(nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool, *stages))
        self.head = with_member_axis(net.fc)

    def encode(self, inputs_M_N_S: Tensor) -> Tensor:
        return self.encoder(inputs_M_N_S).flatten(2)

    def classify(self, features_M_N_D: Tensor) -> Tensor:
        return self.head(self.last_inputs(features_M_N_D))

    def last_inputs(self, features_M_N_D: Tensor) -> Tensor:
        # A mean and not torch's pooling to one pixel, whose gradient on a GPU varies from run to run.
        return features_M_N_D.unflatten(-1, (self.map_channels, -1)).mean(-1)


def _stem(channels: int, small: bool) -> nn.Conv2d:
    return initialized(  # as torchvision begins its own
        nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        if small
        else nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    )
