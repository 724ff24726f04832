"""Small data for tests of models: separable classes behind the interface of a dataset's split."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Blobs:
    """Inputs around one corner a class; a ``Source`` without files."""

    def __init__(
        self, count: int = 90, classes: int = 3, dims: int = 8, seed: int = 0, spread: float = 0.3
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels_N = torch.arange(count) % classes
        centres = torch.randn(classes, dims, generator=generator)
        self.inputs_N_D = centres[self.labels_N] + spread * torch.randn(count, dims, generator=generator)

    def inputs(self, indices_B: Tensor) -> Tensor:
        return self.inputs_N_D.index_select(0, indices_B)


class Images:
    """Noisy images of one pattern a class; a ``Source`` without files."""

    def __init__(self, count: int, shape: Sequence[int], classes: int = 3, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels_N = torch.arange(count) % classes
        patterns = torch.randn(classes, *shape, generator=generator)
        self.inputs_N_C_H_W = patterns[self.labels_N] + 0.3 * torch.randn(count, *shape, generator=generator)

    def inputs(self, indices_B: Tensor) -> Tensor:
        return self.inputs_N_C_H_W.index_select(0, indices_B)
