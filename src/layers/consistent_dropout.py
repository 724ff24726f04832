"""Dropout whose Monte-Carlo masks belong to a member and not to an input, so that members are comparable functions.

Networks here have a leading member axis: x_M_N_F. Which passes are drawn, and when, is the caller's business.
"""

import torch
from torch import Tensor

from src.layers.stochastic import StochasticLayer


class ConsistentDropout(StochasticLayer):
    """Dropout in training; in evaluation the identity, or K fixed masks, one a Monte-Carlo member.

    While training, each member draws its own fresh mask an input from its own generator. In evaluation after
    ``start_passes`` all inputs of a pass share that pass's mask (as Kirsch et al. 2019, BatchBALD, need it), and
    x_1_N_F becomes y_K_N_F. F may be several axes: every element of a feature map has its own mask.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.keep = 1 - probability

    def forward(self, x_M_N_F: Tensor) -> Tensor:
        if self.training:
            return x_M_N_F * self._training_mask(x_M_N_F)
        if not self.passes:
            return x_M_N_F
        if self._drawn is None:
            # Drawn on the CPU, so that the members are the same functions on every device.
            shape = (self.passes, 1, *x_M_N_F.shape[2:])
            masks_K_1_F = torch.rand(shape, generator=self._pass_generator) < self.keep
            self._drawn = masks_K_1_F.to(x_M_N_F) / self.keep
        return x_M_N_F * self._drawn

    def _training_mask(self, x_M_N_F: Tensor) -> Tensor:
        draws = [
            torch.rand(x_M_N_F.shape[1:], generator=generator, device=x_M_N_F.device)
            for generator in self._member_generators
        ]
        uniform_M_N_F = torch.stack(draws) if len(draws) > 1 else draws[0][None]
        return (uniform_M_N_F < self.keep).to(x_M_N_F.dtype).div_(self.keep)
