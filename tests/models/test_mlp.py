import pytest
import torch
from torch import nn

from src.layers.stochastic import stochastic_layers
from src.models.mir import MIR
from src.models.mlp import MLP, MLPDecoder


def test_the_thesis_network_is_784_128_128_10() -> None:
    model = MLP((1, 28, 28), (128, 128), 10, (0.25,))
    assert sum(p.numel() for p in model.parameters()) == 784 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10
    assert model.feature_dims == 128


def test_it_computes_what_a_plain_sequential_computes() -> None:
    model = MLP((1, 4, 4), (8, 6), 3, (0.5,)).eval()
    layers = [layer for layer in model.modules() if hasattr(layer, "weight_M_O_I")]
    plain = nn.Sequential(
        nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)
    )
    linears = [layer for layer in plain if isinstance(layer, nn.Linear)]
    for linear, layer in zip(linears, layers, strict=True):
        linear.weight.data, linear.bias.data = layer.weight_M_O_I[0], layer.bias_M_O[0]
    x = torch.randn(5, 1, 4, 4)
    torch.testing.assert_close(model(x[None])[0], plain(x))
    torch.testing.assert_close(model.encode(x[None])[0], plain[:5](x))


@pytest.mark.parametrize(
    ("given", "after_hidden_layers"),
    [((0.5,), [0.5, 0.5]), ((0.1, 0.2), [0.1, 0.2]), ((0.9, 0.1, 0.2), [0.1, 0.2]), ((), []), ((0.0,), [])],
)
def test_dropout_follows_every_hidden_layer_but_the_first(given: tuple, after_hidden_layers: list) -> None:
    model = MLP((4,), (8, 8, 8), 2, given)
    assert [1 - layer.keep for layer in stochastic_layers(model)] == pytest.approx(after_hidden_layers)


def test_a_number_of_probabilities_that_fits_no_reading_is_refused() -> None:
    with pytest.raises(ValueError, match="4 dropout probabilities for 3 hidden layers"):
        MLP((4,), (8, 8, 8), 2, (0.1,) * 4)


def test_the_decoder_mirrors_the_encoder() -> None:
    decoder = MLPDecoder((1, 4, 4), (8, 6))
    shapes = [
        tuple(layer.weight_M_O_I.shape[1:]) for layer in decoder.modules() if hasattr(layer, "weight_M_O_I")
    ]
    assert shapes == [(8, 6), (16, 8)]
    assert decoder(torch.randn(2, 5, 6)).shape == (2, 5, 1, 4, 4)


@pytest.mark.parametrize(
    ("weight", "ce_share", "mse_share"), [(1.0, 1, 1), (100.0, 0.01, 1), (0.25, 1, 0.25), (0.0, 1, 0)]
)
def test_lambda_weighs_cross_entropy_against_reconstruction(
    weight: float, ce_share: float, mse_share: float
) -> None:
    model = MIR(MLP((1, 4, 4), (8, 6), 3, ()), MLPDecoder((1, 4, 4), (8, 6)), weight).eval()
    x, y = torch.rand(1, 5, 1, 4, 4), torch.tensor([[0, 1, 2, 0, 1]])
    features = model.encode(x)
    ce = nn.functional.cross_entropy(model.classify(features)[0], y[0])
    mse = nn.functional.mse_loss(model.decoder(features), x)
    torch.testing.assert_close(model.loss(x, y), (ce_share * ce + mse_share * mse)[None])


def test_inputs_beyond_the_labels_are_rebuilt_and_not_classified() -> None:
    model = MIR(MLP((1, 4, 4), (8, 6), 3, ()), MLPDecoder((1, 4, 4), (8, 6)), 0.5, pool_weight=3.0).eval()
    x, beyond, y = torch.rand(1, 5, 1, 4, 4), torch.rand(1, 7, 1, 4, 4), torch.tensor([[0, 1, 2, 0, 1]])
    rebuilt = nn.functional.mse_loss(model.decoder(model.encode(beyond)), beyond)
    expected = model.loss(x, y) + 3.0 * 0.5 * rebuilt
    torch.testing.assert_close(model.loss(torch.cat([x, beyond], dim=1), y), expected)


def test_warm_up_raises_the_weight_of_cross_entropy_to_its_value() -> None:
    model = MIR(MLP((4,), (6, 6), 3, ()), None, 1.0, warmup=4)
    x, y = torch.rand(1, 5, 4), torch.zeros(1, 5, dtype=torch.int64)
    final = model.loss(x, y)
    for epoch, share in enumerate([0.25, 0.5, 0.75, 1.0, 1.0, 1.0]):
        torch.testing.assert_close(model.loss(x, y, epoch), share * final)
