"""Networks that compute in bfloat16 where that is safe. What is made of their outputs stays in float32."""

from collections.abc import Sequence

import torch
from torch import Tensor

from src.models.network import Network


class MixedPrecision(Network):
    """A network whose products and convolutions run in bfloat16, by torch's autocast; weights, features, logits and
    losses are float32. bfloat16 has float32's range, so that losses need no scaling (Kalamkar et al. 2019)."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.feature_dims, self.largest_map = network.feature_dims, network.largest_map
        self.dense = network.dense

    def encode(self, inputs_M_N_S: Tensor) -> Tensor:
        with _autocast(inputs_M_N_S):
            return self.network.encode(inputs_M_N_S).float()

    def classify(self, features_M_N_D: Tensor) -> Tensor:
        with _autocast(features_M_N_D):
            return self.network.classify(features_M_N_D).float()

    def enlarge(self, logits_M_N_C: Tensor, size: Sequence[int]) -> Tensor:
        return self.network.enlarge(logits_M_N_C, size)

    def enlarge_scores(self, scores_N_h_w: Tensor, size: Sequence[int]) -> Tensor:
        return self.network.enlarge_scores(scores_N_h_w, size)

    def last_inputs(self, features_M_N_D: Tensor) -> Tensor:
        return self.network.last_inputs(features_M_N_D)

    def loss(self, inputs_M_N_S: Tensor, labels_M_N: Tensor, epoch: int | None = None) -> Tensor:
        with _autocast(inputs_M_N_S):
            return self.network.loss(inputs_M_N_S, labels_M_N, epoch).float()

    def loss_weight(self, labels_M_N: Tensor) -> Tensor:
        return self.network.loss_weight(labels_M_N)


def _autocast(inputs: Tensor) -> torch.autocast:
    return torch.autocast(inputs.device.type, torch.bfloat16)
