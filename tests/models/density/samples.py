"""Labelled features that the density tests share. What is true of them, each test says itself."""

import numpy as np
import torch
from torch import Tensor

from src.models.density.transforms import Projection, principal_axes


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


HARD = (
    "noise",
    "classes",
    "low rank",
    "tight and far",
    "duplicates",
    "zero rows",
    "constant",
    "uneven norms",
)


def hard_features(kind: str, rows: int, dims: int, seed: int) -> Tensor:
    """features_N_D in float32 on which a search by rounded products is put to the test; ``kind`` is one of HARD."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    match kind:
        case "noise":
            return normal(rows, dims)
        case "classes":
            return normal(rows, dims) + 3 * normal(3, dims)[torch.arange(rows) % 3]
        case "low rank":
            return normal(rows, 4) @ normal(4, dims)
        case "tight and far":
            return 300 + 1e-3 * normal(rows, dims) + normal(3, dims)[torch.arange(rows) % 3]
        case "duplicates":
            return normal(5, dims)[torch.arange(rows) % 5]
        case "zero rows":
            return normal(rows, dims) * (torch.arange(rows) % 3 > 0)[:, None]
        case "constant":
            return torch.full((rows, dims), 0.1)
        case "uneven norms":
            return normal(rows, dims) * torch.logspace(-3, 3, rows)[:, None]
    raise ValueError(kind)


def fit_pca(features_N_D: Tensor) -> Projection:
    """The principal axes of these features about their mean."""
    centred_N_D = features_N_D - features_N_D.mean(dim=0)
    return principal_axes(len(features_N_D), features_N_D.mean(dim=0), centred_N_D.T @ centred_N_D)
