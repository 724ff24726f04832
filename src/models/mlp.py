"""The multilayer perceptron: flatten, then Linear + ReLU a hidden layer, dropout after every one but the first."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from src.layers.consistent_dropout import ConsistentDropout
from src.layers.stacked import StackedLinear
from src.models.network import Network


class MLP(Network):
    """inputs_M_N_S → Linear, ReLU (, dropout) … → features_M_N_D, the last hidden activation → logits_M_N_C.

    ``dropout_probabilities`` holds one probability for all hidden layers but the first, or one for each of
    them, or one a hidden layer (the first is then unused). Raises ValueError for any other number of them.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        hidden_layers: Sequence[int],
        nb_classes: int,
        dropout_probabilities: Sequence[float],
        linear: Callable[[int, int], nn.Module] = StackedLinear,
    ) -> None:
        super().__init__()
        probabilities = _dropout_by_layer(dropout_probabilities, len(hidden_layers))
        layers: list[nn.Module] = []
        width = math.prod(input_shape)
        for hidden, probability in zip(hidden_layers, probabilities, strict=True):
            layers += [linear(width, hidden), nn.ReLU()]
            if probability > 0:
                layers.append(ConsistentDropout(probability))
            width = hidden
        self.encoder = nn.Sequential(*layers)
        self.head = linear(width, nb_classes)
        self.feature_dims = width

    def encode(self, inputs_M_N_S: Tensor) -> Tensor:
        return self.encoder(inputs_M_N_S.flatten(2))

    def classify(self, features_M_N_D: Tensor) -> Tensor:
        return self.head(features_M_N_D)


class MLPDecoder(nn.Module):
    """The encoder's mirror image: features_M_N_D → the hidden layers in reverse → inputs_M_N_S."""

    def __init__(self, input_shape: Sequence[int], hidden_layers: Sequence[int]) -> None:
        super().__init__()
        widths = [*reversed(hidden_layers), math.prod(input_shape)]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [StackedLinear(inputs, outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])  # the last layer is linear: inputs may be normalised
        self.input_shape = tuple(input_shape)

    def forward(self, features_M_N_D: Tensor) -> Tensor:
        return self.layers(features_M_N_D).unflatten(-1, self.input_shape)


def _dropout_by_layer(probabilities: Sequence[float], layers: int) -> list[float]:
    if not probabilities:
        return [0.0] * layers
    if len(probabilities) == layers:
        return [0.0, *probabilities[1:]]
    if len(probabilities) == layers - 1:
        return [0.0, *probabilities]
    if len(probabilities) == 1:
        return [0.0, *[probabilities[0]] * (layers - 1)]
    raise ValueError(
        f"{len(probabilities)} dropout probabilities for {layers} hidden layers; "
        f"give one for all, {layers - 1} (all but the first) or {layers}"
    )
