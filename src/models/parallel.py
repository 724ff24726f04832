"""Training by several processes, each on its part of every batch, with the weights that one would come to."""

from collections.abc import Callable
from inspect import signature

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from src.models.network import Network
from src.utils import processes

NO_SYNC_OF_BUFFERS = (
    "forward_sync_buffers"
    if "forward_sync_buffers" in signature(DistributedDataParallel).parameters
    else "broadcast_buffers"  # before torch 2.14
)
Objective = Callable[[Tensor, Tensor, int], Tensor]
"""(inputs_M_N_S, labels_M_N, epoch) → loss_M, as ``Network.loss``."""


class _Objective(nn.Module):
    """A network whose call is its loss, which is what DistributedDataParallel wants to be asked for."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs_M_N_S: Tensor, labels_M_N: Tensor, epoch: int) -> Tensor:
        return self.network.loss(inputs_M_N_S, labels_M_N, epoch)


def data_parallel(model: Network) -> Objective:
    """The network's loss; of several processes, whose gradients are then averaged over all of them while they are
    computed."""
    if processes.count() == 1:
        return model.loss
    # Batch norms see to their buffers themselves: each process has the statistics of the whole batch.
    with processes.talking():
        return DistributedDataParallel(_Objective(model), **{NO_SYNC_OF_BUFFERS: False})  # type: ignore[arg-type]


def whole_batch(loss_M: Tensor, weight_M: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(what to minimise, loss_M, weight_M) of a batch whose part in this process has this loss and weight.

    What is minimised, summed over members, averages over the processes to the loss of the whole: parts that weigh more
    count for more. Exact where a batch's loss is the weighted mean of its parts' losses; Dice and IoU, which are ratios
    of sums over a batch, are averaged over the parts.
    """
    if processes.count() == 1:
        return loss_M, loss_M.detach(), weight_M
    total_M, whole_M = processes.summed(torch.stack([loss_M.detach().double() * weight_M, weight_M]))
    divisor_M = whole_M.where(whole_M > 0, 1)
    return loss_M * (processes.count() * weight_M / divisor_M), total_M / divisor_M, whole_M
