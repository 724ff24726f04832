"""Evidence of a small random pool for tests of batch-aware acquisitions."""

from typing import Any

import torch

from src.active.batch import BATCH_HEURISTICS, Batch, DoubtfulFeatures, LastLayer
from src.models.density import GMM, KNN, DensityModel

OPTIONS = {"probcover_delta": "purity"}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def blobs(
    count: int, dims: int, draw: torch.Generator, classes: int = 3
) -> tuple[torch.Tensor, torch.Tensor]:
    """features_N_D around one corner a class, and labels_N."""
    labels_N = torch.arange(count) % classes
    return 3 * torch.eye(classes, dims)[labels_N] + torch.randn(count, dims, generator=draw), labels_N


def fitted(head: GMM | KNN, features_L_D: torch.Tensor, labels_L: torch.Tensor) -> DensityModel:
    density = DensityModel(head, normalize=False, dim_reduction=-1)
    density.fit(features_L_D, labels_L, features_L_D, labels_L)
    return density


def evidence(
    inputs: int,
    seed: int = 0,
    dims: int = 5,
    classes: int = 3,
    members: int = 4,
    head: GMM | KNN | None = None,
) -> dict[str, Any]:
    """One of each kind, of ``inputs`` pool inputs; a third of them are there twice."""
    draw = generator(seed)
    features_N_D, _ = blobs(inputs, dims, draw, classes)
    logits_N_K_C = 2 * torch.randn(inputs, members, classes, generator=draw)
    twins = inputs // 3
    features_N_D[inputs - twins :], logits_N_K_C[inputs - twins :] = (
        features_N_D[:twins],
        logits_N_K_C[:twins],
    )
    doubt_N = torch.rand(inputs, generator=draw)
    labelled_L_D, labels_L = blobs(4 * classes, dims, draw, classes)
    return {
        "member_log_probs": logits_N_K_C.log_softmax(-1),
        "features": features_N_D,
        "last_layer": LastLayer(features_N_D, logits_N_K_C[:, 0].log_softmax(-1)),
        "labelled_features": labelled_L_D,
        "doubtful_features": DoubtfulFeatures(
            features_N_D, torch.cat([doubt_N[: inputs - twins], doubt_N[:twins]])
        ),
        "nb_classes": classes,
        "density": fitted(head or GMM(), labelled_L_D, labels_L),
    }


def run(name: str, given: dict[str, Any], count: int, seed: int = 0, **options: Any) -> Batch:
    """The batch that the registered method of that name picks."""
    entry = BATCH_HEURISTICS.get(name)
    own = {key: options.get(key, OPTIONS[key]) for key in entry.options}
    return entry.select(
        *(given[kind] for kind in entry.consumes), count=count, generator=generator(seed), **own
    )
