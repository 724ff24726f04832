from itertools import accumulate

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from src.active.batch import LastLayer
from src.active.batch.badge import badge
from src.active.scoring import PoolView, collect
from src.models import prediction
from src.models.network import Network
from src.models.resnet import ResNet
from src.utils.errors import NonFiniteError
from src.utils.seeding import RoundSeeds
from tests.active.evidence import evidence, generator, run


class Images:
    """Six small images of noise."""

    labels_N = torch.zeros(6, dtype=torch.int64)

    def inputs(self, indices_B: torch.Tensor) -> torch.Tensor:
        noise_N_1_H_W = torch.randn(6, 1, 16, 16, generator=generator(1))
        return noise_N_1_H_W.index_select(0, indices_B)


def twin(features_N_D: torch.Tensor, log_probs_N_C: torch.Tensor, count: int, seed: int) -> list[int]:
    """Every gradient embedding written out, every distance taken, and the same random numbers."""
    draw = generator(seed)
    probs = log_probs_N_C.double().exp().numpy()
    gradients = [
        np.outer(p - np.eye(len(p))[p.argmax()], h).ravel()
        for p, h in zip(probs, features_N_D.double().numpy(), strict=True)
    ]
    picked = [int(np.argmax([np.linalg.norm(g) for g in gradients]))]
    while len(picked) < count:
        weights = [min(float(np.sum((g - gradients[j]) ** 2)) for j in picked) for g in gradients]
        target = torch.rand((), dtype=torch.float64, generator=draw).item() * sum(weights)
        running = list(accumulate(weights))
        picked.append(next(i for i, below in enumerate(running) if below > target))
    return picked


def view_of(network: Network, passes: int = 1) -> PoolView:
    """The six images as a pool without labelled inputs."""
    return PoolView(network, None, Images(), torch.arange(0), torch.arange(6), 4, passes, RoundSeeds(0, 0))


@given(seed=st.integers(0, 10**6), count=st.integers(1, 12))
def test_picks_are_those_of_k_means_plus_plus_on_whole_gradients(seed: int, count: int) -> None:
    given_ = evidence(40, seed)
    double = LastLayer(*(tensor[:27].double() for tensor in given_["last_layer"]))
    assert run("badge", {"last_layer": double}, count, seed).positions_Q.tolist() == twin(
        *double, count, seed
    )


def test_scores_are_squared_distances_of_gradients() -> None:
    given_ = evidence(30)
    batch = run("badge", given_, 4)
    h_N_D, p_N_C = given_["last_layer"].inputs_N_E, given_["last_layer"].log_probs_N_C.exp()
    a_N_C = p_N_C - torch.nn.functional.one_hot(p_N_C.argmax(1), p_N_C.shape[1])
    g_N_E = torch.einsum("nc,nd->ncd", a_N_C, h_N_D).flatten(1)
    for step, position in enumerate(batch.positions_Q):
        if step:
            nearest = torch.cdist(g_N_E[position, None], g_N_E[batch.positions_Q[:step]]).min() ** 2
            torch.testing.assert_close(batch.scores_Q[step].float(), nearest, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("stem", [False, True], ids=["map of one pixel", "larger map"])
def test_lengths_are_those_of_the_last_layers_gradient_by_autograd(stem: bool) -> None:
    """A resnet's features are a whole map, of which its last layer sees the mean."""
    torch.manual_seed(0)
    network = ResNet("resnet18", (1, 16, 16), 4, small_image_stem=stem).eval()
    source = Images()
    batch = badge(collect("last_layer", view_of(network)), 2, generator(0))
    for position in range(6):
        network.zero_grad()
        logits_1_C = network(source.inputs(torch.tensor([position]))[None])[0]
        torch.nn.functional.cross_entropy(logits_1_C, logits_1_C.argmax(1)).backward()
        length = network.head.weight_M_O_I.grad.square().sum()
        torch.testing.assert_close(batch.pool_scores_N[position].float(), length, rtol=1e-4, atol=1e-7)


def test_a_pool_runs_through_the_network_once_and_without_its_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, seen = ResNet("resnet18", (1, 16, 16), 4, dropout_probability=0.5), []
    encode = network.encode

    def counted(inputs_M_N_S: torch.Tensor) -> torch.Tensor:
        seen.append(inputs_M_N_S.shape[1])
        return encode(inputs_M_N_S)

    monkeypatch.setattr(network, "encode", counted)
    monkeypatch.setitem(prediction.BATCH_BYTES, "cpu", 4 * 4 * network.largest_map)
    inputs_N_E, log_probs_N_C = collect("last_layer", view_of(network, passes=3))
    assert seen == [4, 2]
    images_1_N_C_H_W = Images().inputs(torch.arange(6))[None]
    features_1_N_D = encode(images_1_N_C_H_W)
    torch.testing.assert_close(inputs_N_E, network.last_inputs(features_1_N_D)[0].detach())
    torch.testing.assert_close(log_probs_N_C, network(images_1_N_C_H_W)[0].log_softmax(1).detach())


def test_log_probabilities_that_are_not_finite_are_told_by_index() -> None:
    network = ResNet("resnet18", (1, 16, 16), 4)
    network.head.bias_M_O.data[0, 2] = torch.nan
    with pytest.raises(NonFiniteError, match=r"log-probabilities of 6 inputs .*0, 1, 2, 3, 4, 5"):
        collect("last_layer", view_of(network))
