"""What every registered classifier promises: it trains, predicts and has features, under every kind of members."""

import pytest
import torch

from src.config import Config, OptimizerConfig, TrainingConfig
from src.layers.stochastic import start_passes
from src.models.architectures import ARCHITECTURES, SEGMENTATION
from src.models.bayesian import BAYESIAN
from src.models.build import build_model, check_model
from src.models.network import Network
from src.models.prediction import feature_batches, mean_loss, member_log_probs
from src.models.training import fit
from src.utils.seeding import RoundSeeds
from tests.models.fakes import Images

SHAPE, ALL, SEEDS = (1, 8, 8), torch.arange(20), RoundSeeds(3, 0)
KINDS = {"plain": {}, "passes": {"mc_dropout": True, "mc_iterations": 3}, "ensemble": {"ensemble": 2}}
# Deep networks differ from these in nothing but depth and width; they are run without memory.
SMALL = ["mlp", "cnn", "bnn", "bcnn", "mir", "mir over resnet18", "resnet18"]
DEEP = sorted(set(ARCHITECTURES) - {*SMALL, *SEGMENTATION})


def config(name: str, kind: str = "plain") -> Config:
    name, _, backbone = name.partition(" over ")
    model = {
        "name": name,
        "hidden_layers": [8, 8],
        "kl_div_weight": 1e-4,
        "mir_configs": {"backbone": backbone or "mlp"},
    }
    return Config.model_validate({"name": "test", "model": {**model, **KINDS[kind]}})


def trained(name: str, kind: str) -> tuple[Network, Images]:
    given = config(name, kind)
    assert check_model(given, SHAPE, 3) > 0
    source = Images(20, SHAPE)
    model = build_model(given, SHAPE, 3, SEEDS, torch.device("cpu"))
    history = fit(
        model, source, ALL[:13], ALL[13:], TrainingConfig(epochs=1, batch_size=4), OptimizerConfig(), SEEDS
    )
    assert len(history.epochs) == given.model.ensemble
    return model, source


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("name", SMALL)
def test_it_trains_predicts_and_has_features(name: str, kind: str) -> None:
    model, source = trained(name, kind)
    assert mean_loss(model, source, ALL).isfinite().all()
    model.eval()
    if kind == "passes":
        start_passes(model, 3, seed=1)
    members = {"plain": 1, "passes": 3, "ensemble": 2}[kind]
    log_probs_N_K_C = member_log_probs(model, source.inputs(ALL)[None])
    assert log_probs_N_K_C.shape == (20, members, 3)
    torch.testing.assert_close(log_probs_N_K_C.logsumexp(-1), torch.zeros(20, members), atol=1e-5, rtol=0)
    for first in range(members):
        for second in range(first):
            assert not torch.allclose(log_probs_N_K_C[:, first], log_probs_N_K_C[:, second], atol=1e-6)
    apart = torch.cat([member_log_probs(model, source.inputs(ALL[n : n + 7])[None]) for n in (0, 7, 14)])
    torch.testing.assert_close(apart, log_probs_N_K_C, rtol=1e-4, atol=1e-5)
    if kind != "ensemble":
        features = torch.cat([features for _, features in feature_batches(model, source, ALL)])
        assert features.shape == (20, model.feature_dims)


@pytest.mark.parametrize("name", SMALL)
def test_training_twice_gives_the_same_bits(name: str) -> None:
    first, second = (trained(name, "plain")[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", DEEP)
def test_the_deep_ones_train_predict_and_have_features_without_memory(name: str) -> None:
    assert check_model(config(name, "passes"), SHAPE, 3) > 0
    with torch.device("meta"):
        model = ARCHITECTURES.get(name)(config(name), SHAPE, 3, None).eval()
        inputs, labels = torch.empty(1, 4, *SHAPE), torch.zeros(1, 4, dtype=torch.int64)
        assert model.encode(inputs).shape == (1, 4, model.feature_dims)
        assert model(inputs).shape == (1, 4, 3)
        model.loss(inputs, labels).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_every_classifier_is_one_of_these() -> None:
    assert {name.partition(" over ")[0] for name in [*SMALL, *DEEP]} == set(ARCHITECTURES) - {*SEGMENTATION}
    assert set(BAYESIAN) < set(ARCHITECTURES)
