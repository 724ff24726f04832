import math

import pytest
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

from src.layers.stacked import stack_members
from src.layers.stochastic import start_passes, stochastic_layers
from src.layers.variational import GaussianPosterior, VariationalConv2d, VariationalLinear, kl_to_prior

LAYERS = {
    "linear": (lambda bias: VariationalLinear(12, 5, bias), (12,), 5 * 12),
    "conv": (lambda bias: VariationalConv2d(2, 5, 3, bias), (2, 4, 6), 5 * 2 * 9),
}


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def spread(posterior: GaussianPosterior) -> Normal:
    """The posterior as torch's distribution, σ by the formula."""
    return Normal(posterior.mean_M_S, torch.log(1 + torch.exp(posterior.rho_M_S)))


def test_posteriors_begin_as_blundell_has_them() -> None:
    torch.manual_seed(0)
    posterior = GaussianPosterior(300, 300)
    assert posterior.mean_M_S.mean().item() == pytest.approx(0, abs=2e-3)
    assert posterior.mean_M_S.std().item() == pytest.approx(0.1, abs=2e-3)
    assert posterior.rho_M_S.mean().item() == pytest.approx(-3, abs=2e-3)
    assert posterior.rho_M_S.std().item() == pytest.approx(0.1, abs=2e-3)
    torch.testing.assert_close(posterior.std(), torch.log(1 + torch.exp(posterior.rho_M_S)))


def test_the_closed_divergence_is_torchs() -> None:
    torch.manual_seed(0)
    posterior = GaussianPosterior(7, 3)
    expected = kl_divergence(spread(posterior), Normal(0.0, 0.1)).sum()
    torch.testing.assert_close(posterior.kl(), expected[None])


def test_the_closed_divergence_is_the_mean_of_sampled_log_ratios() -> None:
    """KL(q ‖ p) = E_q[log q − log p], by 200,000 draws; within five standard errors."""
    torch.manual_seed(1)
    posterior = GaussianPosterior(4).double()
    posterior.mean_M_S.data.mul_(3)
    samples = spread(posterior).sample((200_000,))
    ratios = (spread(posterior).log_prob(samples) - Normal(0.0, 0.1).log_prob(samples)).sum((1, 2))
    error = ratios.std().item() / math.sqrt(len(ratios))
    assert posterior.kl().item() == pytest.approx(ratios.mean().item(), abs=5 * error)
    assert 5 * error < 0.01 * posterior.kl().item()


def test_divergences_are_summed_over_posteriors_and_not_over_members() -> None:
    torch.manual_seed(0)
    layers = [
        nn.Sequential(VariationalLinear(3, 4), VariationalLinear(4, 2, use_bias=False)) for _ in range(3)
    ]
    alone = torch.cat([kl_to_prior(layer) for layer in layers])
    torch.testing.assert_close(kl_to_prior(stack_members(layers)), alone)
    by_hand = sum(
        kl_divergence(spread(p), Normal(0.0, 0.1)).flatten(1).sum(1) for p in stochastic_layers(layers[0])
    )
    torch.testing.assert_close(kl_to_prior(layers[0]), by_hand)


@pytest.mark.parametrize("kind", list(LAYERS))
def test_the_bias_is_optional(kind: str) -> None:
    make, _, weights = LAYERS[kind]
    counts = [sum(p.numel() for p in make(bias).parameters()) for bias in (True, False)]
    assert counts == [2 * (weights + 5), 2 * weights]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", list(LAYERS))
def test_every_pass_is_one_weight_sample_for_all_inputs_and_layers_draw_apart(kind: str, bias: bool) -> None:
    make, shape, _ = LAYERS[kind]
    layer = make(bias)
    x_1_N_S = torch.randn(1, 6, *shape)
    start_passes(layer, 4, seed=1)
    y_K_N_S = layer(x_1_N_S)
    assert len(y_K_N_S) == 4
    for k in range(4):
        b = layer.bias()[k] if bias else None
        by_hand = (
            nn.functional.linear(x_1_N_S[0], layer.weight()[k], b)
            if kind == "linear"
            else nn.functional.conv2d(x_1_N_S[0], layer.weight()[k], b, padding=1)
        )
        torch.testing.assert_close(y_K_N_S[k], by_hand)
    assert len({tuple(weight.flatten().tolist()) for weight in layer.weight()}) == 4
    torch.testing.assert_close(layer(x_1_N_S[:, :2]), y_K_N_S[:, :2])
    torch.testing.assert_close(layer(x_1_N_S.repeat(4, *[1] * (x_1_N_S.ndim - 1))), y_K_N_S)
    layer.eval()
    assert torch.equal(layer.weight(), layer.weight.mean_M_S), "a change of mode ends the passes"


def test_samples_have_the_posteriors_mean_and_deviation() -> None:
    torch.manual_seed(0)
    posterior = GaussianPosterior(3)
    start_passes(posterior, 100_000, seed=5)
    samples_K_S = posterior()
    torch.testing.assert_close(samples_K_S.mean(0), posterior.mean_M_S[0], atol=1e-3, rtol=0)
    torch.testing.assert_close(samples_K_S.std(0), posterior.std()[0], atol=1e-3, rtol=0)


def test_members_in_training_draw_what_each_would_draw_alone_and_afresh_each_time() -> None:
    torch.manual_seed(0)
    parts = [VariationalLinear(4, 3) for _ in range(2)]
    x_M_N_I = torch.randn(2, 5, 4)
    alone = []
    for member, part in enumerate(parts):
        for posterior in stochastic_layers(part.train()):
            posterior.use_generators(generators(member))
        alone.append(part(x_M_N_I[member : member + 1]))
    together = stack_members(parts)
    for posterior in stochastic_layers(together):
        posterior.use_generators(generators(0, 1))
    torch.testing.assert_close(together(x_M_N_I), torch.cat(alone))
    assert not torch.equal(together(x_M_N_I), torch.cat(alone))
