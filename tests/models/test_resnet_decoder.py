import pytest
import torch
from torch import nn

from src.layers.convolution import StackedBatchNorm2d
from src.layers.stacked import stack_members
from src.models.mir import MIR
from src.models.resnet import ResNet
from src.models.resnet_decoder import ResNetDecoder


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 8, 8), (3, 33, 70), (2, 1, 5)])
def test_it_ends_at_the_size_of_the_input_whatever_that_is(shape: tuple[int, ...], small: bool) -> None:
    with torch.device("meta"):
        net = ResNet("resnet50", shape, 10, small_image_stem=small)
        decoder = ResNetDecoder(net.map_channels, net.map_sizes, shape[0], batch_norm=True, blocks=1)
        features_M_N_D = net.eval().encode(torch.empty(1, 2, *shape))
    assert features_M_N_D.shape[-1] == net.feature_dims
    assert decoder(features_M_N_D).shape == (1, 2, *shape)


def test_stages_double_their_maps_with_as_many_blocks_as_asked_for() -> None:
    decoder = ResNetDecoder(16, [(16, 16), (8, 8), (4, 4)], 3, batch_norm=True, blocks=3)
    x, sizes = torch.randn(1, 2, 16, 4, 4), []
    for layer in decoder.layers:
        x = layer(x)
        sizes.append(tuple(x.shape[2:]))
    assert sizes == [(256, 8, 8)] * 3 + [(128, 16, 16)] * 3 + [(3, 16, 16)]


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 33, 70)])
def test_a_models_largest_map_is_the_largest_of_both_its_halves(shape: tuple[int, ...], small: bool) -> None:
    sizes = []

    def note(module: nn.Module, _: object, output: torch.Tensor) -> None:
        sizes.append(output.numel())

    with torch.device("meta"):
        net = ResNet("resnet18", shape, 10, small_image_stem=small)
        decoder = ResNetDecoder(net.map_channels, net.map_sizes, shape[0], batch_norm=True, blocks=2)
        for layer in decoder.layers:
            layer.register_forward_hook(note)
        decoder(net.eval().encode(torch.empty(1, 1, *shape)))
    assert decoder.largest_map == max(sizes) >= net.largest_map
    assert MIR(net, decoder, 1.0).largest_map == decoder.largest_map
    assert MIR(net, None, 1.0).largest_map == net.largest_map


def test_a_doubling_block_is_branch_and_shortcut_of_torchs_layers() -> None:
    torch.manual_seed(0)
    block = ResNetDecoder(6, [(7, 8), (4, 4)], 3, batch_norm=False, blocks=1).layers[0]
    weights = [parameter.data[0] for parameter in block.parameters()]
    x_N_C_H_W = torch.randn(2, 6, 4, 4)
    up = {"stride": 2, "output_padding": (0, 1)}
    branch = nn.functional.conv_transpose2d(x_N_C_H_W, weights[0], weights[1], padding=1, **up).relu()
    branch = nn.functional.conv2d(branch, weights[2], weights[3], padding=1)
    shortcut = nn.functional.conv_transpose2d(x_N_C_H_W, weights[4], weights[5], **up)
    torch.testing.assert_close(block(x_N_C_H_W[None])[0], (branch + shortcut).relu())


@pytest.mark.parametrize("batch_norm", [True, False])
def test_batch_norm_is_an_option_and_members_stay_apart(batch_norm: bool) -> None:
    torch.manual_seed(0)
    parts = [ResNetDecoder(4, [(6, 6), (3, 3)], 1, batch_norm, 2) for _ in range(2)]
    features_M_N_D = torch.randn(2, 5, 36)
    alone = [part.eval()(features_M_N_D[m : m + 1]) for m, part in enumerate(parts)]
    norms = [module for module in parts[0].modules() if isinstance(module, StackedBatchNorm2d)]
    assert len(norms) == (5 if batch_norm else 0)
    torch.testing.assert_close(stack_members(parts)(features_M_N_D), torch.cat(alone))


def test_reconstruction_improves_with_training() -> None:
    torch.manual_seed(0)
    net = ResNet("resnet18", (1, 8, 8), 3)
    decoder = ResNetDecoder(net.map_channels, net.map_sizes, 1, batch_norm=True, blocks=1)
    model = stack_members([MIR(net, decoder, 10.0)])
    x, y = torch.rand(1, 6, 1, 8, 8), torch.tensor([[0, 1, 2, 0, 1, 2]])
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = model.train().loss(x, y).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
