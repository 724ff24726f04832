"""What every segmentation network promises: it trains, predicts and has features, under every kind of members."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from src.config import Config, OptimizerConfig, TrainingConfig
from src.layers.member_axis import with_member_axis
from src.layers.stacked import member_state, stack_members
from src.layers.stochastic import start_passes
from src.models import prediction
from src.models.architectures import ARCHITECTURES, BACKBONES, SEGMENTATION
from src.models.build import build_model, check_model
from src.models.dense import DenseNetwork
from src.models.dense_loss import DenseLoss
from src.models.joint_fit import JointFit, Setting
from src.models.network import Network
from src.models.prediction import batch_size, feature_batches, mean_loss, member_log_probs
from src.models.training import fit
from src.utils.errors import UserError
from src.utils.seeding import RoundSeeds
from tests.models.fakes import Scenes

SHAPE, ALL, SEEDS, CPU = (3, 32, 48), torch.arange(4), RoundSeeds(3, 0), torch.device("cpu")
SMALL = ["drn_d_22", "deeplabv3plus", "unet", "mir over drn_d_22", "mir over deeplabv3plus"]
KINDS = ["cross_entropy", "dice", "dice_ce", "iou"]


def config(name: str, loss: str = "cross_entropy", features: str = "logits", **model: object) -> Config:
    name, _, backbone = name.partition(" over ")
    mir = {"backbone": backbone, "features": features} if backbone else {}
    given = {"name": name, "dropout_probabilities": [0.1], "mir_configs": mir, **model}
    return Config.model_validate({"name": "test", "model": given, "training": {"loss": loss}})


def built(given: Config, shape: Sequence[int] = SHAPE, classes: int = 3) -> Network:
    assert check_model(given, shape, classes, dense=True) > 0
    return build_model(given, shape, classes, SEEDS, CPU)


def train(model: Network, source: Scenes, epochs: int = 1) -> list[float]:
    training = TrainingConfig(epochs=epochs, batch_size=2, early_stopping=False, load_best_model=False)
    return fit(model, source, ALL[:3], ALL[3:], training, OptimizerConfig(), SEEDS).train_loss[0]


class PixelNet(DenseNetwork):
    """The smallest dense network: one convolution to 4 channels, half as large."""

    def __init__(self, loss: str = "cross_entropy") -> None:
        super().__init__(4, 3, "hidden", DenseLoss(loss))
        self.conv = with_member_axis(nn.Conv2d(3, 4, 3, stride=2, padding=1))
        self.head = with_member_axis(nn.Conv2d(4, 3, 1))

    def hidden_map(self, inputs_M_N_I_H_W: Tensor) -> Tensor:
        return self.conv(inputs_M_N_I_H_W).relu()

    def enlarge(self, logits_M_N_C: Tensor, size: Sequence[int]) -> Tensor:
        rows, cols = size
        return logits_M_N_C.repeat_interleave(2, -2).repeat_interleave(2, -1)[..., :rows, :cols]


@pytest.mark.parametrize("name", SMALL)
def test_it_trains_predicts_under_passes_and_has_features(name: str) -> None:
    source, model = Scenes(4, SHAPE), built(config(name))
    assert model.dense
    train(model, source)
    assert mean_loss(model, source, ALL).isfinite().all()
    for passes in (1, 2):
        model.eval()
        if passes > 1:
            start_passes(model, passes, seed=1)
        log_probs_N_K_C_H_W = member_log_probs(model, source.inputs(ALL)[None])
        assert log_probs_N_K_C_H_W.shape == (4, passes, 3, 32, 48)
        total = log_probs_N_K_C_H_W.logsumexp(2)
        torch.testing.assert_close(total, torch.zeros_like(total), atol=1e-5, rtol=0)
        apart = torch.cat([member_log_probs(model, source.inputs(ALL[n : n + 2])[None]) for n in (0, 2)])
        torch.testing.assert_close(apart, log_probs_N_K_C_H_W, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(log_probs_N_K_C_H_W[:, 0], log_probs_N_K_C_H_W[:, 1], atol=1e-6)
    features = torch.cat([features for _, features in feature_batches(model, source, ALL)])
    assert features.shape[:2] == (4, model.feature_dims)
    logits = model.enlarge(model.classify(features[None]), (32, 48))
    torch.testing.assert_close(logits, model(source.inputs(ALL)[None]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", SMALL[:3])
def test_members_of_an_ensemble_are_the_networks_that_they_are_alone(name: str) -> None:
    source, model = Scenes(4, SHAPE), built(config(name, ensemble=2))
    x, masks = source.inputs(ALL[:2]).expand(2, -1, -1, -1, -1), source.labels(ALL[:2]).expand(2, -1, -1, -1)
    together, losses = model.eval()(x), model.loss(x, masks)
    assert not torch.allclose(together[0], together[1], atol=1e-3)
    for member, part in enumerate(model.split()):
        torch.testing.assert_close(part.eval()(x[:1])[0], together[member], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(part.loss(x[:1], masks[:1])[0], losses[member], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loss", KINDS)
def test_each_loss_of_the_schema_is_what_is_trained(loss: str) -> None:
    source, model = Scenes(4, SHAPE), built(config("drn_d_22", loss))
    losses = train(model, source, epochs=6)
    assert losses[-1] < 0.8 * losses[0]
    x, masks = source.inputs(ALL)[None], source.labels(ALL)[None]
    expected = DenseLoss(loss)(model.eval()(x), masks)
    torch.testing.assert_close(model.loss(x, masks), expected, rtol=1e-5, atol=1e-5)


def test_the_label_to_ignore_is_the_configs() -> None:
    given = Config.model_validate(
        {
            "name": "test",
            "model": {"name": "drn_d_22"},
            "data": {"ignore_label": 2},
            "training": {"loss": "iou"},
        }
    )
    with torch.device("meta"):
        model = ARCHITECTURES.get("drn_d_22")(given, SHAPE, 3, None)
    assert model.objective == DenseLoss("iou", 2)


@pytest.mark.parametrize("name", SMALL[:3])
def test_half_precision_and_channels_last_change_probabilities_by_rounding_alone(name: str) -> None:
    source, exact = Scenes(4, SHAPE), built(config(name))
    train(exact, source, epochs=3)
    x = source.inputs(ALL)[None]
    expected = member_log_probs(exact.eval(), x).exp()
    last = built(config(name, channels_last=True)).eval()
    last.load_state_dict(exact.state_dict())
    torch.testing.assert_close(member_log_probs(last, x).exp(), expected, rtol=1e-3, atol=1e-3)
    mixed = built(config(name, mixed_precision=True)).eval()
    assert mixed.dense and mixed.largest_map == exact.largest_map
    mixed.network.load_state_dict(exact.state_dict())
    rounded = member_log_probs(mixed, x).exp()
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, expected)
    assert (rounded - expected).abs().mean() < 0.02
    assert train(mixed, source)[0] > 0
    assert torch.equal(mixed.loss_weight(source.labels(ALL)[None]), torch.tensor([4.0 * 31 * 48]).double())


@pytest.mark.parametrize("kind", ["dice", "iou"])
def test_losses_are_summed_in_single_precision_under_half_precision(kind: str) -> None:
    source = Scenes(4, SHAPE)
    given = config("unet", mixed_precision=True)
    given = given.model_copy(update={"training": given.training.model_copy(update={"loss": kind})})
    mixed, x, masks = built(given).eval(), source.inputs(ALL)[None], source.labels(ALL)[None]
    torch.testing.assert_close(mixed.loss(x, masks), DenseLoss(kind)(mixed(x), masks), atol=1e-5, rtol=0)


@pytest.mark.parametrize("loss", KINDS)
def test_the_mean_loss_does_not_depend_on_the_size_of_batches(
    loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    source, model, everything = Scenes(7, SHAPE), PixelNet(loss), torch.arange(7)
    source.labels_N[2] = 255
    source.labels_N[4, :20] = 255
    x, masks = source.inputs(everything)[None], source.labels(everything)[None]
    expected = model.loss(x, masks).double()
    for size in (1, 2, 3, 7):
        monkeypatch.setitem(prediction.BATCH_BYTES, "cpu", size * 4 * x[0, 0].numel())
        assert batch_size(source, everything, model) == size
        torch.testing.assert_close(mean_loss(model, source, everything), expected, rtol=1e-5, atol=1e-6)


def test_images_without_a_valid_pixel_have_a_mean_loss_of_0_and_train_nothing() -> None:
    source, model = Scenes(4, SHAPE), PixelNet()
    source.labels_N[:] = 255
    assert mean_loss(model, source, ALL).tolist() == [0.0]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    training = TrainingConfig(epochs=2, batch_size=2)
    history = fit(model, source, ALL[:3], ALL[3:], training, OptimizerConfig(weight_decay=0.0), SEEDS)
    assert history.train_loss == [[0.0, 0.0]]
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


def cropped(
    inputs_MB_S: Tensor, labels_MB: Tensor, generators: Sequence[torch.Generator]
) -> tuple[Tensor, Tensor]:
    """A crop of 20 columns of image and mask, elsewhere in every member's batch."""
    inputs, labels = [], []
    shares = (tensor.chunk(len(generators)) for tensor in (inputs_MB_S, labels_MB))
    for generator, own_inputs, own_labels in zip(generators, *shares, strict=True):
        first = int(torch.randint(28, (), generator=generator))
        inputs.append(own_inputs[..., first : first + 20])
        labels.append(own_labels[..., first : first + 20])
    return torch.cat(inputs), torch.cat(labels)


def test_members_trained_together_on_crops_equal_members_trained_alone() -> None:
    torch.manual_seed(0)
    together = stack_members([PixelNet("dice_ce") for _ in range(2)]).double()
    alone = together.split()
    for part in alone:
        for tensor in member_state(part).values():
            tensor.data = tensor.data.clone()
    source = Scenes(5, SHAPE)
    source.inputs_N_C_H_W = source.inputs_N_C_H_W.double()
    training = TrainingConfig(epochs=3, batch_size=2, early_stopping=False)
    arguments = (source, torch.arange(3), torch.arange(3, 5), training, OptimizerConfig(), SEEDS)
    history = fit(together, *arguments, augment=cropped)
    for member, part in enumerate(alone):
        own = JointFit(part, [member], Setting(*arguments, cropped)).run(lambda *_: None)
        assert own.val_loss[0] == pytest.approx(history.val_loss[member], rel=1e-9)
        assert own.train_loss[0] == pytest.approx(history.train_loss[member], rel=1e-9)


@pytest.mark.parametrize("name", sorted({*SEGMENTATION} - {"drn_d_22", "deeplabv3plus", "unet"}))
def test_the_deep_ones_train_without_memory(name: str) -> None:
    with torch.device("meta"):
        model = ARCHITECTURES.get(name)(config(name, dropout_probabilities=[]), SHAPE, 3, None)
        model.loss(torch.empty(1, 2, *SHAPE), torch.zeros(1, 2, *SHAPE[1:], dtype=torch.int64)).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("backbone", "hidden"), [("drn_c_26", 512), ("drn_d_54", 512), ("deeplabv3plus", 256)]
)
def test_mir_hands_a_density_head_scores_or_the_hidden_map(backbone: str, hidden: int) -> None:
    for features, dims in (("logits", 3), ("hidden", hidden)):
        given = config(f"mir over {backbone}", features=features)
        with torch.device("meta"):
            model = ARCHITECTURES.get("mir")(given, SHAPE, 3, None).eval()
            assert model.encode(torch.empty(1, 2, *SHAPE)).shape[2] == model.feature_dims == dims
        assert model.decoder is None
        right, wrong = (
            given.model.mir_configs.model_copy(update={"feature_dims": width}) for width in (dims, dims + 1)
        )
        check_model(with_mir(given, right), SHAPE, 3, dense=True)
        with pytest.raises(UserError, match=f"model.mir_configs.feature_dims: .* are {dims} wide"):
            check_model(with_mir(given, wrong), SHAPE, 3, dense=True)


def with_mir(given: Config, mir: object) -> Config:
    return given.model_copy(update={"model": given.model.model_copy(update={"mir_configs": mir})})


def test_mir_without_a_decoder_trains_its_backbones_loss_with_the_weight_of_cross_entropy() -> None:
    source = Scenes(4, SHAPE)
    backbone = {"backbone": "drn_d_22", "reconstruction_weight": 4.0, "warmup": 2}
    model = built(config("mir", "dice", mir_configs=backbone)).eval()
    x, masks = source.inputs(ALL)[None], source.labels(ALL)[None]
    plain = DenseLoss("dice")(model(x), masks)
    for epoch, weight in ((None, 0.25), (0, 0.125), (1, 0.25)):
        torch.testing.assert_close(model.loss(x, masks, epoch), weight * plain, rtol=1e-5, atol=1e-6)
    assert torch.equal(model.loss_weight(masks), torch.tensor([4.0]).double())


@pytest.mark.parametrize("name", [*SEGMENTATION, "mir over drn_d_22", "mir over deeplabv3plus"])
def test_a_dense_network_is_refused_where_an_image_has_one_class(name: str) -> None:
    key = "model.mir_configs.backbone" if " over " in name else "model.name"
    with pytest.raises(UserError, match=f"^{key}: .*for segmentation, and digits has.*choices: .*resnet18"):
        check_model(config(name), SHAPE, 3)


@pytest.mark.parametrize(
    "name", ["mlp", "cnn", "bnn", "bcnn", "resnet18", "mir over mlp", "mir over resnet50"]
)
def test_a_classifier_is_refused_where_a_pixel_has_a_class(name: str) -> None:
    key = "model.mir_configs.backbone" if " over " in name else "model.name"
    with pytest.raises(UserError, match=f"^{key}: .*for classification, and digits has.*choices: .*drn_d_22"):
        check_model(config(name), SHAPE, 3, dense=True)


def test_every_dense_network_but_the_u_net_is_a_backbone_and_no_other_network_is_dense() -> None:
    assert {name for name in BACKBONES if name in SEGMENTATION} == {*SEGMENTATION} - {"unet"}
    with torch.device("meta"):
        for name in ARCHITECTURES:
            if name != "mir":
                assert ARCHITECTURES.get(name)(config(name), SHAPE, 3, None).dense == (name in SEGMENTATION)


def test_a_u_net_has_no_pretrained_weights() -> None:
    with pytest.raises(UserError, match=r"^model\.pretrained: unet has no pretrained weights"):
        check_model(config("unet", pretrained=True), SHAPE, 3, dense=True)
