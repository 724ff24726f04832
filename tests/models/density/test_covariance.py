import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.covariance import OAS, EmpiricalCovariance, LedoitWolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.mixture import GaussianMixture
from sklearn.naive_bayes import GaussianNB
from torch import Tensor

from src.models.density import GMM, GreedySearch
from src.models.density.covariance import COVARIANCES
from src.models.density.gaussians import COVARIANCE_FLOOR, fit_class_gaussians
from src.models.density.moments import ClassMoments
from tests.models.density.samples import blobs, fit_pca, halves

PER_CLASS = {"full": EmpiricalCovariance, "shrinkage": OAS, "ledoit_wolf": LedoitWolf}
seeds = st.integers(0, 2**32 - 1)
laws = settings(max_examples=20, deadline=None, derandomize=True)


def unequal(dims: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three classes of 40, 20 and 10 samples."""
    features_N_D, labels_N = blobs(3, 40, dims, seed)
    position_N = torch.stack([(labels_N[: n + 1] == labels_N[n]).sum() for n in range(120)])
    kept = position_N <= torch.tensor([40, 20, 10])[labels_N]
    return features_N_D[kept], labels_N[kept]


def covariances(name: str, features_N_D: Tensor, labels_N: Tensor) -> np.ndarray:
    return COVARIANCES[name](ClassMoments.of(features_N_D, labels_N)).numpy()


@pytest.mark.parametrize("dims", [1, 5, 60], ids=["line", "many samples", "fewer samples than dimensions"])
@pytest.mark.parametrize("name", sorted(PER_CLASS))
def test_estimates_of_one_class_are_scikit_learns(name: str, dims: int) -> None:
    features_N_D, labels_N = unequal(dims)
    ours = covariances(name, features_N_D, labels_N)
    for c in range(3):
        expected = PER_CLASS[name]().fit(features_N_D[labels_N == c].numpy()).covariance_
        np.testing.assert_allclose(ours[c], expected, rtol=1e-10, atol=1e-12)


def test_tied_is_the_within_class_covariance_of_linear_discriminant_analysis() -> None:
    features_N_D, labels_N = unequal(5)
    lda = LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True)
    expected = lda.fit(features_N_D.numpy(), labels_N.numpy()).covariance_
    np.testing.assert_allclose(covariances("tied", features_N_D, labels_N), [expected] * 3, rtol=1e-10)


def test_diag_is_the_variances_of_gaussian_naive_bayes() -> None:
    features_N_D, labels_N = unequal(5)
    naive = GaussianNB(var_smoothing=0).fit(features_N_D.numpy(), labels_N.numpy())
    ours = covariances("diag", features_N_D, labels_N)
    np.testing.assert_allclose(np.diagonal(ours, axis1=1, axis2=2), naive.var_, rtol=1e-10)
    assert np.count_nonzero(ours) == naive.var_.size


@pytest.mark.parametrize("name", sorted(COVARIANCES))
def test_surprise_is_the_mixture_of_scipys_gaussians_with_that_covariance(name: str) -> None:
    features_N_D, labels_N = unequal(5)
    queries_M_D = blobs(3, 20, 5, seed=1)[0]
    head = GMM(covariance=name)
    head.fit(features_N_D, labels_N, queries_M_D, torch.zeros(60, dtype=torch.int64))
    floor = COVARIANCE_FLOOR * np.eye(5)
    log_pdfs_C_M = [
        multivariate_normal(features_N_D[labels_N == c].numpy().mean(0), covariance + floor).logpdf(
            queries_M_D.numpy()
        )
        + np.log((labels_N == c).double().mean().item())
        for c, covariance in enumerate(covariances(name, features_N_D, labels_N))
    ]
    np.testing.assert_allclose(head.surprise(queries_M_D), -logsumexp(log_pdfs_C_M, axis=0), rtol=1e-9)


@pytest.mark.parametrize(("name", "sklearns"), [("full", "full"), ("diag", "diag")])
def test_log_likelihoods_are_scikit_learns_gaussian_mixtures(name: str, sklearns: str) -> None:
    """Ten samples a class in 128 dimensions, where the floor alone keeps a full covariance invertible."""
    features_N_D, labels_N = blobs(3, 20, 128)
    train_N_D, train_labels_N, queries_M_D, _ = halves(features_N_D, labels_N)
    gaussians = fit_class_gaussians(ClassMoments.of(train_N_D, train_labels_N), name)
    for c in range(3):
        own = train_N_D[train_labels_N == c].numpy()
        mixture = GaussianMixture(1, covariance_type=sklearns, reg_covar=COVARIANCE_FLOOR).fit(own)
        ours = gaussians.nested_log_likelihood(c, queries_M_D, [128])[:, 0]
        np.testing.assert_allclose(ours, mixture.score_samples(queries_M_D.numpy()), rtol=1e-5)


@pytest.mark.parametrize("name", sorted(COVARIANCES))
def test_identical_samples_have_no_variance(name: str) -> None:
    ours = covariances(name, torch.full((6, 3), 0.7, dtype=torch.float64), torch.zeros(6, dtype=torch.int64))
    np.testing.assert_allclose(ours, np.zeros((1, 3, 3)), atol=1e-30)


@laws
@given(seed=seeds, name=st.sampled_from(sorted(set(COVARIANCES) - {"diag"})), dims=st.integers(2, 6))
def test_all_but_diag_turn_with_the_features(seed: int, name: str, dims: int) -> None:
    features_N_D, labels_N = blobs(3, 9, dims, seed)
    rotation_D_D = torch.linalg.qr(blobs(1, dims, dims, seed)[0]).Q
    turned = covariances(name, features_N_D @ rotation_D_D, labels_N)
    straight = rotation_D_D.T.numpy() @ covariances(name, features_N_D, labels_N) @ rotation_D_D.numpy()
    np.testing.assert_allclose(turned, straight, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", sorted(COVARIANCES))
def test_a_searched_subspace_has_the_leading_block_of_the_covariance_in_all_axes(name: str) -> None:
    """The intensity of a shrinking covariance is that of all axes too, by which blocks nest."""
    train_N_D, labels_N, val_M_D, val_labels_M = halves(*blobs(3, 60, 6))
    head = GMM(GreedySearch(1, "l2", "mean"), covariance=name)
    head.fit(train_N_D, labels_N, val_M_D, val_labels_M)
    chosen = head.diagnostics()["dimension"]
    assert isinstance(chosen, int)
    pca = fit_pca(train_N_D)
    in_all_axes = pca(train_N_D)
    expected_C_D_D = covariances(name, in_all_axes, labels_N)[:, :chosen, :chosen]
    means = [in_all_axes[labels_N == c, :chosen].mean(0).numpy() for c in range(3)]
    log_pdfs_C_M = [
        multivariate_normal(mean, covariance + COVARIANCE_FLOOR * np.eye(chosen)).logpdf(
            pca(val_M_D)[:, :chosen].numpy()
        )
        + np.log((labels_N == c).double().mean().item())
        for c, (mean, covariance) in enumerate(zip(means, expected_C_D_D, strict=True))
    ]
    np.testing.assert_allclose(head.surprise(val_M_D), -logsumexp(log_pdfs_C_M, axis=0), rtol=1e-8)
