import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from src.active.batch.geometry import Points
from src.models.density import memory
from tests.active.evidence import evidence, run


@given(seed=st.integers(0, 10**6), count=st.integers(1, 15))
def test_each_pick_is_the_farthest_from_all_labelled_and_picked(seed: int, count: int) -> None:
    given_ = evidence(40, seed)
    batch = run("coreset", given_, count)
    features, centres = given_["features"].double().numpy(), given_["labelled_features"].double().numpy()
    picked: list[int] = []
    for position, score in zip(batch.positions_Q.tolist(), batch.scores_Q.tolist(), strict=True):
        distances = cdist(features, [*centres, *features[picked]]).min(1)
        assert abs(distances[position] - distances.max()) < 1e-4
        assert abs(score - distances.max()) < 1e-4
        picked.append(position)


def test_features_far_from_the_origin_are_told_apart() -> None:
    given_ = evidence(60)
    shifted = {**given_, **{kind: given_[kind] + 1000 for kind in ("features", "labelled_features")}}
    torch.testing.assert_close(
        run("coreset", shifted, 10).scores_Q, run("coreset", given_, 10).scores_Q, rtol=1e-3, atol=0
    )


def test_a_small_budget_bounds_what_is_measured_again_at_once_and_changes_no_pick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_, measured = evidence(300), []
    expected = run("coreset", given_, 40)
    squares_between = Points.squares_between

    def noted(points: Points, rows_B: slice | torch.Tensor, points_M_D: torch.Tensor) -> torch.Tensor:
        if isinstance(rows_B, torch.Tensor):
            measured.append(4 * len(rows_B) * (2 * len(points_M_D) + points_M_D.shape[1]))
        return squares_between(points, rows_B, points_M_D)

    monkeypatch.setattr(Points, "squares_between", noted)
    monkeypatch.setattr(memory, "CPU_CACHE_BYTES", 2000)
    assert torch.equal(run("coreset", given_, 40).positions_Q, expected.positions_Q)
    assert 1000 < max(measured) <= 2000
