"""BatchBALD: what the labels of a whole batch would tell of the members, counting nothing twice."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from src.active.batch.base import Batch, Picks, batch_heuristic
from src.models.density.memory import rows_in_cache

LEAST_OUTCOMES = 1000
OUTCOMES_PER_LABEL = 10
FIRST_BLOCK = 64
LOG_ZERO = -1e4
"""Stands for log 0: its exponential is 0, and sums of it stay finite."""


@batch_heuristic("batchbald", consumes=("member_log_probs",))
def batchbald(log_probs_N_K_C: Tensor, count: int, generator: torch.Generator) -> Batch:
    """Each pick adds most to the mutual information of the batch's labels and the member, I(y_1 … y_b; k), in nats
    (Kirsch, van Amersfoort & Gal 2019, "BatchBALD: Efficient and Diverse Batch Acquisition for Deep Bayesian Active
    Learning"). Scores are what each pick adds: I(y_b; k | y_1 … y_b−1).

    The expectation over the labels of earlier picks is exact while they have at most M = max(1000, 10·count) joint
    outcomes, rounded up to a multiple of K, and from then on a mean over M sampled ones, as many from each member.
    The information is submodular, so that what an input added to a smaller batch bounds what it adds now: only inputs
    whose bound reaches the best are looked at again (Minoux 1978; with sampled outcomes, up to their noise). A look
    costs K·C for each outcome that leaves a doubt about the member. A batch tells log K nats at most: what is picked
    once it has told all, to the last digit that the data type holds, is what told most when last looked at.
    """
    inputs, members, _ = log_probs_N_K_C.shape
    log_probs_N_K_C = log_probs_N_K_C.clamp(min=LOG_ZERO)
    probs_K_N_C = log_probs_N_K_C.exp().transpose(0, 1).contiguous()
    entropy_N_K = -(log_probs_N_K_C.exp() * log_probs_N_K_C).sum(dim=2)
    outcomes = Outcomes(members, max(LEAST_OUTCOMES, OUTCOMES_PER_LABEL * count), generator)

    def gains(rows_B: Tensor) -> Tensor:
        return information(*in_doubt, probs_K_N_C[:, rows_B], entropy_N_K[rows_B])

    in_doubt = outcomes.in_doubt(probs_K_N_C)
    every_N = torch.arange(inputs, device=probs_K_N_C.device)
    bounds_N = torch.cat([gains(rows_B) for rows_B in every_N.split(_rows(1, probs_K_N_C))])
    picks = Picks(bounds_N, count)
    while picks.wanting:
        if picks.positions:
            in_doubt = outcomes.in_doubt(probs_K_N_C)
            pick = _highest(bounds_N, picks, gains, _rows(len(in_doubt[0]), probs_K_N_C))
        else:
            pick = picks.highest(bounds_N)
        picks.add(pick, bounds_N[pick].item())
        outcomes.extend(log_probs_N_K_C[pick])
    return picks.batch()


class Outcomes:
    """Labels that the picks may turn out to have: M joint outcomes with weights that sum to 1, all of them or a sample.

    ``posterior_M_K`` says how likely each member is once an outcome has been seen.
    """

    def __init__(self, members: int, most: int, generator: torch.Generator) -> None:
        self.sampled = False
        self._most = math.ceil(most / members) * members
        self._generator = generator
        self._picked_K_C: list[Tensor] = []
        self._log_joint_M_K = torch.zeros(1, members, dtype=torch.float64)

    @property
    def posterior_M_K(self) -> Tensor:
        return self._log_joint_M_K.softmax(dim=1)

    @property
    def weights_M(self) -> Tensor:
        outcomes, members = self._log_joint_M_K.shape
        if self.sampled:
            return torch.full((outcomes,), 1 / outcomes, dtype=torch.float64)
        return self._log_joint_M_K.exp().sum(dim=1) / members

    def in_doubt(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """weights_M and posterior_M_K, in the type and on the device of ``like``, of the outcomes that leave more doubt
        about the member than rounding makes.

        An outcome's doubt, the entropy of its posterior, bounds all that one more label can tell under it.
        """
        posterior_M_K = self.posterior_M_K
        doubt_M = -torch.xlogy(posterior_M_K, posterior_M_K).sum(dim=1)
        kept = doubt_M > torch.finfo(like.dtype).eps
        return self.weights_M[kept].to(like), posterior_M_K[kept].to(like)

    def extend(self, log_probs_K_C: Tensor) -> None:
        """Let the outcomes include the label of one more pick; its log-probabilities are finite."""
        picked_K_C = log_probs_K_C.double().cpu()
        self._picked_K_C.append(picked_K_C)
        if self.sampled:
            self._log_joint_M_K += self._drawn(picked_K_C)
        elif len(self._log_joint_M_K) * picked_K_C.shape[1] <= self._most:
            self._log_joint_M_K = (self._log_joint_M_K[:, None] + picked_K_C.T).flatten(0, 1)
        else:
            self.sampled = True
            self._log_joint_M_K = torch.stack([self._drawn(picked) for picked in self._picked_K_C]).sum(0)

    def _drawn(self, picked_K_C: Tensor) -> Tensor:
        """log_probs_M_K, under every member, of a label that outcome m draws from member m mod K."""
        own_M_C = picked_K_C.exp().repeat(self._most // len(picked_K_C), 1)
        uniform_M_1 = torch.rand(self._most, 1, dtype=torch.float64, generator=self._generator)
        running_M_C = own_M_C.cumsum(dim=1)
        label_M = (uniform_M_1 * running_M_C[:, -1:] >= running_M_C).sum(dim=1)
        return picked_K_C.T[label_M]


def information(weights_M: Tensor, posterior_M_K: Tensor, probs_K_B_C: Tensor, entropy_B_K: Tensor) -> Tensor:
    """information_B = I(y; k | outcome) in nats, the weighted sum over outcomes, for B inputs whose members have that
    entropy.

    The mean entropy of a member is taken under the same outcomes as that of their mixture: for all outcomes this is
    the mean over members, and for a sample the difference has less noise and is never negative.
    """
    mixture_M_BC = (posterior_M_K @ probs_K_B_C.flatten(1)).clamp_(min=torch.finfo(probs_K_B_C.dtype).tiny)
    nats_BC = weights_M @ mixture_M_BC.log().mul_(mixture_M_BC)
    return -nats_BC.view(probs_K_B_C.shape[1:]).sum(dim=1) - entropy_B_K @ (weights_M @ posterior_M_K)


def _highest(bounds_N: Tensor, picks: Picks, gains: Callable[[Tensor], Tensor], block: int) -> int:
    """The open input with the highest gain up to rounding, where no gain exceeds its bound; bounds of those looked at
    become gains."""
    bound_N, order_N = bounds_N.masked_fill(~picks.open_N, -torch.inf).sort(descending=True, stable=True)
    best, pick, start, rows = -math.inf, -1, 0, min(FIRST_BLOCK, block)
    open_inputs, rounding = len(bounds_N) - len(picks.positions), 8 * torch.finfo(bounds_N.dtype).eps
    while start < open_inputs and best + rounding < bound_N[start]:
        rows_B = order_N[start : min(start + rows, open_inputs)]
        bounds_N[rows_B] = gains_B = gains(rows_B)
        highest = int(gains_B.argmax())
        if gains_B[highest] > best:
            best, pick = gains_B[highest].item(), int(rows_B[highest])
        start, rows = start + rows, min(2 * rows, block)
    return pick


def _rows(outcomes: int, probs_K_N_C: Tensor) -> int:
    """Inputs of a block: their probabilities, mixtures and the logarithms of these."""
    members, _, classes = probs_K_N_C.shape
    return rows_in_cache(
        2 * probs_K_N_C.element_size() * classes * (members + 2 * outcomes), probs_K_N_C.device
    )
