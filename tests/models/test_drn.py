"""Against the published sizes and a DRN-D-22 written out layer by layer, whose checkpoints are made here."""

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from src.config import Config
from src.layers.convolution import StackedConv2d
from src.layers.stochastic import start_passes, stochastic_layers
from src.models.build import build_model, check_model
from src.models.drn import DESIGNS, DRN, _levels, _plain_names
from src.models.network import Network
from src.utils.errors import UserError
from src.utils.seeding import RoundSeeds

RGB, CLASSES = (3, 32, 48), 5
# Parameters in millions with the ImageNet classifier, and blocks of convolutions with a name of their own.
PUBLISHED = {
    **{"drn_c_26": (21.1, 12), "drn_c_42": (31.2, 20), "drn_c_58": (40.5, 20)},
    **{"drn_d_22": (16.4, 8), "drn_d_38": (26.5, 16), "drn_d_54": (35.8, 16), "drn_d_105": (54.8, 33)},
}
DEEPER_BY_TWO = {
    "drn_d_24": "drn_d_22",
    "drn_d_40": "drn_d_38",
    "drn_d_56": "drn_d_54",
    "drn_d_107": "drn_d_105",
}


def with_classifier(model: DRN) -> int:
    """Parameters, with a classifier of 1000 classes in place of the head."""
    return sum(parameter.numel() for parameter in model.encoder.parameters()) + 512 * 1000 + 1000


def on_meta(name: str, **options: object) -> DRN:
    with torch.device("meta"):
        return DRN(name, RGB, CLASSES, 0.1, **options)


def test_d_22_has_the_published_parameters_to_the_last_one() -> None:
    assert with_classifier(on_meta("drn_d_22")) == 16_393_752


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_sizes_are_the_published_ones_and_dropout_follows_every_block(name: str) -> None:
    model, (millions, blocks) = on_meta(name), PUBLISHED[name]
    assert round(with_classifier(model) / 1e6, 1) == millions
    assert len(stochastic_layers(model)) == blocks


@pytest.mark.parametrize("name", list(DEEPER_BY_TWO))
def test_the_others_have_one_convolution_more_in_either_of_the_last_levels(name: str) -> None:
    more = with_classifier(on_meta(name)) - with_classifier(on_meta(DEEPER_BY_TWO[name]))
    assert more == 2 * (512 * 512 * 9 + 2 * 512)


@pytest.mark.parametrize("name", list(DESIGNS))
def test_maps_are_an_eighth_of_the_input_rounded_up(name: str) -> None:
    model = on_meta(name, features="hidden").eval()
    hidden_M_N_D_h_w = model.encode(torch.empty(1, 2, 3, 33, 48, device="meta"))
    assert hidden_M_N_D_h_w.shape == (1, 2, 512, 5, 6)
    assert model.enlarge(model.classify(hidden_M_N_D_h_w), (33, 48)).shape == (1, 2, CLASSES, 33, 48)


class Level(nn.Module):
    """Two residual blocks, the first with a shortcut of 1×1."""

    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.add_module("0", Block(inputs, outputs, stride, dilation))
        self.add_module("1", Block(outputs, outputs, 1, dilation))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.children():
            x = block(x)
        return x


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        if inputs != outputs or stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        branch = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(branch + (self.downsample(x) if hasattr(self, "downsample") else x))


def conv(inputs: int, outputs: int, kernel_size: int, stride: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel_size // 2)
    layer = nn.Conv2d(inputs, outputs, kernel_size, stride, padding, dilation, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


def published(seed: int = 0) -> tuple[nn.ModuleDict, dict[str, Tensor]]:
    """DRN-D-22 for images by the published names, and its state; statistics are not the initial ones."""
    torch.manual_seed(seed)
    levels = {
        "layer0": conv(3, 16, 7, 1),
        "layer1": conv(16, 16, 3, 1),
        "layer2": conv(16, 32, 3, 2),
        "layer3": Level(32, 64, 2, 1),
        "layer4": Level(64, 128, 2, 1),
        "layer5": Level(128, 256, 1, 2),
        "layer6": Level(256, 512, 1, 4),
        "layer7": conv(512, 512, 3, 1, 2),
        "layer8": conv(512, 512, 3, 1, 1),
        "fc": nn.Conv2d(512, 1000, 1),
    }
    net = nn.ModuleDict(levels)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net.eval(), net.state_dict()


def hidden(net: nn.ModuleDict, x: Tensor) -> Tensor:
    for name, level in net.items():
        x = x if name == "fc" else level(x)
    return x


def scene_checkpoint(state: dict[str, Tensor], prefix: str = "") -> dict[str, Tensor]:
    """The segmentation network's names for the same weights, with its head and its fixed kernel."""
    numbered = {
        f"base.{name.removeprefix('layer')}": t for name, t in state.items() if not name.startswith("fc.")
    }
    head = {"seg.weight": torch.randn(CLASSES, 512, 1, 1), "seg.bias": torch.randn(CLASSES)}
    return {
        f"{prefix}{n}": t
        for n, t in {**numbered, **head, "up.weight": torch.ones(CLASSES, 1, 16, 16)}.items()
    }


def config(path: Path | None = None, **model: object) -> Config:
    given = {
        "name": "drn_d_22",
        "pretrained": path is not None,
        "pretrained_model": path and str(path),
        **model,
    }
    return Config.model_validate({"name": "test", "model": given})


def build(given: Config, shape: tuple[int, ...] = RGB, classes: int = CLASSES) -> Network:
    assert check_model(given, shape, classes, dense=True) > 0
    return build_model(given, shape, classes, RoundSeeds(3, 0), torch.device("cpu")).eval()


@pytest.fixture(scope="module")
def net() -> nn.ModuleDict:
    return published()[0]


def test_published_image_weights_give_the_published_networks_maps(net: nn.ModuleDict, tmp_path: Path) -> None:
    torch.save(net.state_dict(), tmp_path / "drn.pth")
    model, plain = build(config(tmp_path / "drn.pth")), build(config())
    x = torch.randn(2, *RGB)
    expected = hidden(net, x)
    assert not torch.allclose(expected[0], expected[1], atol=0.01)
    torch.testing.assert_close(model.hidden_map(x[None])[0], expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(model.head.weight_M_O_I_k_k, plain.head.weight_M_O_I_k_k), "the head begins at random"


@pytest.mark.parametrize("prefix", ["", "module."])
def test_published_scene_weights_give_the_published_networks_logits(
    net: nn.ModuleDict, prefix: str, tmp_path: Path
) -> None:
    state = scene_checkpoint(net.state_dict(), prefix)
    torch.save(state, tmp_path / "scenes.pth")
    model, x = build(config(tmp_path / "scenes.pth")), torch.randn(2, *RGB)
    scores = F.conv2d(hidden(net, x), state[f"{prefix}seg.weight"], state[f"{prefix}seg.bias"])
    taps = 1 - (torch.arange(16) - 7.5).abs() / 8
    kernel = torch.outer(taps, taps).expand(CLASSES, 1, 16, 16)
    expected = F.conv_transpose2d(scores, kernel, stride=8, padding=4, groups=CLASSES)
    torch.testing.assert_close(model(x[None])[0], expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(model.encode(x[None])[0], scores, rtol=1e-3, atol=1e-3)


def test_a_head_for_other_classes_and_colours_of_grey_scenes_are_made_to_fit(
    net: nn.ModuleDict, tmp_path: Path
) -> None:
    torch.save(scene_checkpoint(net.state_dict()), tmp_path / "scenes.pth")
    model, x = build(config(tmp_path / "scenes.pth"), (1, 32, 48), 7), torch.randn(2, 1, 32, 48)
    assert model(x[None]).shape == (1, 2, 7, 32, 48)
    expected = hidden(net, x.expand(-1, 3, -1, -1))
    torch.testing.assert_close(model.hidden_map(x[None])[0], expected, rtol=1e-3, atol=1e-4)


def test_weights_of_another_drn_are_refused_with_the_differences(net: nn.ModuleDict, tmp_path: Path) -> None:
    torch.save(net.state_dict(), tmp_path / "drn.pth")
    for name, message in (
        ("drn_d_24", "layer7.3.weight is missing"),
        ("drn_c_26", "bn1.bias is missing"),
    ):
        with pytest.raises(UserError, match=f"model.pretrained_model: .*differences: {message}"):
            check_model(config(tmp_path / "drn.pth", name=name), RGB, CLASSES, dense=True)


@pytest.mark.parametrize("name", ["base.weight", "base.x.weight", "base.99.weight"])
def test_a_file_with_names_of_another_kind_is_refused_by_its_own_key(
    name: str, net: nn.ModuleDict, tmp_path: Path
) -> None:
    torch.save({**net.state_dict(), name: torch.zeros(1)}, tmp_path / "drn.pth")
    with pytest.raises(UserError, match=f"model.pretrained_model: .*{name} is unknown"):
        check_model(config(tmp_path / "drn.pth"), RGB, CLASSES, dense=True)


@pytest.mark.parametrize("torch_up", [False, True])
def test_scores_of_places_lie_over_the_pixels_whose_logits_they_make(torch_up: bool) -> None:
    model = DRN("drn_d_22", (3, 20, 43), 2, use_torch_up=torch_up)
    place_1_h_w = torch.zeros(1, 3, 6)
    place_1_h_w[0, 1, 4] = 1
    logits_1_1_2_H_W = model.enlarge(place_1_h_w.expand(1, 1, 2, 3, 6), (20, 43))
    scores_1_H_W = model.enlarge_scores(place_1_h_w, (20, 43))
    torch.testing.assert_close(scores_1_H_W[0], logits_1_1_2_H_W[0, 0, 0])


@pytest.mark.parametrize("name", list(DESIGNS))
def test_without_a_file_the_error_says_where_to_get_one_or_that_there_is_none(name: str) -> None:
    with pytest.raises(UserError) as caught:
        check_model(config(name=name, pretrained=True), RGB, CLASSES, dense=True)
    message = str(caught.value)
    assert message.startswith("model.pretrained: ") and "model.pretrained_model" in message
    assert (f"{name}-*.pth" in message and "dl.yf.io/drn" in message) == (name in PUBLISHED)


def test_scene_weights_of_a_c_network_are_numbered_by_module_and_not_by_level() -> None:
    plain = _levels(DESIGNS["drn_c_26"], 3)
    children, state = list(plain._modules), dict(plain.state_dict())
    numbered = {}
    for name, tensor in state.items():
        child, rest = name.split(".", 1)
        numbered[f"base.{children.index(child)}.{rest}"] = tensor
    assert {"base.0.weight", "base.1.weight"} <= set(numbered) and "base.2.weight" not in numbered
    assert set(_plain_names(numbered, [*children, "head"])) == set(state)


def test_the_last_levels_of_a_c_network_have_no_shortcut() -> None:
    model = DRN("drn_c_26", RGB, CLASSES).eval()
    for level in list(model.encoder)[-2:]:
        for layer in level.modules():
            if isinstance(layer, StackedConv2d):
                layer.weight_M_O_I_k_k.data.zero_()
    assert (model.hidden_map(torch.randn(1, 1, *RGB)) == 0).all()


@pytest.mark.parametrize("name", list(DESIGNS))
def test_levels_5_to_8_are_dilated_by_2_4_2_1(name: str) -> None:
    dilations = [
        {
            layer.options["dilation"]
            for layer in level.modules()
            if isinstance(layer, StackedConv2d) and layer.weight_M_O_I_k_k.shape[-1] == 3
        }
        for level in list(on_meta(name).encoder)[-4:]
    ]
    assert dilations == [{(2, 2)}, {(4, 4)}, {(2, 2)}, {(1, 1)}]


def test_each_pass_is_the_published_network_with_that_pass_masks_after_its_blocks(
    net: nn.ModuleDict, tmp_path: Path
) -> None:
    torch.save(net.state_dict(), tmp_path / "drn.pth")
    model, x = build(config(tmp_path / "drn.pth")), torch.randn(2, *RGB)
    start_passes(model, 2, seed=1)
    together = model.hidden_map(x[None])
    masks = [layer._drawn for layer in stochastic_layers(model)]
    blocks = [block for level in range(3, 7) for block in net[f"layer{level}"].children()]
    for k in range(2):
        hooks = [
            block.register_forward_hook(partial(lambda mask, module, x, y: y * mask, mask[k]))
            for block, mask in zip(blocks, masks, strict=True)
        ]
        torch.testing.assert_close(together[k], hidden(net, x), rtol=1e-3, atol=1e-3)
        for hook in hooks:
            hook.remove()


def test_torchs_upsampling_is_torchs_interpolation_cut_off_at_the_border() -> None:
    shape = (3, 30, 43)
    model, x = build(config(use_torch_up=True), shape), torch.randn(1, 2, *shape)
    whole = F.interpolate(model.encode(x)[0], scale_factor=8, mode="bilinear", align_corners=False)
    assert whole.shape[-2:] == (32, 48)
    torch.testing.assert_close(model(x)[0], whole[..., :30, :43], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(build(config(), shape)(x)[0], whole[..., :30, :43], atol=1e-3)


def test_monte_carlo_masks_belong_to_passes_and_not_to_scenes() -> None:
    model, x_1_N_I_H_W = build(config()).double(), torch.randn(1, 3, *RGB, dtype=torch.float64)
    start_passes(model, 2, seed=1)
    together = model(x_1_N_I_H_W)
    assert together.shape == (2, 3, CLASSES, 32, 48) and not torch.allclose(together[0], together[1])
    masks = [layer._drawn for layer in stochastic_layers(model)]
    assert len(masks) == 8 and all(mask.shape[:2] == (2, 1) for mask in masks)
    alone = torch.cat([model(x_1_N_I_H_W[:, n : n + 1]) for n in range(3)], 1)
    torch.testing.assert_close(alone, together)


@pytest.mark.parametrize("classes", [5, 40])
@pytest.mark.parametrize("name", ["drn_c_26", "drn_c_58", "drn_d_22", "drn_d_54"])
def test_the_largest_map_is_the_largest_that_any_layer_hands_on(name: str, classes: int) -> None:
    sizes = []

    def note(module: nn.Module, _: object, output: Tensor) -> None:
        sizes.append(output.numel())

    with torch.device("meta"):
        model = DRN(name, (3, 33, 50), classes).eval()
        for module in model.modules():
            module.register_forward_hook(note)
        model(torch.empty(1, 1, 3, 33, 50))
    assert model.largest_map == max(sizes)
