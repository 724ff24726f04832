"""Bayes by Backprop as a network: its objective, its members and its training."""

import pytest
import torch
from torch import nn

from src.config import Config, OptimizerConfig, TrainingConfig
from src.layers.stochastic import passes_of, start_passes, stochastic_layers
from src.layers.variational import PRIOR_STD, VariationalLinear, kl_to_prior
from src.models.build import build_model
from src.models.network import Network
from src.models.optimization import make_optimizer
from src.models.prediction import mean_loss, member_log_probs, predict
from src.models.training import fit
from src.utils.seeding import RoundSeeds
from tests.models.fakes import Images

SHAPE, ALL = (1, 6, 6), torch.arange(60)
TRAIN, VAL = ALL[:42], ALL[42:]


def network(name: str, seed: int = 3, **model: object) -> Network:
    given = {"hidden_layers": [8, 8], "dropout_probabilities": [], "kl_div_weight": 1e-4, **model}
    config = Config.model_validate({"name": "test", "model": {"name": name, **given}})
    return build_model(config, SHAPE, 3, RoundSeeds(seed, 0), torch.device("cpu"))


def trained(model: Network, seed: int = 3, epochs: int = 30) -> list[float]:
    training = TrainingConfig(epochs=epochs, scheduler=None, early_stopping=False)
    optimizer = OptimizerConfig(lr=0.01, weight_decay=0)
    return fit(model, Images(60, SHAPE), TRAIN, VAL, training, optimizer, RoundSeeds(seed, 0)).train_loss[0]


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("name", ["BNN", "BCNN"])
def test_the_objective_is_cross_entropy_and_the_weighed_divergence(name: str, weight: float) -> None:
    model, source = network(name, kl_div_weight=weight), Images(60, SHAPE)
    inputs_1_N_S = source.inputs(ALL)[None]
    loss = model.eval().loss(inputs_1_N_S, source.labels_N[None], epoch=0)
    ce = nn.functional.cross_entropy(model(inputs_1_N_S)[0], source.labels_N)
    torch.testing.assert_close(loss, ce + weight * kl_to_prior(model))


@pytest.mark.parametrize("name", ["BNN", "BCNN"])
def test_what_is_left_out_of_training_is_judged_by_cross_entropy_alone(name: str) -> None:
    model, source = network(name, kl_div_weight=0.5), Images(60, SHAPE)
    ce = nn.functional.cross_entropy(model.eval()(source.inputs(ALL)[None])[0], source.labels_N)
    torch.testing.assert_close(mean_loss(model, source, ALL), ce[None].double())


def test_early_stopping_goes_by_the_fit_though_the_divergence_keeps_falling() -> None:
    """Labels at random cannot be learnt, and are no better for weights that come nearer to their prior."""
    model, source = network("BNN", kl_div_weight=1.0), Images(60, SHAPE)
    source.labels_N = torch.randint(3, (60,), generator=torch.Generator().manual_seed(0))
    training = TrainingConfig(epochs=100, scheduler=None, patience_early_stopping=5)
    divergence = kl_to_prior(model)
    history = fit(model, source, TRAIN, VAL, training, OptimizerConfig(lr=0.01), RoundSeeds(3, 0))
    assert history.epochs[0] < 30, "with the divergence in it, the objective falls for 69 epochs"
    assert kl_to_prior(model) < divergence


def test_without_data_the_posterior_becomes_the_prior() -> None:
    """Weight decay would pull ρ to 0, and with it σ to 0.69."""
    model = network("BNN", ensemble=2)
    optimizer = make_optimizer(model, OptimizerConfig(type="sgd", lr=50, weight_decay=1e-3))
    for _ in range(300):
        optimizer.zero_grad()
        (1e-4 * kl_to_prior(model).sum()).backward()
        optimizer.step()
    for posterior in stochastic_layers(model):
        assert (posterior.std() - PRIOR_STD).abs().max() < 1e-3
        assert posterior.mean_M_S.abs().max() < 1e-3


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_weight_decay_moves_the_weights_that_are_no_posteriors_alone(kind: str) -> None:
    model = nn.Sequential(VariationalLinear(3, 2), nn.Linear(2, 2))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = make_optimizer(model, OptimizerConfig(type=kind, weight_decay=0.1))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {"1.weight", "1.bias"}


@pytest.mark.parametrize("name", ["BNN", "BCNN"])
def test_training_lowers_the_loss_and_learns(name: str) -> None:
    model = network(name)
    losses = trained(model)
    assert losses[-1] < 0.5 * losses[0]
    start_passes(model, 10, seed=1)
    source = Images(60, SHAPE)
    accuracy = (predict(model, source, VAL).argmax(1) == source.labels_N[VAL]).double().mean()
    assert accuracy > 0.9


@pytest.mark.parametrize("name", ["BNN", "BCNN"])
def test_the_same_seeds_give_the_same_weights_and_others_do_not(name: str) -> None:
    weights = []
    for seed in (3, 3, 4):
        model = network(name)
        trained(model, seed, epochs=2)
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("dropout", [[], [0.5]])
@pytest.mark.parametrize("name", ["BNN", "BCNN"])
def test_members_are_weight_samples_the_same_for_all_inputs_and_never_dropout_masks(
    name: str, dropout: list[float]
) -> None:
    model, inputs = network(name, dropout_probabilities=dropout), Images(60, SHAPE).inputs(ALL)[None]
    start_passes(model, 5, seed=1)
    assert passes_of(model) == 5
    log_probs_N_K_C = member_log_probs(model, inputs)
    assert log_probs_N_K_C.shape == (60, 5, 3)
    assert log_probs_N_K_C.std(1).min() > 0
    torch.testing.assert_close(member_log_probs(model, inputs[:, 20:30]), log_probs_N_K_C[20:30])
    for module in model.modules():
        if hasattr(module, "rho_M_S"):
            module.rho_M_S.data.fill_(-100.0)  # without spread, all members are the mean network
    start_passes(model, 5, seed=1)
    collapsed = member_log_probs(model, inputs)
    torch.testing.assert_close(collapsed, member_log_probs(model.eval(), inputs).expand(-1, 5, -1))


def test_an_ensemble_of_bayesian_networks_has_members_of_its_own() -> None:
    model = network("BNN", ensemble=2)
    assert kl_to_prior(model).shape == (2,)
    trained(model, epochs=2)
    log_probs_N_K_C = member_log_probs(model.eval(), Images(60, SHAPE).inputs(ALL)[None])
    assert not torch.allclose(log_probs_N_K_C[:, 0], log_probs_N_K_C[:, 1])
