"""Labelled features that the density tests share. What is true of them, each test says itself."""

import numpy as np
import torch
from torch import Tensor


def blobs(
    classes: int, per_class: int, dims: int, seed: int = 0, spread: float = 1.0
) -> tuple[Tensor, Tensor]:
    """features_N_D in float64, one correlated cloud a class about its own centre, and labels_N, shuffled."""
    rng = np.random.default_rng(seed)
    labels_N = rng.permutation(np.repeat(np.arange(classes), per_class))
    centres_C_D = 2 * rng.normal(size=(classes, dims))
    mixing_C_D_D = spread * rng.normal(size=(classes, dims, dims)) / np.sqrt(dims)
    noise_N_D = np.einsum("nd,nde->ne", rng.normal(size=(len(labels_N), dims)), mixing_C_D_D[labels_N])
    return torch.from_numpy(centres_C_D[labels_N] + noise_N_D), torch.from_numpy(labels_N)


def halves(features_N_D: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The arguments of ``fit``: the first half of the rows for training, the others for validation."""
    n = len(labels_N) // 2
    return features_N_D[:n], labels_N[:n], features_N_D[n:], labels_N[n:]
