"""Laws that every density head obeys whatever its options, except where a head's definition says otherwise."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from torch import Tensor

from src.models.density import DENSITY_HEADS, GMM, KDE, KNN, ClassGreedyGMM, DensityHead, GreedySearch
from tests.models.density.samples import blobs

Head = Callable[[], DensityHead]

COVARIANCES = ("full", "tied", "diag", "shrinkage", "ledoit_wolf")
GREEDY = GreedySearch(1, "train_val_l2", "mean")
HEADS: dict[str, Head] = {
    **{f"gmm {name}": partial(GMM, covariance=name) for name in COVARIANCES},
    "gmm greedy": partial(GMM, GREEDY),
    "gmm greedy median": partial(GMM, GreedySearch(2, "l1", "median")),
    "gmm_seg": ClassGreedyGMM,
    "gmm_seg greedy": partial(ClassGreedyGMM, GREEDY, normalize=True),
    "kde validation": KDE,
    "kde scott": partial(KDE, "scott"),
    "kde fixed": partial(KDE, 0.7),
    "knn": KNN,
    "knn cosine uniform": partial(KNN, metric="cosine", weights="uniform"),
    "knn manhattan": partial(KNN, metric="manhattan"),
}
DENSITIES = [name for name in HEADS if name.startswith(("kde", "gmm ")) and "greedy" not in name]
# Those whose definition depends on the axes that features come in, or on where their origin is.
BY_AXES = {"gmm diag", "knn manhattan"}
BY_ORIGIN = {"knn cosine uniform"}

seeds = st.integers(0, 2**32 - 1)
laws = settings(max_examples=10, deadline=None, derandomize=True)


def heads(excluding: set[str] = frozenset()) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("name", [name for name in HEADS if name not in excluding])


def samples(seed: int, dims: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Training, validation and query features, with labels for the first two; from the same three clouds."""
    features_N_D, labels_N = blobs(3, 32, dims, seed)
    return features_N_D[:40], labels_N[:40], features_N_D[40:70], labels_N[40:70], features_N_D[70:]


def surprise(
    name: str, train_N_D: Tensor, labels_N: Tensor, val_M_D: Tensor, val_labels_M: Tensor, queries_Q_D: Tensor
) -> Tensor:
    head = HEADS[name]()
    head.fit(train_N_D, labels_N, val_M_D, val_labels_M)
    return head.surprise(queries_Q_D)


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)


def test_every_registered_head_is_under_the_laws() -> None:
    assert {name.split()[0] for name in HEADS} == set(DENSITY_HEADS)


@heads()
@laws
@given(seed=seeds)
def test_the_order_of_samples_does_not_matter(name: str, seed: int) -> None:
    train_N_D, labels_N, val_M_D, val_labels_M, queries_Q_D = samples(seed)
    generator = torch.Generator().manual_seed(seed)
    train, val = torch.randperm(40, generator=generator), torch.randperm(30, generator=generator)
    permuted = train_N_D[train], labels_N[train], val_M_D[val], val_labels_M[val], queries_Q_D.flip(0)
    assert_same(surprise(name, *permuted).flip(0), surprise(name, *samples(seed)))


@heads()
@laws
@given(seed=seeds, sizes=st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_the_size_of_batches_does_not_matter(name: str, seed: int, sizes: list[int]) -> None:
    *fitted_on, queries_Q_D = samples(seed)
    head = HEADS[name]()
    head.fit(*fitted_on)
    queries_Q_D = queries_Q_D.repeat(2, 1)[: sum(sizes)]
    parts_Q = torch.cat([head.surprise(part) for part in queries_Q_D.split(sizes)])
    torch.testing.assert_close(parts_Q, head.surprise(queries_Q_D), rtol=1e-9, atol=1e-9)


@heads(excluding=BY_AXES)
@laws
@given(seed=seeds)
def test_turning_the_feature_space_does_not_matter(name: str, seed: int) -> None:
    turn_D_D = torch.from_numpy(ortho_group.rvs(4, random_state=seed))
    turned = [x @ turn_D_D if x.is_floating_point() else x for x in samples(seed)]
    assert_same(surprise(name, *turned), surprise(name, *samples(seed)))


@heads(excluding=BY_ORIGIN)
@laws
@given(seed=seeds, shift=st.floats(-100, 100))
def test_moving_the_origin_does_not_matter(name: str, seed: int, shift: float) -> None:
    moved = [x + shift if x.is_floating_point() else x for x in samples(seed)]
    assert_same(surprise(name, *moved), surprise(name, *samples(seed)))


@heads()
@laws
@given(seed=seeds, names=st.lists(st.integers(0, 999), min_size=3, max_size=3, unique=True).map(sorted))
def test_what_classes_are_called_and_which_are_absent_does_not_matter(
    name: str, seed: int, names: list[int]
) -> None:
    renamed = [x if x.is_floating_point() else torch.tensor(names)[x] for x in samples(seed)]
    assert torch.equal(surprise(name, *renamed), surprise(name, *samples(seed)))


@heads()
@laws
@given(seed=seeds)
def test_validation_samples_of_unlabelled_classes_do_not_matter(name: str, seed: int) -> None:
    train_N_D, labels_N, val_M_D, val_labels_M, queries_Q_D = samples(seed)
    with_others = torch.cat([val_M_D, queries_Q_D]), torch.cat([val_labels_M, torch.full((26,), 7)])
    assert_same(
        surprise(name, train_N_D, labels_N, *with_others, queries_Q_D), surprise(name, *samples(seed))
    )


@pytest.mark.parametrize("name", DENSITIES)
def test_the_density_adds_up_to_one_over_the_plane(name: str) -> None:
    """The trapezium rule errs exponentially little for a smooth density that vanishes at the border."""
    train_N_D, labels_N, val_M_D, val_labels_M, _ = samples(0, dims=2)
    step = 0.04
    axis = torch.arange(-14, 14, step, dtype=torch.float64)
    grid_Q_D = torch.cartesian_prod(axis, axis)
    total = (-surprise(name, train_N_D, labels_N, val_M_D, val_labels_M, grid_Q_D)).exp().sum() * step**2
    assert total.item() == pytest.approx(1, abs=1e-3)
