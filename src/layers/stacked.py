"""Layers that hold M members and compute them together, so that an ensemble costs little more than one network."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class StackedLinear(nn.Module):
    """M independent affine maps in one batched product: x_M_N_I → y_M_N_O.

    With one member the leading axis of x is free: the K Monte-Carlo passes of one network share its weights.
    Weights begin as ``nn.Linear``'s do: U(−1/√I, 1/√I), for the bias too.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight_M_O_I = nn.Parameter(torch.empty(1, outputs, inputs).uniform_(-bound, bound))
        self.bias_M_O = nn.Parameter(torch.empty(1, outputs).uniform_(-bound, bound))

    def forward(self, x_M_N_I: Tensor) -> Tensor:
        if len(self.weight_M_O_I) == 1:
            # squeeze and not [0], whose gradient is a copy into zeros
            return F.linear(x_M_N_I, self.weight_M_O_I.squeeze(0), self.bias_M_O.squeeze(0))
        return torch.baddbmm(self.bias_M_O[:, None], x_M_N_I, self.weight_M_O_I.mT)


def stack_members(members: Sequence[nn.Module]) -> nn.Module:
    """One module of M members out of M modules of one member, whose every parameter has a leading member axis.

    The parameters are copied; ``members[0]`` becomes the result.
    """
    states = [dict(member.named_parameters()) for member in members]
    stacked = members[0]
    for name, parameter in states[0].items():
        parameter.data = torch.cat([state[name].data for state in states])
    return stacked
