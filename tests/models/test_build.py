import pytest
import torch
import torchvision

from src.config import Config
from src.models.architectures import ARCHITECTURES, BACKBONES, SEGMENTATION
from src.models.build import build_density, build_model, check_model
from src.models.resnet import RESNETS
from src.utils.errors import UserError
from src.utils.seeding import RoundSeeds

SHAPE = (1, 8, 8)
CPU = torch.device("cpu")


def config(**model: object) -> Config:
    return Config.model_validate({"name": "test", "model": {"hidden_layers": [16, 12], **model}})


def weights(config: Config, seeds: RoundSeeds) -> dict[str, torch.Tensor]:
    return dict(build_model(config, SHAPE, 10, seeds, CPU).named_parameters())


def test_initial_weights_are_the_same_every_round_and_differ_between_seeds() -> None:
    first, later, other = (
        weights(config(), seeds) for seeds in (RoundSeeds(3, 0), RoundSeeds(3, 7), RoundSeeds(4, 0))
    )
    for name in first:
        assert torch.equal(first[name], later[name])
        assert not torch.equal(first[name], other[name])


def test_methods_start_from_the_same_encoder_and_classifier() -> None:
    """With a decoder, as an ensemble's first member, and with other density heads."""
    mlp = weights(config(name="MLP"), RoundSeeds(3, 0))
    mir = weights(config(name="MIR"), RoundSeeds(3, 0))
    ensemble = weights(config(name="MLP", ensemble=3), RoundSeeds(3, 0))
    for name, parameter in mlp.items():
        assert torch.equal(parameter, mir[f"backbone.{name}"])
        assert torch.equal(parameter, ensemble[name][:1])
        assert not torch.equal(ensemble[name][0], ensemble[name][1])


def test_building_draws_nothing_from_the_global_generator() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build_model(config(), SHAPE, 10, RoundSeeds(3, 0), CPU)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("ensemble", [1, 3])
@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - {*RESNETS, *SEGMENTATION}))
def test_check_model_counts_the_parameters_that_are_built(name: str, ensemble: int) -> None:
    given = config(name=name, ensemble=ensemble)
    built = build_model(given, SHAPE, 10, RoundSeeds(3, 0), CPU)
    assert check_model(given, SHAPE, 10) == sum(parameter.numel() for parameter in built.parameters())


@pytest.mark.parametrize("ensemble", [1, 3])
@pytest.mark.parametrize("name", RESNETS)
def test_check_model_counts_torchvisions_parameters(name: str, ensemble: int) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name, num_classes=10)
    expected = ensemble * sum(parameter.numel() for parameter in theirs.parameters())
    assert check_model(config(name=name, ensemble=ensemble), (3, 32, 32), 10) == expected


def test_bayesian_networks_have_a_mean_and_a_deviation_for_every_parameter_of_the_plain_ones() -> None:
    for bayesian, plain in (("BNN", "MLP"), ("BCNN", "CNN")):
        assert check_model(config(name=bayesian), SHAPE, 10) == 2 * check_model(config(name=plain), SHAPE, 10)


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("backbone", sorted(set(BACKBONES) - {*SEGMENTATION}))
def test_every_backbone_of_a_classifier_brings_a_decoder_to_the_inputs_size(
    backbone: str, small: bool
) -> None:
    given = config(name="MIR", mir_configs={"backbone": backbone}, small_image_stem=small)
    with torch.device("meta"):
        model = ARCHITECTURES.get("MIR")(given, (1, 28, 28), 10, None).eval()
        inputs_M_N_S = torch.empty(1, 2, 1, 28, 28)
        labels_M_N = torch.zeros(1, 2, dtype=torch.int64)
    assert model.decoder(model.encode(inputs_M_N_S)).shape == inputs_M_N_S.shape
    assert model.encode(inputs_M_N_S).shape[-1] == model.feature_dims
    model.loss(inputs_M_N_S, labels_M_N).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_decoder_options_reach_the_decoder() -> None:
    def count(**mir: object) -> int:
        return check_model(config(name="MIR", mir_configs={"backbone": "resnet18", **mir}), (3, 32, 32), 10)

    assert count(num_res_blocks=2) > count()
    assert count(decoder_bn=False) != count()
    assert count(feature_dims=512) == count()


def test_only_mir_has_a_density_head() -> None:
    assert build_density(config(name="MLP"), RoundSeeds(3, 0)) is None
    assert build_density(config(name="MIR"), RoundSeeds(3, 0)) is not None


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ({"name": "unet"}, "model.name"),
        ({"name": "cnn", "kernel_sizes": [3, 3, 3]}, "model.kernel_sizes"),
        ({"name": "bcnn", "dropout_probabilities": [0.1] * 3}, "model.dropout_probabilities"),
        (
            {"name": "resnet18", "mc_dropout": True, "mc_iterations": 3, "dropout_probabilities": [0, 0.1]},
            "model.mc_dropout",
        ),
        ({"mir_configs": {"backbone": "resnet18", "feature_dims": 64}}, "model.mir_configs.feature_dims"),
        ({"pretrained": True, "mir_configs": {"backbone": "mlp"}}, "model.pretrained"),
        ({"name": "resnet18", "pretrained": True, "small_image_stem": True}, "model.pretrained"),
        (
            {"name": "resnet18", "pretrained": True, "pretrained_model": "absent.pth"},
            "model.pretrained_model",
        ),
        ({"name": "resnet18", "pretrained_model": "some.pth"}, "model.pretrained_model"),
        ({"name": "mlpp"}, "model.name"),
        ({"mir_configs": {"backbone": "drn_d_22"}}, "model.mir_configs.backbone"),
        ({"mir_configs": {"density_model": "kdee"}}, "model.mir_configs.density_model"),
        ({"mir_configs": {"feature_dims": 64}}, "model.mir_configs.feature_dims"),
        ({"mir_configs": {"dim_reduction": 13}}, "model.mir_configs.dim_reduction"),
        ({"mir_configs": {"density_model": "knn", "greedy_search": True}}, "model.mir_configs.greedy_search"),
        (
            {"mir_configs": {"density_model": "knn", "knn_metric": "euclidian"}},
            "model.mir_configs.knn_metric",
        ),
        (
            {"mir_configs": {"density_model": "gmm_seg", "covariance": "tied"}},
            "model.mir_configs.covariance",
        ),
        ({"dropout_probabilities": [0.1] * 5}, "model.dropout_probabilities"),
        ({"pretrained": True}, "model.pretrained"),
    ],
)
def test_what_cannot_be_built_is_refused_at_its_key(model: dict, key: str) -> None:
    with pytest.raises(UserError, match=key):
        check_model(config(**model), SHAPE, 10)
