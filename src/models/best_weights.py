"""The weights to return to after training. When they are the best is the caller's judgement."""

from typing import Any

import torch
from torch import nn

from src.layers.stacked import member_state


class BestWeights:
    """A copy of each member's weights and buffers as they were at its lowest validation loss, or, with ``latest``, as
    they were when it was last updated. Ties go to the later epoch."""

    def __init__(self, model: nn.Module, latest: bool = False) -> None:
        self._latest = latest
        self._tensors = list(member_state(model).values())
        self._copies = [tensor.detach().clone() for tensor in self._tensors]
        members = len(self._copies[0])
        self.epoch = [0] * members
        self.loss = [float("inf")] * members

    @torch.no_grad()
    def update(self, member: int, epoch: int, loss: float) -> None:
        """Copy the member's weights if ``loss`` is no worse than its best, or the latest are wanted."""
        if loss <= self.loss[member]:
            self.epoch[member], self.loss[member] = epoch, loss
        elif not self._latest:
            return
        for copy, tensor in zip(self._copies, self._tensors, strict=True):
            copy[member] = tensor[member]

    def state(self) -> dict[str, Any]:
        """The copies, with their epochs and losses."""
        return {"copies": self._copies, "epoch": self.epoch, "loss": self.loss}

    def load(self, state: dict[str, Any]) -> None:
        """Take over another's."""
        for copy, tensor in zip(self._copies, state["copies"], strict=True):
            copy.copy_(tensor)
        self.epoch, self.loss = list(state["epoch"]), list(state["loss"])

    @torch.no_grad()
    def restore(self) -> None:
        """Put the copies back into the model."""
        for copy, tensor in zip(self._copies, self._tensors, strict=True):
            tensor.copy_(copy)
