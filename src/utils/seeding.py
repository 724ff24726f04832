"""Where every random number comes from: a seed for each (run, round, purpose). Nothing draws from global state,
except constructors of networks, under a seed that comes from here."""

import hashlib
import os
from dataclasses import dataclass

import torch


def seed(run_seed: int, round_: int, purpose: str) -> int:
    """A 63-bit seed, the same on every platform, independent between purposes and between rounds."""
    digest = hashlib.sha256(f"{run_seed}/{round_}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class RoundSeeds:
    """The seeds of one round of one run."""

    run_seed: int
    round_: int

    def seed(self, purpose: str) -> int:
        """The seed of one purpose in this round."""
        return seed(self.run_seed, self.round_, purpose)

    def generator(self, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
        """A fresh generator; on the CPU (the default) its draws are the same whatever device trains."""
        return torch.Generator(device).manual_seed(self.seed(purpose))


def make_deterministic() -> None:
    """Ask torch for bit-reproducible kernels; an operation that has none raises instead of varying."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
