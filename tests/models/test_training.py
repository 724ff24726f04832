from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from src.config import OptimizerConfig, TrainingConfig
from src.layers.stacked import stack_members
from src.models.best_weights import BestWeights
from src.models.joint_fit import JointFit, Setting
from src.models.mir import MIR
from src.models.mlp import MLP, MLPDecoder
from src.models.optimization import make_optimizer, make_scheduler
from src.models.prediction import mean_loss, predict
from src.models.training import fit
from src.utils.errors import NonFiniteError
from src.utils.seeding import RoundSeeds
from tests.models.fakes import Blobs

TRAIN, VAL = torch.arange(60), torch.arange(60, 90)
SEEDS = RoundSeeds(3, 0)


def network(members: int = 1, dropout: float = 0.25) -> MLP:
    torch.manual_seed(0)
    return stack_members([MLP((8,), (16, 16), 3, (dropout,)) for _ in range(members)])


def test_training_learns_separable_classes() -> None:
    model, source = network(), Blobs()
    fit(model, source, TRAIN, VAL, TrainingConfig(epochs=80), OptimizerConfig(lr=0.01), SEEDS)
    assert (predict(model.eval(), source, VAL).argmax(1) == source.labels_N[VAL]).float().mean() > 0.95


@pytest.mark.parametrize("load_best_model", [True, False])
@pytest.mark.parametrize("decoder", [False, True])
@pytest.mark.parametrize("scheduler", ["step", "poly", "cosineannealing", "reduce_on_plateau", None])
def test_members_trained_together_equal_members_trained_alone(
    scheduler: str | None, decoder: bool, load_best_model: bool
) -> None:
    """Dropout, early stopping at different epochs and best weights included; float64, so that only rounding differs."""

    def build(members: int) -> nn.Module:
        torch.manual_seed(0)
        parts = [MLP((8,), (16, 16), 3, (0.25,)) for _ in range(members)]
        if decoder:
            parts = [MIR(part, MLPDecoder((8,), (16, 16)), 1.0) for part in parts]
        return stack_members(parts).double()

    source = Blobs(spread=1.5)
    source.inputs_N_D = source.inputs_N_D.double()
    training = TrainingConfig(
        epochs=40,
        load_best_model=load_best_model,
        batch_size=16,
        scheduler=scheduler,
        patience_lr_reduce=3,
        patience_early_stopping=2,
    )
    together = build(3)
    alone = build(3).split()
    history = fit(together, source, TRAIN, VAL, training, OptimizerConfig(lr=0.02), SEEDS)
    for member, part in enumerate(alone):
        own = JointFit(
            part, [member], Setting(source, TRAIN, VAL, training, OptimizerConfig(lr=0.02), SEEDS)
        ).run(lambda *_: None)
        assert own.epochs == [history.epochs[member]]
        assert own.best_epoch == [history.best_epoch[member]]
        assert own.val_loss[0] == pytest.approx(history.val_loss[member], rel=1e-9)
        for name, parameter in part.named_parameters():
            torch.testing.assert_close(
                parameter[0], together.get_parameter(name)[member], rtol=1e-7, atol=1e-9
            )
    if scheduler is None:
        assert len(set(history.epochs)) > 1, "this case should have members that stop at different epochs"


def test_the_same_seeds_give_the_same_weights_and_others_do_not() -> None:
    states = []
    for seeds in (SEEDS, SEEDS, RoundSeeds(4, 0)):
        model = network()
        fit(model, Blobs(), TRAIN, VAL, TrainingConfig(epochs=3), OptimizerConfig(), seeds)
        states.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_best_weights_are_a_copy_and_come_back() -> None:
    model, source = network(dropout=0.0), Blobs(spread=2.0)
    training = TrainingConfig(epochs=60, early_stopping=False, scheduler=None)
    history = fit(model, source, TRAIN, VAL, training, OptimizerConfig(lr=0.05), SEEDS)
    assert history.epochs == [60]
    assert history.best_epoch[0] < 60, "the case should overfit"
    assert mean_loss(model, source, VAL).item() == pytest.approx(min(history.val_loss[0]), rel=1e-6)


def test_without_load_best_model_the_last_weights_stay() -> None:
    model, source = network(dropout=0.0), Blobs(spread=2.0)
    training = TrainingConfig(epochs=60, early_stopping=False, scheduler=None, load_best_model=False)
    history = fit(model, source, TRAIN, VAL, training, OptimizerConfig(lr=0.05), SEEDS)
    assert mean_loss(model, source, VAL).item() == pytest.approx(history.val_loss[0][-1], rel=1e-6)


def test_early_stopping_waits_exactly_its_patience() -> None:
    training = TrainingConfig(epochs=200, patience_early_stopping=7, scheduler=None)
    history = fit(network(), Blobs(spread=2.0), TRAIN, VAL, training, OptimizerConfig(lr=0.05), SEEDS)
    assert history.epochs[0] - history.best_epoch[0] == 7
    assert len(history.val_loss[0]) == history.epochs[0] < 200


def test_a_tie_counts_as_an_improvement() -> None:
    best = BestWeights(network())
    for epoch, loss in enumerate([1.0, 0.5, 0.5, 0.6]):
        best.update(0, epoch, loss)
    assert best.epoch == [2]


def test_a_non_finite_loss_names_epoch_and_dataset_indices() -> None:
    source = Blobs()
    source.inputs_N_D[41] = float("nan")
    with pytest.raises(NonFiniteError, match=r"epoch 1, batch \d+ \(dataset indices .*\b41\b"):
        fit(network(), source, TRAIN, VAL, TrainingConfig(batch_size=8), OptimizerConfig(), SEEDS)


def test_a_non_finite_validation_loss_stops_too() -> None:
    source = Blobs()
    source.inputs_N_D[70] = float("inf")
    with pytest.raises(NonFiniteError, match="validation loss"):
        fit(network(), source, TRAIN, VAL, TrainingConfig(), OptimizerConfig(), SEEDS)


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ("step", [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01]),
        ("poly", [(1 - epoch / 8) ** 0.9 for epoch in range(8)]),
        (
            "cosineannealing",
            [0.5 * (1 + torch.cos(torch.tensor(torch.pi * (e % 4) / 4)).item()) for e in range(8)],
        ),
        (None, [1] * 8),
    ],
)
def test_schedulers_set_each_epochs_learning_rate(scheduler: str | None, expected: list[float]) -> None:
    training = TrainingConfig(epochs=8, scheduler=scheduler, patience_lr_reduce=3, early_stopping=False)
    history = fit(network(), Blobs(), TRAIN, VAL, training, OptimizerConfig(lr=0.1, T0=4), SEEDS)
    assert history.learning_rate[0] == pytest.approx([0.1 * factor for factor in expected])


def test_reduce_on_plateau_goes_by_the_validation_loss() -> None:
    training = TrainingConfig(scheduler="reduce_on_plateau", lr_reduce_factor=0.5, patience_lr_reduce=1)
    optimizer = make_optimizer(network(), OptimizerConfig(lr=0.1))
    scheduler = make_scheduler(optimizer, training, OptimizerConfig())
    rates = []
    for loss in (1.0, 0.9, 0.9, 0.9, 0.9, 0.9):
        scheduler.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == [0.1, 0.1, 0.1, 0.05, 0.05, 0.025]


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_optimisers_take_the_configs_step(kind: str) -> None:
    """One step against torch's unfused optimiser on the same gradients."""
    config = OptimizerConfig(type=kind, lr=0.05, momentum=0.5, weight_decay=0.1, betas=(0.8, 0.9))
    ours, theirs = network(), network()
    reference = (
        torch.optim.Adam(theirs.parameters(), 0.05, (0.8, 0.9), weight_decay=0.1, foreach=False)
        if kind == "adam"
        else torch.optim.SGD(theirs.parameters(), 0.05, 0.5, weight_decay=0.1)
    )
    optimizer = make_optimizer(ours, config)
    for _ in range(3):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            a.grad = b.grad = torch.ones_like(a) * a.detach().mean()
        optimizer.step()
        reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


class Shaken:
    """Stands in for an augmentation: each input gets noise of its own from its member's generator."""

    def __init__(self) -> None:
        self.noise_M_B_S: list[Tensor] = []

    def __call__(
        self, inputs_MB_S: Tensor, labels_MB: Tensor, generators: Sequence[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        inputs_M_B_S = inputs_MB_S.unflatten(0, (len(generators), -1))
        self.noise_M_B_S.append(
            torch.stack(
                [torch.randn(inputs_M_B_S.shape[1:], generator=generator) for generator in generators]
            )
        )
        return (inputs_M_B_S + 0.3 * self.noise_M_B_S[-1]).flatten(0, 1), labels_MB


def test_augmentation_meets_every_training_batch_and_no_other_input() -> None:
    augment, source = Shaken(), Blobs()
    training = TrainingConfig(epochs=2, batch_size=16)
    fit(network(3), source, TRAIN, VAL, training, OptimizerConfig(), SEEDS, augment=augment)
    assert [noise.shape[:2] for noise in augment.noise_M_B_S] == 2 * [(3, 16), (3, 16), (3, 16), (3, 12)]
    drawn = torch.cat([noise.flatten() for noise in augment.noise_M_B_S])
    assert len(drawn.unique()) == len(drawn), "members and epochs have draws of their own"


def test_training_takes_the_labels_that_the_augmentation_gives_back() -> None:
    class Relabelled(Shaken):
        def __call__(
            self, inputs_MB_S: Tensor, labels_MB: Tensor, generators: Sequence[torch.Generator]
        ) -> tuple[Tensor, Tensor]:
            return inputs_MB_S, (labels_MB + 1) % 3

    source, model = Blobs(), network()
    training = TrainingConfig(epochs=30, batch_size=16, early_stopping=False, load_best_model=False)
    fit(model, source, TRAIN, VAL, training, OptimizerConfig(), SEEDS, augment=Relabelled())
    predicted = predict(model.eval(), source, VAL).argmax(1)
    assert (predicted == (source.labels(VAL) + 1) % 3).float().mean() > 0.9


def test_augmented_members_trained_together_equal_members_trained_alone() -> None:
    source, augment = Blobs(), Shaken()
    source.inputs_N_D = source.inputs_N_D.double()
    training = TrainingConfig(epochs=5, batch_size=16, early_stopping=False)
    together = network(3).double()
    alone = network(3).double().split()
    arguments = (source, TRAIN, VAL, training, OptimizerConfig(), SEEDS)
    history = fit(together, *arguments, augment=augment)
    for member, part in enumerate(alone):
        own = JointFit(part, [member], Setting(*arguments, augment)).run(lambda *_: None)
        assert own.val_loss[0] == pytest.approx(history.val_loss[member], rel=1e-9)
    plain = fit(network(3).double(), *arguments)
    assert plain.train_loss != history.train_loss


def test_the_validation_loss_is_of_inputs_as_they_are() -> None:
    model, source = network(), Blobs()
    training = TrainingConfig(epochs=3, early_stopping=False, load_best_model=False)
    history = fit(model, source, TRAIN, VAL, training, OptimizerConfig(), SEEDS, augment=Shaken())
    assert float(mean_loss(model, source, VAL)[0]) == pytest.approx(history.val_loss[0][-1])


def test_a_batch_larger_than_the_labelled_set_is_the_whole_set() -> None:
    histories = [
        fit(
            network(),
            Blobs(),
            TRAIN,
            VAL,
            TrainingConfig(epochs=2, batch_size=size),
            OptimizerConfig(),
            SEEDS,
        )
        for size in (len(TRAIN), 10**20)
    ]
    assert histories[0] == histories[1]


class Watched(Blobs):
    """Notes which inputs are asked for while training."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.asked: list[list[int]] = []

    def inputs(self, indices_B: Tensor) -> Tensor:
        self.asked.append(indices_B.tolist())
        return super().inputs(indices_B)


def rebuilding(members: int = 1) -> nn.Module:
    torch.manual_seed(0)
    parts = [MIR(MLP((8,), (16, 4), 3, ()), MLPDecoder((8,), (16, 4)), 1.0, 0, 1.0) for _ in range(members)]
    return stack_members(parts)


def test_each_batch_has_as_many_unlabelled_inputs_of_the_pool() -> None:
    source, pool = Watched(200), torch.arange(100, 150)
    setting = Setting(
        *(source, TRAIN, VAL, TrainingConfig(epochs=2, batch_size=16), OptimizerConfig(), SEEDS),
        unlabelled_U=pool,
    )
    JointFit(rebuilding(2), [0, 1], setting).run(lambda *_: None)
    batches = [asked for asked in source.asked if not set(asked) <= set(VAL.tolist())]
    assert [len(asked) for asked in batches] == 2 * [64, 64, 64, 48]
    for asked in batches:
        half = len(asked) // 4
        for member in range(2):
            own = asked[2 * half * member : 2 * half * (member + 1)]
            assert set(own[:half]) <= set(TRAIN.tolist())
            assert set(own[half:]) <= set(pool.tolist())
    drawn = {index for asked in batches for index in asked if index >= 100}
    assert len(drawn) > 45, "all of the pool gets its turn"


def test_the_pool_teaches_a_network_to_rebuild_what_has_no_label() -> None:
    source = Blobs(400)
    few, pool, unseen = torch.tensor([0, 3, 6]), torch.arange(90, 300), torch.arange(300, 400)
    errors = []
    for unlabelled in (None, pool):
        model = rebuilding()
        training = TrainingConfig(epochs=200, batch_size=16, early_stopping=False, load_best_model=False)
        setting = Setting(
            source, few, VAL, training, OptimizerConfig(lr=0.01), SEEDS, unlabelled_U=unlabelled
        )
        JointFit(model, [0], setting).run(lambda *_: None)
        inputs = source.inputs(unseen)[None]
        with torch.no_grad():
            errors.append(float(nn.functional.mse_loss(model.decoder(model.encode(inputs)), inputs)))
    assert errors[1] < 0.75 * errors[0]


def test_without_a_pool_training_is_as_if_it_were_not_rebuilt() -> None:
    arguments = (Blobs(), TRAIN, VAL, TrainingConfig(epochs=2, batch_size=16), OptimizerConfig(), SEEDS)
    histories = [
        JointFit(rebuilding(), [0], Setting(*arguments, unlabelled_U=unlabelled)).run(lambda *_: None)
        for unlabelled in (None, torch.arange(0))
    ]
    assert histories[0] == histories[1]
