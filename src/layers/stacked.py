"""Layers that hold M members and compute them together, so that an ensemble costs little more than one network.

Which module of torch a stacked one stands for is in ``member_axis.py``.
"""

import math
from collections.abc import Callable, Sequence

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
        return stacked_linear(x_M_N_I, self.weight_M_O_I, self.bias_M_O)


def stacked_linear(x_M_N_I: Tensor, weight_M_O_I: Tensor, bias_M_O: Tensor | None) -> Tensor:
    """y_M_N_O = x Wᵀ + b for each member; an axis M of 1 in x or in the weights serves all members of the other."""
    if len(weight_M_O_I) == 1:
        # squeeze and not [0], whose gradient is a copy into zeros
        bias_O = None if bias_M_O is None else bias_M_O.squeeze(0)
        return F.linear(x_M_N_I, weight_M_O_I.squeeze(0), bias_O)
    x_M_N_I = x_M_N_I.expand(len(weight_M_O_I), -1, -1)
    if bias_M_O is None:
        return torch.bmm(x_M_N_I, weight_M_O_I.mT)
    return torch.baddbmm(bias_M_O[:, None], x_M_N_I, weight_M_O_I.mT)


def each_member(
    function: Callable[..., Tensor], x_M_N_S: Tensor, *stacked: Tensor | None, members: int = 1
) -> Tensor:
    """y_M_N_T: ``function(x_N_S, *own)`` for each member, ``own`` being its entries of the ``stacked`` tensors.

    One member is called once for the whole leading axis, folded into N: the K Monte-Carlo passes of one network
    share its weights. Several are called one by one, since a convolution fills a device by itself. An x with a
    leading axis of 1 serves all members.
    """
    if members == 1:
        own = [None if tensor is None else tensor.squeeze(0) for tensor in stacked]
        return function(x_M_N_S.flatten(0, 1), *own).unflatten(0, x_M_N_S.shape[:2])
    by_member = [[None] * members if tensor is None else tensor.unbind(0) for tensor in stacked]
    x_M_N_S = x_M_N_S.expand(members, *x_M_N_S.shape[1:])
    results = [function(*arguments) for arguments in zip(x_M_N_S.unbind(0), *by_member, strict=True)]
    return torch.cat(results).unflatten(0, (members, -1))  # cat and not stack: it keeps channels-last


def member_state(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer by its name; all have the member axis first."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def stack_members(members: Sequence[nn.Module]) -> nn.Module:
    """One module of M members out of M modules of one member, whose every parameter and buffer has a leading member
    axis.

    The values are copied; ``members[0]`` becomes the result.
    """
    states = [member_state(member) for member in members]
    stacked = members[0]
    for name, tensor in states[0].items():
        tensor.data = torch.cat([state[name].data for state in states])
    return stacked
