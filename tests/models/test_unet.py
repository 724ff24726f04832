"""A U-Net counted by hand, and every size of scene padded and cut back."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.layers.stochastic import start_passes, stochastic_layers
from src.models.unet import UNet

CLASSES = 5
WIDTHS = [16, 32, 64, 128, 256, 512, 1024]


def unet(shape: tuple[int, int, int] = (3, 32, 48), dropout: float = 0.1) -> UNet:
    torch.manual_seed(0)
    return UNet(shape, CLASSES, dropout).eval()


def test_parameters_are_those_of_seven_levels_down_and_six_up() -> None:
    def level(inputs: int, outputs: int) -> int:
        return 9 * (inputs + outputs) * outputs + 4 * outputs

    down = sum(level(a, b) for a, b in zip([3, *WIDTHS], WIDTHS, strict=False))
    up = sum(level(2 * high, high) + 4 * low * high + high for high, low in pairwise(WIDTHS))
    with torch.device("meta"):
        model = unet()
    assert sum(p.numel() for p in model.parameters()) == down + up + 16 * CLASSES + CLASSES
    assert len(stochastic_layers(model)) == 13, "after every level"


@pytest.mark.parametrize(("rows", "cols"), [(64, 128), (32, 48), (65, 63), (1, 200)])
def test_the_last_map_and_the_logits_have_the_inputs_size(rows: int, cols: int) -> None:
    with torch.device("meta"):
        model, x = unet(), torch.empty(1, 2, 3, rows, cols)
        assert model.encode(x).shape == (1, 2, 16, rows, cols)
        assert model(x).shape == (1, 2, CLASSES, rows, cols)
        bottom = []
        model.encoder.down[-1].register_forward_hook(lambda *call: bottom.append(call[2].shape))
        model(x)
    assert bottom == [(1, 2, 1024, -(-rows // 64), -(-cols // 64))]


def test_other_sizes_are_padded_with_zeros_right_and_below_and_cut_back() -> None:
    model, x = unet(), torch.randn(1, 1, 3, 33, 47)
    padded = model(F.pad(x, (0, 64 - 47, 0, 64 - 33)))
    torch.testing.assert_close(model(x), padded[..., :33, :47], rtol=1e-4, atol=1e-5)


def test_each_level_up_sees_its_own_level_down_beside_the_enlarged_one_below() -> None:
    """Level by level, by torch's transposed convolution of the level below."""
    model, x = unet(), torch.randn(1, 1, 3, 64, 64)
    down, up_inputs, up = [], [], []
    for level in model.encoder.down:
        level.register_forward_hook(lambda *call: down.append(call[2]))
    for level in model.encoder.up:
        level.register_forward_pre_hook(lambda *call: up_inputs.append(call[1][0]))
        level.register_forward_hook(lambda *call: up.append(call[2]))
    last = model.encode(x)
    assert [tuple(y.shape[2:]) for y in down] == [(c, 64 >> n, 64 >> n) for n, c in enumerate(WIDTHS)]
    for own, below, given, enlarge in zip(
        reversed(down[:-1]), [down[-1], *up], up_inputs, model.encoder.enlarge, strict=False
    ):
        enlarged = F.conv_transpose2d(below[0], enlarge.weight_M_I_O_k_k[0], enlarge.bias_M_O[0], stride=2)
        torch.testing.assert_close(given[0], torch.cat([own[0], enlarged], 1), rtol=1e-4, atol=1e-5)
        assert own.abs().max() > 0 and enlarged.abs().max() > 0
    assert len(up_inputs) == 6 and torch.equal(last, up[-1])


def test_monte_carlo_passes_share_their_masks_among_scenes() -> None:
    model, x = unet().double(), torch.randn(1, 2, 3, 32, 48, dtype=torch.float64)
    start_passes(model, 2, seed=1)
    together = model(x)
    assert together.shape == (2, 2, CLASSES, 32, 48) and not torch.allclose(together[0], together[1])
    alone = torch.cat([model(x[:, n : n + 1]) for n in range(2)], 1)
    torch.testing.assert_close(alone, together)


@pytest.mark.parametrize("classes", [5, 40])
def test_the_largest_map_is_the_largest_that_any_layer_is_given_or_hands_on(classes: int) -> None:
    sizes = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        sizes.extend([inputs[0].numel(), output.numel()])

    with torch.device("meta"):
        model = UNet((3, 65, 99), classes).eval()
        for module in model.modules():
            module.register_forward_hook(note)
        model(torch.empty(1, 1, 3, 65, 99))
    assert model.largest_map == max(sizes)
