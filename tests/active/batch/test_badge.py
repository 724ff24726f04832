from itertools import accumulate

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from src.active.batch.badge import badge
from src.active.scoring import PoolView, collect
from src.models.resnet import ResNet
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


@given(seed=st.integers(0, 10**6), count=st.integers(1, 12))
def test_picks_are_those_of_k_means_plus_plus_on_whole_gradients(seed: int, count: int) -> None:
    given_ = evidence(40, seed)
    double = {kind: given_[kind][:27].double() for kind in ("last_inputs", "plain_log_probs")}
    expected = twin(double["last_inputs"], double["plain_log_probs"], count, seed)
    assert run("badge", {**given_, **double}, count, seed).positions_Q.tolist() == expected


def test_scores_are_squared_distances_of_gradients() -> None:
    given_ = evidence(30)
    batch = run("badge", given_, 4)
    p_N_C, h_N_D = given_["plain_log_probs"].exp(), given_["last_inputs"]
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
    view = PoolView(network, None, source, torch.arange(0), torch.arange(6), 4, 1, RoundSeeds(0, 0))
    batch = badge(collect("last_inputs", view), collect("plain_log_probs", view), 2, generator(0))
    for position in range(6):
        network.zero_grad()
        logits_1_C = network(source.inputs(torch.tensor([position]))[None])[0]
        torch.nn.functional.cross_entropy(logits_1_C, logits_1_C.argmax(1)).backward()
        length = network.head.weight_M_O_I.grad.square().sum()
        torch.testing.assert_close(batch.pool_scores_N[position].float(), length, rtol=1e-4, atol=1e-7)
