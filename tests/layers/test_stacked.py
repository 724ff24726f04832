import math

import torch
from torch import nn

from src.layers.stacked import StackedLinear, stack_members


def test_each_member_computes_what_nn_linear_computes_with_its_weights() -> None:
    stacked = stack_members([StackedLinear(5, 3) for _ in range(4)])
    x_M_N_I = torch.randn(4, 6, 5)
    y_M_N_O = stacked(x_M_N_I)
    for member in range(4):
        linear = nn.Linear(5, 3)
        linear.weight.data, linear.bias.data = stacked.weight_M_O_I[member], stacked.bias_M_O[member]
        torch.testing.assert_close(y_M_N_O[member], linear(x_M_N_I[member]))


def test_one_member_serves_any_number_of_monte_carlo_passes() -> None:
    layer, x_K_N_I = StackedLinear(5, 3), torch.randn(7, 6, 5)
    for k in range(7):
        torch.testing.assert_close(layer(x_K_N_I)[k], layer(x_K_N_I[k : k + 1])[0])


def test_initial_weights_are_nn_linears_to_the_bit() -> None:
    torch.manual_seed(0)
    ours = StackedLinear(784, 128)
    torch.manual_seed(0)
    theirs = nn.Linear(784, 128)
    assert torch.equal(ours.weight_M_O_I[0], theirs.weight)
    assert torch.equal(ours.bias_M_O[0], theirs.bias)
    assert ours.weight_M_O_I.abs().max() <= 1 / math.sqrt(784)


def test_gradients_of_members_do_not_mix() -> None:
    stacked = stack_members([StackedLinear(5, 3) for _ in range(2)])
    stacked(torch.randn(2, 6, 5))[0].sum().backward()
    assert stacked.weight_M_O_I.grad is not None
    assert stacked.weight_M_O_I.grad[0].abs().sum() > 0
    assert stacked.weight_M_O_I.grad[1].abs().sum() == 0
