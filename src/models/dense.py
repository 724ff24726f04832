"""What every segmentation network is beside what every network is: class scores a pixel, and a loss over pixels.
Architectures are one file each beside this one; the losses are in ``dense_loss.py``."""

from abc import abstractmethod
from collections.abc import Sequence
from math import prod

from torch import Tensor, nn

from src.config.schema import DenseFeatures
from src.models.dense_loss import DenseLoss
from src.models.network import Network


class DenseNetwork(Network):
    """inputs_M_N_I_H_W → hidden_M_N_D_h_w → class scores_M_N_C_h_w, by a convolution of 1×1 → logits_M_N_C_H_W.

    What the density heads see is one or the other of the small maps: ``features`` are its channels, a vector a pixel.
    """

    dense: bool = True
    head: nn.Module
    """The convolution of 1×1, which each architecture makes beside its other layers."""

    def __init__(
        self,
        hidden_dims: int,
        nb_classes: int,
        features: DenseFeatures = "logits",
        objective: DenseLoss | None = None,
    ) -> None:
        super().__init__()
        self.objective = objective or DenseLoss()
        self.features = features
        self.feature_dims = hidden_dims if features == "hidden" else nb_classes

    @abstractmethod
    def hidden_map(self, inputs_M_N_I_H_W: Tensor) -> Tensor:
        """hidden_M_N_D_h_w: what the last convolution is applied to."""

    def encode(self, inputs_M_N_S: Tensor) -> Tensor:
        hidden_M_N_D_h_w = self.hidden_map(inputs_M_N_S)
        return hidden_M_N_D_h_w if self.features == "hidden" else self.head(hidden_M_N_D_h_w)

    def classify(self, features_M_N_D: Tensor) -> Tensor:
        return self.head(features_M_N_D) if self.features == "hidden" else features_M_N_D

    def loss(self, inputs_M_N_S: Tensor, labels_M_N: Tensor, epoch: int | None = None) -> Tensor:
        return self.objective(self(inputs_M_N_S), labels_M_N)

    def loss_weight(self, labels_M_N: Tensor) -> Tensor:
        return self.objective.weight(labels_M_N)


def initialized(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution with normal weights of variance 2/(k²·outputs) (He et al. 2015) and biases of 0."""
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def conv_bn_relu(
    inputs: int, outputs: int, kernel_size: int, stride: int = 1, dilation: int = 1
) -> list[nn.Module]:
    """Convolution (of an odd size, padded to keep that of the map, without bias), batch norm and ReLU."""
    padding = dilation * (kernel_size // 2)
    conv = nn.Conv2d(inputs, outputs, kernel_size, stride, padding, dilation, bias=False)
    return [initialized(conv), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def dilate(module: nn.Module, dilation: int) -> None:
    """Move the taps of every 3×3 convolution in the module apart, in place; maps and weights keep their sizes."""
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3):
            conv.dilation = conv.padding = (dilation, dilation)


def dropout_after(module: nn.Module, probability: float) -> nn.Module:
    """The module, and after it dropout where its probability is above 0."""
    return nn.Sequential(module, nn.Dropout(probability)) if probability > 0 else module


def shrunk(size: Sequence[int], stride: int) -> tuple[int, int]:
    """(rows, columns) of a map of that stride from inputs of that size."""
    rows, cols = (-(-length // stride) for length in size)
    return rows, cols


def area(size: Sequence[int], stride: int = 1) -> int:
    """Pixels of a map of that stride from inputs of that size."""
    return prod(shrunk(size, stride))
