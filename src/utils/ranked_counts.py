"""How many values of two groups lie where, counted as they stream by in bounded memory: what the AUROC is made of.
What the values and the groups mean is the caller's matter."""

from typing import NamedTuple

import torch
from torch import Tensor

from src.utils.processes import joined, largest

CAPACITY = 2**20


class Area(NamedTuple):
    """An area under the ROC curve, and by how much at most the exact one differs from it."""

    auroc: float
    bound: float


class RankedCounts:
    """A sorted table of the different float32 values seen, with the number of each in either group.

    The table is exact as long as it has at most ``capacity`` entries (a value in both groups takes two). Beyond,
    neighbouring values are counted as one: float32 values are numbered in their order, and of these numbers so
    many low bits are dropped that the table fits. How many depends on all the values together and not on how they
    were batched, so the counts are the same however they came. Integers alone are added up: no order of additions
    on a GPU can change them. Takes about 200 bytes an entry, while merging, and the caller's largest batch.
    """

    def __init__(self, device: torch.device | str, capacity: int = CAPACITY) -> None:
        self.capacity = max(capacity, 4)  # two groups of either sign, which no dropped bit brings together
        self.dropped_bits = 0
        # A code is a value's number, and in the last bit its group.
        self._codes_K = torch.empty(0, dtype=torch.int64, device=device)
        self._counts_K = torch.empty_like(self._codes_K)
        self._waiting: list[Tensor] = []

    def __len__(self) -> int:
        self._merge()
        return len(self._codes_K)

    def add(self, values_N: Tensor, positive_N: Tensor) -> None:
        """Count finite values, compared as float32, of which those where the bool is true are the positive group."""
        self._waiting.append(_numbers(values_N) << 1 | positive_N.to(torch.int64))
        if sum(map(len, self._waiting)) >= self.capacity:  # rarely, as each merge sorts all of the table
            self._merge()

    def area(self) -> Area | None:
        """The probability that a value of the positive group is above one of the other, equal ones counting half.

        None where a group is empty. Of two values counted as one it is not known which is above: they count half
        too, so that the result is off by no more than half the share of such pairs, the bound; 0 where no bit had
        to be dropped.
        """
        negative_K, positive_K = (counts_K.double() for counts_K in self._by_group()[1])
        pairs = (negative_K.sum() * positive_K.sum()).item()
        if pairs == 0:
            return None
        below_K = negative_K.cumsum(0) - negative_K
        area = (positive_K * (below_K + negative_K / 2)).sum().item() / pairs
        together = (positive_K * negative_K).sum().item() / pairs
        return Area(area, together / 2 if self.dropped_bits else 0.0)

    def split(self, threshold: float) -> list[list[int]]:
        """[[negative up to the threshold, negative above it], [positive up to, positive above]].

        What is counted as one with the threshold is not above it.
        """
        numbers_K, groups_2_K = self._by_group()
        above_K = numbers_K > _numbers(torch.tensor(threshold)) >> self.dropped_bits
        return [[int(counts_K[~above_K].sum()), int(counts_K[above_K].sum())] for counts_K in groups_2_K]

    def of_all_processes(self) -> "RankedCounts":
        """The table of the values that all processes of the run have counted, for each of them."""
        self._merge()
        whole = RankedCounts(self._codes_K.device, self.capacity)
        whole.dropped_bits = largest(self.dropped_bits)
        codes_K = _coarsened(self._codes_K, whole.dropped_bits - self.dropped_bits)
        whole._set(joined(codes_K), joined(self._counts_K))
        return whole

    def _merge(self) -> None:
        if not self._waiting:
            return
        arrived_N = _coarsened(torch.cat(self._waiting), self.dropped_bits)
        self._waiting.clear()
        self._set(
            torch.cat([self._codes_K, arrived_N]), torch.cat([self._counts_K, torch.ones_like(arrived_N)])
        )

    def _set(self, codes_N: Tensor, counts_N: Tensor) -> None:
        """The table of these codes, which may repeat; bits are dropped until it fits."""
        codes_K, counts_K = codes_N, counts_N
        while True:
            codes_K, place_K = codes_K.unique(return_inverse=True)
            counts_K = torch.zeros_like(codes_K).index_add_(0, place_K, counts_K)
            if len(codes_K) <= self.capacity:
                break
            codes_K = _coarsened(codes_K, 1)
            self.dropped_bits += 1
        self._codes_K, self._counts_K = codes_K, counts_K

    def _by_group(self) -> tuple[Tensor, Tensor]:
        """numbers_K in order and groups_2_K, their counts in the negative and the positive group; on the CPU."""
        self._merge()
        codes_K, counts_K = self._codes_K.cpu(), self._counts_K.cpu()
        numbers_K, place_K = (codes_K >> 1).unique_consecutive(return_inverse=True)
        groups_2_K = torch.zeros(2, len(numbers_K), dtype=torch.int64)
        groups_2_K[codes_K & 1, place_K] = counts_K
        return numbers_K, groups_2_K


def _numbers(values_N: Tensor) -> Tensor:
    """Integers in the same order as the float32 values, neighbours being one apart; −0 is 0."""
    bits_N = (values_N.to(torch.float32) + 0.0).view(torch.int32).to(torch.int64)
    # The bits of positive values are in order already, and those of negative ones in the reverse.
    return bits_N ^ ((bits_N >> 31) & 0x7FFFFFFF)


def _coarsened(codes_N: Tensor, bits: int) -> Tensor:
    return (codes_N >> bits + 1 << 1) | (codes_N & 1)
