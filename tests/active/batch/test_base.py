"""What every batch-aware acquisition promises, whatever it is after."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.active.acquisition import ACQUISITIONS
from src.active.batch import BATCH_HEURISTICS, LastLayer
from src.config import TrainingConfig
from src.models.density import GMM, KNN
from src.utils.errors import NonFiniteError
from src.utils.seeding import RoundSeeds
from tests.active.evidence import evidence, run

PAIRS = ("last_layer", "doubtful_features")
"""Evidence that is two tensors."""
METHODS = [
    (name, head)
    for name in BATCH_HEURISTICS
    for head in ((GMM, KNN) if "density" in BATCH_HEURISTICS.get(name).consumes else (GMM,))
]


@pytest.mark.parametrize(("name", "head"), METHODS)
@given(inputs=st.integers(1, 40), count=st.integers(0, 50), seed=st.integers(0, 10**6))
@settings(max_examples=25)
def test_no_input_is_picked_twice_and_the_batch_is_full(
    name: str, head: type, inputs: int, count: int, seed: int
) -> None:
    batch = run(name, evidence(inputs, seed, head=head()), count, seed)
    assert len(batch.positions_Q) == len(batch.scores_Q) == min(count, inputs)
    assert len(batch.positions_Q.unique()) == len(batch.positions_Q)
    assert set(batch.positions_Q.tolist()) <= set(range(inputs))
    assert batch.scores_Q.isfinite().all()
    assert batch.pool_scores_N.shape == (inputs,)
    assert batch.pool_scores_N.isfinite().all()


@pytest.mark.parametrize(("name", "head"), METHODS)
def test_inputs_that_are_all_the_same_still_fill_a_batch(name: str, head: type) -> None:
    given_ = evidence(9, head=head())
    for kind in ("features", "member_log_probs"):
        given_[kind] = given_[kind][:1].expand_as(given_[kind]).clone()
    for kind in PAIRS:
        given_[kind] = type(given_[kind])(*(tensor[:1].expand_as(tensor).clone() for tensor in given_[kind]))
    assert run(name, given_, 9).positions_Q.sort().values.tolist() == list(range(9))


def tensors(given_: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Those of the evidence, also of what is a pair of them."""
    fields = {f"{kind}.{field}": v for kind in PAIRS for field, v in given_[kind]._asdict().items()}
    return {kind: v for kind, v in {**given_, **fields}.items() if isinstance(v, torch.Tensor)}


@pytest.mark.parametrize(("name", "head"), METHODS)
def test_the_same_draws_give_the_same_batch_and_evidence_stays_as_it_was(name: str, head: type) -> None:
    given_ = evidence(60, head=head())
    before = {kind: value.clone() for kind, value in tensors(given_).items()}
    surprise = given_["density"].surprise(given_["features"])
    first, again = run(name, given_, 20), run(name, given_, 20)
    assert all(map(torch.equal, first, again))
    assert all(torch.equal(tensors(given_)[kind], value) for kind, value in before.items())
    assert torch.equal(given_["density"].surprise(given_["features"]), surprise)


@pytest.mark.parametrize(("name", "head"), METHODS)
def test_the_first_pick_has_its_score_from_the_pools(name: str, head: type) -> None:
    batch = run(name, evidence(60, head=head()), 5)
    assert batch.scores_Q[0].item() == batch.pool_scores_N[batch.positions_Q[0]].item()
    if name not in ("typiclust", "hidden_coverage"):  # there the cluster comes first
        assert batch.scores_Q[0] == batch.pool_scores_N.max()


@pytest.mark.cuda
@pytest.mark.parametrize(("name", "head"), METHODS)
def test_on_cuda_the_same_inputs_are_picked(name: str, head: type) -> None:
    given_ = evidence(60, head=head())
    distinct = {
        kind: v[:40] if isinstance(v, torch.Tensor) and len(v) == 60 else v for kind, v in given_.items()
    }
    for kind in PAIRS:
        distinct[kind] = type(given_[kind])(*(v[:40] for v in given_[kind]))
    there = {kind: v.cuda() if isinstance(v, torch.Tensor) else v for kind, v in distinct.items()}
    from tests.active.evidence import fitted

    labels_L = torch.arange(12, device="cuda") % 3
    for kind in PAIRS:
        there[kind] = type(distinct[kind])(*(v.cuda() for v in distinct[kind]))
    there["density"] = fitted(head(), there["labelled_features"], labels_L)
    assert torch.equal(run(name, distinct, 12).positions_Q, run(name, there, 12).positions_Q)


@pytest.mark.parametrize("name", ["coreset", "badge", "typiclust", "probcover", "hidden_coverage"])
def test_features_whose_distances_overflow_are_refused(name: str) -> None:
    given_ = evidence(40)
    for kind in ("features", "labelled_features"):
        given_[kind] = given_[kind] * 1e20
    given_["last_layer"] = LastLayer(given_["features"], given_["last_layer"].log_probs_N_C)
    given_["doubtful_features"] = given_["doubtful_features"]._replace(features_N_D=given_["features"])
    acquisition: Any = ACQUISITIONS.get(name)(TrainingConfig())
    consumed = tuple(given_[kind] for kind in acquisition.heuristic.consumes)
    with pytest.raises(NonFiniteError, match=r"lower optimizer\.lr"):
        acquisition.choose(consumed, 4, RoundSeeds(3, 0))
