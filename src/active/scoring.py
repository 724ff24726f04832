"""Looking at a pool: run as much of the model as an acquisition consumes, batch by batch, and keep no more of it. What
is made of a whole pool's evidence is told in ``acquisition.py`` and ``batch/``."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from src.active.batch import DoubtfulFeatures, Evidence, LastLayer
from src.active.heuristics import Heuristic, doubt
from src.active.maps import per_pixel
from src.active.task import set_prediction_mode
from src.models.density import DensityModel
from src.models.network import Network
from src.models.prediction import Source, feature_batches, map_batches, member_log_probs, refuse_non_finite
from src.utils.processes import joined, share
from src.utils.seeding import RoundSeeds


@dataclass(frozen=True)
class PoolView:
    """What an acquisition may look at: the fitted model with its density head, the labelled inputs, the candidates.

    ``reduce`` makes scores_B of what a heuristic makes of a batch: of a map of scores, if the model is dense.
    """

    model: Network
    density: DensityModel | None
    source: Source
    labelled_L: Tensor
    candidates_N: Tensor
    nb_classes: int
    mc_passes: int
    seeds: RoundSeeds
    reduce: Callable[[Tensor], Tensor] = lambda scores_B: scores_B


def subsample(pool_indices_P: Tensor, max_pool_samples: int, seeds: RoundSeeds) -> Tensor:
    """The part of the pool that is scored: all of it (−1 or few enough) or a seeded subset, ascending."""
    if max_pool_samples == -1 or len(pool_indices_P) <= max_pool_samples:
        return pool_indices_P
    order = torch.randperm(len(pool_indices_P), generator=seeds.generator("pool subset"))
    return pool_indices_P[order[:max_pool_samples]].sort().values


def fit_density(
    density: DensityModel, model: Network, source: Source, train_indices_N: Tensor, val_indices_V: Tensor
) -> None:
    """Fit on the features that the (restored best) weights give the labelled inputs, in order, un-augmented.

    Of a dense model every place of a feature map is a sample, and its class the one that the model predicts there.
    Features leave the network batch by batch, of several processes each its share; how many are held is for the density
    head to say.
    """

    def labelled_features(indices_N: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for indices_B, features_B_S in feature_batches(model, source, share(indices_N)):
            if model.dense:
                predicted_B_h_w = model.classify(features_B_S[None])[0].argmax(1)
                yield features_B_S.movedim(1, -1).flatten(0, -2), predicted_B_h_w.flatten()
            else:
                yield features_B_S, source.labels(indices_B)

    density.fit_batches(
        partial(labelled_features, train_indices_N), partial(labelled_features, val_indices_V)
    )


@torch.no_grad()
def score_pool(heuristic: Heuristic, view: PoolView) -> Tensor:
    """scores_N in float64 on the CPU for the candidates; ``mc_passes`` > 1 scores under that many dropout masks.

    Of several processes each scores its share, and all get the scores of the whole: eight bytes an input, no features.

    Raises NonFiniteError with the dataset indices where a score is NaN or infinite.
    """
    model, source, indices_N = view.model, view.source, view.candidates_N
    if heuristic.consumes == "nothing":
        uniform_N = torch.rand(len(indices_N), generator=view.seeds.generator("random scores"))
        return heuristic.score(uniform_N).double()
    set_prediction_mode(model, 1 if heuristic.consumes == "surprise" else view.mc_passes, view.seeds)
    score, surprise = heuristic.score, heuristic.consumes == "surprise"
    if surprise:
        assert view.density is not None
        score = view.density.surprise

    def scores(indices_B: Tensor, inputs_1_B_S: Tensor) -> Tensor:
        if surprise:
            evidence_B = model.encode(inputs_1_B_S)[0]
            refuse_non_finite(evidence_B, indices_B, "the hidden features")
        else:
            evidence_B = member_log_probs(model, inputs_1_B_S)
        scores_B = view.reduce(per_pixel(score, evidence_B) if model.dense else score(evidence_B))
        refuse_non_finite(scores_B, indices_B, "the scores")
        return scores_B

    own_n, done = share(indices_N), 0
    scores_n = torch.empty(len(own_n), dtype=torch.float64, device=source.device)
    for _, scores_B in map_batches(scores, source, own_n, model):
        scores_n[done : done + len(scores_B)] = scores_B
        done += len(scores_B)
    return joined(scores_n).cpu()


@torch.no_grad()
def collect(evidence: Evidence, view: PoolView) -> object:
    """One kind of evidence of the whole pool (its shape is told at ``Evidence``), on the model's device.

    Of several processes each looks at its share, and all get the whole.

    Raises NonFiniteError with the dataset indices where a log-probability or a feature is NaN or infinite.
    """
    model, source = view.model, view.source
    if evidence == "nb_classes":
        return view.nb_classes
    if evidence == "density":
        return view.density
    if evidence in ("features", "labelled_features"):
        indices = view.candidates_N if evidence == "features" else view.labelled_L
        own = share(indices)
        parts = feature_batches(model, source, own)
        if model.dense:
            parts = ((indices_B, maps_B_D_h_w.mean((-2, -1))) for indices_B, maps_B_D_h_w in parts)
        return joined(_gather(parts, len(own)))
    own_n = share(view.candidates_N)
    if evidence == "doubtful_features":
        both_N_D1 = joined(_gather(_doubtful_features(view, own_n), len(own_n)))
        return DoubtfulFeatures(both_N_D1[:, :-1], both_N_D1[:, -1])
    if evidence == "last_layer":
        both_N_EC = joined(_gather(_last_layer(view, own_n), len(own_n)))
        return LastLayer(both_N_EC[:, : -view.nb_classes], both_N_EC[:, -view.nb_classes :])
    set_prediction_mode(model, view.mc_passes, view.seeds)

    def log_probs(indices_B: Tensor, inputs_1_B_S: Tensor) -> Tensor:
        return _checked(member_log_probs(model, inputs_1_B_S), indices_B)

    return joined(_gather(map_batches(log_probs, source, own_n, model), len(own_n)))


def _last_layer(view: PoolView, indices_N: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(indices_B, both_B_EC): inputs and log-probabilities side by side, of one run of the pool through the model."""
    for indices_B, features_B_D in feature_batches(view.model, view.source, indices_N):
        inputs_B_E = view.model.last_inputs(features_B_D[None])[0]
        log_probs_B_C = view.model.classify(features_B_D[None])[0].log_softmax(-1)
        yield indices_B, torch.cat([inputs_B_E, _checked(log_probs_B_C, indices_B)], dim=1)


def _doubtful_features(view: PoolView, indices_N: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """(indices_B, both_B_D1): features and doubt side by side, of one run of the pool through the model."""
    model = view.model
    for indices_B, features_B_S in feature_batches(model, view.source, indices_N):
        log_probs_B_1_C = model.classify(features_B_S[None])[0].log_softmax(1)[:, None]
        log_probs_B_1_C = _checked(log_probs_B_1_C, indices_B)
        if model.dense:
            doubt_B = view.reduce(per_pixel(doubt, log_probs_B_1_C))
            features_B_S = features_B_S.mean((-2, -1))
        else:
            doubt_B = doubt(log_probs_B_1_C)
        yield indices_B, torch.cat([features_B_S, doubt_B[:, None].to(features_B_S)], dim=1)


def _checked(log_probs_B_S: Tensor, indices_B: Tensor) -> Tensor:
    # −∞ is the logarithm of 0, which is a probability.
    refuse_non_finite(log_probs_B_S.exp(), indices_B, "the predicted log-probabilities")
    return log_probs_B_S


def _gather(parts: Iterable[tuple[Tensor, Tensor]], count: int) -> Tensor:
    """The values of all parts in one tensor, which is made once."""
    gathered: Tensor | None = None
    start = 0
    for _, values_B in parts:
        if gathered is None:
            gathered = values_B.new_empty(count, *values_B.shape[1:])
        gathered[start : start + len(values_B)] = values_B
        start += len(values_B)
    return torch.empty(0) if gathered is None else gathered
