"""DeepLabv3+ against torchvision's dilated networks, and a stage without stride against the one that it came from."""

import copy
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from src.config import Config
from src.layers.stochastic import start_passes, stochastic_layers
from src.models.build import build_model, check_model
from src.models.deeplab import DeepLabV3Plus, dilate_stage
from src.models.resnet import RESNETS
from src.utils.errors import UserError
from src.utils.seeding import RoundSeeds

RGB, CLASSES = (3, 32, 48), 5


def config(backbone: str = "resnet18", **model: object) -> Config:
    given = {"name": "deeplabv3plus", "deeplab_configs": {"backbone": backbone}, **model}
    return Config.model_validate({"name": "test", "model": given})


def resnet(name: str = "resnet18", **options: object) -> nn.Module:
    torch.manual_seed(0)
    net = torchvision.models.get_model(name, **options)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net.eval()


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_a_stage_without_stride_computes_at_every_other_pixel_what_it_did(name: str) -> None:
    stage = resnet(name).layer4
    dilated = copy.deepcopy(stage)
    dilate_stage(dilated)
    x = torch.randn(2, 256, 9, 12)
    assert dilated(x).shape == (2, 512, 9, 12)
    torch.testing.assert_close(dilated(x)[..., ::2, ::2], stage(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d"])
def test_bottlenecks_are_dilated_as_torchvision_dilates_them(name: str) -> None:
    theirs = resnet(name, replace_stride_with_dilation=[False, False, True]).layer4
    ours = resnet(name).layer4
    dilate_stage(ours)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 1024, 5, 6)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", RESNETS)
def test_scores_are_a_quarter_of_the_input_and_logits_its_size_even_if_odd(name: str) -> None:
    with torch.device("meta"):
        model, x = DeepLabV3Plus(name, RGB, CLASSES, 0.1).eval(), torch.empty(1, 2, 3, 33, 61)
        deepest = []
        model.encoder.deep[2].register_forward_hook(lambda *call: deepest.append(call[2].shape[-2:]))
        assert model.hidden_map(x).shape == (1, 2, 256, 9, 16)
        assert model.encode(x).shape == (1, 2, CLASSES, 9, 16)
        assert model(x).shape == (1, 2, CLASSES, 33, 61)
    assert set(deepest) == {(3, 4)}, "an output stride of 16"
    depths = {"18": 8, "34": 16, "50": 16, "101": 33, "152": 50}
    blocks = next(count for depth, count in depths.items() if f"t{depth}" in name)
    assert len(stochastic_layers(model)) == blocks + 1, "after every block and the pyramid"


def test_parameters_are_the_residual_networks_and_the_decoders() -> None:
    with torch.device("meta"):
        backbone = torchvision.models.resnet50(num_classes=CLASSES)
    own = sum(p.numel() for p in backbone.parameters()) - (2048 * CLASSES + CLASSES)
    norm = 2 * 256
    pyramid = 2 * (2048 * 256 + norm) + 3 * (2048 * 256 * 9 + norm) + 5 * 256 * 256 + norm
    decoder = 256 * 48 + 2 * 48 + (304 * 9 + 256 * 9) * 256 + 2 * norm + 256 * CLASSES + CLASSES
    assert check_model(config("resnet50"), RGB, CLASSES, dense=True) == own + pyramid + decoder


def plainly(model: DeepLabV3Plus, x: Tensor, backbone: nn.Module) -> Tensor:
    """The architecture step by step with torch's own functions, from the model's weights and a plain backbone."""

    def unit(layers: nn.Module, x: Tensor, **options: object) -> Tensor:
        conv, norm = layers[0], layers[1]
        x = F.conv2d(x, conv.weight_M_O_I_k_k[0], **options)
        own = (norm.running_mean_M_C, norm.running_var_M_C, norm.weight_M_C, norm.bias_M_C)
        return F.relu(F.batch_norm(x, *(tensor[0] for tensor in own)))

    net = model.encoder
    shallow = backbone.layer1(backbone.maxpool(F.relu(backbone.bn1(backbone.conv1(x)))))
    deep = backbone.layer4(backbone.layer3(backbone.layer2(shallow)))
    pyramid = net.deep[-1]
    branches = [unit(pyramid.local[0], deep)]
    branches += [unit(pyramid.local[i + 1], deep, padding=r, dilation=r) for i, r in enumerate((6, 12, 18))]
    whole = unit(pyramid.whole, F.adaptive_avg_pool2d(deep, 1))
    branches.append(F.interpolate(whole, deep.shape[2:], mode="bilinear", align_corners=False))
    deep = F.interpolate(
        unit(pyramid.project, torch.cat(branches, 1)), shallow.shape[2:], mode="bilinear", align_corners=False
    )
    merged = unit(net.merge[:2], torch.cat([deep, unit(net.skip, shallow)], 1), padding=1)
    merged = unit(net.merge[3:5], merged, padding=1)
    scores = F.conv2d(merged, model.head.weight_M_O_I_k_k[0], model.head.bias_M_O[0])
    return F.interpolate(scores, x.shape[2:], mode="bilinear", align_corners=False)


def test_a_residual_networks_file_is_where_it_begins_and_the_rest_is_the_architecture(tmp_path: Path) -> None:
    backbone = resnet(num_classes=1000)
    torch.save(backbone.state_dict(), tmp_path / "resnet18.pth")
    given = config(pretrained=True, pretrained_model=str(tmp_path / "resnet18.pth"), dropout_probabilities=[])
    model = build_model(given, RGB, CLASSES, RoundSeeds(3, 0), torch.device("cpu")).eval()
    dilate_stage(backbone.layer4)
    model, backbone = model.double(), backbone.double()  # rounding adds up over the layers
    x = torch.randn(2, 3, 18, 325, dtype=torch.float64)  # wide enough for the pyramid's largest rate
    expected = plainly(model, x, backbone)
    assert not torch.allclose(expected[0], expected[1], atol=0.01)
    torch.testing.assert_close(model(x[None])[0], expected)


def test_what_is_no_residual_network_is_refused_at_its_key() -> None:
    with pytest.raises(UserError, match=r"^model\.deeplab_configs\.backbone: 'vgg16'.*choices: resnet18"):
        check_model(config("vgg16"), RGB, CLASSES, dense=True)


def test_monte_carlo_passes_share_their_masks_among_scenes() -> None:
    torch.manual_seed(0)
    model = DeepLabV3Plus("resnet18", RGB, CLASSES, 0.2).double().eval()
    x = torch.randn(1, 3, *RGB, dtype=torch.float64)
    start_passes(model, 2, seed=1)
    together = model(x)
    assert together.shape == (2, 3, CLASSES, 32, 48) and not torch.allclose(together[0], together[1])
    alone = torch.cat([model(x[:, n : n + 1]) for n in range(3)], 1)
    torch.testing.assert_close(alone, together)


@pytest.mark.parametrize("classes", [5, 40])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "wide_resnet50_2"])
def test_the_largest_map_is_the_largest_that_a_block_or_a_layer_of_the_decoder_hands_on(
    name: str, classes: int
) -> None:
    sizes = []

    def note(module: nn.Module, _: object, output: Tensor) -> None:
        sizes.append(output.numel())

    with torch.device("meta"):
        model = DeepLabV3Plus(name, (3, 65, 99), classes, 0.1).eval()
        own = [
            model,
            model.encoder,
            model.head,
            *model.encoder.shallow[:4],
            *model.encoder.merge,
            model.encoder.skip,
        ]
        for module in [*own, *stochastic_layers(model)]:
            module.register_forward_hook(note)
        # What is put side by side is handed on too, but by no layer.
        model.encoder.merge.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].numel()))
        model(torch.empty(1, 1, 3, 65, 99))
    assert model.largest_map == max(sizes)
