"""Matrix products against torch's own interpolation and transposed convolution, values and gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from src.layers.upsample import bilinear, bilinear_transposed

LENGTH = st.integers(1, 13)


def maps(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def fixed_convolution(channels: int, factor: int) -> nn.ConvTranspose2d:
    """A channel of its own each, by the triangle of bilinear interpolation written out tap by tap."""
    conv = nn.ConvTranspose2d(
        channels, channels, 2 * factor, factor, factor // 2, groups=channels, bias=False, dtype=torch.float64
    )
    with torch.no_grad():
        for row in range(2 * factor):
            for col in range(2 * factor):
                down, right = (abs(tap - factor + 0.5) / factor for tap in (row, col))
                conv.weight[:, 0, row, col] = (1 - down) * (1 - right)
    return conv


def same(ours: Tensor, theirs: Tensor, x: Tensor) -> None:
    """In value, and in the gradient of a sum that weighs every pixel differently."""
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    weights = maps(*theirs.shape, seed=1).detach()
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=0)


@settings(max_examples=60)
@given(LENGTH, LENGTH, st.integers(1, 40), st.integers(1, 40))
def test_it_is_torchs_interpolation_at_every_size_larger_or_smaller(
    h: int, w: int, rows: int, cols: int
) -> None:
    x = maps(2, 3, h, w)
    same(bilinear(x, (rows, cols)), F.interpolate(x, (rows, cols), mode="bilinear", align_corners=False), x)


@settings(max_examples=30)
@given(LENGTH, LENGTH, st.sampled_from([2, 4, 8]))
def test_the_transposed_one_is_torchs_fixed_transposed_convolution_and_bilinear_inside(
    h: int, w: int, factor: int
) -> None:
    x = maps(2, 3, h, w)
    ours = bilinear_transposed(x, factor)
    same(ours, fixed_convolution(3, factor)(x), x)
    inside = (..., slice(factor // 2, -(factor // 2)), slice(factor // 2, -(factor // 2)))
    plain = bilinear(x, (factor * h, factor * w))
    torch.testing.assert_close(ours[inside], plain[inside], atol=1e-12, rtol=0)
    assert (ours[..., 0, :].abs() < plain[..., 0, :].abs()).all(), "fades towards the border"


def test_any_leading_axes_are_mapped_alike() -> None:
    x = maps(2, 3, 4, 5, 6)
    for resample in (lambda x: bilinear(x, (9, 14)), lambda x: bilinear_transposed(x, 8)):
        folded = resample(x.flatten(0, 2)).unflatten(0, (2, 3, 4))
        torch.testing.assert_close(resample(x), folded, atol=1e-12, rtol=0)


def test_float32_stays_close_to_float64_at_the_size_of_street_scenes() -> None:
    x = maps(2, 32, 64)
    exact, rounded = bilinear(x, (256, 512)), bilinear(x.float(), (256, 512))
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded.double(), exact, atol=2e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_does_not_round_what_is_enlarged(dtype: torch.dtype) -> None:
    x = maps(2, 5, 6).to(dtype)
    expected = bilinear(x.double(), (21, 33))
    with torch.autocast("cpu", torch.bfloat16):
        got = bilinear(x, (21, 33))
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), expected, atol=1e-6, rtol=0)


@pytest.mark.cuda
def test_gradients_on_a_gpu_are_the_same_bits_every_time() -> None:
    x = maps(2, 19, 32, 64).detach().float().cuda().requires_grad_()
    weights = torch.randn(2, 19, 256, 512, device="cuda")
    for enlarge in (lambda x: bilinear(x, (256, 512)), lambda x: bilinear_transposed(x, 8)):
        first, second = (torch.autograd.grad((enlarge(x) * weights).sum(), x)[0] for _ in range(2))
        assert torch.equal(first, second)
