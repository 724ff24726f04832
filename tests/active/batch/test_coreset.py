import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

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
