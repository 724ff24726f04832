"""The task whose every pixel has a label: dataset-wide measures of maps, streamed batch by batch, and pictures of them.
The measures themselves are in ``utils``."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from src.active.heuristics import Heuristic
from src.active.maps import Reduction, per_pixel
from src.active.task import Fitted, Metrics, Shown, finite_loss, set_prediction_mode
from src.data import DataBundle, DatasetInfo, Source
from src.layers.stochastic import passes_of
from src.models.prediction import map_batches, member_log_probs, predictive_log_probs, refuse_non_finite
from src.utils.dense_metrics import DenseMetrics
from src.utils.errors import UserError
from src.utils.panels import save_panels
from src.utils.processes import share

SPLITS = {"train": "labelled scenes", "val": "validation scenes", "test": "test scenes"}
PICTURED = 4
"""Test scenes in the pictures of a round, evenly from all of them: neighbours are frames of one film."""


class Predicted(NamedTuple):
    """What a round's model says of a batch of scenes."""

    indices_B: Tensor
    log_probs_B_C_H_W: Tensor
    uncertainty_B_H_W: Tensor


class Segmentation:
    """Scenes with a class for every pixel but void ones, which have no say in anything.

    ``heuristic`` gives the uncertainty of a pixel that is held against its errors; under one that looks at nothing it
    is the predictive entropy. ``reduce_maps`` makes one score of a scene's.
    """

    headline = "miou"
    shown = 4

    def __init__(
        self, info: DatasetInfo, ignore_label: int, heuristic: Heuristic, reduce_maps: Reduction
    ) -> None:
        assert info.palette is not None, "scenes come with the colours of their classes"
        self.info, self.palette = info, info.palette
        self.ignore_label = ignore_label
        self.heuristic = heuristic
        self.reduce_maps = reduce_maps

    def evaluate(
        self, fitted: Fitted, data: DataBundle, labelled_L: Tensor, held_out_V: Tensor
    ) -> dict[str, Metrics]:
        """As every task; see ``DenseMetrics``. A pixel is called uncertain above the validation pixels' mean."""

        def measure(source: Source, indices_N: Tensor) -> tuple[float, DenseMetrics]:
            loss = finite_loss(fitted.model, source, indices_N)
            metrics = DenseMetrics(self.info.nb_classes, self.ignore_label, source.device)
            for seen in self._predict(fitted, source, share(indices_N)):
                metrics.update(seen.log_probs_B_C_H_W, seen.uncertainty_B_H_W, source.labels(seen.indices_B))
            return loss, metrics.of_all_processes()

        splits = {
            "train": measure(data.train, labelled_L),
            "val": measure(data.train, held_out_V),
            "test": measure(data.test, data.test.indices),
        }
        threshold = splits["val"][1].mean_uncertainty
        measured = {}
        for name, (loss, metrics) in splits.items():
            try:
                measured[name] = {"loss": loss, **metrics.compute(threshold)}
            except UserError as error:
                raise UserError(f"the {SPLITS[name]}: {error}") from None
        return measured

    def class_balance(self, source: Source, indices_N: Tensor) -> list[int]:
        """Pixels of each class."""
        counts_C = torch.zeros(self.info.nb_classes, dtype=torch.int64)
        for index in indices_N.split(1):
            labels_P = source.labels(index).flatten().cpu()
            counts_C += torch.bincount(
                labels_P[labels_P != self.ignore_label], minlength=self.info.nb_classes
            )
        return counts_C.tolist()

    def reduce(self, scores: Tensor) -> Tensor:
        """scores_B of scores_B_H_W, over the whole map."""
        return self.reduce_maps(scores)

    def illustrate(self, fitted: Fitted, data: DataBundle, folder: Path, round_: int) -> None:
        """``panels_<round>.png``, counted from 0: some test scenes, their truth, prediction and uncertainty."""
        self._draw(folder / f"panels_{round_}.png", data.test, _spread(data.test.indices, PICTURED), fitted)

    def show(self, path: Path, source: Source, groups: Sequence[Shown], fitted: Fitted | None) -> None:
        """Panels of the scenes, the groups one below the other; at the left which it is, and its score."""
        indices_N = torch.cat([group.indices_N for group in groups]).to(source.device)
        captions = [f"{group.which}\n{score:.4g}" for group in groups for score in group.scores_N]
        self._draw(path, source, indices_N, fitted, captions)

    def _draw(
        self,
        path: Path,
        source: Source,
        indices_N: Tensor,
        fitted: Fitted | None,
        captions: Sequence[str] = (),
    ) -> None:
        predicted_N_H_W = uncertainty_N_H_W = None
        if fitted is not None:
            seen = list(self._predict(fitted, source, indices_N))
            predicted_N_H_W = torch.cat([batch.log_probs_B_C_H_W.argmax(1) for batch in seen])
            uncertainty_N_H_W = torch.cat([batch.uncertainty_B_H_W for batch in seen])
        save_panels(
            path,
            source.pixels(indices_N),
            source.labels(indices_N),
            predicted_N_H_W,
            uncertainty_N_H_W,
            self.palette,
            self.info.class_names,
            self.ignore_label,
            captions,
        )

    @torch.no_grad()
    def _predict(self, fitted: Fitted, source: Source, indices_N: Tensor) -> Iterator[Predicted]:
        """Every batch of these scenes; NonFiniteError with the dataset indices where a number is not finite."""
        model, density = fitted.model, fitted.density

        def predicted(indices_B: Tensor, inputs_1_B_S: Tensor) -> Predicted:
            if passes_of(model) != fitted.mc_passes:
                # The same masks again: the density has looked without any.
                set_prediction_mode(model, fitted.mc_passes, fitted.seeds)
            log_probs_B_K_C_H_W = member_log_probs(model, inputs_1_B_S)
            if self.heuristic.consumes == "surprise":
                assert density is not None
                model.eval()
                surprise_B_h_w = per_pixel(density.surprise, model.encode(inputs_1_B_S)[0]).float()
                uncertainty_B_H_W = model.enlarge_scores(surprise_B_h_w, inputs_1_B_S.shape[-2:])
            else:
                uncertainty_B_H_W = per_pixel(self.heuristic.score, log_probs_B_K_C_H_W)
            log_probs_B_C_H_W = predictive_log_probs(log_probs_B_K_C_H_W)
            refuse_non_finite(log_probs_B_C_H_W, indices_B, "the predicted log-probabilities")
            refuse_non_finite(uncertainty_B_H_W, indices_B, "the uncertainties")
            return Predicted(indices_B, log_probs_B_C_H_W, uncertainty_B_H_W)

        set_prediction_mode(model, fitted.mc_passes, fitted.seeds)
        for _, seen in map_batches(predicted, source, indices_N, model):
            yield seen


def _spread(indices_N: Tensor, count: int) -> Tensor:
    """``count`` of the indices (all, where there are fewer) at even distances, the first among them."""
    step = max(1, len(indices_N) // count)
    return indices_N[::step][:count]
