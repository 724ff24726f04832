"""The small convolutional network: convolutions + ReLU, one pooling, one hidden layer, dropout after either."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from src.layers.consistent_dropout import ConsistentDropout
from src.layers.convolution import Folded, StackedConv2d
from src.layers.stacked import StackedLinear
from src.models.network import Network

HIDDEN_UNITS = 128


def same_conv(inputs: int, outputs: int, kernel_size: int) -> StackedConv2d:
    """A convolution that keeps the size of its map."""
    return StackedConv2d(nn.Conv2d(inputs, outputs, kernel_size, padding="same"))


class CNN(Network):
    """inputs_M_N_C_H_W → (Conv, ReLU) … → max-pool 2, dropout, Linear, ReLU, dropout → features_M_N_128 → logits_M_N_C.

    ``hidden_layers`` are the channels of the convolutions, ``kernel_sizes`` has one entry for each.
    ``dropout_probabilities`` holds one probability for both places, or one for each; none means no dropout.
    Raises ValueError for any other number of them.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        hidden_layers: Sequence[int],
        kernel_sizes: Sequence[int],
        nb_classes: int,
        dropout_probabilities: Sequence[float],
        conv: Callable[[int, int, int], nn.Module] = same_conv,
        linear: Callable[[int, int], nn.Module] = StackedLinear,
    ) -> None:
        super().__init__()
        after_pool, after_hidden = _both_places(dropout_probabilities)
        channels, rows, cols = input_shape
        layers: list[nn.Module] = []
        for hidden, kernel_size in zip(hidden_layers, kernel_sizes, strict=True):
            layers += [conv(channels, hidden, kernel_size), nn.ReLU()]
            channels = hidden
        layers += [Folded(nn.MaxPool2d(2)), *_dropout(after_pool), nn.Flatten(2)]
        layers += [
            linear(channels * (rows // 2) * (cols // 2), HIDDEN_UNITS),
            nn.ReLU(),
            *_dropout(after_hidden),
        ]
        self.encoder = nn.Sequential(*layers)
        self.head = linear(HIDDEN_UNITS, nb_classes)
        self.feature_dims = HIDDEN_UNITS
        self.largest_map = max(hidden_layers) * rows * cols

    def encode(self, inputs_M_N_S: Tensor) -> Tensor:
        return self.encoder(inputs_M_N_S)

    def classify(self, features_M_N_D: Tensor) -> Tensor:
        return self.head(features_M_N_D)


def _dropout(probability: float) -> list[nn.Module]:
    return [ConsistentDropout(probability)] if probability > 0 else []


def _both_places(probabilities: Sequence[float]) -> tuple[float, float]:
    match tuple(probabilities):
        case ():
            return 0.0, 0.0
        case (both,):
            return both, both
        case (after_pool, after_hidden):
            return after_pool, after_hidden
    raise ValueError(
        f"{len(probabilities)} dropout probabilities for the two places of a CNN; give one for both, or two"
    )
