import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import gaussian_kde, ortho_group, spearmanr
from sklearn.neighbors import KernelDensity
from torch import Tensor

from src.config import MirConfig
from src.models.density import KDE
from src.models.density.bank import draw_bank
from src.utils.errors import UserError
from tests.models.density.samples import blobs, halves

MODES = ("validation", "scott", 0.7)
every_mode = pytest.mark.parametrize("mode", MODES)
laws = settings(max_examples=20, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


def fitted(samples: tuple[Tensor, Tensor, Tensor, Tensor], mode: str | float, **options: int) -> KDE:
    head = KDE(mode, **options)
    head.fit(*samples)
    return head


def without_validation(features_N_D: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return features_N_D, labels_N, features_N_D[:0], labels_N[:0]


def unequal(dims: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Arguments of ``fit`` for classes 2, 5 and 7 of different sizes."""
    features_N_D, labels_N = blobs(3, 60, dims, seed)
    kept = (labels_N != 1) | (torch.arange(180) % 3 > 0)
    return halves(features_N_D[kept], torch.tensor([2, 5, 7])[labels_N[kept]])


def bandwidths(head: KDE) -> list[float]:
    found = head.diagnostics()["bandwidth"]
    assert isinstance(found, list)
    return found


def by_class(features_N_D: Tensor, labels_N: Tensor) -> list[NDArray[np.float64]]:
    return [features_N_D[labels_N == label].double().numpy() for label in labels_N.unique()]


def sklearn_log_density(
    features_N_D: Tensor,
    labels_N: Tensor,
    queries_M_D: Tensor,
    bandwidth_C: list[float],
    shares_C: list[float] | None = None,
) -> Tensor:
    """log_density_M by one scikit-learn density a class, weighted by count where no shares are given."""
    samples_C = by_class(features_N_D, labels_N)
    shares_C = shares_C or [len(own) / len(labels_N) for own in samples_C]
    log_joint_C_M = [
        KernelDensity(kernel="gaussian", bandwidth=h).fit(own).score_samples(queries_M_D.numpy())
        + math.log(share)
        for own, h, share in zip(samples_C, bandwidth_C, shares_C, strict=True)
    ]
    return torch.from_numpy(logsumexp(log_joint_C_M, axis=0))


def assert_same(actual: Tensor, expected: Tensor, rtol: float = 1e-10) -> None:
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=1e-10)


@every_mode
@pytest.mark.parametrize("dims", [1, 5, 40])
def test_surprise_is_scikit_learns_density_by_class_with_priors_by_count(
    mode: str | float, dims: int
) -> None:
    samples = unequal(dims)
    head, queries_M_D = fitted(samples, mode), blobs(4, 50, dims, seed=1)[0]
    expected_M = sklearn_log_density(*samples[:2], queries_M_D, bandwidths(head))
    assert samples[1].unique(return_counts=True)[1].unique().numel() == 3
    assert_same(head.log_density(queries_M_D), expected_M)
    assert torch.equal(head.surprise(queries_M_D), -head.log_density(queries_M_D))


def test_one_class_in_one_dimension_under_scotts_rule_is_scipys_gaussian_kde() -> None:
    features_N_D, labels_N = blobs(1, 40, 1)
    queries_M_D = blobs(1, 20, 1, seed=1)[0]
    expected_M = gaussian_kde(features_N_D.numpy().T).logpdf(queries_M_D.numpy().T)
    head = fitted(without_validation(features_N_D, labels_N), "scott")
    assert_same(head.log_density(queries_M_D), torch.from_numpy(expected_M))


def test_one_length_is_every_classes_bandwidth() -> None:
    assert bandwidths(fitted(unequal(3), 0.7)) == [0.7, 0.7, 0.7]


@every_mode
def test_the_density_integrates_to_one_over_the_line(mode: str | float) -> None:
    head = fitted(unequal(1), mode)

    def density(x: float) -> float:
        return math.exp(head.log_density(torch.tensor([[x]], dtype=torch.float64)).item())

    samples_N = unequal(1)[0].flatten().sort().values.tolist()
    edges = [samples_N[0] - 30, *samples_N[::10], samples_N[-1] + 30]
    parts = [quad(density, a, b, epsabs=1e-9, limit=200)[0] for a, b in pairwise(edges)]
    assert sum(parts) == pytest.approx(1, abs=1e-6)


@every_mode
def test_the_density_adds_up_to_one_over_the_plane(mode: str | float) -> None:
    """The trapezium rule errs exponentially little for a smooth density that vanishes at the border."""
    head = fitted(unequal(2), mode)
    step, reach = min(bandwidths(head)), 5 + 7 * max(bandwidths(head))
    axis = torch.arange(-reach, reach, step, dtype=torch.float64)
    total = head.log_density(torch.cartesian_prod(axis, axis)).exp().sum().item() * step**2
    assert total == pytest.approx(1, abs=1e-6)


def test_the_density_stays_in_log_space_where_its_exponential_overflows() -> None:
    features_N_D, labels_N = blobs(2, 8, 512, spread=1e-3)
    density_N = fitted(without_validation(features_N_D, labels_N), "scott").log_density(features_N_D)
    assert density_N.isfinite().all()
    assert density_N.min() > math.log(torch.finfo(torch.float32).max)


@every_mode
def test_features_far_from_the_origin_lose_no_precision(mode: str | float) -> None:
    """Features in steps of 2⁻²⁰ make the shift exact."""
    train_N_D, labels_N, val_M_D, val_labels_M = halves(*blobs(2, 32, 5, spread=1e-2))
    train_N_D, val_M_D = ((x * 2**20).round() / 2**20 for x in (train_N_D, val_M_D))
    head = fitted((train_N_D, labels_N, val_M_D, val_labels_M), mode)
    shifted = fitted((train_N_D + 2.0**20, labels_N, val_M_D + 2.0**20, val_labels_M), mode)
    assert_same(shifted.surprise(val_M_D + 2.0**20), head.surprise(val_M_D), rtol=1e-9)


def test_a_tight_class_far_from_another_loses_no_precision() -> None:
    """Distances about a mean that the classes share would cancel to 1e-4 here."""
    tight_N_D = 1e-6 * blobs(1, 30, 4)[0]
    features_N_D = torch.cat([tight_N_D, 1e3 + blobs(1, 30, 4, seed=1)[0]])
    labels_N = torch.arange(60) // 30
    queries_M_D = 1e-6 * blobs(1, 10, 4, seed=2)[0]
    expected_M = sklearn_log_density(features_N_D, labels_N, queries_M_D, [1e-6, 1e-6])
    head = fitted(without_validation(features_N_D, labels_N), 1e-6)
    torch.testing.assert_close(head.log_density(queries_M_D), expected_M, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("scale", [2.0**-100, 8.0, 2.0**100])
@pytest.mark.parametrize("mode", ["validation", "scott"])
def test_features_in_other_units_shift_the_log_density_by_d_log_units(mode: str, scale: float) -> None:
    train_N_D, labels_N, val_M_D, val_labels_M = unequal(4)
    head = fitted((train_N_D, labels_N, val_M_D, val_labels_M), mode)
    scaled = fitted((scale * train_N_D, labels_N, scale * val_M_D, val_labels_M), mode)
    assert bandwidths(scaled) == pytest.approx([scale * h for h in bandwidths(head)], rel=1e-9, abs=0)
    assert_same(scaled.surprise(scale * val_M_D), head.surprise(val_M_D) + 4 * math.log(scale), 1e-8)


@laws
@given(seed=seeds, mode=st.sampled_from(MODES), per_class=st.integers(2, 12), dims=st.integers(1, 6))
def test_the_order_of_samples_does_not_matter(
    seed: int, mode: str | float, per_class: int, dims: int
) -> None:
    samples = halves(*blobs(3, 2 * per_class, dims, seed))
    order = torch.randperm(3 * per_class, generator=torch.Generator().manual_seed(seed))
    queries_M_D = blobs(3, 4, dims, seed ^ 1)[0]
    permuted = fitted(tuple(x[order] for x in samples), mode)  # type: ignore[arg-type]
    assert_same(permuted.surprise(queries_M_D), fitted(samples, mode).surprise(queries_M_D), 1e-8)


@laws
@given(seed=seeds, mode=st.sampled_from(MODES), per_class=st.integers(2, 12), dims=st.integers(2, 6))
def test_rotating_and_moving_all_features_does_not_matter(
    seed: int, mode: str | float, per_class: int, dims: int
) -> None:
    train_N_D, labels_N, val_M_D, val_labels_M = halves(*blobs(3, 2 * per_class, dims, seed))
    rotation_D_D = torch.from_numpy(ortho_group.rvs(dims, random_state=seed))
    queries_M_D = blobs(3, 4, dims, seed ^ 1)[0]
    moved = fitted(
        (train_N_D @ rotation_D_D + 3, labels_N, val_M_D @ rotation_D_D + 3, val_labels_M), mode
    ).surprise(queries_M_D @ rotation_D_D + 3)
    assert_same(moved, fitted((train_N_D, labels_N, val_M_D, val_labels_M), mode).surprise(queries_M_D), 1e-8)


@laws
@given(seed=seeds, mode=st.sampled_from(MODES), sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_splitting_rows_into_calls_does_not_matter(seed: int, mode: str | float, sizes: list[int]) -> None:
    head = fitted(halves(*blobs(3, 16, 5, seed)), mode)
    queries_M_D = blobs(3, 15, 5, seed ^ 1)[0][: sum(sizes)]
    parts_M = torch.cat([head.surprise(part) for part in queries_M_D.split(sizes)])
    assert_same(parts_M, head.surprise(queries_M_D))


@laws
@given(
    seed=seeds,
    mode=st.sampled_from(MODES),
    names=st.lists(st.integers(0, 999), min_size=3, max_size=3, unique=True).map(sorted),
)
def test_absent_classes_do_not_matter(seed: int, mode: str | float, names: list[int]) -> None:
    """Neither as gaps between the labels, nor as validation samples of a class that is not labelled."""
    train_N_D, labels_N, val_M_D, val_labels_M = halves(*blobs(4, 12, 4, seed))
    labelled_N, here_M = labels_N < 3, val_labels_M < 3
    samples = (train_N_D[labelled_N], labels_N[labelled_N], val_M_D[here_M], val_labels_M[here_M])
    renamed_4 = torch.tensor([*names, 1000])
    renamed = fitted((samples[0], renamed_4[samples[1]], val_M_D, renamed_4[val_labels_M]), mode)
    assert torch.equal(renamed.surprise(val_M_D), fitted(samples, mode).surprise(val_M_D))
    assert renamed.diagnostics() == fitted(samples, mode).diagnostics()


@laws
@given(seed=seeds, per_class=st.integers(1, 12), dims=st.integers(1, 6))
def test_every_sample_twice_changes_nothing_under_a_fixed_bandwidth(
    seed: int, per_class: int, dims: int
) -> None:
    features_N_D, labels_N = blobs(3, per_class, dims, seed)
    twice = fitted(without_validation(features_N_D.repeat(2, 1), labels_N.repeat(2)), 0.4)
    once = fitted(without_validation(features_N_D, labels_N), 0.4)
    assert_same(twice.surprise(features_N_D), once.surprise(features_N_D))


@every_mode
def test_float32_features_rank_as_float64(mode: str | float) -> None:
    features_N_D, labels_N = blobs(10, 20, 128)
    train_N_D, labels_N, val_M_D, val_labels_M = halves(
        torch.nn.functional.normalize(features_N_D, dim=1), labels_N
    )
    assert labels_N.bincount().max() < 20
    double = fitted((train_N_D, labels_N, val_M_D, val_labels_M), mode).surprise(val_M_D)
    single = fitted((train_N_D.float(), labels_N, val_M_D.float(), val_labels_M), mode).surprise(
        val_M_D.float()
    )
    assert single.dtype == torch.float64
    assert spearmanr(single, double).statistic >= 0.9999


def test_max_samples_caps_the_kernels_of_each_class_and_leaves_the_priors() -> None:
    train_N_D, labels_N, *_ = unequal(4)
    samples = without_validation(train_N_D, labels_N)
    counts = labels_N.unique(return_counts=True)[1].tolist()
    assert min(counts) < 25 < max(counts)
    capped, again, other = (fitted(samples, 0.7, max_samples=25, seed=seed) for seed in (0, 0, 1))
    assert capped.diagnostics()["bank_per_class"] == [min(count, 25) for count in counts]
    assert torch.equal(capped.surprise(train_N_D), again.surprise(train_N_D))
    assert not torch.equal(capped.surprise(train_N_D), other.surprise(train_N_D))

    kept = draw_bank(labels_N, 25, seed=0)
    shares_C = [count / len(labels_N) for count in counts]
    expected_N = sklearn_log_density(train_N_D[kept], labels_N[kept], train_N_D, [0.7] * 3, shares_C)
    assert_same(capped.log_density(train_N_D), expected_N)


@pytest.mark.parametrize("budget_bytes", [2**28, 1000])
@every_mode
def test_diagnostics_tell_the_mean_log_likelihood_under_the_own_class(
    mode: str | float, budget_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.models.density.memory.MEMORY_BUDGET_BYTES", budget_bytes)
    train_N_D, labels_N, val_M_D, val_labels_M = unequal(4)
    head = fitted((train_N_D, labels_N, val_M_D, torch.where(val_labels_M == 5, 9, val_labels_M)), mode)
    own = [
        KernelDensity(bandwidth=h).fit(train).score_samples(val_M_D[val_labels_M == label].numpy())
        for h, train, label in zip(bandwidths(head), by_class(train_N_D, labels_N), (2, 5, 7), strict=True)
        if label != 5
    ]
    assert head.diagnostics()["val_log_likelihood"] == pytest.approx(np.concatenate(own).mean(), rel=1e-9)


def test_validation_features_only_choose_bandwidths() -> None:
    samples, queries_M_D = unequal(4), blobs(3, 9, 4, seed=1)[0]
    with_them, without = (fitted(x, "scott") for x in (samples, without_validation(*samples[:2])))
    assert torch.equal(with_them.surprise(queries_M_D), without.surprise(queries_M_D))
    assert without.diagnostics()["val_log_likelihood"] is None


def test_the_config_describes_the_head() -> None:
    head = KDE.from_config(MirConfig(kde_bandwidth="Scott", max_samples=7), seed=5)
    assert (head.bandwidth, head.max_samples, head.seed) == ("scott", 7, 5)
    assert KDE.from_config(MirConfig(kde_bandwidth=0.25), seed=5).bandwidth == 0.25
    assert KDE.from_config(MirConfig(), seed=5).bandwidth == "validation"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"bandwidth": "silverman"},
            "unknown kde_bandwidth 'silverman'; choices: scott, validation or a length",
        ),
        ({"bandwidth": 0.0}, "kde_bandwidth 0.0: a length is between"),
        ({"bandwidth": -1.0}, "kde_bandwidth -1.0"),
        ({"bandwidth": 1e-200}, "kde_bandwidth 1e-200"),
        ({"bandwidth": math.inf}, "kde_bandwidth inf"),
        ({"bandwidth": math.nan}, "kde_bandwidth nan"),
        ({"max_samples": 0}, "max_samples 0"),
    ],
)
def test_impossible_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        KDE(**options)


@every_mode
def test_an_empty_labelled_set_is_the_users_error(mode: str | float) -> None:
    with pytest.raises(UserError, match="no sample is labelled"):
        fitted(without_validation(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)), mode)
