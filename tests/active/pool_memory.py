"""How much memory scoring a pool of street scenes takes at its peak, told by a process of its own:

python -m tests.active.pool_memory 50
"""

import sys

import torch
from torch import Tensor, nn

from benchmarks._memory import peak, start_of_peak
from src.active.heuristics import HEURISTICS
from src.active.maps import reduction
from src.active.scoring import PoolView, score_pool
from src.layers.member_axis import with_member_axis
from src.models.dense import DenseNetwork
from src.utils.seeding import RoundSeeds

ROWS, COLS, CLASSES, PASSES = 256, 512, 19, 10


class Small(DenseNetwork):
    """A network whose maps are cheap but for the class scores a pixel."""

    def __init__(self) -> None:
        super().__init__(8, CLASSES)
        self.encoder = with_member_axis(nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.Dropout(0.5)))
        self.head = with_member_axis(nn.Conv2d(8, CLASSES, 1))
        self.largest_map = CLASSES * ROWS * COLS

    def hidden_map(self, inputs_M_N_I_H_W: Tensor) -> Tensor:
        return self.encoder(inputs_M_N_I_H_W)

    def enlarge(self, logits_M_N_C: Tensor, size: object) -> Tensor:
        return logits_M_N_C.repeat_interleave(8, -2).repeat_interleave(8, -1)


class Noise:
    """Scenes made when they are asked for, so that none is in memory before."""

    device = torch.device("cpu")

    def inputs(self, indices_B: Tensor) -> Tensor:
        """inputs_B_3_H_W in float32."""
        generator = torch.Generator().manual_seed(int(indices_B[0]))
        return torch.rand(len(indices_B), 3, ROWS, COLS, generator=generator)


def mib_at_peak(count: int) -> float:
    """Of resident memory, beyond what there was before ``count`` scenes were scored by BALD."""
    torch.manual_seed(0)
    model = Small()
    seeds, nothing = RoundSeeds(0, 0), torch.arange(0)

    def score(indices_N: Tensor) -> Tensor:
        view = PoolView(
            model, None, Noise(), nothing, indices_N, CLASSES, PASSES, seeds, reduction("mean", 1.0)
        )
        return score_pool(HEURISTICS.get("bald"), view)

    score(torch.arange(2))
    before = start_of_peak()
    scores_N = score(torch.arange(count))
    assert scores_N.shape == (count,)
    assert scores_N.unique().numel() == count
    return (peak() - before) / 2**20


if __name__ == "__main__":
    print(mib_at_peak(int(sys.argv[1])))
