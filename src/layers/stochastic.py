"""Layers that draw: from a generator a member while training, and K fixed draws, one a Monte-Carlo member, after it.

What is drawn (a mask, a weight) is the layer's; which passes are drawn, and when, is the caller's business.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn


class StochasticLayer(nn.Module):
    """A layer of a network with a leading member axis whose value in a pass belongs to a member and not to an input.

    After ``start_passes`` the layer makes K members of one, until the mode is set again. ``train()`` forgets the
    draws: a parent's ``eval()`` reaches its children as ``train(False)``, so each change of mode ends the passes.
    """

    draws_weights: ClassVar[bool] = False
    """Members of a network that has such layers are weight samples, and its dropout masks are for training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0
        self._member_generators: Sequence[torch.Generator] = ()
        self._pass_generator: torch.Generator | None = None
        self._drawn: Tensor | None = None

    def train(self, mode: bool = True) -> Self:
        self.passes, self._pass_generator, self._drawn = 0, None, None
        return super().train(mode)

    def use_generators(self, member_generators: Sequence[torch.Generator]) -> None:
        """One generator a member, on the device of the inputs, for the draws of training."""
        self._member_generators = member_generators

    def start_passes(self, passes: int, generator: torch.Generator) -> None:
        """Evaluate under ``passes`` draws until the mode is set again; ``generator`` lives on the CPU."""
        self.train(False)
        self.passes, self._pass_generator = passes, generator


def stochastic_layers(model: nn.Module) -> list[StochasticLayer]:
    """Every layer of a model that draws, however deep, in the order of its modules."""
    return [module for module in model.modules() if isinstance(module, StochasticLayer)]


def start_passes(model: nn.Module, passes: int, seed: int) -> None:
    """Put the model in evaluation under ``passes`` Monte-Carlo members drawn from ``seed``: samples of its weights
    where it has layers that draw those, dropout masks otherwise.

    Raises ValueError where the model has nothing to draw.
    """
    layers = stochastic_layers(model)
    layers = [layer for layer in layers if layer.draws_weights] or layers
    if not layers:
        raise ValueError("Monte-Carlo passes need at least one StochasticLayer, such as a ConsistentDropout")
    model.eval()
    for position, layer in enumerate(layers):
        layer.start_passes(passes, torch.Generator().manual_seed(seed + position))


def passes_of(model: nn.Module) -> int:
    """The Monte-Carlo members that the model evaluates under now; 1 without any."""
    return max((layer.passes for layer in stochastic_layers(model)), default=0) or 1
