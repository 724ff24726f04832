"""Fitting one round's network: optimiser, scheduler, epochs, early stopping and the return to the best weights.
All members are trained at once; each has its own batches, dropout masks and stopping time.

Training can be stopped between any two steps and taken up again by another process, to the same weights. Of several
processes each computes its part of every batch, and all have the same weights after each step."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from src.config import OptimizerConfig, TrainingConfig
from src.layers.convolution import batch_norms
from src.layers.stacked import member_state
from src.layers.stochastic import stochastic_layers
from src.models.best_weights import BestWeights
from src.models.network import Network
from src.models.optimization import make_optimizer, make_scheduler
from src.models.parallel import data_parallel, whole_batch
from src.models.prediction import Source, mean_loss, weighted_mean
from src.utils import processes
from src.utils.errors import NonFiniteError, UserError
from src.utils.seeding import RoundSeeds
from src.utils.stopping import check_together

OnEpoch = Callable[[int, float, float], None]
"""(epoch from 1, mean training loss, mean validation loss), called after each epoch."""
Augment = Callable[[Tensor, Tensor, Sequence[torch.Generator]], tuple[Tensor, Tensor]]
"""(training inputs_MB_S, labels_MB, a generator a member) → inputs and labels as many, each member's from its own
generator; a crop may change the size of images and masks."""


@dataclass
class FitHistory:
    """What happened, an entry a member: epochs trained until it stopped, the best of them, losses by epoch."""

    epochs: list[int] = field(default_factory=list)
    best_epoch: list[int] = field(default_factory=list)
    train_loss: list[list[float]] = field(default_factory=list)
    val_loss: list[list[float]] = field(default_factory=list)
    learning_rate: list[list[float]] = field(default_factory=list)

    def extend(self, other: "FitHistory") -> None:
        """Add another history's members after this one's."""
        for name, entries in vars(other).items():
            getattr(self, name).extend(entries)


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
    """All of a Training at once."""
    return Training(model, source, train_indices_N, val_indices_V, training, optimizer, seeds, augment).run(
        on_epoch
    )


class Training:
    """Fits a network in place, all of its members; ``indices`` are dataset indices into ``source``.

    Early stopping and the best weights go by the mean validation objective (as after training: a BNN's has no
    divergence in it); a tie is an improvement.
    """

    def __init__(
        self,
        model: Network,
        source: Source,
        train_indices_N: Tensor,
        val_indices_V: Tensor,
        training: TrainingConfig,
        optimizer: OptimizerConfig,
        seeds: RoundSeeds,
        augment: Augment | None = None,
    ) -> None:
        self.model = model
        parts: list[tuple[Network, list[int]]] = [(model, list(range(model.members)))]
        if training.scheduler == "reduce_on_plateau":
            # Members on a plateau at different times need different learning rates, so they train one by one.
            parts = [(part, [member]) for member, part in enumerate(model.split())]
        self._fits = [
            JointFit(
                part, members, source, train_indices_N, val_indices_V, training, optimizer, seeds, augment
            )
            for part, members in parts
        ]
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


class JointFit:
    """The training of members that share an optimiser."""

    def __init__(
        self,
        model: Network,
        members: Sequence[int],
        source: Source,
        train_indices_N: Tensor,
        val_indices_V: Tensor,
        training: TrainingConfig,
        optimizer: OptimizerConfig,
        seeds: RoundSeeds,
        augment: Augment | None = None,
    ) -> None:
        self.model, self.source, self.training, self.augment = model, source, training, augment
        self.device = source.device
        self.train_indices_N = train_indices_N.to(self.device)
        self.val_indices_V = val_indices_V.to(self.device)
        # No larger than the set: torch cannot split by just any integer that a config may hold.
        self.batch_size = min(training.batch_size, len(train_indices_N))
        self.objective = data_parallel(model)
        self.optimizer = make_optimizer(model, optimizer)
        self.scheduler = make_scheduler(self.optimizer, training, optimizer)
        self.in_step = False

        def generators(purpose: str, device: torch.device | str = "cpu") -> list[torch.Generator]:
            return [seeds.generator(f"{purpose} of member {member}", device) for member in members]

        self.generators = {
            "order": generators("batch order"),
            "augmentation": generators("augmentation"),
            "masks": generators("dropout", self.device),
        }
        self.seeds, self.members = seeds, members
        for layer in stochastic_layers(model):
            layer.use_generators(self.generators["masks"])
        self.best = BestWeights(model, latest=not training.load_best_model)
        self.at = Progress([None] * model.members)

    def run(self, on_epoch: OnEpoch) -> FitHistory:
        """As ``Training.run``, of these members."""
        at, members = self.at, self.model.members
        while at.epoch < self.training.epochs and None in at.stopped_at:
            running_M = torch.tensor([stop is None for stop in at.stopped_at], device=self.device)
            train_loss_M = self._train_epoch(running_M)
            val_loss_M = self._validate(running_M)
            self._end_epoch(train_loss_M, val_loss_M)
            on_epoch(at.epoch, sum(train_loss_M) / members, sum(val_loss_M) / members)
        self.best.restore()  # also of members that stopped, and were trained on beside the others
        epochs = [stopped or self.training.epochs for stopped in at.stopped_at]
        return FitHistory(
            epochs,
            [epoch + 1 for epoch in self.best.epoch],
            _by_member(at.train_losses, epochs),
            _by_member(at.val_losses, epochs),
            [at.rates[:count] for count in epochs],
        )

    def state(self) -> dict[str, Any]:
        """Where it is, but for the network's weights."""
        return {
            "at": vars(self.at),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "best": self.best.state(),
            "generators": {
                name: [generator.get_state() for generator in of_members]
                for name, of_members in self.generators.items()
            },
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on there."""
        self.at = Progress(**state["at"])
        self.at.order_M_N = self.at.order_M_N.to(self.device)
        self.at.losses = [loss_M.to(self.device) for loss_M in self.at.losses]
        self.at.weights = [weight_M.to(self.device) for weight_M in self.at.weights]
        self.optimizer.load_state_dict(state["optimizer"])
        if self.scheduler is not None:
            self.scheduler.load_state_dict(state["scheduler"])
        self.best.load(state["best"])
        for name, of_members in self.generators.items():
            for generator, drawn in zip(of_members, state["generators"][name], strict=True):
                generator.set_state(drawn)

    def _train_epoch(self, running_M: Tensor) -> list[float]:
        """What is left of a pass over the labelled set; each member's mean loss over all of it, finite for those that
        are running."""
        self.model.train()
        at = self.at
        if not len(at.order_M_N):
            count = len(self.train_indices_N)
            order_M_N = [torch.randperm(count, generator=g) for g in self.generators["order"]]
            at.order_M_N = torch.stack(order_M_N).to(self.device)
        indices_M_N = self.train_indices_N[at.order_M_N]
        for indices_M_B in indices_M_N.split(self.batch_size, 1)[len(at.losses) :]:
            check_together()
            self.in_step = True
            with processes.talking():
                loss_M, weight_M = self._step(indices_M_B)
            self.in_step = False
            at.losses.append(loss_M)
            at.weights.append(weight_M)
        losses_B_M, weights_B_M = torch.stack(at.losses), torch.stack(at.weights)
        # Looked at once an epoch: a look after each batch would make a GPU wait.
        if (diverged_B_M := ~losses_B_M.isfinite() & running_M).any():
            batch, member = diverged_B_M.nonzero()[0].tolist()
            self._refuse(losses_B_M[batch, member].item(), indices_M_N[member], batch)
        return weighted_mean((losses_B_M.double() * weights_B_M).sum(0), weights_B_M.sum(0)).tolist()

    def _step(self, indices_M_B: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the optimiser; loss_M of the batch, and what it counts for."""
        part_M_b = indices_M_B.tensor_split(processes.count(), 1)[processes.number()]
        if processes.number():
            self._draw_apart()
        has_part = part_M_b.shape[1] > 0
        for layer in batch_norms(self.model):
            layer.counted = has_part
        if not has_part:  # of a batch smaller than there are processes: an input that counts for nothing
            part_M_b = indices_M_B[:, -1:]
        try:
            loss_M, weight_M = self._minimise(part_M_b, has_part)
        except torch.OutOfMemoryError:
            raise UserError(
                f"{self.device} has no memory to train {len(part_M_b)} members on {part_M_b.shape[1]} inputs at once; "
                "lower training.batch_size or model.ensemble, or take more GPUs (torchrun): results depend on the size "
                "of a batch, so that it is not changed for you"
            ) from None
        return loss_M, weight_M

    def _minimise(self, indices_M_b: Tensor, has_part: bool) -> tuple[Tensor, Tensor]:
        flat = indices_M_b.flatten()
        inputs_Mb_S, labels_Mb = self.source.inputs(flat), self.source.labels(flat)
        if self.augment is not None:
            inputs_Mb_S, labels_Mb = self.augment(inputs_Mb_S, labels_Mb, self.generators["augmentation"])
        inputs_M_b_S = inputs_Mb_S.unflatten(0, (len(indices_M_b), -1))
        labels_M_b = labels_Mb.unflatten(0, (len(indices_M_b), -1))
        self.optimizer.zero_grad(set_to_none=True)
        loss_M = self.objective(inputs_M_b_S, labels_M_b, self.at.epoch)
        weight_M = self.model.loss_weight(labels_M_b) * has_part
        minimised_M, loss_M, weight_M = whole_batch(loss_M, weight_M)
        minimised_M.sum().backward()
        self.optimizer.step()
        return loss_M, weight_M

    def _draw_apart(self) -> None:
        """Processes agree on the order of batches, and differ in what they draw for their parts. But for the first,
        whose generators run on, they begin anew each step: a run that was stopped needs none of their states."""
        step = f"epoch {self.at.epoch} step {len(self.at.losses)} process {processes.number()}"
        for name in ("augmentation", "masks"):
            for member, generator in zip(self.members, self.generators[name], strict=True):
                generator.manual_seed(self.seeds.seed(f"{name} of member {member} {step}"))

    def _validate(self, running_M: Tensor) -> list[float]:
        loss_M = mean_loss(self.model, self.source, self.val_indices_V)
        if (~loss_M.isfinite() & running_M).any():
            raise NonFiniteError(
                f"the validation loss became {loss_M.tolist()} in epoch {self.at.epoch + 1}; lower optimizer.lr"
            )
        return loss_M.tolist()

    def _end_epoch(self, train_loss_M: list[float], val_loss_M: list[float]) -> None:
        """Nothing in here is a step, so that it is done as a whole or not at all."""
        at = self.at
        at.rates.append(self.optimizer.param_groups[0]["lr"])
        at.train_losses.append(train_loss_M)
        at.val_losses.append(val_loss_M)
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(val_loss_M[0])
        elif self.scheduler is not None:
            with warnings.catch_warnings():
                # Of no step of the optimiser before this one: it was made before training was stopped.
                warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
                self.scheduler.step()
        for member in range(self.model.members):
            if at.stopped_at[member] is not None:
                continue
            self.best.update(member, at.epoch, val_loss_M[member])
            patience = self.training.patience_early_stopping
            if self.training.early_stopping and at.epoch - self.best.epoch[member] >= patience:
                at.stopped_at[member] = at.epoch + 1
        at.epoch += 1
        at.order_M_N, at.losses, at.weights = at.order_M_N[:0], [], []

    def _refuse(self, loss: float, indices_N: Tensor, batch: int) -> None:
        indices = indices_N.split(self.batch_size)[batch].tolist()
        raise NonFiniteError(
            f"the training loss became {loss} in epoch {self.at.epoch + 1}, "
            f"batch {batch + 1} (dataset indices {', '.join(map(str, indices))}); "
            "lower optimizer.lr or look at these inputs"
        )


@dataclass
class Progress:
    """Where a JointFit is: what its epochs came to, and the steps of the epoch that is not over."""

    stopped_at: list[int | None]
    """A member's last epoch, counted from 1; None while it is running."""
    epoch: int = 0
    train_losses: list[list[float]] = field(default_factory=list)
    val_losses: list[list[float]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    order_M_N: Tensor = field(default_factory=lambda: torch.empty(0, 0, dtype=torch.int64))
    losses: list[Tensor] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)


def _by_member(losses_E_M: list[list[float]], epochs: list[int]) -> list[list[float]]:
    return [list(losses)[:count] for losses, count in zip(zip(*losses_E_M, strict=True), epochs, strict=True)]
