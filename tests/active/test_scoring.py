import numpy as np
import pytest
import scipy.stats
import torch

from src.active.heuristics import HEURISTICS
from src.active.scoring import PoolView, collect, fit_density, score_pool, subsample
from src.layers.stacked import stack_members
from src.models import prediction
from src.models.density import GMM, KNN, DensityModel
from src.models.mlp import MLP
from src.models.prediction import feature_batches
from src.models.unet import UNet
from src.utils.errors import NonFiniteError
from src.utils.seeding import RoundSeeds
from tests.models.fakes import Blobs, Scenes

SEEDS = RoundSeeds(3, 2)
TRAIN, VAL, POOL = torch.arange(60), torch.arange(60, 90), torch.arange(90, 300)


class Untouchable:
    """A source that no one may read."""

    labels_N = torch.zeros(300, dtype=torch.int64)

    def inputs(self, indices_B: torch.Tensor) -> torch.Tensor:
        raise AssertionError("inputs were read")


def network(members: int = 1) -> MLP:
    torch.manual_seed(0)
    return stack_members([MLP((8,), (16, 6), 3, (0.5,)) for _ in range(members)])


def score(
    name: str,
    model: MLP,
    source: object,
    indices: torch.Tensor = POOL,
    density: DensityModel | None = None,
    passes: int = 1,
    seeds: RoundSeeds = SEEDS,
) -> torch.Tensor:
    return score_pool(
        HEURISTICS.get(name), PoolView(model, density, source, TRAIN, indices, 3, passes, seeds)
    )


def scores(name: str, indices: torch.Tensor = POOL, density: DensityModel | None = None) -> torch.Tensor:
    passes = 4 if HEURISTICS.get(name).consumes == "members" else 1
    return score(name, network(), Blobs(300), indices, density, passes)


def fitted(head: GMM | KNN) -> DensityModel:
    density = DensityModel(head, normalize=False, dim_reduction=-1)
    fit_density(density, network(), Blobs(300), TRAIN, VAL)
    return density


def test_random_runs_no_pool_inference() -> None:
    class NeverCalled(MLP):
        def encode(self, inputs_M_N_S: torch.Tensor) -> torch.Tensor:
            raise AssertionError("the network ran")

    model = NeverCalled((8,), (16, 6), 3, ())
    drawn = score("random", model, Untouchable())
    assert len(drawn.unique()) == len(POOL)


@pytest.mark.parametrize("head", [GMM, KNN])
@pytest.mark.parametrize("name", list(HEURISTICS))
def test_scores_do_not_change_with_batch_size_or_pool_order(
    name: str, head: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "random":
        pytest.skip("scores of chance belong to places in the pool, not to inputs")
    density = fitted(head())
    whole = scores(name, POOL, density)
    monkeypatch.setitem(prediction.BATCH_BYTES, "cpu", 13 * 8 * 4)
    torch.testing.assert_close(scores(name, POOL, density), whole, rtol=1e-5, atol=1e-6)
    order = torch.randperm(len(POOL), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(scores(name, POOL[order], density), whole[order], rtol=1e-5, atol=1e-6)


def hidden_features(model: MLP, source: Blobs, indices_N: torch.Tensor) -> np.ndarray:
    return np.concatenate([features.double() for _, features in feature_batches(model, source, indices_N)])


def test_hidden_uncertainty_is_scipys_mixture_on_the_networks_features() -> None:
    """The whole path: weights → features → per-class Gaussians → −log p."""
    source, model = Blobs(300), network().eval()
    features_N_D = hidden_features(model, source, TRAIN)
    pool_N_D = hidden_features(model, source, POOL)
    labels_N = source.labels_N[TRAIN].numpy()
    log_p = []
    for label in range(3):
        own = features_N_D[labels_N == label]
        gaussian = scipy.stats.multivariate_normal(own.mean(0), np.cov(own.T, bias=True) + 1e-6 * np.eye(6))
        log_p.append(np.log(len(own) / 60) + gaussian.logpdf(pool_N_D))
    expected = -scipy.special.logsumexp(log_p, axis=0)
    np.testing.assert_allclose(scores("precomputed", POOL, fitted(GMM())).numpy(), expected, rtol=1e-4)


def test_monte_carlo_masks_are_redrawn_each_round_and_repeat_within_one() -> None:
    first, again, later = (
        score("bald", network(), Blobs(300), passes=4, seeds=seeds)
        for seeds in (SEEDS, SEEDS, RoundSeeds(SEEDS.run_seed, SEEDS.round_ + 1))
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, later)


def test_a_non_finite_score_names_its_dataset_indices() -> None:
    source = Blobs(300)
    source.inputs_N_D[123] = float("nan")
    with pytest.raises(NonFiniteError, match="123"):
        score("entropy", network(), source)
    with pytest.raises(NonFiniteError, match="123"):
        score("precomputed", network(), source, density=fitted(GMM()))


@pytest.mark.parametrize("limit", [-1, 210, 1000])
def test_a_small_pool_is_scored_whole(limit: int) -> None:
    assert torch.equal(subsample(POOL, limit, SEEDS), POOL)


def test_a_large_pool_is_scored_in_a_seeded_part() -> None:
    part = subsample(POOL, 50, SEEDS)
    assert len(part.unique()) == 50
    assert set(part.tolist()) <= set(POOL.tolist())
    assert torch.equal(part, subsample(POOL, 50, SEEDS))
    assert not torch.equal(part, subsample(POOL, 50, RoundSeeds(3, 3)))


def test_doubtful_features_are_the_features_and_what_the_margin_leaves_of_one() -> None:
    view = PoolView(network(), None, Blobs(300), TRAIN, POOL, 3, 1, SEEDS)
    features_N_D, doubt_N = collect("doubtful_features", view)
    torch.testing.assert_close(features_N_D, collect("features", view), rtol=0, atol=0)
    torch.testing.assert_close(doubt_N.double(), 1 + scores("margin"), rtol=0, atol=1e-7)
    assert 0 <= doubt_N.min() < doubt_N.max() <= 1


def test_doubt_of_scenes_is_reduced_as_their_scores_are() -> None:
    torch.manual_seed(0)
    scenes = Scenes(6, (3, 12, 12))
    dense = stack_members([UNet((3, 12, 12), 3)])
    for reduce in (lambda maps: maps.mean((-2, -1)), lambda maps: maps.amax((-2, -1))):
        view = PoolView(dense, None, scenes, torch.arange(2), torch.arange(2, 6), 3, 1, SEEDS, reduce)
        features_N_D, doubt_N = collect("doubtful_features", view)
        assert torch.equal(features_N_D, collect("features", view))
        with torch.no_grad():
            maps = dense.eval().encode(scenes.inputs(torch.arange(2, 6))[None])
            top_N_2_h_w = dense.classify(maps)[0].softmax(1).topk(2, dim=1).values
        expected_N = reduce(1 - (top_N_2_h_w[:, 0] - top_N_2_h_w[:, 1]))
        torch.testing.assert_close(doubt_N, expected_N)
