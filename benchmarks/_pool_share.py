"""What ``ddp_scaling`` starts, in one process or by torchrun in several: score a pool and tell how long it took."""

import sys
import time
from pathlib import Path

import torch

from src.active.heuristics import HEURISTICS
from src.active.scoring import PoolView, fit_density, score_pool
from src.config import Config
from src.models.build import build_density, build_model
from src.utils import processes
from src.utils.seeding import RoundSeeds

SHAPE, CLASSES, LABELLED = (3, 32, 32), 10, 200
MIR = {"backbone": "resnet18", "density_model": "gmm", "dim_reduction": 64}


class Noise:
    """Images made once, as a small dataset is kept in memory."""

    device = torch.device("cpu")

    def __init__(self, count: int) -> None:
        self.images_N_C_H_W = torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(0))

    def inputs(self, indices_B: torch.Tensor) -> torch.Tensor:
        """inputs_B_C_H_W."""
        return self.images_N_C_H_W.index_select(0, indices_B)

    def labels(self, indices_B: torch.Tensor) -> torch.Tensor:
        """Classes in turn."""
        return indices_B % CLASSES


def main(inputs: int, repeats: int, path: Path) -> None:
    """Score ``inputs`` images by hidden uncertainty under a resnet18; write the seconds of each repeat, which all
    processes began together, and the scores."""
    torch.set_num_threads(1)
    with processes.together(torch.device("cpu")):
        config = Config.model_validate({"name": "pool", "model": {"name": "MIR", "mir_configs": MIR}})
        seeds, source = RoundSeeds(3, 0), Noise(LABELLED + inputs)
        model, density = (
            build_model(config, SHAPE, CLASSES, seeds, source.device),
            build_density(config, seeds),
        )
        assert density is not None
        labelled, pool = torch.arange(LABELLED), torch.arange(LABELLED, LABELLED + inputs)
        fit_density(density, model, source, labelled, labelled)
        view = PoolView(model, density, source, labelled, pool, CLASSES, 1, seeds)
        heuristic, seconds = HEURISTICS.get("precomputed"), []
        for _ in range(1 + repeats):  # the first is to warm up
            processes.wait()
            started = time.perf_counter()
            scores_N = score_pool(heuristic, view)
            processes.wait()
            seconds.append(time.perf_counter() - started)
        if processes.first():
            torch.save({"seconds": seconds[1:], "scores": scores_N}, path)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
