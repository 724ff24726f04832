"""What every registered density head promises; a new one is tested here the moment it is registered."""

import json

import pytest
import torch
from torch import Tensor

from src.models.density import DENSITY_HEADS, DensityHead
from src.utils.errors import UserError
from tests.models.density.samples import blobs, halves

every_head = pytest.mark.parametrize("name", list(DENSITY_HEADS))
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def tiny(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    train_N_D, labels_N, val_M_D, val_labels_M = halves(*blobs(3, 14, 5))
    return train_N_D.to(dtype), labels_N, val_M_D.to(dtype), val_labels_M


def fitted(name: str, dtype: torch.dtype = torch.float64) -> DensityHead:
    head = DENSITY_HEADS.get(name)()
    head.fit(*tiny(dtype))
    return head


def test_heads_are_registered() -> None:
    assert {"gmm", "gmm_seg", "kde", "knn"} <= set(DENSITY_HEADS)


@every_head
@dtypes
@pytest.mark.parametrize("rows", [1, 21])
def test_surprise_is_one_finite_float64_a_row(name: str, dtype: torch.dtype, rows: int) -> None:
    surprise_N = fitted(name, dtype).surprise(tiny(dtype)[2][:rows])
    assert surprise_N.shape == (rows,)
    assert surprise_N.dtype == torch.float64
    assert surprise_N.isfinite().all()


@every_head
@dtypes
def test_fitting_and_scoring_twice_gives_the_same_bits(name: str, dtype: torch.dtype) -> None:
    head, queries_N_D = fitted(name, dtype), tiny(dtype)[2]
    assert torch.equal(head.surprise(queries_N_D), head.surprise(queries_N_D))
    assert torch.equal(head.surprise(queries_N_D), fitted(name, dtype).surprise(queries_N_D))


@every_head
def test_float32_features_score_as_the_same_numbers_in_float64(name: str) -> None:
    train_N_D, labels_N, val_M_D, val_labels_M = tiny(torch.float32)
    double = DENSITY_HEADS.get(name)()
    double.fit(train_N_D.double(), labels_N, val_M_D.double(), val_labels_M)
    torch.testing.assert_close(
        fitted(name, torch.float32).surprise(val_M_D), double.surprise(val_M_D.double()), rtol=1e-5, atol=1e-8
    )


@every_head
def test_far_features_are_more_surprising_than_labelled_ones(name: str) -> None:
    head, (train_N_D, *_) = fitted(name), tiny()
    assert head.surprise(train_N_D + 100).min() > head.surprise(train_N_D).max()


@every_head
def test_working_in_small_blocks_does_not_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_N, queries_N_D = fitted(name).surprise(tiny()[2]), tiny()[2]
    monkeypatch.setattr("src.models.density.memory.MEMORY_BUDGET_BYTES", 4000)
    torch.testing.assert_close(fitted(name).surprise(queries_N_D), whole_N, rtol=1e-10, atol=0)


@every_head
def test_features_are_left_as_they_were(name: str) -> None:
    given, untouched = tiny(), tiny()
    head = DENSITY_HEADS.get(name)()
    head.fit(*given)
    head.surprise(given[2])
    assert all(torch.equal(a, b) for a, b in zip(given, untouched, strict=True))


@every_head
@dtypes
def test_diagnostics_are_json_in_one_row(name: str, dtype: torch.dtype) -> None:
    diagnostics = fitted(name, dtype).diagnostics()
    assert json.loads(json.dumps(diagnostics, allow_nan=False)) == diagnostics


@every_head
def test_fitting_again_forgets_the_round_before(name: str) -> None:
    head, queries_N_D = DENSITY_HEADS.get(name)(), tiny()[2]
    head.fit(*halves(*blobs(4, 14, 5, seed=1)))
    head.fit(*tiny())
    assert torch.equal(head.surprise(queries_N_D), fitted(name).surprise(queries_N_D))
    assert head.diagnostics() == fitted(name).diagnostics()


def test_a_name_that_is_not_there_is_explained() -> None:
    with pytest.raises(UserError, match="unknown density model 'gnm'; did you mean 'gmm'"):
        DENSITY_HEADS.get("gnm")


@every_head
@dtypes
@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_cuda_device_gives_the_surprise_of_the_cpu(name: str, dtype: torch.dtype) -> None:
    on_cpu, on_cuda = tiny(dtype), [tensor.cuda() for tensor in tiny(dtype)]
    head = DENSITY_HEADS.get(name)()
    head.fit(*on_cuda)
    surprise_N = head.surprise(on_cuda[2])
    assert surprise_N.is_cuda
    torch.testing.assert_close(
        surprise_N.cpu(), fitted(name, dtype).surprise(on_cpu[2]), rtol=1e-6, atol=1e-8
    )
