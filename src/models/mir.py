"""Maximally informative representations: a backbone whose features must also rebuild the input.

Postels et al. 2020, "The Hidden Uncertainty in a Neural Network's Activations": reconstruction keeps in the
features what classification alone would discard, so that their density says more of the input. The density
itself is fitted after training (``density/``).
"""

from torch import Tensor, nn

from src.models.network import Network, cross_entropy


class MIR(Network):
    """A backbone and a decoder trained together.

    With λ = ``reconstruction_weight``, the objective is CE/λ + MSE where λ ≥ 1, else CE + λ·MSE: the larger of
    the two terms' weights is 1. Over ``warmup`` epochs the weight of CE rises linearly to its value.
    Without a decoder (segmentation) the objective is CE with its weight.
    """

    def __init__(
        self, backbone: Network, decoder: nn.Module | None, reconstruction_weight: float, warmup: int = 0
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder
        self.ce_weight = 1 / max(1.0, reconstruction_weight)
        self.mse_weight = min(1.0, reconstruction_weight)
        self.warmup = warmup
        self.feature_dims = backbone.feature_dims
        self.largest_map = max(backbone.largest_map, getattr(decoder, "largest_map", 0))

    def encode(self, inputs_M_N_S: Tensor) -> Tensor:
        return self.backbone.encode(inputs_M_N_S)

    def classify(self, features_M_N_D: Tensor) -> Tensor:
        return self.backbone.classify(features_M_N_D)

    def last_inputs(self, features_M_N_D: Tensor) -> Tensor:
        return self.backbone.last_inputs(features_M_N_D)

    def loss(self, inputs_M_N_S: Tensor, labels_M_N: Tensor, epoch: int | None = None) -> Tensor:
        features_M_N_D = self.encode(inputs_M_N_S)
        risen = 1.0 if epoch is None or not self.warmup else min(1.0, (epoch + 1) / self.warmup)
        loss_M = risen * self.ce_weight * cross_entropy(self.classify(features_M_N_D), labels_M_N)
        if self.decoder is None:
            return loss_M
        residual_M_R = (self.decoder(features_M_N_D) - inputs_M_N_S).flatten(1)
        return loss_M + self.mse_weight * residual_M_R.square().mean(1)
