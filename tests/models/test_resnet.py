"""Against torchvision's own networks, with which weights and initial draws are shared."""

from functools import partial

import pytest
import torch
import torchvision
from torch import nn

from src.config import OptimizerConfig, TrainingConfig
from src.layers.consistent_dropout import ConsistentDropout
from src.layers.convolution import StackedBatchNorm2d
from src.layers.stacked import member_state, stack_members
from src.layers.stochastic import start_passes, stochastic_layers
from src.models.best_weights import BestWeights
from src.models.joint_fit import JointFit, Setting
from src.models.resnet import RESNETS, ResNet
from src.models.training import fit
from src.utils.seeding import RoundSeeds
from tests.models.fakes import Images

BLOCKS = {
    **{"resnet18": 8, "resnet34": 16, "resnet50": 16, "resnet101": 33, "resnet152": 50},
    **{"resnext50_32x4d": 16, "resnext101_32x8d": 33, "wide_resnet50_2": 16, "wide_resnet101_2": 33},
}


def seeded(channels: int = 3, **options: object) -> tuple[ResNet, nn.Module]:
    """A ResNet-18 and torchvision's, made from the same seed, both in evaluation."""
    torch.manual_seed(0)
    ours = ResNet("resnet18", (channels, 32, 32), 10, **options)
    torch.manual_seed(0)
    return ours.eval(), torchvision.models.resnet18(num_classes=10).eval()


@pytest.mark.parametrize("name", RESNETS)
def test_parameters_and_blocks_are_torchvisions(name: str) -> None:
    with torch.device("meta"):
        ours = ResNet(name, (3, 32, 32), 10, 0.1)
        theirs = torchvision.models.get_model(name, num_classes=10)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    assert len(stochastic_layers(ours)) == BLOCKS[name], "dropout after every residual block"
    x_1_N_C_H_W = torch.empty(1, 2, 3, 33, 65, device="meta")
    with torch.device("meta"):
        features = ResNet(name, (3, 33, 65), 10).encode(x_1_N_C_H_W)
    assert features.shape == (1, 2, theirs.fc.in_features * 2 * 3)


def test_outputs_and_features_are_torchvisions_of_the_same_seed() -> None:
    ours, theirs = seeded(dropout_probability=0.25)
    x = torch.randn(3, 3, 40, 70)
    torch.testing.assert_close(ours(x[None])[0], theirs(x), rtol=1e-4, atol=1e-5)
    convolutional = nn.Sequential(*list(theirs.children())[:-2])
    torch.testing.assert_close(ours.encode(x[None])[0], convolutional(x).flatten(1), rtol=1e-4, atol=1e-5)


def test_a_training_step_changes_weights_and_statistics_as_torchvisions_does() -> None:
    ours, theirs = (net.double().train() for net in seeded())
    x, y = torch.randn(4, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    for net, loss in (
        (ours, ours.loss(x[None], y[None]).sum()),
        (theirs, nn.functional.cross_entropy(theirs(x), y)),
    ):
        optimizer = torch.optim.SGD(net.parameters(), 0.01)
        loss.backward()
        optimizer.step()
    for mine, own in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine[0], own)
    expected = [buffer for name, buffer in theirs.named_buffers() if "running" in name]
    for mine, own in zip(ours.buffers(), expected, strict=True):
        torch.testing.assert_close(mine[0], own)


@pytest.mark.parametrize("small", [True, False])
def test_one_channel_replaces_the_first_convolution_alone(small: bool) -> None:
    with torch.device("meta"):
        grey, rgb = (ResNet("resnet18", (c, 28, 28), 10, small_image_stem=small) for c in (1, 3))
    shapes = [[tuple(p.shape) for p in net.parameters()] for net in (grey, rgb)]
    assert shapes[0][0] == (1, 64, 1, *((3, 3) if small else (7, 7)))
    assert shapes[0][1:] == shapes[1][1:]


def test_the_stem_for_small_images_keeps_their_size() -> None:
    ours, theirs = seeded(small_image_stem=True)
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    theirs.conv1.weight.data = ours.encoder[0].weight_M_O_I_k_k.data[0]
    theirs.maxpool = nn.Identity()
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours(x[None])[0], theirs(x), rtol=1e-4, atol=1e-5)
    assert ours.feature_dims == ours.encode(x[None]).shape[-1] == 512 * 4 * 4


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "wide_resnet50_2"])
def test_the_largest_map_is_the_largest_that_a_block_or_the_stem_hands_on(name: str, small: bool) -> None:
    sizes = []

    def note(module: nn.Module, _: object, output: torch.Tensor) -> None:
        sizes.append(output.numel())

    with torch.device("meta"):
        model = ResNet(name, (3, 32, 32), 10, 0.1, small)
        for module in [model.encoder[0], *stochastic_layers(model)]:
            module.register_forward_hook(note)
        model.eval().encode(torch.empty(1, 1, 3, 32, 32))
    assert model.largest_map == max(sizes)


def test_passes_share_masks_among_inputs_differ_and_are_redrawn() -> None:
    ours, _ = seeded(dropout_probability=0.25)
    x_1_N_C_H_W = torch.randn(1, 4, 3, 16, 16)
    start_passes(ours, 3, seed=1)
    together = ours(x_1_N_C_H_W)
    assert together.shape == (3, 4, 10)
    assert not torch.allclose(together[0], together[1])
    one = torch.cat([ours(x_1_N_C_H_W[:, n : n + 1]) for n in range(4)], 1)
    torch.testing.assert_close(one, together, rtol=1e-4, atol=1e-5)
    masks = [layer._drawn for layer in stochastic_layers(ours)]
    assert all(mask.shape[:2] == (3, 1) for mask in masks)
    start_passes(ours, 3, seed=1)
    torch.testing.assert_close(ours(x_1_N_C_H_W), together)
    start_passes(ours, 3, seed=2)
    assert not torch.allclose(ours(x_1_N_C_H_W), together)


def test_each_pass_is_torchvisions_network_with_that_pass_masks_after_its_blocks() -> None:
    ours, theirs = seeded(dropout_probability=0.25)
    x = torch.randn(2, 3, 16, 16)
    start_passes(ours, 2, seed=1)
    together = ours(x[None])
    masks = [layer._drawn for layer in stochastic_layers(ours)]
    blocks = [
        block for stage in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4) for block in stage
    ]
    for k in range(2):
        hooks = [
            block.register_forward_hook(partial(lambda mask, module, x, y: y * mask, mask[k]))
            for block, mask in zip(blocks, masks, strict=True)
        ]
        torch.testing.assert_close(together[k], theirs(x), rtol=1e-4, atol=1e-5)
        for hook in hooks:
            hook.remove()


def test_an_ensemble_is_its_members_trained_and_predicting_alone() -> None:
    """Weights and batch norm's statistics; in float64, so that only rounding differs."""
    torch.manual_seed(0)
    together = stack_members([ResNet("resnet18", (1, 8, 8), 3, 0.1) for _ in range(2)]).double()
    alone = [part.double() for part in together.split()]
    alone = [stack_members([part]) for part in alone]  # storage of their own
    source = Images(14, (1, 8, 8))
    source.inputs_N_C_H_W = source.inputs_N_C_H_W.double()
    training = TrainingConfig(epochs=1, batch_size=4, scheduler=None)  # the last batch has one input
    train, val, seeds = torch.arange(9), torch.arange(9, 14), RoundSeeds(3, 0)
    sgd = OptimizerConfig(type="sgd", lr=0.01)
    history = fit(together, source, train, val, training, sgd, seeds)
    x_1_N_C_H_W = source.inputs(torch.arange(14))[None]
    for member, part in enumerate(alone):
        own = JointFit(part, [member], Setting(source, train, val, training, sgd, seeds)).run(lambda *_: None)
        assert own.val_loss[0] == pytest.approx(history.val_loss[member], rel=1e-9)
        for name, tensor in member_state(part).items():
            torch.testing.assert_close(tensor[0], member_state(together)[name][member], rtol=1e-7, atol=1e-9)
        torch.testing.assert_close(together.eval()(x_1_N_C_H_W)[member], part.eval()(x_1_N_C_H_W)[0])
    first = next(module for module in together.modules() if isinstance(module, StackedBatchNorm2d))
    assert not torch.allclose(first.running_mean_M_C[0], first.running_mean_M_C[1])


def test_best_weights_bring_each_members_statistics_back() -> None:
    model = stack_members([nn.Sequential(StackedBatchNorm2d(nn.BatchNorm2d(2))) for _ in range(2)])
    best = BestWeights(model)
    model.train()(torch.randn(2, 5, 2, 3, 3))
    best.update(1, epoch=0, loss=1.0)
    kept = {name: tensor.detach().clone() for name, tensor in member_state(model).items()}
    model(torch.randn(2, 5, 2, 3, 3))
    best.restore()
    for name, tensor in member_state(model).items():
        assert torch.equal(tensor[1], kept[name][1])
    assert torch.equal(model[0].running_mean_M_C[0], torch.zeros(2)), "as it was before it was ever updated"


def test_parts_of_an_ensemble_share_its_statistics() -> None:
    model = stack_members([ResNet("resnet18", (1, 8, 8), 3) for _ in range(2)])
    part = model.split()[1].train()
    part(torch.randn(1, 4, 1, 8, 8))
    norm = model.encoder[1]
    assert torch.equal(norm.running_mean_M_C[1], part.encoder[1].running_mean_M_C[0])
    assert not torch.equal(norm.running_mean_M_C[1], torch.zeros(64))
    assert torch.equal(norm.running_mean_M_C[0], torch.zeros(64))


def test_no_dropout_is_no_layer() -> None:
    with torch.device("meta"):
        model = ResNet("resnet18", (3, 32, 32), 10, 0.0)
    assert not [module for module in model.modules() if isinstance(module, ConsistentDropout)]
