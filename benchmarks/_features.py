"""Features like a network's last hidden layer, for benchmarks of density heads: seeded, of any number, never on disk
themselves. What is timed with them is each benchmark's own business."""

import torch
from torch import Tensor


class FeatureClouds:
    """One cloud a class, with a falling spectrum and, as after a ReLU, without negative values.

    Before the ReLU all classes share principal axes, along which both the classes' means and their samples vary
    with a standard deviation of 1/√j along the j-th. The ReLU gives every class a covariance of its own, and the
    whole full rank.
    """

    def __init__(self, dims: int, classes: int = 10, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        axes_D_D = torch.linalg.qr(torch.randn(dims, dims, generator=generator, dtype=torch.float64)).Q
        deviations_D = torch.arange(1, dims + 1, dtype=torch.float64).rsqrt()
        self._mixing_D_D = (deviations_D[:, None] * axes_D_D * dims**0.5).float()
        self._means_C_D = torch.randn(classes, dims, generator=generator) @ self._mixing_D_D

    def draw(self, count: int, seed: int) -> tuple[Tensor, Tensor]:
        """features_N_D in float32 and labels_N, classes in turn."""
        labels_N = torch.arange(count) % len(self._means_C_D)
        noise_N_D = torch.randn(count, len(self._mixing_D_D), generator=torch.Generator().manual_seed(seed))
        return (self._means_C_D[labels_N] + noise_N_D @ self._mixing_D_D).relu_(), labels_N
