"""Acquisition functions against SciPy and slow NumPy twins, and laws that every registered one must keep."""

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.active.heuristics import HEURISTICS

ON_PROBABILITIES = [name for name in HEURISTICS if HEURISTICS.get(name).consumes in ("log_probs", "members")]


def draw(seed: int, inputs: int = 40, members: int = 5, classes: int = 4, scale: float = 3.0) -> torch.Tensor:
    logits = (
        scale * torch.randn(inputs, members, classes, generator=torch.Generator().manual_seed(seed)).double()
    )
    return logits.log_softmax(-1)


# Each of one input's probs_K_C.
TWINS = {
    "entropy": lambda p: scipy.stats.entropy(p.mean(0)),
    "bald": lambda p: scipy.stats.entropy(p.mean(0)) - np.mean([scipy.stats.entropy(row) for row in p]),
    "variance": lambda p: np.mean([np.var(p[:, c]) for c in range(p.shape[1])]),
    "margin": lambda p: sorted(p.mean(0))[-2] - sorted(p.mean(0))[-1],
    "certainty": lambda p: -max(p.mean(0)),
}


@pytest.mark.parametrize("name", ON_PROBABILITIES)
@given(seed=st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_each_agrees_with_its_slow_twin(name: str, seed: int) -> None:
    log_probs = draw(seed)
    expected = [TWINS[name](probs_K_C) for probs_K_C in log_probs.exp().numpy()]
    np.testing.assert_allclose(HEURISTICS.get(name).score(log_probs).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("name", ON_PROBABILITIES)
def test_the_order_of_members_and_classes_is_immaterial(name: str) -> None:
    score, log_probs = HEURISTICS.get(name).score, draw(1)
    shuffled = log_probs[:, torch.randperm(5)][:, :, torch.randperm(4)]
    torch.testing.assert_close(score(shuffled), score(log_probs))


@pytest.mark.parametrize("name", ON_PROBABILITIES)
def test_an_uncertain_input_scores_above_a_certain_one(name: str) -> None:
    certain = torch.tensor([[0.98, 0.01, 0.01]] * 2)
    uncertain = torch.tensor([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05]])
    scores = HEURISTICS.get(name).score(torch.stack([certain, uncertain]).log())
    assert scores[1] > scores[0]


@pytest.mark.parametrize("name", ON_PROBABILITIES)
def test_zero_probabilities_give_finite_scores(name: str) -> None:
    log_probs = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]).log()
    assert HEURISTICS.get(name).score(log_probs).isfinite().all()


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_bald_lies_between_zero_and_entropy(seed: int) -> None:
    log_probs = draw(seed)
    bald, entropy = (HEURISTICS.get(name).score(log_probs) for name in ("bald", "entropy"))
    assert (bald >= -1e-12).all()
    assert (bald <= entropy + 1e-12).all()


def test_one_member_has_no_disagreement() -> None:
    for name in ("bald", "variance"):
        assert HEURISTICS.get(name).score(draw(0, members=1)).abs().max() < 1e-12


def test_surprise_and_chance_pass_through() -> None:
    numbers = torch.rand(9)
    assert torch.equal(HEURISTICS.get("precomputed").score(numbers), numbers)
    assert torch.equal(HEURISTICS.get("RANDOM").score(numbers), numbers)
