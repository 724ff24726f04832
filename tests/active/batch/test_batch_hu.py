"""Batch-aware HU against a head that is fitted anew, with the picks among its labelled features, for each pick."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.models.density import GMM, KNN, DensityModel, GreedySearch
from src.utils.errors import UserError
from tests.active.evidence import blobs, fitted, generator, run


def greedy_gmm() -> GMM:
    return GMM(GreedySearch(1, "train_val_l2", "mean"))


def mixture_class(head: GMM, features_1_D: torch.Tensor) -> int:
    """The label whose Gaussian is most responsible."""
    gaussians, x_K = head.gaussians, head.coordinates(features_1_D)[0]
    log_joint = [
        torch.distributions.MultivariateNormal(mean, scale_tril=factor).log_prob(x_K) + count.double().log()
        for mean, factor, count in zip(
            gaussians.means_C_D, gaussians.factors_C_D_D, gaussians.counts_C, strict=True
        )
    ]
    return int(gaussians.labels_C[int(torch.stack(log_joint).argmax())])


def twin(
    density: DensityModel,
    labelled_L_D: torch.Tensor,
    labels_L: torch.Tensor,
    pool_N_D: torch.Tensor,
    count: int,
):
    """Positions and scores of greedy picks, the head refitted from scratch after each."""
    head, positions, scores = density.head, [], []
    space = head.coordinates if isinstance(head, GMM) else lambda features: features
    features, labels = space(labelled_L_D), labels_L
    pool = space(pool_N_D)
    for _ in range(count):
        if isinstance(head, GMM):
            now = fitted(GMM(), features, labels).head
        else:
            now = fitted(KNN(head.neighbours, head.weights, head.metric), features, labels).head
        surprise_N = now.surprise(pool)
        surprise_N[positions] = -torch.inf
        pick = int(surprise_N.argmax())
        label = (
            mixture_class(now, pool[pick, None])
            if isinstance(head, GMM)
            else int(now.neighbourhood(pool[pick, None])[1])
        )
        positions.append(pick)
        scores.append(surprise_N[pick].item())
        features = torch.cat([features, pool[pick, None]])
        labels = torch.cat([labels, torch.tensor([label])])
    return positions, scores


HEADS = {
    "gmm": GMM,
    "greedy gmm": greedy_gmm,
    "knn": lambda: KNN(3),
    "uniform cosine knn": lambda: KNN(4, "uniform", "cosine"),
    "knn of more neighbours than labels": lambda: KNN(40),
}


@pytest.mark.parametrize("head", HEADS)
@given(seed=st.integers(0, 10**6), per_class=st.sampled_from([2, 3, 12]))
@settings(max_examples=12)
def test_picks_are_those_of_refitting_each_time(head: str, seed: int, per_class: int) -> None:
    draw = generator(seed)
    labelled_L_D, labels_L = blobs(3 * per_class, 6, draw)
    pool_N_D, _ = blobs(50, 6, draw)
    density = fitted(HEADS[head](), labelled_L_D, labels_L)
    positions, scores = twin(density, labelled_L_D, labels_L, pool_N_D, 12)
    batch = run("batch_hu", {"density": density, "features": pool_N_D}, 12)
    assert batch.positions_Q.tolist() == positions
    torch.testing.assert_close(
        batch.scores_Q, torch.tensor(scores, dtype=torch.float64), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("head", HEADS)
def test_without_picks_it_is_hidden_uncertainty(head: str) -> None:
    draw = generator(3)
    density = fitted(HEADS[head](), *blobs(30, 6, draw))
    pool_N_D, _ = blobs(80, 6, draw)
    batch = run("batch_hu", {"density": density, "features": pool_N_D}, 1)
    torch.testing.assert_close(batch.pool_scores_N, density.surprise(pool_N_D), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("head", [GMM, lambda: KNN(1)])
def test_the_near_copies_of_a_pick_are_left_alone(head) -> None:
    """One strange thing, photographed ten times, and four other strange things: HU asks for the ten."""
    draw = generator(5)
    labelled_L_D, labels_L = blobs(60, 6, draw)
    copies_10_D = torch.full((10, 6), 20.0) + 0.01 * torch.randn(10, 6, generator=draw)
    others_4_D = 8 * torch.eye(4, 6)
    pool_N_D = torch.cat([blobs(40, 6, draw)[0], copies_10_D, others_4_D])
    density = fitted(head(), labelled_L_D, labels_L)
    top = density.surprise(pool_N_D).topk(5).indices
    assert ((top >= 40) & (top < 50)).all()
    picked = run("batch_hu", {"density": density, "features": pool_N_D}, 5).positions_Q
    assert ((picked >= 40) & (picked < 50)).sum() == 1


def test_a_pick_beside_which_the_covariances_floor_vanishes_is_told() -> None:
    """As it would be if the Gaussians were fitted anew."""
    features_N_D, labels_N = blobs(40, 16, generator(), 4)
    pool_N_D, _ = blobs(50, 16, generator(1), 4)
    pool_N_D[7] = 1e6 * torch.randn(16, generator=generator(2))
    density = fitted(GMM(), features_N_D, labels_N)
    with pytest.raises(UserError, match="normalize_features"):
        run("batch_hu", {"density": density, "features": pool_N_D}, 5)
