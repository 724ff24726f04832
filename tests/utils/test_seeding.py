import torch
from hypothesis import given
from hypothesis import strategies as st

from src.utils.seeding import RoundSeeds, seed


def test_seeds_are_a_published_function_of_run_round_and_purpose() -> None:
    """Pinned: a change of this value changes every committed result."""
    assert seed(3, 0, "validation split") == RoundSeeds(3, 0).seed("validation split") == 5016476380106255445


@given(st.integers(0, 10**6), st.integers(0, 1000), st.text(max_size=20))
def test_seeds_fit_torch_and_repeat(run_seed: int, round_: int, purpose: str) -> None:
    assert 0 <= seed(run_seed, round_, purpose) < 2**63
    assert seed(run_seed, round_, purpose) == seed(run_seed, round_, purpose)
    RoundSeeds(run_seed, round_).generator(purpose)


def test_runs_rounds_and_purposes_do_not_share_seeds() -> None:
    seeds = [
        seed(run, round_, purpose) for run in range(20) for round_ in range(20) for purpose in ("a", "b")
    ]
    assert len(set(seeds)) == len(seeds)
    assert seed(1, 23, "a") != seed(12, 3, "a")


def test_generators_of_one_purpose_repeat_their_draws() -> None:
    seeds = RoundSeeds(3, 1)
    draws = [torch.rand(5, generator=seeds.generator(purpose)) for purpose in ("a", "a", "b")]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
