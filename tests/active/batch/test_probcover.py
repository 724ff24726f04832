import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from src.active.batch.geometry import Points, k_means
from src.active.batch.probcover import PURITY, pure_radius
from tests.active.evidence import blobs, generator, run


@given(seed=st.integers(0, 10**6), delta=st.floats(0.5, 4), count=st.integers(1, 12))
@settings(max_examples=40)
def test_each_ball_covers_the_most_that_is_uncovered(seed: int, delta: float, count: int) -> None:
    draw = generator(seed)
    pool_N_D, labelled_L_D = blobs(60, 4, draw)[0].double(), blobs(3, 4, draw)[0].double()
    graph = cdist(pool_N_D, pool_N_D) < delta
    uncovered = cdist(pool_N_D, labelled_L_D).min(1) >= delta
    given_ = {"features": pool_N_D, "labelled_features": labelled_L_D, "nb_classes": 3}
    batch = run("probcover", given_, count, probcover_delta=delta)
    np.testing.assert_array_equal(batch.pool_scores_N, (graph & uncovered).sum(1))
    for position, score in zip(batch.positions_Q.tolist(), batch.scores_Q.tolist(), strict=True):
        gains = (graph & uncovered).sum(1)
        if uncovered.any():
            assert position == int(gains.argmax())
            assert score == gains.max()
        else:
            assert score == 0
        uncovered &= ~graph[position]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25)
def test_the_radius_is_halfway_below_the_largest_of_enough_pure_balls(seed: int) -> None:
    points = Points.of(blobs(80, 4, generator(seed))[0].double())
    radius = pure_radius(points, 3, generator(seed))
    cluster_N = k_means(points, 3, generator(seed)).numpy()
    distances = cdist(points.features_N_D, points.features_N_D)

    def purity(delta: float) -> float:
        pure = [(cluster_N[row < delta] == cluster_N[i]).all() for i, row in enumerate(distances)]
        return float(np.mean(pure))

    largest, next_smaller = distances[distances > radius].min(), distances[distances < radius].max()
    assert purity(largest * (1 - 1e-9)) >= PURITY
    assert purity(largest * (1 + 1e-9)) < PURITY
    np.testing.assert_allclose(radius, (largest + next_smaller) / 2, rtol=1e-6)


@given(seed=st.integers(0, 10**6), inputs=st.sampled_from([40, 60, 100]))
@settings(max_examples=40)
def test_scores_are_the_numbers_of_inputs_that_a_pure_ball_newly_covers(seed: int, inputs: int) -> None:
    draw = generator(seed)
    pool_N_D, labelled_L_D = blobs(inputs, 4, draw)[0], blobs(3, 4, draw)[0]
    radius = pure_radius(Points.of(pool_N_D), 3, generator(seed))
    distances = cdist(pool_N_D.double(), pool_N_D.double())
    uncovered = cdist(pool_N_D.double(), labelled_L_D.double()).min(1) >= radius
    given_ = {"features": pool_N_D, "labelled_features": labelled_L_D, "nb_classes": 3}
    batch = run("probcover", given_, 30, seed)
    for position, score in zip(batch.positions_Q.tolist(), batch.scores_Q.tolist(), strict=True):
        newly = (distances[position] < radius) & uncovered
        assert score == newly.sum()
        uncovered &= ~newly


def test_one_pseudo_class_leaves_all_to_chance() -> None:
    assert pure_radius(Points.of(torch.randn(9, 2)), 1, generator()) == 0
