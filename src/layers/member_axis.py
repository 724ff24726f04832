"""From a network written for x_N_C_H_W, such as torchvision's, to one of the same weights with a leading member axis.
What the stacked layers compute is in the modules beside this one."""

from collections.abc import Callable

import torch
from torch import nn

from src.layers.consistent_dropout import ConsistentDropout
from src.layers.convolution import Folded, StackedBatchNorm2d, StackedConv2d, StackedConvTranspose2d
from src.layers.stacked import StackedLinear

STATELESS = (nn.ReLU, nn.Identity, nn.Sequential)
"""What works on any leading axes as it is, also where it holds nothing."""


def _stacked_linear(plain: nn.Linear) -> StackedLinear:
    if plain.bias is None:
        raise TypeError("a linear layer without bias has no stacked counterpart")
    with torch.device("meta"):
        stacked = StackedLinear(plain.in_features, plain.out_features)
    stacked.weight_M_O_I = nn.Parameter(plain.weight.detach()[None])
    stacked.bias_M_O = nn.Parameter(plain.bias.detach()[None])
    return stacked


COUNTERPARTS: dict[type[nn.Module], Callable[..., nn.Module]] = {
    nn.Conv2d: StackedConv2d,
    nn.ConvTranspose2d: StackedConvTranspose2d,
    nn.BatchNorm2d: StackedBatchNorm2d,
    nn.Linear: _stacked_linear,
    nn.Dropout: lambda plain: ConsistentDropout(plain.p),
    nn.MaxPool2d: Folded,
    nn.Flatten: Folded,
}


def with_member_axis(module: nn.Module) -> nn.Module:
    """The module with every layer in it, however deep, replaced by its counterpart of one member; itself changed.

    Containers keep their own ``forward``, which has to work on any leading axes. Raises TypeError for a layer
    that has no counterpart here, instead of leaving it to mix members or, a dropout, to draw as it likes.
    """
    if type(module) in COUNTERPARTS:
        return COUNTERPARTS[type(module)](module).train(module.training)
    children = list(module.named_children())
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    if own or not (children or isinstance(module, STATELESS)):
        raise TypeError(f"{type(module).__name__} has no counterpart with a member axis")
    for name, child in children:
        setattr(module, name, with_member_axis(child))
    return module
