import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from src.active.pool import HELD_OUT, POOL, Pool
from src.utils.errors import UserError
from src.utils.seeding import RoundSeeds

LABELS = torch.arange(500) % 7


def start(
    initially_labelled: int = 30, balanced: bool = True, seed: int = 3, labels: torch.Tensor = LABELS
) -> Pool:
    return Pool.start(len(labels), labels if balanced else None, 0.2, initially_labelled, RoundSeeds(seed, 0))


@given(st.integers(1, 300), st.booleans(), st.integers(0, 50))
def test_every_input_is_labelled_held_out_or_in_the_pool(count: int, balanced: bool, seed: int) -> None:
    pool = start(count, balanced, seed)
    parts = torch.cat([pool.labelled_indices, pool.val_indices, pool.pool_indices])
    assert torch.equal(parts.sort().values, torch.arange(500))
    assert (len(pool.labelled_indices), len(pool.val_indices)) == (count, 100)


@given(st.integers(1, 300), st.integers(0, 50))
def test_balanced_counts_differ_by_at_most_one(count: int, seed: int) -> None:
    counts = torch.bincount(LABELS[start(count, True, seed).labelled_indices], minlength=7)
    assert counts.max() - counts.min() <= 1


def test_the_split_is_the_same_for_a_balanced_and_a_random_start_and_changes_with_the_seed() -> None:
    assert torch.equal(start(30, True).val_indices, start(90, False).val_indices)
    assert not torch.equal(start(seed=3).val_indices, start(seed=4).val_indices)
    assert not torch.equal(start(seed=3).labelled_indices, start(seed=4).labelled_indices)


def test_a_random_start_follows_chance_and_not_the_classes() -> None:
    counts = [
        torch.bincount(LABELS[start(70, False, seed).labelled_indices], minlength=7) for seed in range(30)
    ]
    spread = torch.stack(counts).double()
    assert spread.std() > 1, "ten a class each time would be a balanced start"
    assert spread.mean(0).tolist() == pytest.approx([10] * 7, abs=2)


def test_what_comes_before_others_is_labelled_first_and_moves_no_split() -> None:
    first_N = torch.zeros(500, dtype=torch.bool)
    first_N[::10] = True
    few, many = (Pool.start(500, None, 0.2, count, RoundSeeds(3, 0), first_N) for count in (20, 60))
    plain = start(20, balanced=False)
    assert torch.equal(few.val_indices, plain.val_indices)
    assert first_N[few.labelled_indices].all()
    here = first_N & (many.labelled_in_round_N != HELD_OUT)
    assert (many.labelled_in_round_N[here] == 0).all()
    # Among themselves they are drawn, and where there are none nothing changes.
    assert not torch.equal(few.labelled_indices, here.nonzero().flatten()[:20])
    none = Pool.start(500, None, 0.2, 20, RoundSeeds(3, 0), torch.zeros(500, dtype=torch.bool))
    assert torch.equal(none.labelled_in_round_N, plain.labelled_in_round_N)


def test_the_array_is_the_whole_history() -> None:
    pool = start()
    first = pool.labelled_indices
    query = pool.pool_indices[torch.tensor([5, 2])]
    pool.label(query, 1)
    assert (pool.labelled_in_round_N[query] == 1).all()
    assert (pool.labelled_in_round_N[first] == 0).all()
    assert torch.equal(Pool(pool.labelled_in_round_N).pool_indices, pool.pool_indices)
    assert set(pool.labelled_in_round_N.unique().tolist()) == {POOL, HELD_OUT, 0, 1}


@pytest.mark.parametrize("kind", ["labelled", "held out", "twice"])
def test_only_the_pool_can_be_labelled_and_only_once(kind: str) -> None:
    pool = start()
    indices = {
        "labelled": pool.labelled_indices[:1],
        "held out": pool.val_indices[:1],
        "twice": pool.pool_indices[:1].repeat(2),
    }[kind]
    before = pool.labelled_in_round_N.clone()
    with pytest.raises(ValueError, match="pool"):
        pool.label(indices, 1)
    assert torch.equal(pool.labelled_in_round_N, before)


def test_a_class_too_small_for_a_balanced_start_is_named() -> None:
    labels = torch.zeros(100, dtype=torch.int64)
    labels[:2] = 1
    with pytest.raises(UserError, match="class 1, which has"):
        start(40, True, labels=labels)


def test_more_initial_labels_than_inputs_are_refused() -> None:
    with pytest.raises(UserError, match="401 exceeds the 400"):
        start(401)
