import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, ortho_group
from sklearn.covariance import OAS, EmpiricalCovariance, LedoitWolf
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.preprocessing import normalize
from torch import Tensor

from src.models.density import ClassGreedyGMM, GreedySearch
from src.models.density.gaussians import COVARIANCE_FLOOR
from src.models.density.greedy import METRICS, REDUCTIONS
from src.utils.errors import UserError
from tests.models.density.formulae import FORMULAE, NUMPY_REDUCTIONS
from tests.models.density.samples import blobs, halves

DIMS, STEP = 7, 2
Split = tuple[Tensor, Tensor, Tensor, Tensor]
seeds = st.integers(0, 2**32 - 1)
laws = settings(max_examples=15, deadline=None, derandomize=True)
scaled = pytest.mark.parametrize("scale", [True, False], ids=["normalized", "as they are"])


def sample(seed: int = 0, dims: int = DIMS) -> Split:
    """Class 0 has a rank below D by its number of samples, the others by their own falling variances choose k."""
    features_N_D, labels_N = blobs(3, 40, dims, seed)
    features_N_D = features_N_D * 0.7 ** torch.arange(dims, dtype=torch.float64)
    train_N_D, train_labels_N, val_M_D, val_labels_M = halves(features_N_D, labels_N)
    kept = (train_labels_N != 0) | ((train_labels_N == 0).cumsum(0) <= 5)
    return train_N_D[kept], train_labels_N[kept], val_M_D, val_labels_M


def fitted(split: Split, *args: Any, **options: Any) -> ClassGreedyGMM:
    head = ClassGreedyGMM(*args, **options)
    head.fit(*split)
    return head


def classes_of(head: ClassGreedyGMM) -> list[dict[str, Any]]:
    classes = head.diagnostics()["classes"]
    assert isinstance(classes, list)
    return classes


@dataclass
class Twin:
    """One class in k dimensions, by scikit-learn."""

    pca: PCA
    mixture: GaussianMixture
    scale: bool

    @classmethod
    def of(cls, own: np.ndarray, k: int, scale: bool) -> "Twin":
        twin = cls(PCA(k, svd_solver="full").fit(own), GaussianMixture(1, reg_covar=COVARIANCE_FLOOR), scale)
        twin.mixture.fit(twin.coordinates(own))
        return twin

    def coordinates(self, features: np.ndarray) -> np.ndarray:
        projected = self.pca.transform(features)
        return normalize(projected) if self.scale else projected

    def __call__(self, features: np.ndarray) -> np.ndarray:
        return self.mixture.score_samples(self.coordinates(features))


@cache
def twins(scale: bool) -> dict[int, dict[int, tuple[Twin, np.ndarray, np.ndarray]]]:
    """By class and k: the twin, and its log-likelihoods of the class's training and validation samples."""
    train, labels, val, val_labels = (x.numpy() for x in sample())
    found: dict[int, dict[int, tuple[Twin, np.ndarray, np.ndarray]]] = {}
    for c, tried in ((0, [2, 4]), (1, [2, 4, 6, 7]), (2, [2, 4, 6, 7])):
        own = train[labels == c]
        found[c] = {}
        for k in tried:
            twin = Twin.of(own, k, scale)
            found[c][k] = twin, twin(own), twin(val[val_labels == c])
    return found


def twin_discrepancy(c: int, metric: str, reduction: str, scale: bool) -> list[float]:
    reduce, formula = NUMPY_REDUCTIONS[reduction], FORMULAE[metric]
    return [
        float(formula(reduce(train) / k, reduce(val) / k)) for k, (_, train, val) in twins(scale)[c].items()
    ]


@scaled
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("metric", METRICS)
def test_every_class_chooses_as_if_refitted_at_every_dimension(
    metric: str, reduction: str, scale: bool
) -> None:
    found = classes_of(fitted(sample(), GreedySearch(STEP, metric, reduction), normalize=scale))
    assert [entry["label"] for entry in found] == [0, 1, 2]
    for c, entry in enumerate(found):
        by_dimension = twins(scale)[c]
        expected = twin_discrepancy(c, metric, reduction, scale)
        assert entry["dimensions"] == list(by_dimension)
        assert entry["discrepancy"] == pytest.approx(expected, rel=1e-5, abs=1e-9)
        assert entry["dimension"] == entry["dimensions"][int(np.argmin(expected))]
        for key, side in (("train_log_likelihood", 1), ("val_log_likelihood", 2)):
            assert entry[key] == pytest.approx([x[side].mean() for x in by_dimension.values()], rel=1e-5)


@scaled
def test_the_choices_differ_between_classes_metrics_and_reductions(scale: bool) -> None:
    """Otherwise the comparison above would say little about how k is chosen."""
    chosen = {
        tuple(int(np.argmin(twin_discrepancy(c, metric, reduction, scale))) for c in range(3))
        for metric in FORMULAE
        for reduction in NUMPY_REDUCTIONS
    }
    assert len(chosen) >= 3
    assert any(len(set(choice)) > 1 for choice in chosen)


@scaled
@pytest.mark.parametrize("greedy", [None, GreedySearch(STEP, "val", "mean")], ids=["all axes", "greedy"])
def test_surprise_is_the_mixture_of_the_twins_in_their_own_dimensions(
    greedy: GreedySearch | None, scale: bool
) -> None:
    head, (_, labels_N, queries_M_D, _) = fitted(sample(), greedy, normalize=scale), sample()
    dimensions = [entry["dimension"] for entry in classes_of(head)]
    if greedy is None:
        assert dimensions == [4, 7, 7]
    priors = labels_N.bincount().numpy() / len(labels_N)
    log_pdfs = [twins(scale)[c][k][0](queries_M_D.numpy()) for c, k in enumerate(dimensions)]
    expected = -logsumexp(np.array(log_pdfs) + np.log(priors)[:, None], axis=0)
    np.testing.assert_allclose(head.surprise(queries_M_D), expected, rtol=1e-5)


@scaled
@pytest.mark.parametrize("estimator", ["full", "diag", "shrinkage", "ledoit_wolf"])
def test_covariances_are_estimated_in_the_coordinates_of_each_dimension(estimator: str, scale: bool) -> None:
    """Where shrinking knows nothing of the zeros that pad them."""
    entry = classes_of(fitted(sample(), GreedySearch(STEP, "l2", "mean"), estimator, scale))[1]
    train, labels, val, val_labels = (x.numpy() for x in sample())
    sklearns = {"shrinkage": OAS, "ledoit_wolf": LedoitWolf}.get(estimator, EmpiricalCovariance)
    for i, k in enumerate(entry["dimensions"]):
        twin = Twin.of(train[labels == 1], k, scale)
        own = twin.coordinates(train[labels == 1])
        covariance = sklearns().fit(own).covariance_
        if estimator == "diag":
            covariance = np.diag(np.diag(covariance))
        density = multivariate_normal(own.mean(0), covariance + COVARIANCE_FLOOR * np.eye(k))
        assert entry["train_log_likelihood"][i] == pytest.approx(density.logpdf(own).mean(), rel=1e-5)
        expected = density.logpdf(twin.coordinates(val[val_labels == 1])).mean()
        assert entry["val_log_likelihood"][i] == pytest.approx(expected, rel=1e-5)


@scaled
@pytest.mark.parametrize("reduction", ["mean", "median"])
def test_few_samples_in_many_dimensions_and_small_blocks_stay_exact(
    reduction: str, scale: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of a few of the 23 dimensions and of the rows, against all at once."""
    split = halves(*blobs(3, 48, 128))
    whole = fitted(split, GreedySearch(1, "l2", reduction), normalize=scale)
    monkeypatch.setattr("src.models.density.memory.MEMORY_BUDGET_BYTES", 250_000)
    blocked = fitted(split, GreedySearch(1, "l2", reduction), normalize=scale)
    for ours, theirs in zip(classes_of(blocked), classes_of(whole), strict=True):
        assert ours["dimensions"] == theirs["dimensions"]
        for key in ("discrepancy", "train_log_likelihood", "val_log_likelihood"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-9)
    torch.testing.assert_close(blocked.surprise(split[2]), whole.surprise(split[2]), rtol=1e-10, atol=0)
    train, labels = (x.numpy() for x in split[:2])
    entry = classes_of(whole)[0]
    assert len(entry["dimensions"]) >= 20
    for k in entry["dimensions"][::6]:
        own = train[labels == 0]
        expected = Twin.of(own, k, scale)(own).mean()
        assert entry["train_log_likelihood"][k - 1] == pytest.approx(expected, rel=1e-5)


@scaled
def test_ties_go_to_the_smallest_dimension(scale: bool) -> None:
    train_N_D, labels_N, _, _ = sample()
    head = fitted((train_N_D, labels_N) * 2, GreedySearch(STEP, "l1", "mean"), normalize=scale)
    for entry in classes_of(head):
        assert entry["discrepancy"] == [0.0] * len(entry["dimensions"])
        assert entry["dimension"] == STEP


def steep(classes: int, seed: int = 0) -> Split:
    """Class c has validation samples as the training ones on its first 1 + c axes, and far out on the others."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), 100)
    train, val = (rng.normal(size=(100 * classes, 6)) * 0.4 ** np.arange(6) for _ in range(2))
    val[np.arange(6) > labels[:, None]] *= 10
    return torch.from_numpy(train), torch.from_numpy(labels), torch.from_numpy(val), torch.from_numpy(labels)


@pytest.mark.parametrize(("judged", "median"), [([0, 1, 4], 2), ([1, 2], 2), ([0, 2, 3, 4], 3), ([4], 5)])
def test_a_class_without_validation_samples_takes_the_median_choice_of_the_others(
    judged: list[int], median: int
) -> None:
    """The lower of two middle ones, and at most its own rank."""
    train_N_D, labels_N, val_M_D, val_labels_M = steep(7)
    few = (labels_N != 6) | ((labels_N == 6).cumsum(0) <= 2)  # class 6 has rank 1
    seen = torch.isin(val_labels_M, torch.tensor(judged))
    split = train_N_D[few], labels_N[few], val_M_D[seen], val_labels_M[seen]
    found = classes_of(fitted(split, GreedySearch(1, "val", "mean")))
    assert [found[c]["dimension"] for c in judged] == [1 + c for c in judged]
    assert found[5]["dimension"] == median
    assert found[6]["dimension"] == 1
    assert found[5]["discrepancy"] is found[5]["val_log_likelihood"] is None
    assert len(found[5]["train_log_likelihood"]) == len(found[5]["dimensions"]) == 6


def test_no_validation_sample_of_any_fitted_class_is_the_users_error_of_a_search_alone() -> None:
    train_N_D, labels_N, val_M_D, val_labels_M = sample()
    split = train_N_D, labels_N, val_M_D, val_labels_M + 10
    with pytest.raises(UserError, match=r"data\.val_size"):
        fitted(split, GreedySearch(1, "l2", "mean"))
    assert [entry["val_log_likelihood"] for entry in classes_of(fitted(split))] == [None] * 3


def test_covariance_in_common_is_refused() -> None:
    with pytest.raises(UserError, match=r"^covariance 'tied'.*choices: full, diag, shrinkage, ledoit_wolf"):
        ClassGreedyGMM(covariance="tied")


def test_classes_with_one_sample_are_left_out() -> None:
    train_N_D, labels_N, val_M_D, val_labels_M = sample()
    single = torch.cat([train_N_D, val_M_D[:1]]), torch.cat([labels_N, torch.tensor([9])])
    head, without = fitted((*single, val_M_D, val_labels_M)), fitted(sample())
    assert head.diagnostics()["classes_left_out"] == [9]
    assert torch.equal(head.surprise(val_M_D), without.surprise(val_M_D))
    with pytest.raises(UserError, match="no class has two labelled samples"):
        fitted((*(x[-1:] for x in single), val_M_D, val_labels_M))


def test_two_samples_have_one_axis_and_every_normalized_coordinate_is_one_or_minus_one() -> None:
    """Which has mean 0 and variance 1: the surprise is the same wherever one is."""
    train_N_D, labels_N = torch.tensor([[0.0, 1.0], [4.0, 4.0]]), torch.tensor([5, 5])
    head = fitted((train_N_D, labels_N, train_N_D, labels_N), normalize=True)
    log_pdf = multivariate_normal(0, 1 + COVARIANCE_FLOOR).logpdf(1)
    assert classes_of(head) == [
        {
            "label": 5,
            "dimension": 1,
            "train_log_likelihood": pytest.approx(log_pdf),
            "val_log_likelihood": pytest.approx(log_pdf),
        }
    ]
    surprise_Q = head.surprise(torch.tensor([[0.0, 1.0], [4.0, 4.0], [-70.0, 3.0]]))
    np.testing.assert_allclose(surprise_Q, [-log_pdf] * 3)


@scaled
def test_identical_samples_lie_at_zero_where_unit_length_leaves_them(scale: bool) -> None:
    """Though their sum over their number is not them: rounding, blown up to length 1, would have a side to be on."""
    train_N_D, labels_N = torch.full((11, 3), 0.1, dtype=torch.float64), torch.zeros(11, dtype=torch.int64)
    assert (train_N_D.mean(0) != 0.1).all()
    head = fitted((train_N_D, labels_N, train_N_D, labels_N), GreedySearch(1, "l2", "mean"), normalize=scale)
    log_pdf = multivariate_normal(0, COVARIANCE_FLOOR).logpdf(0)
    np.testing.assert_allclose(head.surprise(train_N_D), [-log_pdf] * 11)
    assert head.surprise(torch.cat([train_N_D - 1, train_N_D + 1])).min() > 1e5
    assert classes_of(head)[0]["val_log_likelihood"] == pytest.approx([log_pdf])


def test_an_input_at_the_mean_of_a_class_stays_at_zero_among_normalized_ones() -> None:
    """Integers have an exact mean, and axes across the coordinates would round a difference taken on them."""
    mean_D = torch.tensor([1001.0, 2003.0, 3007.0], dtype=torch.float64)
    offsets_N_D = torch.tensor([[1, 2, 3], [2, -1, 1], [-1, 1, 5]], dtype=torch.float64)
    train_N_D = torch.cat([mean_D + offsets_N_D, mean_D - offsets_N_D])
    head = fitted((train_N_D, torch.zeros(6), train_N_D, torch.zeros(6)), normalize=True)
    own = Twin.of(train_N_D.numpy(), 3, scale=True).mixture
    np.testing.assert_allclose(head.log_density(mean_D[None]), own.score_samples(np.zeros((1, 3))), rtol=1e-5)


@scaled
def test_features_far_from_the_origin_lose_no_precision(scale: bool) -> None:
    """Features in steps of 2⁻²⁰ and counts of 16 make the shift and the means exact."""
    train_N_D, labels_N = blobs(2, 16, 5, spread=1e-2)
    train_N_D = (train_N_D * 2**20).round() / 2**20
    near, far = (
        fitted((train_N_D + at, labels_N, train_N_D + at, labels_N), normalize=scale).surprise(train_N_D + at)
        for at in (0.0, 2.0**20)
    )
    torch.testing.assert_close(far, near, rtol=1e-8, atol=1e-8)


@scaled
def test_every_sample_twice_changes_nothing(scale: bool) -> None:
    train_N_D, labels_N, val_M_D, val_labels_M = sample()
    once = train_N_D, labels_N, val_M_D, val_labels_M
    twice = train_N_D.repeat(2, 1), labels_N.repeat(2), val_M_D, val_labels_M
    search = GreedySearch(1, "val", "mean")
    torch.testing.assert_close(
        fitted(twice, search, normalize=scale).surprise(val_M_D),
        fitted(once, search, normalize=scale).surprise(val_M_D),
        rtol=1e-7,
        atol=1e-7,
    )


@scaled
@pytest.mark.parametrize("greedy", [None, GreedySearch(1, "l2", "median")], ids=["all axes", "greedy"])
def test_diagnostics_are_json(greedy: GreedySearch | None, scale: bool) -> None:
    diagnostics = fitted(sample(), greedy, normalize=scale).diagnostics()
    assert json.loads(json.dumps(diagnostics, allow_nan=False)) == diagnostics


def assert_same(
    actual: ClassGreedyGMM, actual_queries_Q_D: Tensor, expected: ClassGreedyGMM, queries_Q_D: Tensor
) -> None:
    ours, theirs = actual.surprise(actual_queries_Q_D), expected.surprise(queries_Q_D)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    assert [x["dimension"] for x in classes_of(actual)] == [x["dimension"] for x in classes_of(expected)]


@scaled
@laws
@given(seed=seeds, dims=st.integers(2, 6), step=st.integers(1, 3))
def test_the_order_of_samples_does_not_matter(scale: bool, seed: int, dims: int, step: int) -> None:
    split = train_N_D, labels_N, val_M_D, val_labels_M = sample(seed, dims)
    generator = torch.Generator().manual_seed(seed)
    train, val = (torch.randperm(len(labels), generator=generator) for labels in (labels_N, val_labels_M))
    permuted = train_N_D[train], labels_N[train], val_M_D[val], val_labels_M[val]
    search = GreedySearch(step, "val", "mean")
    queries_Q_D, _ = blobs(3, 5, dims, seed ^ 1)
    again, head = (fitted(samples, search, normalize=scale) for samples in (permuted, split))
    assert_same(again, queries_Q_D, head, queries_Q_D)


@scaled
@laws
@given(seed=seeds, dims=st.integers(2, 6), step=st.integers(1, 3))
def test_turning_and_moving_all_features_does_not_matter(
    scale: bool, seed: int, dims: int, step: int
) -> None:
    """Each class's axes turn with it, up to their signs. Nor does the size of normalized features."""
    split = train_N_D, labels_N, val_M_D, val_labels_M = sample(seed, dims)
    turn_D_D = torch.from_numpy(ortho_group.rvs(dims, random_state=seed))
    queries_Q_D, _ = blobs(3, 5, dims, seed ^ 1)
    move_D, size = torch.arange(dims) - 3.0, 1000.0 if scale else 1.0
    train, val, queries = (size * (x @ turn_D_D + move_D) for x in (train_N_D, val_M_D, queries_Q_D))
    search = GreedySearch(step, "val", "mean")
    turned = fitted((train, labels_N, val, val_labels_M), search, normalize=scale)
    assert_same(turned, queries, fitted(split, search, normalize=scale), queries_Q_D)


@scaled
@laws
@given(seed=seeds, sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_splitting_rows_into_calls_does_not_matter(scale: bool, seed: int, sizes: list[int]) -> None:
    head = fitted(sample(seed), normalize=scale)
    queries_Q_D = blobs(3, 15, DIMS, seed ^ 1)[0][: sum(sizes)]
    parts = torch.cat([head.surprise(part) for part in queries_Q_D.split(sizes)])
    torch.testing.assert_close(parts, head.surprise(queries_Q_D), rtol=1e-10, atol=1e-10)


@laws
@given(seed=seeds, names=st.lists(st.integers(0, 999), min_size=3, max_size=3, unique=True).map(sorted))
def test_absent_classes_between_the_labels_do_not_matter(seed: int, names: list[int]) -> None:
    split = train_N_D, labels_N, val_M_D, val_labels_M = sample(seed)
    search, label_of = GreedySearch(STEP, "val", "mean"), torch.tensor(names)
    renamed = fitted((train_N_D, label_of[labels_N], val_M_D, label_of[val_labels_M]), search)
    assert torch.equal(renamed.surprise(val_M_D), fitted(split, search).surprise(val_M_D))
    assert [entry["label"] for entry in classes_of(renamed)] == names
    assert renamed.diagnostics()["classes_left_out"] == []
