"""HU-KDE: surprise as the mean distance to the nearest labelled features of the class that they vote for. How
neighbours are found is the next file's business."""

from typing import ClassVar, Self

import torch
from torch import Tensor

from src.config import MirConfig
from src.models.density.bank import check_max_samples, draw_bank
from src.models.density.base import DENSITY_HEADS
from src.models.density.memory import rows_per_block
from src.models.density.neighbours import NeighbourIndex, norm_order
from src.utils.errors import UserError

WEIGHTS = ("uniform", "distance")


@DENSITY_HEADS.register("knn")
class KNN:
    """The nearest labelled features vote, and surprise is the mean distance to those of the class that wins.

    ``weights``: a neighbour's vote counts 1 (uniform) or 1/distance (distance; where neighbours coincide with
    the query, only they vote). On a tie the smallest label wins. ``metric``: euclidean, cosine (1 − cos, which
    is 1 beside a zero vector), manhattan or chebyshev. ``max_samples`` labelled features of each class are
    kept, drawn with ``seed``; −1 keeps all. Where fewer than ``neighbours`` are labelled, all are neighbours.
    """

    samples_per_class: ClassVar[int] = 1
    searches_dimension: ClassVar[bool] = False
    normalizes_projections: ClassVar[bool] = False
    fit_moments: ClassVar[None] = None

    def __init__(
        self,
        neighbours: int = 5,
        weights: str = "distance",
        metric: str = "euclidean",
        max_samples: int = 5000,
        seed: int = 0,
    ) -> None:
        if neighbours < 1:
            raise UserError(
                f"knn_neighbours {neighbours}: at least one neighbour has to vote", "knn_neighbours"
            )
        if weights.lower() not in WEIGHTS:
            raise UserError(f"unknown knn_weights {weights!r}; choices: {', '.join(WEIGHTS)}", "knn_weights")
        check_max_samples(max_samples)
        norm_order(metric.lower())
        self.neighbours = neighbours
        self.weights = weights.lower()
        self.metric = metric.lower()
        self.max_samples = max_samples
        self.seed = seed

    @classmethod
    def from_config(cls, mir: MirConfig, seed: int) -> Self:
        """The head that the ``knn_*`` keys and ``max_samples`` describe."""
        return cls(mir.knn_neighbours, mir.knn_weights, mir.knn_metric, mir.max_samples, seed)

    @torch.no_grad()
    def fit(
        self, features_N_D: Tensor, labels_N: Tensor, val_features_M_D: Tensor, val_labels_M: Tensor
    ) -> None:
        """Keep the bank of labelled features; nothing is learnt from validation. UserError on an empty bank."""
        kept = draw_bank(labels_N, self.max_samples, self.seed)
        self._labels_C, self._classes_B = labels_N[kept].unique(return_inverse=True)
        self._index = NeighbourIndex(features_N_D[kept], self.metric, self.neighbours)

    @torch.no_grad()
    def nearest(self, features_N_D: Tensor) -> tuple[Tensor, Tensor]:
        """distances_N_K, ascending, in the metric's units, and classes_N_K of the nearest labelled features; a class is
        a position in their ascending labels."""
        distances_N_K, rows_N_K = self._index(features_N_D)
        return distances_N_K, self._classes_B[rows_N_K]

    def vote(self, distances_N_K: Tensor, classes_N_K: Tensor) -> Tensor:
        """class_N that these neighbours vote for."""
        if self.weights == "uniform":
            weights_N_K = torch.ones_like(distances_N_K)
        else:
            coincides_N_K = distances_N_K == 0
            weights_N_K = torch.where(
                coincides_N_K.any(dim=1, keepdim=True), coincides_N_K.double(), 1 / distances_N_K
            )
        one_hot_N_K_C = torch.nn.functional.one_hot(classes_N_K, len(self._labels_C))
        return (weights_N_K[:, :, None] * one_hot_N_K_C).sum(dim=1).argmax(dim=1)

    @torch.no_grad()
    def judge(self, distances_N_K: Tensor, classes_N_K: Tensor) -> tuple[Tensor, Tensor]:
        """surprise_N, the mean distance to those of these neighbours whose class wins the vote, and that class_N."""
        class_N = self.vote(distances_N_K, classes_N_K)
        agrees_N_K = classes_N_K == class_N[:, None]
        return (distances_N_K * agrees_N_K).sum(dim=1) / agrees_N_K.sum(dim=1), class_N

    @torch.no_grad()
    def neighbourhood(self, features_N_D: Tensor) -> tuple[Tensor, Tensor]:
        """surprise_N, in the metric's units, and the label_N that the neighbours vote for."""
        blocks = features_N_D.split(self.rows_per_vote())
        means, classes = zip(*(self.judge(*self.nearest(block)) for block in blocks), strict=True)
        return torch.cat(means), self._labels_C[torch.cat(classes)]

    def rows_per_vote(self) -> int:
        """How many inputs may vote at once: N × K × C numbers need blocks of their own, beside the index's."""
        return rows_per_block(3 * 8 * self.neighbours * len(self._labels_C))

    def surprise(self, features_N_D: Tensor) -> Tensor:
        """surprise_N, the mean distance to the neighbours of the class voted for, in float64."""
        return self.neighbourhood(features_N_D)[0]

    def diagnostics(self) -> dict[str, object]:
        """``bank_per_class``: how many labelled features of each class, by ascending label, may be neighbours."""
        return {"bank_per_class": self._classes_B.bincount(minlength=len(self._labels_C)).tolist()}
