import torch

from benchmarks._features import FeatureClouds


def test_the_same_seed_draws_the_same_features_and_another_draws_others_of_the_same_clouds() -> None:
    features_N_D, labels_N = FeatureClouds(16).draw(4_000, seed=1)
    again_N_D, _ = FeatureClouds(16).draw(4_000, seed=1)
    other_N_D, _ = FeatureClouds(16).draw(4_000, seed=2)
    assert torch.equal(features_N_D, again_N_D)
    assert not torch.equal(features_N_D, other_N_D)
    assert labels_N.bincount().tolist() == [400] * 10
    for label in range(10):
        own, others = (x[labels_N == label] for x in (features_N_D, other_N_D))
        error_D = own.std(0) * (2 / len(own)) ** 0.5
        assert ((own.mean(0) - others.mean(0)).abs() <= 5 * error_D).all()


def test_features_are_like_a_networks() -> None:
    """float32, not negative, of full rank, and with a spectrum that falls."""
    features_N_D, _ = FeatureClouds(64).draw(1_000, seed=1)
    assert features_N_D.dtype == torch.float32
    assert features_N_D.amin() == 0
    variances_D = torch.linalg.eigvalsh(features_N_D.double().T.cov())
    assert variances_D[0] > 0.01
    assert variances_D[-1] > 50 * variances_D[0]
