import pytest
import torch
from torch import nn

from src.layers.consistent_dropout import ConsistentDropout
from src.layers.member_axis import with_member_axis
from src.layers.stacked import member_state
from src.layers.stochastic import start_passes, stochastic_layers
from src.utils.seeding import RoundSeeds


class Block(nn.Module):
    """Attributes of its own and a forward of its own, as the blocks of residual and dilated networks have."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop(self.conv(x))


def nested() -> nn.Sequential:
    """Dropouts at four depths: beside a list of stages, in a stage, in a block and in a block's branch."""
    deep = nn.Sequential(Block(), nn.Sequential(nn.ReLU(inplace=True), nn.Sequential(nn.Dropout(0.25))))
    return nn.Sequential(
        nn.Dropout(0.1), nn.Sequential(deep, Block()), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 2)
    )


@pytest.mark.parametrize("passes", [1, 4])
def test_every_nested_dropout_is_consistent_and_takes_part(passes: int) -> None:
    model = with_member_axis(nested())
    assert [1 - layer.keep for layer in stochastic_layers(model)] == pytest.approx([0.1, 0.5, 0.25, 0.5])
    assert not [module for module in model.modules() if isinstance(module, nn.Dropout)]
    start_passes(model, passes, seed=1)
    x_1_N_C_H_W = torch.randn(1, 6, 3, 4, 4)
    first = model(x_1_N_C_H_W)
    assert first.shape == (passes, 6, 2)
    assert all(layer._drawn.shape[:2] == (passes, 1) for layer in stochastic_layers(model))
    torch.testing.assert_close(model(x_1_N_C_H_W[:, 2:3]), first[:, 2:3])


def test_masks_of_every_nested_dropout_differ_between_members_and_layers_and_from_round_to_round() -> None:
    """A dilated network's nesting: stages of stages of blocks."""
    model = with_member_axis(nn.Sequential(nn.Sequential(nn.Sequential(Block(), Block()), Block()), Block()))
    x_1_N_C_H_W, masks = torch.randn(1, 2, 3, 6, 6), []
    for round_ in (0, 1):
        start_passes(model, 3, RoundSeeds(3, round_).seed("dropout passes"))
        assert model(x_1_N_C_H_W).shape[:2] == (3, 2)
        masks += [
            tuple(mask.flatten().tolist()) for layer in stochastic_layers(model) for mask in layer._drawn
        ]
    assert len(set(masks)) == len(masks) == 2 * 4 * 3


def test_the_weights_are_those_of_the_plain_network() -> None:
    plain = nested().eval()
    x_N_C_H_W = torch.randn(6, 3, 4, 4)
    expected = plain(x_N_C_H_W)
    torch.testing.assert_close(with_member_axis(plain)(x_N_C_H_W[None])[0], expected)
    assert all(len(tensor) == 1 for tensor in member_state(plain).values())


def test_a_single_layer_is_replaced_too() -> None:
    assert isinstance(with_member_axis(nn.Dropout(0.5)), ConsistentDropout)


@pytest.mark.parametrize(
    "layer",
    [nn.Dropout2d(0.5), nn.AdaptiveAvgPool2d(1), nn.LayerNorm(4), nn.GroupNorm(1, 4), nn.Bilinear(2, 2, 2)],
)
def test_a_layer_without_a_counterpart_is_refused_however_deep(layer: nn.Module) -> None:
    with pytest.raises(TypeError, match=type(layer).__name__):
        with_member_axis(nn.Sequential(nn.ReLU(), nn.Sequential(layer)))
