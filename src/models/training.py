"""Fitting one round's network, from its initial weights or from where it was stopped. All members are trained at once;
each has its own batches, dropout masks and stopping time."""

from typing import Any

import torch
from torch import Tensor

from src.config import OptimizerConfig, TrainingConfig
from src.layers.stacked import member_state
from src.models.joint_fit import Augment, FitHistory, JointFit, OnEpoch, Setting
from src.models.network import Network
from src.models.prediction import Source
from src.utils.seeding import RoundSeeds


class Training:
    """Fits a network in place, all of its members.

    Early stopping and the best weights go by the mean validation objective (as after training: a BNN's has no
    divergence in it); a tie is an improvement.
    """

    def __init__(self, model: Network, setting: Setting) -> None:
        self.model = model
        parts: list[tuple[Network, list[int]]] = [(model, list(range(model.members)))]
        if setting.training.scheduler == "reduce_on_plateau":
            # Members on a plateau at different times need different learning rates, so they train one by one.
            parts = [(part, [member]) for member, part in enumerate(model.split())]
        self._fits = [JointFit(part, members, setting) for part, members in parts]
        self._done: list[FitHistory] = []

    @property
    def epochs_before(self) -> int:
        """Epochs of the members that were trained before those at work, where they train one by one."""
        return sum(max(done.epochs) for done in self._done)

    def run(self, on_epoch: OnEpoch = lambda epoch, train_loss, val_loss: None) -> FitHistory:
        """Train to the end, from wherever it was, and return the history.

        Raises NonFiniteError with the epoch and the dataset indices of the first batch whose loss is not finite,
        UserError where a GPU's memory is too small for a batch, and Stopped between two steps.
        """
        for fit in self._fits[len(self._done) :]:
            self._done.append(fit.run(on_epoch))
        history = FitHistory()
        for done in self._done:
            history.extend(done)
        return history

    def state(self) -> dict[str, Any] | None:
        """All that ``load`` needs, of tensors and plain types; None in the midst of a step, which cannot be."""
        at_work = self._fits[len(self._done)] if len(self._done) < len(self._fits) else None
        if at_work is not None and at_work.in_step:
            return None
        return {
            "network": {name: tensor.detach() for name, tensor in member_state(self.model).items()},
            "done": [vars(done) for done in self._done],
            "at_work": None if at_work is None else at_work.state(),
        }

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Go on where another Training of the same network and data was when it told its ``state``."""
        for name, tensor in member_state(self.model).items():
            tensor.copy_(state["network"][name])
        self._done = [FitHistory(**done) for done in state["done"]]
        if state["at_work"] is not None:
            self._fits[len(self._done)].load(state["at_work"])


def fit(
    model: Network,
    source: Source,
    train_indices_N: Tensor,
    val_indices_V: Tensor,
    training: TrainingConfig,
    optimizer: OptimizerConfig,
    seeds: RoundSeeds,
    on_epoch: OnEpoch = lambda epoch, train_loss, val_loss: None,
    augment: Augment | None = None,
) -> FitHistory:
    """All of a Training at once, without a stop."""
    setting = Setting(source, train_indices_N, val_indices_V, training, optimizer, seeds, augment)
    return Training(model, setting).run(on_epoch)
