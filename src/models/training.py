"""Fitting one round's network: optimiser, scheduler, epochs, early stopping and the return to the best weights.
All members are trained at once; each has its own batches, dropout masks and stopping time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LambdaLR, ReduceLROnPlateau, StepLR

from src.config import OptimizerConfig, TrainingConfig
from src.layers.stacked import member_state
from src.layers.stochastic import stochastic_layers
from src.layers.variational import posterior_parameters
from src.models.network import Network
from src.models.prediction import Source, mean_loss, weighted_mean
from src.utils.errors import NonFiniteError
from src.utils.seeding import RoundSeeds

Scheduler = StepLR | LambdaLR | ReduceLROnPlateau | CosineAnnealingWarmRestarts
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
    """Train in place and return the history; ``indices`` are dataset indices into ``source``.

    Early stopping and the best weights go by the mean validation objective (as after training: a BNN's has no
    divergence in it); a tie is an improvement.
    Raises NonFiniteError with the epoch and the dataset indices of the first batch whose loss is not finite.
    """

    def fit_together(part: Network, members: Iterable[int]) -> FitHistory:
        return JointFit(
            part, members, source, train_indices_N, val_indices_V, training, optimizer, seeds, augment
        ).run(on_epoch)

    if training.scheduler != "reduce_on_plateau":
        return fit_together(model, range(model.members))
    # Members on a plateau at different times need different learning rates, so they train one by one.
    history = FitHistory()
    for member, part in enumerate(model.split()):
        history.extend(fit_together(part, [member]))
    return history


class JointFit:
    """One call of ``fit`` for members that share an optimiser."""

    def __init__(
        self,
        model: Network,
        members: Iterable[int],
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
        self.optimizer = make_optimizer(model, optimizer)
        self.scheduler = make_scheduler(self.optimizer, training, optimizer)
        members = list(members)
        self.order_generators = [seeds.generator(f"batch order of member {member}") for member in members]
        self.augment_generators = [seeds.generator(f"augmentation of member {member}") for member in members]
        masks = [seeds.generator(f"dropout of member {member}", self.device) for member in members]
        for layer in stochastic_layers(model):
            layer.use_generators(masks)

    def run(self, on_epoch: OnEpoch) -> FitHistory:
        members = self.model.members
        best = BestWeights(self.model, latest=not self.training.load_best_model)
        stopped_at: list[int | None] = [None] * members
        train_losses, val_losses, rates = [], [], []
        for epoch in range(self.training.epochs):
            rates.append(self.optimizer.param_groups[0]["lr"])
            running_M = torch.tensor([stop is None for stop in stopped_at], device=self.device)
            train_losses.append(self._train_epoch(epoch, running_M))
            val_losses.append(self._validate(epoch, running_M))
            self._step_scheduler(val_losses[-1])
            on_epoch(epoch + 1, sum(train_losses[-1]) / members, sum(val_losses[-1]) / members)
            for member in range(members):
                if stopped_at[member] is not None:
                    continue
                best.update(member, epoch, val_losses[-1][member])
                patience = self.training.patience_early_stopping
                if self.training.early_stopping and epoch - best.epoch[member] >= patience:
                    stopped_at[member] = epoch + 1
            if None not in stopped_at:
                break
        best.restore()  # also of members that stopped, and were trained on beside the others
        epochs = [stopped or self.training.epochs for stopped in stopped_at]
        return FitHistory(
            epochs,
            [epoch + 1 for epoch in best.epoch],
            _by_member(train_losses, epochs),
            _by_member(val_losses, epochs),
            [rates[:count] for count in epochs],
        )

    def _train_epoch(self, epoch: int, running_M: Tensor) -> list[float]:
        """One pass over the labelled set; the mean training loss of each member, finite for those still running."""
        self.model.train()
        members, count = self.model.members, len(self.train_indices_N)
        order_M_N = torch.stack([torch.randperm(count, generator=g) for g in self.order_generators])
        indices_M_N = self.train_indices_N[order_M_N.to(self.device)]
        losses, weights = [], []
        for indices_M_B in indices_M_N.split(self.batch_size, 1):
            flat = indices_M_B.flatten()
            inputs_MB_S, labels_MB = self.source.inputs(flat), self.source.labels(flat)
            if self.augment is not None:
                inputs_MB_S, labels_MB = self.augment(inputs_MB_S, labels_MB, self.augment_generators)
            inputs_M_B_S = inputs_MB_S.unflatten(0, (members, -1))
            labels_M_B = labels_MB.unflatten(0, (members, -1))
            self.optimizer.zero_grad(set_to_none=True)
            loss_M = self.model.loss(inputs_M_B_S, labels_M_B, epoch)
            loss_M.sum().backward()
            self.optimizer.step()
            losses.append(loss_M.detach())
            weights.append(self.model.loss_weight(labels_M_B))
        losses_B_M = torch.stack(losses)
        # Looked at once an epoch: a look after each batch would make a GPU wait.
        if (diverged_B_M := ~losses_B_M.isfinite() & running_M).any():
            batch, member = diverged_B_M.nonzero()[0].tolist()
            self._refuse(losses_B_M[batch, member].item(), indices_M_N[member], epoch, batch)
        weights_B_M = torch.stack(weights)
        return weighted_mean((losses_B_M.double() * weights_B_M).sum(0), weights_B_M.sum(0)).tolist()

    def _validate(self, epoch: int, running_M: Tensor) -> list[float]:
        loss_M = mean_loss(self.model, self.source, self.val_indices_V)
        if (~loss_M.isfinite() & running_M).any():
            raise NonFiniteError(
                f"the validation loss became {loss_M.tolist()} in epoch {epoch + 1}; lower optimizer.lr"
            )
        return loss_M.tolist()

    def _refuse(self, loss: float, indices_N: Tensor, epoch: int, batch: int) -> None:
        indices = indices_N.split(self.batch_size)[batch].tolist()
        raise NonFiniteError(
            f"the training loss became {loss} in epoch {epoch + 1}, "
            f"batch {batch + 1} (dataset indices {', '.join(map(str, indices))}); "
            "lower optimizer.lr or look at these inputs"
        )

    def _step_scheduler(self, val_loss_M: list[float]) -> None:
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(val_loss_M[0])
        elif self.scheduler is not None:
            self.scheduler.step()


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

    @torch.no_grad()
    def restore(self) -> None:
        """Put the copies back into the model."""
        for copy, tensor in zip(self._copies, self._tensors, strict=True):
            tensor.copy_(copy)


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """Adam or SGD over all parameters, weight decay as an L2 penalty (not decoupled), as in the literature.

    Posteriors have none: their prior takes its place, and a penalty would pull ρ to 0, which is σ = 0.69.
    """
    posteriors = posterior_parameters(model)
    of_posteriors = {id(parameter) for parameter in posteriors}
    plain = [parameter for parameter in model.parameters() if id(parameter) not in of_posteriors]
    groups = [
        {"params": parameters, "weight_decay": weight_decay}
        for parameters, weight_decay in ((plain, config.weight_decay), (posteriors, 0.0))
        if parameters
    ]
    if config.type == "adam":
        return Adam(groups, config.lr, config.betas, fused=True)
    return SGD(groups, config.lr, config.momentum)


def make_scheduler(
    optimizer: Optimizer, training: TrainingConfig, config: OptimizerConfig
) -> Scheduler | None:
    """The learning rate's course by epoch; None keeps it constant."""
    match training.scheduler:
        case "step":
            return StepLR(optimizer, training.patience_lr_reduce, training.lr_reduce_factor)
        case "poly":
            return LambdaLR(optimizer, lambda epoch: (1 - epoch / training.epochs) ** training.poly_reduce)
        case "reduce_on_plateau":
            return ReduceLROnPlateau(
                optimizer, factor=training.lr_reduce_factor, patience=training.patience_lr_reduce
            )
        case "cosineannealing":
            return CosineAnnealingWarmRestarts(optimizer, config.T0)
        case None:
            return None


def _by_member(losses_E_M: list[list[float]], epochs: list[int]) -> list[list[float]]:
    return [list(losses)[:count] for losses, count in zip(zip(*losses_E_M, strict=True), epochs, strict=True)]
