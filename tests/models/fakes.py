"""Small data for tests of models: separable classes behind the interface of a dataset's split, a class an input or a
class a pixel."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Labelled:
    """What the sources here have in common: one label an input."""

    labels_N: Tensor

    @property
    def device(self) -> torch.device:
        return self.labels_N.device

    def labels(self, indices_B: Tensor) -> Tensor:
        return self.labels_N.index_select(0, indices_B)


class Blobs(Labelled):
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


class Images(Labelled):
    """Noisy images of one pattern a class; a ``Source`` without files."""

    def __init__(self, count: int, shape: Sequence[int], classes: int = 3, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels_N = torch.arange(count) % classes
        patterns = torch.randn(classes, *shape, generator=generator)
        self.inputs_N_C_H_W = patterns[self.labels_N] + 0.3 * torch.randn(count, *shape, generator=generator)

    def inputs(self, indices_B: Tensor) -> Tensor:
        return self.inputs_N_C_H_W.index_select(0, indices_B)


class Scenes(Images):
    """Images of upright stripes, in each image elsewhere, whose classes show as noisy colours; ``labels_N`` is
    masks_N_H_W, the first row of each void."""

    def __init__(
        self, count: int, shape: Sequence[int], classes: int = 3, seed: int = 0, void: int = 255
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        channels, rows, cols = shape
        classes_W = torch.arange(cols) * classes // cols
        self.labels_N = torch.stack([classes_W.roll(5 * n).expand(rows, -1) for n in range(count)]).clone()
        colours_K_C = torch.randn(classes, channels, generator=generator)
        noise = torch.randn(count, *shape, generator=generator)
        self.inputs_N_C_H_W = colours_K_C[self.labels_N].movedim(-1, 1) + 0.3 * noise
        self.labels_N[:, 0] = void
