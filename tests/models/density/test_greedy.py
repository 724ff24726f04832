import json
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.decomposition import PCA

from src.models.density import GMM, GreedySearch
from src.models.density.greedy import METRICS, REDUCTIONS, Samples, SearchResult, best, search_dimension
from src.models.density.moments import ClassMoments
from src.utils.errors import UserError
from tests.models.density.formulae import FORMULAE, NUMPY_REDUCTIONS
from tests.models.density.samples import blobs, halves

STEP, DIMS = 3, 16
TRIED = [3, 6, 9, 12, 15, 16]


def sample() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three classes that overfit at large k: odd and even numbers of rows, variance falling along the axes."""
    features_N_D, labels_N = blobs(3, 42, DIMS)
    return halves(features_N_D * 0.8 ** torch.arange(DIMS, dtype=torch.float64), labels_N)


def searched(
    search: GreedySearch,
    train_N_D: torch.Tensor,
    labels_N: torch.Tensor,
    val_M_D: torch.Tensor,
    val_labels_M: torch.Tensor,
    covariance: str = "full",
) -> SearchResult:
    return search_dimension(
        search,
        ClassMoments.of(train_N_D, labels_N),
        ClassMoments.of(val_M_D, val_labels_M),
        (Samples(train_N_D, labels_N), Samples(val_M_D, val_labels_M)),
        covariance,
    )


@cache
def refitted() -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """For every k, from a PCA and Gaussians fitted in k dimensions: each class's train and val log-likelihoods."""
    train, labels, val, val_labels = (x.numpy() for x in sample())
    found = {}
    for k in TRIED:
        pca = PCA(k, svd_solver="full").fit(train)
        found[k] = []
        for c in range(3):
            own = pca.transform(train[labels == c])
            density = multivariate_normal(own.mean(axis=0), np.cov(own.T, bias=True) + 1e-6 * np.eye(k))
            found[k].append((density.logpdf(own), density.logpdf(pca.transform(val[val_labels == c]))))
    return found


def refitted_discrepancy(metric: str, reduction: str) -> list[float]:
    reduce, formula = NUMPY_REDUCTIONS[reduction], FORMULAE[metric]
    return [
        float(np.mean([formula(reduce(train) / k, reduce(val) / k) for train, val in classes]))
        for k, classes in refitted().items()
    ]


def test_every_metric_and_reduction_has_its_formula_here() -> None:
    assert METRICS.keys() == FORMULAE.keys()
    assert set(REDUCTIONS) == NUMPY_REDUCTIONS.keys()


@pytest.mark.parametrize("reduction", sorted(NUMPY_REDUCTIONS))
@pytest.mark.parametrize("metric", sorted(FORMULAE))
def test_search_equals_refitting_at_every_dimension(metric: str, reduction: str) -> None:
    found = searched(GreedySearch(STEP, metric, reduction), *sample())
    expected = refitted_discrepancy(metric, reduction)
    assert found.dimensions == TRIED
    assert found.discrepancy == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert found.projection.axes_D_K.shape == (DIMS, TRIED[int(np.argmin(expected))])
    means = [
        [np.concatenate([pair[side] for pair in classes]).mean() for classes in refitted().values()]
        for side in (0, 1)
    ]
    assert found.train_log_likelihood == pytest.approx(means[0], rel=1e-5)
    assert found.val_log_likelihood == pytest.approx(means[1], rel=1e-5)


def test_the_choice_depends_on_metric_and_reduction() -> None:
    """Otherwise the comparison above would say little about how k is chosen."""
    chosen = {
        TRIED[int(np.argmin(refitted_discrepancy(metric, reduction)))]
        for metric in FORMULAE
        for reduction in NUMPY_REDUCTIONS
    }
    assert len(chosen) >= 3


@pytest.mark.parametrize(
    ("rows", "rank", "step", "tried"),
    [
        (8, 20, 3, [3, 6, 7]),  # N − 1 < D
        (40, 4, 3, [3, 4]),  # the features span less than their D = 20
        (40, 4, 2, [2, 4]),  # a multiple of the step is not tried twice
        (40, 4, 9, [4]),  # a step beyond the rank
        (40, 0, 1, [1]),  # identical features keep one coordinate
    ],
)
def test_dimensions_go_up_to_the_numerical_rank(rows: int, rank: int, step: int, tried: list[int]) -> None:
    generator = torch.Generator().manual_seed(0)
    coordinates_N_R, basis_R_D = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((rows, rank), (rank, 20))
    )
    train_N_D = 1 + coordinates_N_R @ basis_R_D
    labels_N = torch.arange(rows) % 2
    search = GreedySearch(step, "l2", "mean")
    assert searched(search, train_N_D, labels_N, train_N_D, labels_N).dimensions == tried


def test_ties_go_to_the_smallest_dimension() -> None:
    assert best([3, 6, 9, 12], [2.0, 1.0, 1.0, 3.0]) == 6


def test_training_samples_as_validation_samples_leave_no_gap() -> None:
    train_N_D, labels_N, _, _ = sample()
    found = searched(GreedySearch(STEP, "l1", "mean"), train_N_D, labels_N, train_N_D, labels_N)
    assert found.discrepancy == pytest.approx([0.0] * len(TRIED), abs=1e-10)


def test_density_after_the_choice_is_one_refitted_in_the_subspace() -> None:
    train_N_D, labels_N, val_M_D, val_labels_M = sample()
    greedy = GMM(GreedySearch(STEP, "val", "mean"))
    greedy.fit(train_N_D, labels_N, val_M_D, val_labels_M)
    chosen = greedy.diagnostics()["dimension"]
    assert isinstance(chosen, int)
    assert chosen < DIMS
    pca = PCA(chosen, svd_solver="full").fit(train_N_D.numpy())
    projected_N_K, projected_M_K = (torch.from_numpy(pca.transform(x.numpy())) for x in (train_N_D, val_M_D))
    plain = GMM()
    plain.fit(projected_N_K, labels_N, projected_M_K, val_labels_M)
    torch.testing.assert_close(greedy.surprise(val_M_D), plain.surprise(projected_M_K), rtol=1e-8, atol=1e-8)


def test_classes_without_validation_samples_have_no_say_in_the_choice_but_keep_their_gaussian() -> None:
    train_N_D, labels_N, val_M_D, val_labels_M = sample()
    seen = val_labels_M != 1
    found = searched(GreedySearch(STEP, "l2", "mean"), train_N_D, labels_N, val_M_D[seen], val_labels_M[seen])
    expected = [
        np.mean([((classes[c][0].mean() - classes[c][1].mean()) / k) ** 2 for c in (0, 2)])
        for k, classes in refitted().items()
    ]
    assert found.discrepancy == pytest.approx(expected, rel=1e-5)
    assert found.gaussians.labels_C.tolist() == [0, 1, 2]


def test_no_validation_sample_of_any_fitted_class_is_the_users_error() -> None:
    train_N_D, labels_N, val_M_D, val_labels_M = sample()
    with pytest.raises(UserError, match=r"data\.val_size"):
        searched(GreedySearch(1, "l2", "mean"), train_N_D, labels_N, val_M_D, val_labels_M + 10)


def test_names_are_case_insensitive() -> None:
    upper, lower = GreedySearch(STEP, "Train_Val_L2", "MEDIAN"), GreedySearch(STEP, "train_val_l2", "median")
    assert searched(upper, *sample()).discrepancy == searched(lower, *sample()).discrepancy


@pytest.mark.parametrize(
    ("step", "metric", "reduction", "message"),
    [
        (0, "l2", "mean", "at least 1"),
        (1, "l3", "mean", "unknown greedy search metric 'l3'; choices: l2,"),
        (1, "l2", "mode", "unknown greedy search reduction 'mode'; choices: mean,"),
    ],
)
def test_impossible_searches_are_refused(step: int, metric: str, reduction: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        GreedySearch(step, metric, reduction)


def test_diagnostics_hold_one_value_per_tried_dimension_and_are_json() -> None:
    head = GMM(GreedySearch(STEP, "l2", "mean"))
    head.fit(*sample())
    diagnostics = head.diagnostics()
    assert json.loads(json.dumps(diagnostics, allow_nan=False)) == diagnostics
    assert diagnostics["dimensions"] == TRIED
    for key in ("discrepancy", "train_log_likelihood", "val_log_likelihood"):
        assert np.shape(diagnostics[key]) == (len(TRIED),)
