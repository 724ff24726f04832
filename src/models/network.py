"""What every network is to the rest of the program: features, logits and a training loss, for M members at once.
Architectures are one file each beside this one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.layers.stacked import member_state
from src.layers.upsample import bilinear


class Network(nn.Module, ABC):
    """M members of one architecture, with a leading member axis on inputs, features and logits.

    A plain network is M = 1. Every parameter and buffer has the member axis first.

    A ``dense`` network has features, logits and labels a pixel: features_M_N_D_h_w, often smaller than the input,
    logits_M_N_C_h_w of these, and logits_M_N_C_H_W of inputs of any size.
    """

    dense: bool = False
    feature_dims: int
    largest_map: int = 0
    """Values in the largest feature map of one input, which batches are sized by; 0: no more than in the input."""
    most_at_once: int | None = None
    """Inputs that may be looked at together after training, once a GPU had no memory for more."""

    @property
    def members(self) -> int:
        return len(next(self.parameters()))

    @abstractmethod
    def encode(self, inputs_M_N_S: Tensor) -> Tensor:
        """Hidden features_M_N_D of inputs of any shape S."""

    @abstractmethod
    def classify(self, features_M_N_D: Tensor) -> Tensor:
        """logits_M_N_C of hidden features."""

    def enlarge(self, logits_M_N_C: Tensor, size: Sequence[int]) -> Tensor:
        """logits_M_N_C_H_W at the (rows, columns) of the inputs from logits_M_N_C_h_w at the features'; as they are
        where there is no map."""
        return logits_M_N_C

    def enlarge_scores(self, scores_N_h_w: Tensor, size: Sequence[int]) -> Tensor:
        """scores_N_H_W of pixels from scores of the features' places, each over the pixels whose logits it makes."""
        return bilinear(scores_N_h_w, size)

    def last_inputs(self, features_M_N_D: Tensor) -> Tensor:
        """last_inputs_M_N_E of hidden features: what the last layer is applied to; the features unless overridden."""
        return features_M_N_D

    def loss(self, inputs_M_N_S: Tensor, labels_M_N: Tensor, epoch: int | None = None) -> Tensor:
        """loss_M: each member's training objective, a mean over its batch; cross-entropy unless overridden. Where a
        network learns from unlabelled inputs too, they come after the labelled ones.

        ``epoch`` counts from 0 for objectives that change during training; None means as after training, on data
        whose fit is to be judged.
        """
        return cross_entropy(self.classify(self.encode(inputs_M_N_S)), labels_M_N)

    def loss_weight(self, labels_M_N: Tensor) -> Tensor:
        """weight_M in float64: what a batch's loss counts for in a mean over batches; its inputs unless overridden."""
        members, count = labels_M_N.shape[:2]
        return torch.full((members,), count, dtype=torch.float64, device=labels_M_N.device)

    def forward(self, inputs_M_N_S: Tensor) -> Tensor:
        return self.enlarge(self.classify(self.encode(inputs_M_N_S)), inputs_M_N_S.shape[-2:])

    def split(self) -> list["Network"]:
        """The members as networks of one member each, sharing this one's storage: training them trains this."""
        shared = member_state(self)
        parts = [deepcopy(self) for _ in range(self.members)]
        for member, part in enumerate(parts):
            for name, own in member_state(part).items():
                own.data = shared[name].data[member : member + 1]
        return parts


def cross_entropy(logits_M_N_C: Tensor, labels_M_N: Tensor) -> Tensor:
    """loss_M in nats: the mean over each member's batch."""
    losses = F.cross_entropy(logits_M_N_C.flatten(0, 1), labels_M_N.flatten(), reduction="none")
    return losses.view(labels_M_N.shape).mean(1)
