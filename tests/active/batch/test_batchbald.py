"""BatchBALD against sums over all label configurations, in float64."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from src.active.batch import batchbald as module
from src.active.batch.batchbald import Outcomes, batchbald, information
from tests.active.evidence import generator


def log_probs(inputs: int, members: int, classes: int, seed: int = 0, scale: float = 2.0) -> torch.Tensor:
    logits = scale * torch.randn(inputs, members, classes, generator=generator(seed), dtype=torch.float64)
    return logits.log_softmax(-1)


def joint_entropy(probs_Q_K_C: np.ndarray) -> float:
    """H(y_1 … y_Q) in nats, configuration by configuration."""
    _, members, classes = probs_Q_K_C.shape
    total = 0.0
    for labels in itertools.product(range(classes), repeat=len(probs_Q_K_C)):
        p = np.mean([math.prod(probs_Q_K_C[q, k, y] for q, y in enumerate(labels)) for k in range(members)])
        total -= p * math.log(p) if p else 0.0
    return total


def batch_information(probs_Q_K_C: np.ndarray) -> float:
    """I(y_1 … y_Q; k) = H(y_1 … y_Q) − Σ_q mean_k H(y_q | k)."""
    conditional = -(probs_Q_K_C * np.log(probs_Q_K_C)).sum(2).mean(1).sum()
    return joint_entropy(probs_Q_K_C) - float(conditional)


@given(seed=st.integers(0, 10**6), members=st.integers(2, 4), classes=st.integers(2, 3))
def test_outcomes_carry_the_joint_entropy(seed: int, members: int, classes: int) -> None:
    given_ = log_probs(4, members, classes, seed)
    outcomes = Outcomes(members, classes**4, generator())
    for log_probs_K_C in given_:
        outcomes.extend(log_probs_K_C)
    assert not outcomes.sampled
    entropy = -torch.xlogy(outcomes.weights_M, outcomes.weights_M).sum().item()
    assert entropy == pytest.approx(joint_entropy(given_.exp().numpy()), abs=1e-10)


@given(seed=st.integers(0, 10**6))
def test_each_pick_adds_the_most_information(seed: int) -> None:
    given_ = log_probs(9, 3, 3, seed)
    batch, probs = batchbald(given_, 4, generator()), given_.exp().numpy()
    picked: list[int] = []
    for position, score in zip(batch.positions_Q.tolist(), batch.scores_Q.tolist(), strict=True):
        held = batch_information(probs[picked]) if picked else 0.0
        added = {i: batch_information(probs[[*picked, i]]) - held for i in range(9) if i not in picked}
        assert score == pytest.approx(max(added.values()), abs=1e-10)
        assert added[position] == pytest.approx(max(added.values()), abs=1e-10)
        picked.append(position)


def test_only_what_could_be_best_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lazy and exhaustive greedy agree, and the lazy one looks at few."""
    given_, looked_at = torch.cat([log_probs(100, 5, 4, 0, 2.0), log_probs(2900, 5, 4, 1, 0.3)]), []
    monkeypatch.setattr(
        module, "information", lambda w, q, p, e: looked_at.append(p.shape[1]) or information(w, q, p, e)
    )
    lazy = batchbald(given_, 4, generator())
    assert sum(looked_at[1:]) < 3000 < looked_at[0] * 2
    monkeypatch.setattr(module, "FIRST_BLOCK", 10**9)
    whole = batchbald(given_, 4, generator())
    assert torch.equal(lazy.positions_Q, whole.positions_Q)


def test_a_sample_of_outcomes_estimates_what_all_of_them_say(monkeypatch: pytest.MonkeyPatch) -> None:
    given_ = log_probs(40, 4, 3, scale=1.0)
    entropy_N_K = -(given_.exp() * given_).sum(2)
    estimates = {}
    for most in (3**6, 600 * 4):
        outcomes = Outcomes(4, most, generator(1))
        if most != 3**6:
            outcomes.sampled = True
            outcomes._log_joint_M_K = torch.zeros(most, 4, dtype=torch.float64)
        for log_probs_K_C in given_[:6]:
            outcomes.extend(log_probs_K_C)
        probs_K_N_C = given_.exp().transpose(0, 1)
        estimates[outcomes.sampled] = information(*outcomes.in_doubt(probs_K_N_C), probs_K_N_C, entropy_N_K)
    torch.testing.assert_close(estimates[True], estimates[False], rtol=0.1, atol=5e-3)
    assert (estimates[True] >= 0).all()


def test_outcomes_become_a_sample_when_there_are_too_many() -> None:
    outcomes = Outcomes(4, 30, generator())
    sizes = []
    for log_probs_K_C in log_probs(5, 4, 3):
        outcomes.extend(log_probs_K_C)
        sizes.append((len(outcomes.weights_M), outcomes.sampled))
        assert outcomes.weights_M.sum().item() == pytest.approx(1)
        torch.testing.assert_close(
            outcomes.posterior_M_K.sum(1), torch.ones(sizes[-1][0], dtype=torch.float64)
        )
    assert sizes == [(3, False), (9, False), (27, False), (32, True), (32, True)]


def test_a_repeated_input_is_worth_less_than_a_fresh_one() -> None:
    """What BALD gets wrong: copies of the best input each score as high as it."""
    given_ = log_probs(50, 4, 3)
    bald = batchbald(given_, 1, generator())
    best = int(bald.positions_Q[0])
    doubled = torch.cat([given_[best].expand(5, -1, -1), given_])
    batch = batchbald(doubled, 4, generator())
    copies = sum(position < 5 or position == best + 5 for position in batch.positions_Q.tolist())
    assert copies < 4
    assert (batch.pool_scores_N.topk(6).values == batch.pool_scores_N.max()).all()


def test_members_that_are_certain_and_disagree_give_finite_scores() -> None:
    certain = torch.eye(3).log()[torch.tensor([[0, 1, 2], [0, 1, 2], [0, 0, 0]])]
    batch = batchbald(certain, 3, generator())
    torch.testing.assert_close(
        batch.scores_Q, torch.tensor([math.log(3), 0, 0], dtype=torch.float64), atol=1e-6, rtol=0
    )
