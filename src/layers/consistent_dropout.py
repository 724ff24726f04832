"""Dropout whose Monte-Carlo masks belong to a member and not to an input, so that members are comparable functions.

Networks here have a leading member axis: x_M_N_F. Which passes are drawn, and when, is the caller's business.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ConsistentDropout(nn.Module):
    """Dropout in training; in evaluation the identity, or K fixed masks, one a Monte-Carlo member.

    While training, each member draws its own fresh mask an input from its own generator. In evaluation after
    ``start_passes`` all inputs of a pass share that pass's mask (as Kirsch et al. 2019, BatchBALD, need it), and
    x_1_N_F becomes y_K_N_F. ``train()`` forgets the masks: a parent's ``eval()`` reaches its children as
    ``train(False)``, so each change of mode ends the passes.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.keep = 1 - probability
        self._member_generators: Sequence[torch.Generator] = ()
        self._passes = 0
        self._pass_generator: torch.Generator | None = None
        self._masks_K_1_F: Tensor | None = None

    def forward(self, x_M_N_F: Tensor) -> Tensor:
        if self.training:
            return x_M_N_F * self._training_mask(x_M_N_F)
        if not self._passes:
            return x_M_N_F
        if self._masks_K_1_F is None:
            # Drawn on the CPU, so that the members are the same functions on every device.
            shape = (self._passes, 1, *x_M_N_F.shape[2:])
            masks = torch.rand(shape, generator=self._pass_generator) < self.keep
            self._masks_K_1_F = masks.to(x_M_N_F) / self.keep
        return x_M_N_F * self._masks_K_1_F

    def train(self, mode: bool = True) -> "ConsistentDropout":
        self._passes, self._pass_generator, self._masks_K_1_F = 0, None, None
        return super().train(mode)

    def use_generators(self, member_generators: Sequence[torch.Generator]) -> None:
        """One generator a member, on the device of the inputs, for the masks of training."""
        self._member_generators = member_generators

    def start_passes(self, passes: int, generator: torch.Generator) -> None:
        """Evaluate under ``passes`` masks until the mode is set again; ``generator`` lives on the CPU."""
        self.train(False)
        self._passes, self._pass_generator = passes, generator

    def _training_mask(self, x_M_N_F: Tensor) -> Tensor:
        draws = [
            torch.rand(x_M_N_F.shape[1:], generator=generator, device=x_M_N_F.device)
            for generator in self._member_generators
        ]
        uniform_M_N_F = torch.stack(draws) if len(draws) > 1 else draws[0][None]
        return (uniform_M_N_F < self.keep).to(x_M_N_F.dtype).div_(self.keep)


def dropout_layers(model: nn.Module) -> list[ConsistentDropout]:
    """Every consistent dropout of a model, however deep, in the order of its modules."""
    return [module for module in model.modules() if isinstance(module, ConsistentDropout)]


def start_passes(model: nn.Module, passes: int, seed: int) -> None:
    """Put the model in evaluation under ``passes`` Monte-Carlo members drawn from ``seed``.

    Raises ValueError where the model has no dropout to draw from.
    """
    layers = dropout_layers(model)
    if not layers:
        raise ValueError("Monte-Carlo passes need at least one ConsistentDropout")
    model.eval()
    for position, layer in enumerate(layers):
        layer.start_passes(passes, torch.Generator().manual_seed(seed + position))
