"""Which labelled features the neighbour and kernel heads keep. What they do with them is theirs."""

import torch
from torch import Tensor

from src.utils.errors import UserError


def check_max_samples(max_samples: int) -> None:
    """UserError unless it is −1 (keep all) or at least 1."""
    if max_samples != -1 and max_samples < 1:
        raise UserError(
            f"max_samples {max_samples}: keep at least 1 sample per class, or -1 for all", "max_samples"
        )


def draw_bank(labels_N: Tensor, max_samples: int, seed: int) -> Tensor:
    """Positions of at most ``max_samples`` samples of each class (−1: of all), ascending.

    Drawn on the CPU, so that every device has the same bank. UserError where nothing is labelled.
    """
    if len(labels_N) == 0:
        raise UserError("no sample is labelled, so that nothing has a neighbour: label at least one")
    generator = torch.Generator().manual_seed(seed)
    labels, kept = labels_N.cpu(), []
    for label in labels.unique():
        positions = (labels == label).nonzero().flatten()
        if max_samples != -1 and len(positions) > max_samples:
            positions = positions[torch.randperm(len(positions), generator=generator)[:max_samples]]
        kept.append(positions)
    return torch.cat(kept).sort().values.to(labels_N.device)
