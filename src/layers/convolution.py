"""What convolutional networks are made of, with the member axis in front: x_M_N_C_H_W.

Each layer takes its options and initial weights from the module of torch that it stands for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from src.layers.stacked import each_member


class StackedConv2d(nn.Module):
    """M independent convolutions: x_M_N_I_H_W → y_M_N_O_H_W; with one member the leading axis of x is free."""

    def __init__(self, plain: nn.Conv2d) -> None:
        super().__init__()
        if plain.padding_mode != "zeros":
            raise TypeError(f"a convolution that pads with {plain.padding_mode!r} has no stacked counterpart")
        self.weight_M_O_I_k_k = nn.Parameter(plain.weight.detach()[None])
        self.bias_M_O = None if plain.bias is None else nn.Parameter(plain.bias.detach()[None])
        self.options = {
            "stride": plain.stride,
            "padding": plain.padding,
            "dilation": plain.dilation,
            "groups": plain.groups,
        }

    def forward(self, x_M_N_I_H_W: Tensor) -> Tensor:
        return stacked_conv2d(x_M_N_I_H_W, self.weight_M_O_I_k_k, self.bias_M_O, **self.options)


def stacked_conv2d(
    x_M_N_I_H_W: Tensor, weight_M_O_I_k_k: Tensor, bias_M_O: Tensor | None, **options: Any
) -> Tensor:
    """y_M_N_O_H_W by ``F.conv2d`` with these options; an M of 1 serves all members of the other tensor."""
    if options.get("padding") == "same":
        dilations = options.get("dilation", (1, 1))
        rows, cols = (d * (k - 1) for d, k in zip(dilations, weight_M_O_I_k_k.shape[-2:], strict=True))
        if rows % 2 or cols % 2:
            # As torch does it, with a warning: of an odd number of zeros the last comes after the map.
            x_M_N_I_H_W = F.pad(x_M_N_I_H_W, (0, cols % 2, 0, rows % 2))
            options["padding"] = rows // 2, cols // 2
    members = len(weight_M_O_I_k_k)
    convolve = partial(F.conv2d, **options)
    with _float32_if_narrow(x_M_N_I_H_W) as x_M_N_I_H_W:
        return each_member(convolve, x_M_N_I_H_W, weight_M_O_I_k_k, bias_M_O, members=members)


@contextmanager
def _float32_if_narrow(x_M_N_I_H_W: Tensor) -> Iterator[Tensor]:
    """On a CPU torch's bfloat16 gradient of a kernel leaves what it finds in memory where maps are one pixel wide."""
    if x_M_N_I_H_W.device.type != "cpu" or x_M_N_I_H_W.shape[-1] > 1 or not torch.is_autocast_enabled("cpu"):
        yield x_M_N_I_H_W
        return
    with torch.autocast("cpu", enabled=False):
        yield x_M_N_I_H_W.float()


class StackedConvTranspose2d(nn.Module):
    """M independent transposed convolutions: x_M_N_I_H_W → y_M_N_O_H_W."""

    def __init__(self, plain: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.weight_M_I_O_k_k = nn.Parameter(plain.weight.detach()[None])
        self.bias_M_O = None if plain.bias is None else nn.Parameter(plain.bias.detach()[None])
        self.options: dict[str, Any] = {
            "stride": plain.stride,
            "padding": plain.padding,
            "output_padding": plain.output_padding,
            "dilation": plain.dilation,
            "groups": plain.groups,
        }

    def forward(self, x_M_N_I_H_W: Tensor) -> Tensor:
        members = len(self.weight_M_I_O_k_k)
        convolve = partial(F.conv_transpose2d, **self.options)
        with _float32_if_narrow(x_M_N_I_H_W) as x_M_N_I_H_W:
            return each_member(convolve, x_M_N_I_H_W, self.weight_M_I_O_k_k, self.bias_M_O, members=members)


class StackedBatchNorm2d(nn.Module):
    """Batch normalisation whose statistics are each member's own.

    While training, a batch with a single value a channel (one input, one pixel) has no variance; it is normalised
    by the running statistics, which it leaves as they are, and the last batch of an epoch may have any size. Of several
    processes that train together (``torch.distributed``) each normalises by the statistics of the whole batch, in which
    the inputs of one whose norm is not ``counted`` have no part.
    """

    running_mean_M_C: Tensor
    running_var_M_C: Tensor

    def __init__(self, plain: nn.BatchNorm2d) -> None:
        super().__init__()
        if not plain.affine or not plain.track_running_stats or plain.momentum is None:
            raise TypeError(
                "only a batch norm with weights and exponential running statistics can be stacked"
            )
        self.weight_M_C = nn.Parameter(plain.weight.detach()[None])
        self.bias_M_C = nn.Parameter(plain.bias.detach()[None])
        self.register_buffer("running_mean_M_C", cast(Tensor, plain.running_mean)[None])
        self.register_buffer("running_var_M_C", cast(Tensor, plain.running_var)[None])
        self.momentum, self.eps = plain.momentum, plain.eps
        self.counted = True

    def forward(self, x_M_N_C_H_W: Tensor) -> Tensor:
        together = self.training and dist.is_initialized() and dist.get_world_size() > 1
        by_batch = self.training and x_M_N_C_H_W[0, :, 0].numel() > 1

        def normalize(
            x_N_C_H_W: Tensor, mean_C: Tensor, var_C: Tensor, weight_C: Tensor, bias_C: Tensor
        ) -> Tensor:
            if together:
                return _batch_norm_of_all_processes(
                    x_N_C_H_W, mean_C, var_C, weight_C, bias_C, self.momentum, self.eps, self.counted
                )
            return F.batch_norm(x_N_C_H_W, mean_C, var_C, weight_C, bias_C, by_batch, self.momentum, self.eps)

        return each_member(
            normalize,
            x_M_N_C_H_W,
            *(self.running_mean_M_C, self.running_var_M_C, self.weight_M_C, self.bias_M_C),
            members=len(self.weight_M_C),
        )


def batch_norms(model: nn.Module) -> list[StackedBatchNorm2d]:
    """Every batch norm of a model, however deep."""
    return [module for module in model.modules() if isinstance(module, StackedBatchNorm2d)]


def _batch_norm_of_all_processes(
    x_N_C_H_W: Tensor,
    mean_C: Tensor,
    var_C: Tensor,
    weight_C: Tensor,
    bias_C: Tensor,
    momentum: float,
    eps: float,
    counted: bool,
) -> Tensor:
    """As F.batch_norm while training, with the statistics of all processes' inputs; torch's SyncBatchNorm is for GPUs
    alone. Those of a process that is not ``counted`` have no part in them."""
    x = x_N_C_H_W.to(weight_C.dtype)  # which mixed precision leaves in float32
    count = x.new_tensor([x.numel() // x.shape[1] * counted])
    sums = cast(Tensor, _Summed.apply(torch.cat([x.sum((0, 2, 3)) * counted, count])))
    sums_C, count = sums[:-1], sums[-1].detach()
    batch_mean_C = sums_C / count
    squares_C = (x - batch_mean_C[:, None, None]).square().sum((0, 2, 3)) * counted
    batch_var_C = cast(Tensor, _Summed.apply(squares_C)) / count
    many = count > 1
    with torch.no_grad():
        step = momentum * many.to(mean_C.dtype)
        mean_C.lerp_(batch_mean_C, step)
        var_C.lerp_(batch_var_C * (count / (count - 1).clamp(min=1)), step)
    used_mean_C = batch_mean_C.where(many, mean_C)
    scale_C = weight_C * (batch_var_C.where(many, var_C) + eps).rsqrt()
    normalised = (x - used_mean_C[:, None, None]) * scale_C[:, None, None] + bias_C[:, None, None]
    return normalised.to(x_N_C_H_W.dtype)


class _Summed(torch.autograd.Function):
    """The sum over all processes, whose gradient in each is the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


class Folded(nn.Module):
    """A layer without weights that wants x_N_C_H_W, such as a pooling; its members are folded into N."""

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        self.plain = plain

    def forward(self, x_M_N_C_H_W: Tensor) -> Tensor:
        return each_member(self.plain, x_M_N_C_H_W)


@torch.no_grad()
def use_channels_last(model: nn.Module) -> None:
    """Store the convolutions' kernels with their channels innermost, in place.

    Convolutions then compute in that layout, which is the fast one of a GPU's tensor cores, and hand it on; values
    and shapes stay as they are.
    """
    for parameter in model.parameters():
        if parameter.ndim == 5:
            innermost = parameter.data.permute(0, 1, 3, 4, 2).contiguous()
            parameter.data = innermost.permute(0, 1, 4, 2, 3)
