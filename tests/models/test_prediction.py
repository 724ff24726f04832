import math

import pytest
import torch

from src.layers.stacked import stack_members
from src.layers.stochastic import start_passes
from src.models import prediction
from src.models.cnn import CNN
from src.models.mlp import MLP
from src.models.prediction import (
    batch_size,
    feature_batches,
    map_batches,
    mean_loss,
    member_log_probs,
    predict,
    predictive_log_probs,
)
from src.utils.errors import NonFiniteError, UserError
from tests.models.fakes import Blobs, Images

ALL = torch.arange(90)


@pytest.fixture
def model() -> MLP:
    torch.manual_seed(0)
    return MLP((8,), (16, 16), 3, (0.5,)).eval()


def test_the_predictive_distribution_is_the_mean_of_probabilities_not_of_logits() -> None:
    logits_N_K_C = torch.tensor([[[10.0, 0.0], [0.0, 0.5]]])
    predicted = predictive_log_probs(logits_N_K_C.log_softmax(-1)).exp()
    torch.testing.assert_close(predicted, logits_N_K_C.softmax(-1).mean(1))
    assert not torch.allclose(predicted, logits_N_K_C.mean(1).softmax(-1), atol=0.1)


@pytest.mark.parametrize("passes", [1, 4])
def test_predictions_do_not_depend_on_batch_size_or_order(
    model: MLP, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Blobs()
    if passes > 1:
        start_passes(model, passes, seed=1)
    whole = predict(model, source, ALL)
    monkeypatch.setitem(prediction.BATCH_BYTES, "cpu", 7 * 8 * 4)
    parts = map_batches(lambda indices_B, inputs_1_B_S: inputs_1_B_S.shape[1], source, ALL, model)
    assert [(len(indices_B), inputs) for indices_B, inputs in parts] == [(7, 7)] * 12 + [(6, 6)]
    torch.testing.assert_close(predict(model, source, ALL), whole)
    backwards = predict(model, source, ALL.flip(0))
    torch.testing.assert_close(backwards.flip(0), whole)


def test_batches_shrink_with_feature_maps_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, images = CNN((1, 4, 4), (5, 5), (3, 3), 3, (0.5,)), Images(40, (1, 4, 4))
    monkeypatch.setitem(prediction.BATCH_BYTES, "cpu", 12 * 5 * 4 * 4 * 4)
    assert batch_size(images, ALL[:40], model) == 12
    start_passes(model, 4, seed=1)
    assert batch_size(images, ALL[:40], model) == 3


def test_monte_carlo_members_are_the_same_functions_for_every_input(model: MLP) -> None:
    """Each pass equals the network with that pass's units removed, for all inputs alike."""
    source = Blobs()
    start_passes(model, 3, seed=1)
    log_probs_N_K_C = member_log_probs(model, source.inputs(ALL)[None])
    assert log_probs_N_K_C.shape == (90, 3, 3)
    mask_K_F = model.encoder[-1]._drawn[:, 0]
    model.eval()
    features_N_D = model.encode(source.inputs(ALL)[None])[0]
    for k in range(3):
        by_hand = model.classify((features_N_D * mask_K_F[k])[None])[0].log_softmax(-1)
        torch.testing.assert_close(log_probs_N_K_C[:, k], by_hand)


def test_ensemble_members_predict_as_they_do_alone() -> None:
    torch.manual_seed(0)
    ensemble = stack_members([MLP((8,), (16, 16), 3, ()) for _ in range(3)]).eval()
    inputs = Blobs().inputs(ALL)[None]
    log_probs_N_K_C = member_log_probs(ensemble, inputs)
    for member, part in enumerate(ensemble.split()):
        torch.testing.assert_close(log_probs_N_K_C[:, member], member_log_probs(part, inputs)[:, 0])


def test_mean_loss_is_over_the_whole_set_and_not_over_batches(
    model: MLP, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Blobs(spread=2.0)
    monkeypatch.setitem(prediction.BATCH_BYTES, "cpu", 50 * 8 * 4)  # batches of 50 and 40
    by_hand = torch.nn.functional.cross_entropy(model(source.inputs(ALL)[None])[0], source.labels_N)
    assert mean_loss(model, source, ALL).item() == pytest.approx(by_hand.item(), rel=1e-6)


def hidden_features(model: MLP, source: Blobs) -> torch.Tensor:
    return torch.cat([features_B_D for _, features_B_D in feature_batches(model, source, ALL)])


def test_features_are_deterministic_even_after_monte_carlo_passes(model: MLP) -> None:
    source = Blobs()
    before = hidden_features(model, source)
    start_passes(model, 3, seed=1)
    assert torch.equal(hidden_features(model, source), before)
    assert before.shape == (90, 16)


def test_non_finite_values_are_refused_with_their_dataset_indices() -> None:
    values = torch.zeros(4, 2)
    values[2, 1] = math.nan
    with pytest.raises(NonFiniteError, match=r"dataset indices 30\): .*lower optimizer\.lr"):
        prediction.refuse_non_finite(values, torch.tensor([10, 20, 30, 40]), "the scores")


class SmallMemory(Images):
    """Inputs of which no more than ``most`` find room together, as in a GPU's memory; counts how often they do not."""

    def __init__(self, most: int) -> None:
        super().__init__(90, (1, 4, 4))
        self.most, self.refused = most, 0

    def inputs(self, indices_B: torch.Tensor) -> torch.Tensor:
        if len(indices_B) > self.most:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return super().inputs(indices_B)


def images_model() -> CNN:
    torch.manual_seed(0)
    return CNN((1, 4, 4), (5, 5), (3, 3), 3, (0.5,)).eval()


def test_a_batch_that_finds_no_memory_is_halved_until_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    source, model = SmallMemory(most=12), images_model()
    torch.testing.assert_close(
        predict(model, source, ALL), predict(images_model(), Images(90, (1, 4, 4)), ALL)
    )
    assert source.refused == 3  # 90, 45, 22
    said = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1].split()[0] for line in said] == ["45", "22", "11"]
    mean_loss(model, source, ALL)
    assert source.refused == 3, "the model has learnt how much there is room for"


def test_an_input_that_finds_no_memory_alone_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = images_model()

    def encode(inputs_M_N_S: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model, "encode", encode)
    with pytest.raises(UserError, match="no memory to look at a single input; use smaller images"):
        predict(model, Images(90, (1, 4, 4)), ALL)
