"""Layers whose weights are distributions, and their divergence from the prior: Bayes by Backprop.

Blundell et al. 2015, "Weight Uncertainty in Neural Networks". The objective that weighs the divergence against a
likelihood is the network's business.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.layers.convolution import stacked_conv2d
from src.layers.stacked import stacked_linear
from src.layers.stochastic import StochasticLayer

PRIOR_STD = 0.1


class GaussianPosterior(StochasticLayer):
    """The factorised normal posterior N(μ, σ²) of one tensor of weights, σ = log(1 + e^ρ); its prior is N(0, 0.1²).

    It evaluates to one draw a member while training, to the means after it, and to K fixed draws after
    ``start_passes``: tensor_M_S becomes tensor_K_S. μ begins as N(0, 0.1²), ρ as N(−3, 0.1²).
    """

    draws_weights = True

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.mean_M_S = nn.Parameter(torch.empty(1, *shape).normal_(0, 0.1))
        self.rho_M_S = nn.Parameter(torch.empty(1, *shape).normal_(-3, 0.1))

    def forward(self) -> Tensor:
        if self.training:
            draws = [
                torch.randn(self.mean_M_S.shape[1:], generator=generator, device=self.mean_M_S.device)
                for generator in self._member_generators
            ]
            return self.mean_M_S + self.std() * torch.stack(draws)
        if not self.passes:
            return self.mean_M_S
        if self._drawn is None:
            # Drawn on the CPU, so that the members are the same functions on every device.
            noise_K_S = torch.randn(self.passes, *self.mean_M_S.shape[1:], generator=self._pass_generator)
            self._drawn = self.mean_M_S + self.std() * noise_K_S.to(self.mean_M_S)
        return self._drawn

    def std(self) -> Tensor:
        """σ_M_S, positive."""
        return F.softplus(self.rho_M_S)

    def kl(self) -> Tensor:
        """kl_M in nats: KL(posterior ‖ prior) = Σ log(s/σ) + (σ² + μ²)/(2s²) − ½ for a prior of deviation s."""
        std_M_S = self.std()
        moment_M_S = (std_M_S.square() + self.mean_M_S.square()) / PRIOR_STD**2
        return ((moment_M_S - 1) / 2 - (std_M_S / PRIOR_STD).log()).flatten(1).sum(1)


class VariationalLinear(nn.Module):
    """An affine map with a posterior over its weights: x_M_N_I → y_M_N_O, or → y_K_N_O in K Monte-Carlo passes."""

    def __init__(self, inputs: int, outputs: int, use_bias: bool = True) -> None:
        super().__init__()
        self.weight = GaussianPosterior(outputs, inputs)
        self.bias = GaussianPosterior(outputs) if use_bias else None

    def forward(self, x_M_N_I: Tensor) -> Tensor:
        return stacked_linear(x_M_N_I, self.weight(), None if self.bias is None else self.bias())


class VariationalConv2d(nn.Module):
    """A convolution of stride 1 and "same" padding with a posterior over its kernels: x_M_N_I_H_W → y_M_N_O_H_W,
    or → y_K_N_O_H_W in K Monte-Carlo passes."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, use_bias: bool = True) -> None:
        super().__init__()
        self.weight = GaussianPosterior(outputs, inputs, kernel_size, kernel_size)
        self.bias = GaussianPosterior(outputs) if use_bias else None

    def forward(self, x_M_N_I_H_W: Tensor) -> Tensor:
        bias_M_O = None if self.bias is None else self.bias()
        return stacked_conv2d(x_M_N_I_H_W, self.weight(), bias_M_O, padding="same")


def kl_to_prior(model: nn.Module) -> Tensor:
    """kl_M in nats: each member's divergence, summed over all posteriors of the model."""
    return torch.stack([posterior.kl() for posterior in _posteriors(model)]).sum(0)


def posterior_parameters(model: nn.Module) -> list[nn.Parameter]:
    """μ and ρ of all posteriors of the model, in its order; none for a network of plain weights."""
    return [parameter for posterior in _posteriors(model) for parameter in posterior.parameters()]


def _posteriors(model: nn.Module) -> list[GaussianPosterior]:
    return [module for module in model.modules() if isinstance(module, GaussianPosterior)]
