import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, ortho_group, spearmanr
from torch import Tensor

from src.models.density import GMM, GreedySearch
from src.utils.errors import UserError
from tests.models.density.samples import blobs, halves


def fitted(features_N_D: Tensor, labels_N: Tensor) -> GMM:
    head = GMM()
    head.fit(features_N_D, labels_N, features_N_D[:0], labels_N[:0])
    return head


def class_densities(features_N_D: Tensor, labels_N: Tensor) -> tuple[list[int], list[float], list]:
    """The labels, weights and SciPy densities of the classes with at least two samples."""
    features, labels = features_N_D.numpy(), labels_N.numpy()
    kept = [c for c in np.unique(labels).tolist() if (labels == c).sum() >= 2]
    weights = [(labels == c).sum() / np.isin(labels, kept).sum() for c in kept]
    floor = 1e-6 * np.eye(features.shape[1])
    densities = [
        multivariate_normal(
            features[labels == c].mean(axis=0), np.cov(features[labels == c].T, bias=True) + floor
        )
        for c in kept
    ]
    return kept, weights, densities


def scipy_surprise(features_N_D: Tensor, labels_N: Tensor, queries_M_D: Tensor) -> Tensor:
    _, weights, densities = class_densities(features_N_D, labels_N)
    log_pdfs_C_M = np.array([density.logpdf(queries_M_D.numpy()) for density in densities])
    return -torch.from_numpy(logsumexp(log_pdfs_C_M + np.log(weights)[:, None], axis=0))


def assert_same(actual: Tensor, expected: Tensor, rtol: float = 1e-8) -> None:
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=1e-10)


def test_surprise_is_scipys_mixture_with_priors_by_count() -> None:
    features_N_D, labels_N = blobs(4, 60, 6)
    kept = (labels_N != 2) | (torch.arange(240) < 60)  # makes the counts unequal
    features_N_D, labels_N = features_N_D[kept], labels_N[kept]
    queries_M_D = blobs(4, 50, 6, seed=1)[0]
    assert labels_N.bincount().unique().numel() > 1
    assert_same(
        fitted(features_N_D, labels_N).surprise(queries_M_D),
        scipy_surprise(features_N_D, labels_N, queries_M_D),
    )


def test_two_samples_by_hand() -> None:
    """At the mean of −1 and 1 the biased variance is 1, not 2."""
    head = fitted(torch.tensor([[-1.0], [1.0]]), torch.tensor([5, 5]))
    expected = 0.5 * math.log(2 * math.pi * (1 + 1e-6))
    assert head.surprise(torch.zeros(1, 1)).item() == pytest.approx(expected, rel=1e-12)


def test_ten_samples_a_class_in_128_dimensions_stay_exact() -> None:
    features_N_D, labels_N = blobs(10, 20, 128)
    features_N_D = torch.nn.functional.normalize(features_N_D, dim=1)
    train_N_D, train_labels_N, queries_M_D, _ = halves(features_N_D, labels_N)
    assert train_labels_N.bincount().max() < 20
    surprise_M = fitted(train_N_D, train_labels_N).surprise(queries_M_D)
    assert_same(surprise_M, scipy_surprise(train_N_D, train_labels_N, queries_M_D))


def test_features_far_from_the_origin_lose_no_precision() -> None:
    """Features in steps of 2⁻²⁰ and counts of 16 make the shift and the means exact."""
    features_N_D, labels_N = blobs(2, 16, 5, spread=1e-2)
    features_N_D = (features_N_D * 2**20).round() / 2**20
    head, shifted = fitted(features_N_D, labels_N), fitted(features_N_D + 2.0**20, labels_N)
    assert_same(shifted.surprise(features_N_D + 2.0**20), head.surprise(features_N_D), rtol=1e-10)


def test_density_stays_in_log_space_where_its_exponential_overflows() -> None:
    features_N_D, labels_N = blobs(2, 8, 128, spread=1e-3)
    density_N = fitted(features_N_D, labels_N).log_density(features_N_D)
    assert density_N.isfinite().all()
    assert density_N.min() > math.log(torch.finfo(torch.float32).max)


def test_classes_with_one_sample_are_left_out() -> None:
    features_N_D, labels_N = blobs(3, 20, 4)
    with_single_N_D = torch.cat([features_N_D, torch.full((1, 4), 0.3, dtype=torch.float64)])
    head = fitted(with_single_N_D, torch.cat([labels_N, torch.tensor([9])]))
    assert_same(
        head.surprise(with_single_N_D), fitted(features_N_D, labels_N).surprise(with_single_N_D), 1e-12
    )
    assert head.diagnostics()["classes_left_out"] == [9]


def test_no_class_with_two_samples_is_the_users_error() -> None:
    with pytest.raises(UserError, match=r"no class has two labelled samples.*3 labelled in 3 classes"):
        fitted(torch.randn(3, 2), torch.arange(3))


def test_features_too_large_for_the_covariance_floor_are_the_users_error() -> None:
    with pytest.raises(UserError, match=r"class 4 is singular.*normalize_features"):
        fitted(torch.tensor([[-1e10, -1e10], [1e10, 1e10]]), torch.tensor([4, 4]))


def test_identical_samples_are_a_gaussian_of_the_floors_width() -> None:
    features_N_D, labels_N = torch.full((5, 3), 0.7, dtype=torch.float64), torch.zeros(5, dtype=torch.int64)
    queries_M_D = 0.7 + 1e-3 * torch.randn(8, 3, dtype=torch.float64, generator=torch.manual_seed(0))
    expected = multivariate_normal([0.7] * 3, 1e-6 * np.eye(3)).logpdf(queries_M_D.numpy())
    assert_same(fitted(features_N_D, labels_N).log_density(queries_M_D), torch.from_numpy(expected))


def test_every_sample_twice_changes_nothing() -> None:
    """Biased covariances and priors by count both stay; unbiased covariances would shrink."""
    features_N_D, labels_N = blobs(3, 12, 4)
    twice = fitted(features_N_D.repeat(2, 1), labels_N.repeat(2))
    assert_same(twice.surprise(features_N_D), fitted(features_N_D, labels_N).surprise(features_N_D))


@pytest.mark.parametrize("budget_bytes", [2**28, 1000])
def test_diagnostics_are_mean_log_likelihoods_under_the_own_class(
    budget_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.models.density.memory.MEMORY_BUDGET_BYTES", budget_bytes)
    train_N_D, labels_N, val_M_D, val_labels_M = halves(*blobs(3, 40, 4))
    val_labels_M = torch.where(torch.arange(60) == 0, 8, val_labels_M)  # a class that has no Gaussian
    head = GMM()
    head.fit(train_N_D, labels_N, val_M_D, val_labels_M)
    classes, _, densities = class_densities(train_N_D, labels_N)
    for key, features, labels in (
        ("train_log_likelihood", train_N_D.numpy(), labels_N.numpy()),
        ("val_log_likelihood", val_M_D.numpy(), val_labels_M.numpy()),
    ):
        own = [density.logpdf(features[labels == c]) for c, density in zip(classes, densities, strict=True)]
        assert head.diagnostics()[key] == pytest.approx(np.concatenate(own).mean(), rel=1e-9)
    assert head.diagnostics()["dimension"] == 4


def test_validation_features_do_not_enter_the_density() -> None:
    train_N_D, labels_N, val_M_D, val_labels_M = halves(*blobs(3, 40, 4))
    head = GMM()
    head.fit(train_N_D, labels_N, val_M_D, val_labels_M)
    assert torch.equal(head.surprise(val_M_D), fitted(train_N_D, labels_N).surprise(val_M_D))
    assert fitted(train_N_D, labels_N).diagnostics()["val_log_likelihood"] is None


@pytest.mark.parametrize("precision", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("greedy", [None, GreedySearch(1, "val", "mean")], ids=["all", "greedy"])
def test_float32_ranks_a_pool_as_float64_does(
    precision: torch.dtype, normalized: bool, greedy: GreedySearch | None
) -> None:
    """Ten samples a class in 128 dimensions: 119 directions of each class have no variance but the floor."""
    features_N_D, labels_N = blobs(10, 120, 128)
    rows = torch.cat([(labels_N == c).nonzero().flatten()[:10] for c in range(10)])
    if normalized:
        features_N_D = torch.nn.functional.normalize(features_N_D, dim=1)
    single_N_D = features_N_D.float()
    double, single = GMM(greedy), GMM(greedy, scoring_precision=precision)
    double.fit(features_N_D[rows], labels_N[rows], features_N_D, labels_N)
    single.fit(single_N_D[rows], labels_N[rows], single_N_D, labels_N)
    surprise_N, expected_N = single.surprise(single_N_D), double.surprise(features_N_D)
    assert surprise_N.dtype == torch.float64
    assert spearmanr(surprise_N, expected_N).statistic >= 0.9999


seeds = st.integers(0, 2**32 - 1)
laws = settings(max_examples=20, deadline=None, derandomize=True)


@laws
@given(seed=seeds, per_class=st.integers(2, 12), dims=st.integers(1, 6))
def test_the_order_of_training_rows_does_not_matter(seed: int, per_class: int, dims: int) -> None:
    features_N_D, labels_N = blobs(3, per_class, dims, seed)
    order = torch.randperm(len(labels_N), generator=torch.Generator().manual_seed(seed))
    queries_M_D = blobs(3, 4, dims, seed ^ 1)[0]
    permuted = fitted(features_N_D[order], labels_N[order])
    assert_same(permuted.surprise(queries_M_D), fitted(features_N_D, labels_N).surprise(queries_M_D), 1e-6)


@laws
@given(seed=seeds, per_class=st.integers(2, 12), dims=st.integers(2, 6))
def test_rotating_all_features_does_not_matter(seed: int, per_class: int, dims: int) -> None:
    features_N_D, labels_N = blobs(3, per_class, dims, seed)
    rotation_D_D = torch.from_numpy(ortho_group.rvs(dims, random_state=seed))
    queries_M_D = blobs(3, 4, dims, seed ^ 1)[0]
    rotated = fitted(features_N_D @ rotation_D_D, labels_N).surprise(queries_M_D @ rotation_D_D)
    assert_same(rotated, fitted(features_N_D, labels_N).surprise(queries_M_D), 1e-6)


@laws
@given(seed=seeds, sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_splitting_rows_into_calls_does_not_matter(seed: int, sizes: list[int]) -> None:
    head = fitted(*blobs(3, 8, 5, seed))
    queries_M_D = blobs(3, 15, 5, seed ^ 1)[0][: sum(sizes)]
    parts = torch.cat([head.surprise(part) for part in queries_M_D.split(sizes)])
    assert_same(parts, head.surprise(queries_M_D), 1e-10)


@laws
@given(seed=seeds, names=st.lists(st.integers(0, 999), min_size=3, max_size=3, unique=True).map(sorted))
def test_absent_classes_between_the_labels_do_not_matter(seed: int, names: list[int]) -> None:
    features_N_D, labels_N = blobs(3, 6, 4, seed)
    renamed = fitted(features_N_D, torch.tensor(names)[labels_N])
    assert torch.equal(renamed.surprise(features_N_D), fitted(features_N_D, labels_N).surprise(features_N_D))
    assert renamed.diagnostics()["classes_left_out"] == []
