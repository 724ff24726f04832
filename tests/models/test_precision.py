"""bfloat16 and channels-last change how fast a network computes, and scores by no more than rounding."""

import pytest
import torch

from src.config import Config, OptimizerConfig, TrainingConfig
from src.layers.stochastic import start_passes
from src.models.build import build_model
from src.models.network import Network
from src.models.prediction import member_log_probs, predict, predictive_log_probs
from src.models.training import fit
from src.utils.seeding import RoundSeeds
from tests.models.fakes import Images

SHAPE, ALL = (3, 8, 8), torch.arange(48)
MODELS = {
    "mlp": {"name": "MLP"},
    "cnn": {"name": "CNN"},
    "bcnn": {"name": "BCNN", "kl_div_weight": 1e-4},
    "ensemble": {"name": "CNN", "ensemble": 2},
    "resnet": {"name": "resnet18"},
    "mir": {"name": "MIR", "mir_configs": {"backbone": "resnet18"}},
}


def network(kind: str, device: str = "cpu", **model: object) -> Network:
    given = {"hidden_layers": [16, 16], "dropout_probabilities": [0.1], **MODELS[kind], **model}
    config = Config.model_validate({"name": "test", "model": given})
    return build_model(config, SHAPE, 3, RoundSeeds(3, 0), torch.device(device))


def trained(model: Network, source: Images) -> Network:
    training = TrainingConfig(epochs=3, batch_size=12, scheduler=None)
    fit(model, source, ALL[:36], ALL[36:], training, OptimizerConfig(lr=1e-3), RoundSeeds(3, 0))
    return model


def entropy(model: Network, source: Images) -> torch.Tensor:
    log_probs_N_C = predict(model, source, ALL.to(source.device))
    return -(log_probs_N_C.exp() * log_probs_N_C).sum(1)


@pytest.mark.parametrize("kind", list(MODELS))
def test_bfloat16_moves_probabilities_and_scores_by_rounding_alone(kind: str) -> None:
    """The same weights in both precisions. bfloat16 keeps 8 bits: 0.4% a product."""
    source, model = Images(48, SHAPE), network(kind)
    mixed = network(kind, mixed_precision=True)
    mixed.network.load_state_dict(trained(model, source).state_dict())
    inputs = source.inputs(ALL)[None]
    for passes in (1, 4):
        for net in (model, mixed):
            net.eval()
            if passes > 1 and kind != "ensemble":
                start_passes(net, passes, seed=1)
        exact, rounded = (predictive_log_probs(member_log_probs(net, inputs)).exp() for net in (model, mixed))
        assert rounded.dtype == torch.float32
        assert not torch.equal(exact, rounded), "the products should be in bfloat16"
        assert (exact - rounded).abs().max() < 0.03
        assert (entropy(model, source) - entropy(mixed, source)).abs().max() < 0.06
    features, logits = (
        mixed.encode(inputs.expand(mixed.members, *inputs.shape[1:])),
        mixed.eval()(inputs.expand(mixed.members, *inputs.shape[1:])),
    )
    assert features.dtype == logits.dtype == torch.float32


@pytest.mark.parametrize("kind", list(MODELS))
def test_training_in_bfloat16_keeps_float32_weights_and_learns(kind: str) -> None:
    source = Images(48, SHAPE)
    model = network(kind, mixed_precision=True)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    training = TrainingConfig(epochs=4, batch_size=12, scheduler=None)
    history = fit(model, source, ALL[:36], ALL[36:], training, OptimizerConfig(lr=3e-3), RoundSeeds(3, 0))
    assert history.train_loss[0][-1] < history.train_loss[0][0]
    for parameter, initial in zip(model.parameters(), before, strict=True):
        assert parameter.dtype == torch.float32
        assert not torch.equal(parameter, initial)


@pytest.mark.parametrize("kind", list(MODELS))
def test_channels_last_gives_the_same_network(kind: str) -> None:
    source = Images(48, SHAPE)
    plain, last = (network(kind, channels_last=flag).eval() for flag in (False, True))
    inputs = source.inputs(ALL)[None]
    torch.testing.assert_close(
        member_log_probs(last, inputs), member_log_probs(plain, inputs), rtol=1e-4, atol=1e-4
    )
    kernels = [parameter for parameter in last.parameters() if parameter.ndim == 5]
    assert (len(kernels) > 0) == (kind != "mlp")
    trained(last, source)
    for kernel in kernels:
        assert kernel.data[0].is_contiguous(memory_format=torch.channels_last), "also after training"


@pytest.mark.cuda
@pytest.mark.parametrize("kind", list(MODELS))
def test_on_a_gpu_both_options_together_give_the_scores_of_float32(kind: str) -> None:
    source = Images(48, SHAPE)
    source.labels_N, source.inputs_N_C_H_W = source.labels_N.cuda(), source.inputs_N_C_H_W.cuda()
    model = trained(network(kind, "cuda"), source)
    fast = network(kind, "cuda", mixed_precision=True, channels_last=True)
    fast.network.load_state_dict(model.state_dict())
    difference = (entropy(model.eval(), source) - entropy(fast.eval(), source)).abs()
    assert difference.max() < 0.06
