"""Maximally informative representations: a backbone whose features must also rebuild the input.

Postels et al. 2020, "The Hidden Uncertainty in a Neural Network's Activations": reconstruction keeps in the
features what classification alone would discard, so that their density says more of the input. The density
itself is fitted after training (``density/``).
"""

from collections.abc import Sequence

from torch import Tensor, nn

from src.models.network import Network, cross_entropy


class MIR(Network):
    """A backbone and a decoder trained together.

    With λ = ``reconstruction_weight``, the objective is CE/λ + MSE where λ ≥ 1, else CE + λ·MSE: the larger of
    the two terms' weights is 1. Over ``warmup`` epochs the weight of CE rises linearly to its value.
    Inputs beyond the labels are unlabelled; their MSE counts ``pool_weight`` times as much as that of the labelled.
    Without a decoder (segmentation) the objective is the backbone's with the weight of CE.
    """

    def __init__(
        self,
        backbone: Network,
        decoder: nn.Module | None,
        reconstruction_weight: float,
        warmup: int = 0,
        pool_weight: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.decoder = decoder
        self.ce_weight = 1 / max(1.0, reconstruction_weight)
        self.mse_weight = min(1.0, reconstruction_weight)
        self.warmup = warmup
        self.pool_weight = pool_weight
        self.feature_dims, self.dense = backbone.feature_dims, backbone.dense
        self.largest_map = max(backbone.largest_map, getattr(decoder, "largest_map", 0))

    def encode(self, inputs_M_N_S: Tensor) -> Tensor:
        return self.backbone.encode(inputs_M_N_S)

    def classify(self, features_M_N_D: Tensor) -> Tensor:
        return self.backbone.classify(features_M_N_D)

    def enlarge(self, logits_M_N_C: Tensor, size: Sequence[int]) -> Tensor:
        return self.backbone.enlarge(logits_M_N_C, size)

    def enlarge_scores(self, scores_N_h_w: Tensor, size: Sequence[int]) -> Tensor:
        return self.backbone.enlarge_scores(scores_N_h_w, size)

    def last_inputs(self, features_M_N_D: Tensor) -> Tensor:
        return self.backbone.last_inputs(features_M_N_D)

    def loss(self, inputs_M_N_S: Tensor, labels_M_N: Tensor, epoch: int | None = None) -> Tensor:
        risen = 1.0 if epoch is None or not self.warmup else min(1.0, (epoch + 1) / self.warmup)
        if self.decoder is None:
            return risen * self.ce_weight * self.backbone.loss(inputs_M_N_S, labels_M_N, epoch)
        features_M_N_D, labelled = self.encode(inputs_M_N_S), labels_M_N.shape[1]
        loss_M = (
            risen * self.ce_weight * cross_entropy(self.classify(features_M_N_D[:, :labelled]), labels_M_N)
        )
        residual_M_N_S = self.decoder(features_M_N_D) - inputs_M_N_S
        loss_M = loss_M + self.mse_weight * _mean_square(residual_M_N_S[:, :labelled])
        if labelled == inputs_M_N_S.shape[1]:
            return loss_M
        return loss_M + self.pool_weight * self.mse_weight * _mean_square(residual_M_N_S[:, labelled:])

    def loss_weight(self, labels_M_N: Tensor) -> Tensor:
        return self.backbone.loss_weight(labels_M_N)


def _mean_square(residual_M_N_S: Tensor) -> Tensor:
    return residual_M_N_S.flatten(1).square().mean(1)
