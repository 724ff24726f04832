import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.models.density import GMM, GreedySearch
from src.models.density.moments import ClassMoments
from src.models.density.transforms import principal_axes
from tests.models.density.samples import blobs, fit_pca, halves

seeds = st.integers(0, 2**32 - 1)
laws = settings(max_examples=20, deadline=None, derandomize=True)


def assert_same(actual: ClassMoments, expected: ClassMoments, rtol: float = 1e-9) -> None:
    assert torch.equal(actual.labels_C, expected.labels_C)
    for ours, theirs in zip(actual, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=rtol, atol=1e-9 * (1 + theirs.abs().max().item()))


def cut(features_N_D: Tensor, labels_N: Tensor, sizes: list[int]) -> list[tuple[Tensor, Tensor]]:
    """Batches of these sizes, and one of what is left."""
    sizes = [*sizes, max(0, len(labels_N) - sum(sizes))]
    starts = np.cumsum([0, *sizes])
    parts = [slice(start, start + size) for start, size in zip(starts, sizes, strict=False)]
    return [(features_N_D[part], labels_N[part]) for part in parts]


def test_moments_are_numpys_by_class() -> None:
    features_N_D, labels_N = blobs(3, 20, 4)
    moments = ClassMoments.of(features_N_D.float(), 2 * labels_N)
    assert moments.labels_C.tolist() == [0, 2, 4]
    assert moments.counts_C.tolist() == [20, 20, 20]
    for c, label in enumerate((0, 2, 4)):
        x = features_N_D.float().numpy()[2 * labels_N == label].astype(float)
        y = x - x.mean(0)
        np.testing.assert_allclose(moments.means_C_D[c], x.mean(0))
        np.testing.assert_allclose(moments.scatters_C_D_D[c], len(x) * np.cov(x.T, bias=True))
        np.testing.assert_allclose(moments.cubes_C_D[c], sum((row @ row) * row for row in y), atol=1e-9)
        np.testing.assert_allclose(moments.quartics_C[c], sum((row @ row) ** 2 for row in y))


@laws
@given(seed=seeds, sizes=st.lists(st.integers(0, 12), max_size=6), dims=st.integers(1, 5))
def test_moments_of_parts_add_up_to_those_of_the_whole(seed: int, sizes: list[int], dims: int) -> None:
    """Also where a part has no sample of a class, or none at all."""
    features_N_D, labels_N = blobs(4, 9, dims, seed)
    parts = [ClassMoments.of(*part) for part in cut(features_N_D, labels_N, sizes)]
    whole = ClassMoments.of(features_N_D, labels_N)
    forwards = parts[0]
    for part in parts[1:]:
        forwards = forwards + part
    backwards = parts[-1]
    for part in reversed(parts[:-1]):
        backwards = part + backwards
    assert_same(forwards, whole)
    assert_same(backwards, whole)


@laws
@given(seed=seeds, sizes=st.lists(st.integers(1, 12), max_size=6), budget_rows=st.integers(1, 40))
def test_batches_of_any_size_give_the_moments_of_the_whole(
    seed: int, sizes: list[int], budget_rows: int
) -> None:
    features_N_D, labels_N = blobs(4, 9, 3, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("src.models.density.memory.MEMORY_BUDGET_BYTES", budget_rows * 4 * 8 * 3)
        streamed = ClassMoments.of_batches(iter(cut(features_N_D, labels_N, sizes)))
    assert_same(streamed, ClassMoments.of(features_N_D, labels_N))


def test_adding_far_from_the_origin_cancels_nothing() -> None:
    """Sums of x and x xᵀ would lose the scatter of 1e-4 beside squares of 1e12 altogether."""
    features_N_D, labels_N = blobs(2, 64, 3, spread=1e-2)
    steps_N_D = (features_N_D * 2**20).round() / 2**20
    near, far = (
        ClassMoments.of_batches(zip((steps_N_D + at).split(10), labels_N.split(10), strict=True))
        for at in (0.0, 2.0**20)
    )
    torch.testing.assert_close(far.scatters_C_D_D, near.scatters_C_D_D, rtol=1e-6, atol=1e-9)


def test_partial_moments_survive_the_way_between_processes() -> None:
    """Ranks would exchange them pickled, as torch.distributed.all_gather_object does."""
    features_N_D, labels_N = blobs(3, 20, 4)
    sent = [pickle.dumps(ClassMoments.of(features_N_D[rank::2], labels_N[rank::2])) for rank in range(2)]
    received = [pickle.loads(moments) for moments in sent]
    assert_same(received[0] + received[1], ClassMoments.of(features_N_D, labels_N))


def test_no_samples_have_no_moments_and_add_nothing() -> None:
    features_N_D, labels_N = blobs(3, 20, 4)
    nothing, moments = (
        ClassMoments.of(features_N_D[:0], labels_N[:0]),
        ClassMoments.of(features_N_D, labels_N),
    )
    assert [len(tensor) for tensor in nothing] == [0] * 7
    assert_same(nothing + moments, moments, rtol=0)
    assert_same(moments + nothing, moments, rtol=0)


def test_labels_without_samples_are_zero() -> None:
    features_N_D, labels_N = blobs(2, 5, 3)
    moments = ClassMoments.of(features_N_D, 2 * labels_N).over(torch.tensor([1, 2]))
    assert moments.counts_C.tolist() == [0, 5]
    assert moments.means_C_D[0].tolist() == [0, 0, 0]


def test_pooled_moments_are_those_without_labels() -> None:
    features_N_D, labels_N = blobs(3, 20, 4)
    kept = labels_N != torch.arange(60) % 3  # unequal counts
    count, mean_D, scatter_D_D = ClassMoments.of(features_N_D[kept], labels_N[kept]).pooled()
    x = features_N_D[kept].numpy()
    assert count == len(x)
    np.testing.assert_allclose(mean_D, x.mean(0))
    np.testing.assert_allclose(scatter_D_D, len(x) * np.cov(x.T, bias=True))


def test_projected_moments_are_those_of_the_projected_features() -> None:
    features_N_D, labels_N = blobs(3, 20, 4)
    projection = fit_pca(features_N_D)
    assert_same(
        ClassMoments.of(features_N_D, labels_N).projected(projection),
        ClassMoments.of(projection(features_N_D), labels_N),
    )
    axes_D_K = principal_axes(*ClassMoments.of(features_N_D, labels_N).pooled()).axes_D_K
    torch.testing.assert_close(axes_D_K.abs(), projection.axes_D_K.abs())


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "shrinkage", "ledoit_wolf"])
@pytest.mark.parametrize("greedy", [None, GreedySearch(1, "train_val_l2", "mean")], ids=["all", "greedy"])
def test_a_gmm_fitted_from_streamed_moments_is_the_one_fitted_on_the_features(
    covariance: str, greedy: GreedySearch | None
) -> None:
    train_N_D, labels_N, val_M_D, val_labels_M = halves(*blobs(3, 60, 6))
    whole, streamed = (GMM(greedy, covariance) for _ in range(2))
    whole.fit(train_N_D, labels_N, val_M_D, val_labels_M)
    streamed.fit_moments(
        *(
            ClassMoments.of(features[:40], labels[:40]) + ClassMoments.of(features[40:], labels[40:])
            for features, labels in ((train_N_D, labels_N), (val_M_D, val_labels_M))
        )
    )
    torch.testing.assert_close(streamed.surprise(val_M_D), whole.surprise(val_M_D), rtol=1e-8, atol=1e-8)
    assert streamed.diagnostics()["dimension"] == whole.diagnostics()["dimension"]
    for key in ("train_log_likelihood", "val_log_likelihood"):
        assert streamed.diagnostics()[key] == pytest.approx(whole.diagnostics()[key], rel=1e-8)
