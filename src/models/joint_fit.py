"""Training members that share an optimiser, step by step: epochs, early stopping and the best weights. It can tell
between any two steps where it is, and another process goes on from there to the same weights. Of several processes each
computes its part of every batch, and all have the same weights after each step."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from src.config import OptimizerConfig, TrainingConfig
from src.layers.convolution import batch_norms
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
generator; a crop may change the size of images and masks. Beside unlabelled images labels are fewer than inputs."""


@dataclass(frozen=True)
class Setting:
    """What a network is trained on, and how; ``indices`` are dataset indices into ``source``."""

    source: Source
    train_indices_N: Tensor
    val_indices_V: Tensor
    training: TrainingConfig
    optimizer: OptimizerConfig
    seeds: RoundSeeds
    augment: Augment | None = None
    unlabelled_U: Tensor | None = None
    """Each batch draws as many of these inputs as it has labelled ones, for networks that learn from both. They have
    their part in the training loss and in the statistics of batch norms, and none in the validation loss."""


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


class JointFit:
    """The training of members that share an optimiser."""

    def __init__(self, model: Network, members: Sequence[int], setting: Setting) -> None:
        self.model, self.members, self.setting = model, members, setting
        self.source, self.training, self.seeds = setting.source, setting.training, setting.seeds
        self.device = self.source.device
        self.train_indices_N = setting.train_indices_N.to(self.device)
        self.val_indices_V = setting.val_indices_V.to(self.device)
        unlabelled_U = setting.unlabelled_U
        self.unlabelled_U = (
            None if unlabelled_U is None or not len(unlabelled_U) else unlabelled_U.to(self.device)
        )
        # No larger than the set: torch cannot split by just any integer that a config may hold.
        self.batch_size = min(self.training.batch_size, len(self.train_indices_N))
        self.objective = data_parallel(model)
        self.optimizer = make_optimizer(model, setting.optimizer)
        self.scheduler = make_scheduler(self.optimizer, self.training, setting.optimizer)
        self.in_step = False

        def generators(purpose: str, device: torch.device | str = "cpu") -> list[torch.Generator]:
            return [self.seeds.generator(f"{purpose} of member {member}", device) for member in members]

        self.generators = {
            "order": generators("batch order"),
            "augmentation": generators("augmentation"),
            "masks": generators("dropout", self.device),
            "unlabelled": generators("unlabelled inputs"),
        }
        for layer in stochastic_layers(model):
            layer.use_generators(self.generators["masks"])
        self.best = BestWeights(model, latest=not self.training.load_best_model)
        self.progress = Progress([None] * model.members)

    def run(self, on_epoch: OnEpoch) -> FitHistory:
        """As ``Training.run``, of these members."""
        progress, members = self.progress, self.model.members
        while progress.epoch < self.training.epochs and None in progress.stopped_at:
            running_M = torch.tensor([stop is None for stop in progress.stopped_at], device=self.device)
            train_loss_M = self._train_epoch(running_M)
            val_loss_M = self._validate(running_M)
            self._end_epoch(train_loss_M, val_loss_M)
            on_epoch(progress.epoch, sum(train_loss_M) / members, sum(val_loss_M) / members)
        self.best.restore()  # also of members that stopped, and were trained on beside the others
        epochs = [stopped or self.training.epochs for stopped in progress.stopped_at]
        return FitHistory(
            epochs,
            [epoch + 1 for epoch in self.best.epoch],
            _by_member(progress.train_losses, epochs),
            _by_member(progress.val_losses, epochs),
            [progress.rates[:count] for count in epochs],
        )

    def state(self) -> dict[str, Any]:
        """Where it is, but for the network's weights."""
        return {
            "progress": vars(self.progress),
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
        self.progress = Progress(**state["progress"])
        self.progress.order_M_N = self.progress.order_M_N.to(self.device)
        self.progress.losses = [loss_M.to(self.device) for loss_M in self.progress.losses]
        self.progress.weights = [weight_M.to(self.device) for weight_M in self.progress.weights]
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
        progress = self.progress
        if not len(progress.order_M_N):
            count = len(self.train_indices_N)
            order_M_N = [torch.randperm(count, generator=g) for g in self.generators["order"]]
            progress.order_M_N = torch.stack(order_M_N).to(self.device)
        indices_M_N = self.train_indices_N[progress.order_M_N]
        for indices_M_B in indices_M_N.split(self.batch_size, 1)[len(progress.losses) :]:
            check_together()
            self.in_step = True
            with processes.talking():
                loss_M, weight_M = self._step(indices_M_B)
            self.in_step = False
            progress.losses.append(loss_M)
            progress.weights.append(weight_M)
        losses_B_M, weights_B_M = torch.stack(progress.losses), torch.stack(progress.weights)
        # Looked at once an epoch: a look after each batch would make a GPU wait.
        if (diverged_B_M := ~losses_B_M.isfinite() & running_M).any():
            batch, member = diverged_B_M.nonzero()[0].tolist()
            self._refuse(losses_B_M[batch, member].item(), indices_M_N[member], batch)
        return weighted_mean((losses_B_M.double() * weights_B_M).sum(0), weights_B_M.sum(0)).tolist()

    def _step(self, indices_M_B: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the optimiser; loss_M of the batch, and what it counts for."""
        part_M_b = _own_part(indices_M_B)
        # Drawn for the whole batch, alike in all processes.
        unlabelled_M_b = _own_part(self._draw_unlabelled(indices_M_B.shape[1]))
        if processes.number():
            self._draw_apart()
        has_part = part_M_b.shape[1] > 0
        for layer in batch_norms(self.model):
            layer.counted = has_part
        if not has_part:  # of a batch smaller than there are processes: an input that counts for nothing
            part_M_b = indices_M_B[:, -1:]
        try:
            return self._minimise(part_M_b, unlabelled_M_b, has_part)
        except torch.OutOfMemoryError:
            inputs = part_M_b.shape[1] + unlabelled_M_b.shape[1]
            raise UserError(
                f"{self.device} has no memory to train {len(part_M_b)} members on {inputs} inputs at once; "
                "lower training.batch_size or model.ensemble, or take more GPUs (torchrun): results depend on the size "
                "of a batch, so that it is not changed for you"
            ) from None

    def _draw_unlabelled(self, count: int) -> Tensor:
        """indices_M_B of as many unlabelled inputs, with replacement; of none where there are none to learn from."""
        if self.unlabelled_U is None:
            return self.train_indices_N.new_empty(len(self.members), 0)
        drawn_M = [
            torch.randint(len(self.unlabelled_U), (count,), generator=generator)
            for generator in self.generators["unlabelled"]
        ]
        return self.unlabelled_U[torch.stack(drawn_M).to(self.device)]

    def _minimise(self, indices_M_b: Tensor, unlabelled_M_b: Tensor, has_part: bool) -> tuple[Tensor, Tensor]:
        inputs_Mb_S = self.source.inputs(torch.cat([indices_M_b, unlabelled_M_b], dim=1).flatten())
        labels_Mb = self.source.labels(indices_M_b.flatten())
        if (augment := self.setting.augment) is not None:
            inputs_Mb_S, labels_Mb = augment(inputs_Mb_S, labels_Mb, self.generators["augmentation"])
        inputs_M_b_S = inputs_Mb_S.unflatten(0, (len(indices_M_b), -1))
        labels_M_b = labels_Mb.unflatten(0, (len(indices_M_b), -1))
        self.optimizer.zero_grad(set_to_none=True)
        loss_M = self.objective(inputs_M_b_S, labels_M_b, self.progress.epoch)
        weight_M = self.model.loss_weight(labels_M_b) * has_part
        minimised_M, loss_M, weight_M = whole_batch(loss_M, weight_M)
        minimised_M.sum().backward()
        self.optimizer.step()
        return loss_M, weight_M

    def _draw_apart(self) -> None:
        """Processes agree on the order of batches, and differ in what they draw for their parts. But for the first,
        whose generators run on, they begin anew each step: a run that was stopped needs none of their states."""
        step = f"epoch {self.progress.epoch} step {len(self.progress.losses)} process {processes.number()}"
        for name in ("augmentation", "masks"):
            for member, generator in zip(self.members, self.generators[name], strict=True):
                generator.manual_seed(self.seeds.seed(f"{name} of member {member} {step}"))

    def _validate(self, running_M: Tensor) -> list[float]:
        loss_M = mean_loss(self.model, self.source, self.val_indices_V)
        if (~loss_M.isfinite() & running_M).any():
            raise NonFiniteError(
                f"the validation loss became {loss_M.tolist()} in epoch {self.progress.epoch + 1}; lower optimizer.lr"
            )
        return loss_M.tolist()

    def _end_epoch(self, train_loss_M: list[float], val_loss_M: list[float]) -> None:
        """Nothing in here is a step, so that it is done as a whole or not at all."""
        progress = self.progress
        progress.rates.append(self.optimizer.param_groups[0]["lr"])
        progress.train_losses.append(train_loss_M)
        progress.val_losses.append(val_loss_M)
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(val_loss_M[0])
        elif self.scheduler is not None:
            with warnings.catch_warnings():
                # Of no step of the optimiser before this one: it was made before training was stopped.
                warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
                self.scheduler.step()
        for member in range(self.model.members):
            if progress.stopped_at[member] is not None:
                continue
            self.best.update(member, progress.epoch, val_loss_M[member])
            patience = self.training.patience_early_stopping
            if self.training.early_stopping and progress.epoch - self.best.epoch[member] >= patience:
                progress.stopped_at[member] = progress.epoch + 1
        progress.epoch += 1
        progress.order_M_N, progress.losses, progress.weights = progress.order_M_N[:0], [], []

    def _refuse(self, loss: float, indices_N: Tensor, batch: int) -> None:
        indices = indices_N.split(self.batch_size)[batch].tolist()
        raise NonFiniteError(
            f"the training loss became {loss} in epoch {self.progress.epoch + 1}, "
            f"batch {batch + 1} (dataset indices {', '.join(map(str, indices))}"
            f"{'' if self.unlabelled_U is None else ', or one of the pool that was drawn beside them'}); "
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


def _own_part(indices_M_B: Tensor) -> Tensor:
    return indices_M_B.tensor_split(processes.count(), 1)[processes.number()]


def _by_member(losses_E_M: list[list[float]], epochs: list[int]) -> list[list[float]]:
    return [list(losses)[:count] for losses, count in zip(zip(*losses_E_M, strict=True), epochs, strict=True)]
