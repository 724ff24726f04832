import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gaussian_kde
from sklearn.neighbors import KernelDensity
from torch import Tensor

from src.models.density.bandwidth import FLOOR, common_spread, scott_bandwidths, validation_bandwidths
from src.models.density.kernels import ClassKernels
from src.utils.errors import UserError
from tests.models.density.samples import blobs


def classes(*sizes: int, dims: int, seed: int = 0) -> list[Tensor]:
    """One cloud of features_N_D for each size."""
    return [blobs(1, size, dims, seed + c)[0] for c, size in enumerate(sizes)]


def kernels(samples_C_N_D: list[Tensor]) -> list[ClassKernels]:
    return [ClassKernels.of(samples) for samples in samples_C_N_D]


def sklearn_likelihood(train_N_D: Tensor, val_M_D: Tensor, bandwidth: float) -> float:
    return KernelDensity(bandwidth=bandwidth).fit(train_N_D.numpy()).score(val_M_D.numpy())


# ---- Scott's rule -------------------------------------------------------------------------------------------------


def test_scotts_rule_is_scipys_with_the_variances_of_all_dimensions_averaged() -> None:
    samples_C_N_D = classes(30, 12, 55, dims=4)
    for bandwidth, samples in zip(scott_bandwidths(kernels(samples_C_N_D)), samples_C_N_D, strict=True):
        covariance = gaussian_kde(samples.numpy().T).covariance
        assert bandwidth == pytest.approx(math.sqrt(np.trace(covariance) / 4), rel=1e-12)


def test_scotts_rule_by_hand() -> None:
    """Unbiased variances of 2 and 8 average to 5; n = 2 in D = 2 gives the factor 2^(−1/6)."""
    square = torch.tensor([[-1.0, -2.0], [1.0, 2.0]])
    assert scott_bandwidths(kernels([square])) == pytest.approx([math.sqrt(5) * 2 ** (-1 / 6)], rel=1e-14)


def test_a_single_sample_has_the_pooled_spread_under_scotts_rule() -> None:
    samples_C_N_D = classes(30, 1, 12, dims=4)
    scatter = sum(samples.var(dim=0).mean().item() * (len(samples) - 1) for samples in samples_C_N_D[::2])
    assert scott_bandwidths(kernels(samples_C_N_D))[1] == pytest.approx(math.sqrt(scatter / 40), rel=1e-12)


def test_identical_samples_have_a_thousandth_of_the_pooled_spread_under_scotts_rule() -> None:
    samples_C_N_D = [*classes(30, dims=4), torch.full((9, 4), 0.1, dtype=torch.float64)]
    given_C = kernels(samples_C_N_D)
    assert given_C[1].samples_B_D.abs().max() == 0
    expected = 1e-3 * common_spread(given_C) * 9 ** (-1 / 8)
    assert scott_bandwidths(given_C)[1] == pytest.approx(expected, rel=1e-12)


def test_without_spread_within_classes_that_of_their_means_counts_and_then_one() -> None:
    points_C_N_D = [torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]] * 3)]
    assert common_spread(kernels(points_C_N_D)) == pytest.approx(1.0, rel=1e-14)
    points_C_N_D[1] = 5 * points_C_N_D[1]
    assert common_spread(kernels(points_C_N_D)) == pytest.approx(5.0, rel=1e-14)
    assert common_spread(kernels([points_C_N_D[1], points_C_N_D[1]])) == 1.0


# ---- the likelihood of validation samples -------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    dims=st.sampled_from([1, 2, 5, 20, 100]),
    train_size=st.integers(1, 40),
    val_size=st.integers(1, 20),
)
def test_no_bandwidth_is_likelier_than_the_chosen_one(
    seed: int, dims: int, train_size: int, val_size: int
) -> None:
    """By scikit-learn over a grid wider than the search and denser near its end; tolerance in nats a sample."""
    (train_N_D,) = classes(train_size, dims=dims, seed=seed)
    val_M_D = classes(val_size, dims=dims, seed=seed)[0] + 0.5
    given_C = kernels([train_N_D])
    (chosen,) = validation_bandwidths(given_C, [val_M_D])
    best = sklearn_likelihood(train_N_D, val_M_D, chosen)
    wide = np.geomspace(FLOOR * common_spread(given_C), 100 * chosen, 200)
    for bandwidth in [*wide, *np.geomspace(0.9 * chosen, 1.1 * chosen, 81)]:
        found = sklearn_likelihood(train_N_D, val_M_D, bandwidth)
        assert (found - best) / val_size < 1e-5 * dims


def test_each_class_is_judged_by_its_own_samples_alone() -> None:
    train, val = classes(30, 20, dims=3), classes(15, 12, dims=3, seed=9)
    together = validation_bandwidths(kernels(train), val)
    alone = [validation_bandwidths(kernels([t]), [v])[0] for t, v in zip(train, val, strict=True)]
    assert together == pytest.approx(alone, rel=1e-12)


def test_a_class_without_validation_samples_has_what_is_likeliest_for_all_others() -> None:
    train, val = classes(30, 20, 8, dims=3), [*classes(15, 12, dims=3, seed=9), torch.zeros(0, 3)]
    first, second, shared = validation_bandwidths(kernels(train), val)
    assert [first, second] == validation_bandwidths(kernels(train[:2]), val[:2])

    def likelihood(bandwidth: float) -> float:
        return sum(sklearn_likelihood(t, v, bandwidth) for t, v in zip(train[:2], val[:2], strict=True))

    assert max(map(likelihood, np.geomspace(0.05, 5, 500))) - likelihood(shared) < 27 * 1e-4


def test_a_single_labelled_sample_has_the_closed_form() -> None:
    """One kernel is one Gaussian, whose likeliest variance is the mean squared distance over D."""
    val_M_D = classes(20, dims=6)[0]
    (bandwidth,) = validation_bandwidths(kernels([torch.ones(1, 6)]), [val_M_D])
    assert bandwidth == pytest.approx((val_M_D - 1).square().mean().sqrt().item(), rel=1e-12)


def test_validation_samples_among_the_labelled_ones_stop_at_the_floor() -> None:
    """Their likelihood grows without bound as kernels narrow."""
    train = classes(30, 20, dims=3)
    given_C = kernels(train)
    bandwidths = validation_bandwidths(given_C, [train[0][:4], train[1] + 0.1])
    assert bandwidths[0] == pytest.approx(FLOOR * common_spread(given_C), rel=1e-12)
    assert bandwidths[1] > 10 * bandwidths[0]


def test_identical_samples_everywhere_have_a_finite_bandwidth() -> None:
    point = torch.full((5, 3), 0.1)
    assert validation_bandwidths(kernels([point]), [point]) == [FLOOR]


@pytest.mark.parametrize("budget_bytes", [4000, 2**15])
def test_distances_computed_anew_for_every_pass_choose_the_same(
    budget_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, val = classes(30, 20, 8, dims=3), [*classes(25, 12, dims=3, seed=9), torch.zeros(0, 3)]
    whole = validation_bandwidths(kernels(train), val)
    monkeypatch.setattr("src.models.density.memory.MEMORY_BUDGET_BYTES", budget_bytes)
    assert validation_bandwidths(kernels(train), val) == pytest.approx(whole, rel=1e-9)


def test_no_validation_sample_of_a_labelled_class_is_the_users_error() -> None:
    with pytest.raises(UserError, match=r"kde_bandwidth: validation has nothing to choose by; .* scott"):
        validation_bandwidths(kernels(classes(9, 9, dims=3)), [torch.zeros(0, 3)] * 2)
