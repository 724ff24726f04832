"""Stacked layers compute what torch's own compute member by member, statistics and gradients included."""

import pytest
import torch
from torch import nn

from src.layers.convolution import (
    Folded,
    StackedBatchNorm2d,
    StackedConv2d,
    StackedConvTranspose2d,
    use_channels_last,
)
from src.layers.stacked import stack_members

PLAIN = {
    "conv": lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1),
    "same, grouped, without bias": lambda: nn.Conv2d(4, 6, 2, padding="same", groups=2, bias=False),
    "dilated": lambda: nn.Conv2d(4, 6, 3, dilation=2),
    "transposed": lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=(1, 0)),
    "batch norm": lambda: nn.BatchNorm2d(4),
}
STACKED = {
    nn.Conv2d: StackedConv2d,
    nn.ConvTranspose2d: StackedConvTranspose2d,
    nn.BatchNorm2d: StackedBatchNorm2d,
}


def members_of(kind: str, members: int) -> tuple[list[nn.Module], nn.Module]:
    torch.manual_seed(0)
    plain = [PLAIN[kind]() for _ in range(members)]
    for module in plain:
        for tensor in [*module.parameters(), *module.buffers()]:
            if tensor.is_floating_point():
                tensor.data.add_(0.1 * torch.rand_like(tensor))
    return plain, stack_members([STACKED[type(module)](module) for module in plain])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("kind", list(PLAIN))
def test_each_member_computes_what_torchs_layer_does(kind: str, members: int, training: bool) -> None:
    plain, stacked = members_of(kind, members)
    stacked.train(training)
    x_M_N_C_H_W = torch.randn(members, 5, 4, 7, 6)
    y_M_N_C_H_W = stacked(x_M_N_C_H_W)
    y_M_N_C_H_W.square().sum().backward()
    for member, module in enumerate(plain):
        y = module.train(training)(x_M_N_C_H_W[member])
        y.square().sum().backward()
        torch.testing.assert_close(y_M_N_C_H_W[member], y)
        for ours, theirs in zip(stacked.parameters(), module.parameters(), strict=True):
            torch.testing.assert_close(ours.grad[member], theirs.grad)


def test_an_even_kernel_of_the_same_padding_warns_of_nothing(recwarn: pytest.WarningsRecorder) -> None:
    torch.set_warn_always(True)
    try:
        for kernel_size in (1, 2, 3, 4, (2, 3), (3, 2)):
            plain = nn.Conv2d(1, 2, kernel_size, padding="same", dilation=(3, 2))
            x_M_N_C_H_W = torch.randn(1, 4, 1, 9, 8)
            result = StackedConv2d(plain)(x_M_N_C_H_W)[0]
            assert not recwarn.list
            torch.testing.assert_close(result, plain(x_M_N_C_H_W[0]))
            recwarn.clear()
    finally:
        torch.set_warn_always(False)


@pytest.mark.parametrize("kind", list(PLAIN))
def test_one_member_serves_any_number_of_passes_and_all_members_one_input(kind: str) -> None:
    _, alone = members_of(kind, 1)
    x_K_N_C_H_W = torch.randn(4, 5, 4, 7, 6)
    by_pass = [alone.eval()(x_K_N_C_H_W[k : k + 1]) for k in range(4)]
    torch.testing.assert_close(alone(x_K_N_C_H_W), torch.cat(by_pass))
    _, stacked = members_of(kind, 3)
    shared = x_K_N_C_H_W[:1]
    torch.testing.assert_close(stacked.eval()(shared), stacked(shared.repeat(3, 1, 1, 1, 1)))


@pytest.mark.parametrize("members", [1, 3])
def test_batch_statistics_are_each_members_own(members: int) -> None:
    plain, stacked = members_of("batch norm", members)
    for _ in range(3):
        x_M_N_C_H_W = torch.randn(members, 5, 4, 2, 3) * torch.arange(1, members + 1).view(-1, 1, 1, 1, 1)
        stacked.train()(x_M_N_C_H_W)
        for member, module in enumerate(plain):
            module.train()(x_M_N_C_H_W[member])
    for member, module in enumerate(plain):
        torch.testing.assert_close(stacked.running_mean_M_C[member], module.running_mean)
        torch.testing.assert_close(stacked.running_var_M_C[member], module.running_var)


def test_a_batch_of_one_value_a_channel_uses_the_running_statistics_and_leaves_them() -> None:
    """nn.BatchNorm2d raises here, which would end a round whose last batch happens to hold one input."""
    _, stacked = members_of("batch norm", 2)
    before = [buffer.clone() for buffer in stacked.buffers()]
    x_M_1_C_1_1 = torch.randn(2, 1, 4, 1, 1)
    torch.testing.assert_close(stacked.train()(x_M_1_C_1_1), stacked.eval()(x_M_1_C_1_1))
    assert all(map(torch.equal, before, stacked.buffers()))


def test_layers_without_weights_fold_the_members() -> None:
    x_M_N_C_H_W = torch.randn(3, 5, 4, 6, 6)
    pooled = Folded(nn.MaxPool2d(2))(x_M_N_C_H_W)
    torch.testing.assert_close(pooled[2], nn.MaxPool2d(2)(x_M_N_C_H_W[2]))


@pytest.mark.parametrize(
    "plain", [nn.Conv2d(2, 2, 3, padding_mode="reflect"), nn.BatchNorm2d(2, affine=False)]
)
def test_options_without_a_stacked_counterpart_are_refused(plain: nn.Module) -> None:
    with pytest.raises(TypeError, match="stacked"):
        STACKED[type(plain)](plain)


@pytest.mark.parametrize("members", [1, 3])
def test_channels_last_changes_the_layout_and_not_the_values(members: int) -> None:
    _, stacked = members_of("conv", members)
    x_M_N_C_H_W = torch.randn(members, 5, 4, 7, 6)
    before, values = stacked(x_M_N_C_H_W), stacked.weight_M_O_I_k_k.clone()
    use_channels_last(stacked)
    assert torch.equal(stacked.weight_M_O_I_k_k, values)
    assert stacked.weight_M_O_I_k_k[0].is_contiguous(memory_format=torch.channels_last)
    after = stacked(x_M_N_C_H_W)
    torch.testing.assert_close(after, before)
    assert after.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(1, 1), (4, 1)])
def test_kernels_have_no_bfloat16_gradient_where_they_touch_no_pixel(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    convolution = StackedConv2d(nn.Conv2d(64, 64, 3, 2, 1, bias=False))
    # Left in the memory that a gradient may find.
    remains = [torch.full((64 * 64 * 9 * times,), 1e30, dtype=torch.bfloat16) for times in (1, 1, 2)]
    del remains
    with torch.autocast("cpu", torch.bfloat16):
        maps = convolution(torch.randn(1, 4, 64, *size))
    maps.float().sum().backward()
    gradient = convolution.weight_M_O_I_k_k.grad
    assert gradient is not None and not gradient[..., [0, 2]].any()
