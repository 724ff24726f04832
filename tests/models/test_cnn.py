import pytest
import torch
from torch import nn

from src.layers.stochastic import stochastic_layers
from src.models.cnn import CNN


def plain_twin(model: CNN) -> nn.Sequential:
    """Built of torch's own layers for inputs of 2×7×6, with the model's weights."""
    twin = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 5, 5, padding=2), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(), nn.Linear(5 * 3 * 3, 128), nn.ReLU()),
        *(nn.Dropout(0.5), nn.Linear(128, 3)),
    )
    for theirs, ours in zip(twin.parameters(), model.parameters(), strict=True):
        theirs.data = ours.data[0]
    return twin.eval()


def test_it_computes_what_a_plain_sequential_computes() -> None:
    model = CNN((2, 7, 6), (4, 5), (3, 5), 3, (0.25, 0.5)).eval()
    twin, x = plain_twin(model), torch.randn(5, 2, 7, 6)
    torch.testing.assert_close(model(x[None])[0], twin(x))
    torch.testing.assert_close(model.encode(x[None])[0], twin[:9](x))
    assert model.feature_dims == 128


def test_initial_weights_are_torchs() -> None:
    torch.manual_seed(0)
    model = CNN((2, 7, 6), (4,), (3,), 3, ())
    torch.manual_seed(0)
    plain = [nn.Conv2d(2, 4, 3), nn.Linear(4 * 3 * 3, 128), nn.Linear(128, 3)]
    for ours, theirs in zip(model.parameters(), (p for m in plain for p in m.parameters()), strict=True):
        assert torch.equal(ours[0], theirs)


@pytest.mark.parametrize(
    ("given", "places"), [((), []), ((0.0,), []), ((0.25,), [0.25, 0.25]), ((0.25, 0.5), [0.25, 0.5])]
)
def test_dropout_follows_the_pooling_and_the_hidden_layer(given: tuple, places: list) -> None:
    model = CNN((1, 8, 8), (4, 4), (3, 3), 3, given)
    assert [1 - layer.keep for layer in stochastic_layers(model)] == pytest.approx(places)


def test_a_number_of_probabilities_that_fits_no_reading_is_refused() -> None:
    with pytest.raises(ValueError, match="3 dropout probabilities for the two places"):
        CNN((1, 8, 8), (4, 4), (3, 3), 3, (0.1,) * 3)
