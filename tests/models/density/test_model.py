from collections.abc import Callable, Iterator
from functools import partial
from weakref import WeakSet

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import normalize
from torch import Tensor

from src.models.density import GMM, KNN, DensityHead, DensityModel, GreedySearch
from src.models.density.transforms import l2_normalize
from src.utils.errors import NonFiniteError, UserError
from tests.models.density.samples import blobs, fit_pca, halves


class SeenFeatures:
    """A head that only remembers the features it was given."""

    fit_moments = None

    def fit(
        self, features_N_D: Tensor, labels_N: Tensor, val_features_M_D: Tensor, val_labels_M: Tensor
    ) -> None:
        self.train, self.val = features_N_D, val_features_M_D

    def surprise(self, features_N_D: Tensor) -> Tensor:
        self.queries = features_N_D
        return features_N_D.double().norm(dim=1)

    def diagnostics(self) -> dict[str, object]:
        return {"head": "own"}


def seen(normalize: bool, dim_reduction: int, dtype: torch.dtype = torch.float64) -> SeenFeatures:
    head = SeenFeatures()
    model = DensityModel(head, normalize, dim_reduction)
    train_N_D, labels_N, val_M_D, val_labels_M = halves(*blobs(3, 20, 6))
    model.fit(train_N_D.to(dtype), labels_N, val_M_D.to(dtype), val_labels_M)
    model.surprise(val_M_D.to(dtype))
    return head


def test_without_maps_the_head_sees_the_features_as_they_are() -> None:
    train_N_D, _, val_M_D, _ = halves(*blobs(3, 20, 6))
    head = seen(normalize=False, dim_reduction=-1)
    assert torch.equal(head.train, train_N_D)
    assert torch.equal(head.val, val_M_D)
    assert torch.equal(head.queries, val_M_D)


def test_normalized_features_have_length_one_everywhere() -> None:
    head = seen(normalize=True, dim_reduction=-1)
    train_N_D, _, val_M_D, _ = halves(*blobs(3, 20, 6))
    for features, raw in ((head.train, train_N_D), (head.val, val_M_D), (head.queries, val_M_D)):
        np.testing.assert_allclose(features.numpy(), normalize(raw.numpy()), rtol=1e-12)


def test_a_zero_vector_stays_zero() -> None:
    assert torch.equal(l2_normalize(torch.zeros(2, 3)), torch.zeros(2, 3))


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_float32_vectors_of_any_scale_reach_length_one(scale: float) -> None:
    """Their squares under- or overflow in float32."""
    normalized_N_D = l2_normalize(torch.tensor([[3.0, 4.0]]) * scale)
    torch.testing.assert_close(normalized_N_D, torch.tensor([[0.6, 0.8]]))


@pytest.mark.parametrize("normalized", [False, True])
def test_reduced_features_are_scikit_learns_pca_of_the_training_features(normalized: bool) -> None:
    """Up to the axes' signs; the PCA comes after the normalisation."""
    train, _, val, _ = (x.numpy() for x in halves(*blobs(3, 20, 6)))
    if normalized:
        train, val = normalize(train), normalize(val)
    pca = PCA(3, svd_solver="full").fit(train)
    head = seen(normalized, dim_reduction=3)
    for features, raw in ((head.train, train), (head.val, val), (head.queries, val)):
        np.testing.assert_allclose(features.abs().numpy(), abs(pca.transform(raw)), rtol=1e-7, atol=1e-10)
    signs = np.sign(head.train.numpy() / pca.transform(train))
    assert (signs == signs[0]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_head_sees_the_features_own_dtype(dtype: torch.dtype) -> None:
    head = seen(normalize=True, dim_reduction=3, dtype=dtype)
    assert {head.train.dtype, head.val.dtype, head.queries.dtype} == {dtype}


def test_principal_axes_are_orthonormal_and_end_at_the_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    coordinates_N_R, basis_R_D = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in ((30, 4), (4, 9))
    )
    axes_D_K = fit_pca(5 + coordinates_N_R @ basis_R_D).axes_D_K
    assert axes_D_K.shape == (9, 4)
    torch.testing.assert_close(axes_D_K.T @ axes_D_K, torch.eye(4, dtype=torch.float64))


def test_fewer_axes_are_kept_where_features_span_fewer_and_diagnostics_say_so() -> None:
    model = DensityModel(SeenFeatures(), normalize=False, dim_reduction=5)
    few_N_D = blobs(1, 4, 6)[0]
    model.fit(few_N_D, torch.zeros(4, dtype=torch.int64), few_N_D, torch.zeros(4, dtype=torch.int64))
    assert model.diagnostics() == {"dim_reduction": 3, "head": "own"}
    plain = DensityModel(SeenFeatures(), normalize=False, dim_reduction=-1)
    plain.fit(few_N_D, torch.zeros(4, dtype=torch.int64), few_N_D, torch.zeros(4, dtype=torch.int64))
    assert plain.diagnostics() == {"head": "own"}


def test_fitting_again_forgets_the_round_before() -> None:
    again, fresh = (DensityModel(GMM(), normalize=True, dim_reduction=3) for _ in range(2))
    again.fit(*halves(*blobs(3, 30, 8, seed=1)))
    second = halves(*blobs(3, 30, 6, seed=2))
    again.fit(*second)
    fresh.fit(*second)
    assert torch.equal(again.surprise(second[2]), fresh.surprise(second[2]))


@pytest.mark.parametrize("dim_reduction", [-1, 3])
@pytest.mark.parametrize("head", [GMM, partial(GMM, GreedySearch(1, "l2", "max")), KNN, SeenFeatures])
def test_fitting_on_batches_is_fitting_on_all_features(
    head: Callable[[], DensityHead], dim_reduction: int
) -> None:
    train_N_D, labels_N, val_M_D, val_labels_M = halves(*blobs(3, 30, 6))
    whole, streamed = (DensityModel(head(), normalize=True, dim_reduction=dim_reduction) for _ in range(2))
    whole.fit(train_N_D, labels_N, val_M_D, val_labels_M)
    streamed.fit_batches(
        lambda: zip(train_N_D.split(7), labels_N.split(7), strict=True),
        lambda: zip(val_M_D.split(11), val_labels_M.split(11), strict=True),
    )
    torch.testing.assert_close(streamed.surprise(val_M_D), whole.surprise(val_M_D), rtol=1e-8, atol=1e-8)


def test_a_gmm_is_fitted_on_batches_without_ever_holding_two_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million features are as little trouble as these: what was read is gone before the next block is."""
    monkeypatch.setattr("src.models.density.memory.MEMORY_BUDGET_BYTES", 4 * 8 * 6 * 20)  # 20 rows a block
    alive: WeakSet[Tensor] = WeakSet()
    most = 0

    def passes_over(rows: int) -> Iterator[tuple[Tensor, Tensor]]:
        nonlocal most
        for start in range(0, rows, 10):
            features_B_D, labels_B = blobs(2, 5, 6, seed=start)
            alive.add(features_B_D)
            most = max(most, sum(map(len, alive)))
            yield features_B_D, labels_B

    model = DensityModel(GMM(), normalize=False, dim_reduction=3)
    model.fit_batches(lambda: passes_over(1000), lambda: passes_over(100))
    assert most <= 40


def test_more_axes_than_features_are_the_users_error() -> None:
    with pytest.raises(UserError, match="dim_reduction 7 exceeds the 6 hidden features"):
        seen(normalize=False, dim_reduction=7)


@pytest.mark.parametrize("dim_reduction", [0, -2])
def test_impossible_numbers_of_axes_are_refused(dim_reduction: int) -> None:
    with pytest.raises(UserError, match=f"dim_reduction {dim_reduction}:"):
        DensityModel(GMM(), normalize=False, dim_reduction=dim_reduction)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["training features", "validation features", "features"])
def test_rows_that_are_not_finite_are_named(where: str, value: float) -> None:
    train_N_D, labels_N, val_M_D, val_labels_M = halves(*blobs(3, 20, 6))
    queries_N_D = val_M_D.clone()
    model = DensityModel(SeenFeatures(), normalize=True, dim_reduction=3)
    if where == "features":
        model.fit(train_N_D, labels_N, val_M_D, val_labels_M)
    bad = {"training features": train_N_D, "validation features": val_M_D, "features": queries_N_D}[where]
    bad[[3, 17], 2] = value
    with pytest.raises(NonFiniteError, match=rf"^2 of 30 rows of the {where} .*\(rows 3, 17, from 0\)"):
        if where == "features":
            model.surprise(queries_N_D)
        else:
            model.fit(train_N_D, labels_N, val_M_D, val_labels_M)


def test_only_the_first_ten_of_many_bad_rows_are_shown() -> None:
    queries_N_D = torch.full((500, 6), torch.nan)
    model = DensityModel(SeenFeatures(), normalize=False, dim_reduction=-1)
    with pytest.raises(
        NonFiniteError, match=r"^500 of 500 .*\(rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …, from 0\)"
    ):
        model.surprise(queries_N_D)
