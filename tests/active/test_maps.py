"""A map's pixel gets the score that an input with its evidence gets, and a reduction sees the whole map."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from src.active import maps
from src.active.heuristics import HEURISTICS
from src.active.maps import per_pixel, reduction

SCENES = torch.randn(3, 4, 5, 6, 7, generator=torch.Generator().manual_seed(0)).log_softmax(2)
"""log_probs_B_K_C_H_W"""


@pytest.mark.parametrize("name", [name for name in HEURISTICS if HEURISTICS.get(name).consumes != "nothing"])
@pytest.mark.parametrize("block_bytes", [1, 3000, 2**24])
def test_every_pixel_is_scored_as_an_input_is(
    name: str, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "BLOCK_BYTES", block_bytes)
    heuristic = HEURISTICS.get(name)
    evidence = SCENES[:, 0, 0] if heuristic.consumes == "surprise" else SCENES
    if heuristic.consumes == "surprise":
        evidence, score = SCENES[:, 0], lambda features_P_D: features_P_D.square().sum(1)
    else:
        score = heuristic.score
    scores_B_H_W = per_pixel(score, evidence)
    assert scores_B_H_W.shape == (3, 6, 7)
    for image, row, col in np.ndindex(3, 6, 7):
        alone = score(evidence[image, ..., row, col][None])
        torch.testing.assert_close(scores_B_H_W[image, row, col], alone[0])


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0.01, 1), st.integers(0, 1000))
def test_reductions_are_numpys_over_the_whole_map(rows: int, cols: int, fraction: float, seed: int) -> None:
    scores_B_H_W = torch.randn(2, rows, cols, generator=torch.Generator().manual_seed(seed))
    flat = scores_B_H_W.double().numpy().reshape(2, -1)
    for name in ("max", "min", "mean", "sum"):
        expected = getattr(np, name)(flat, axis=1)
        np.testing.assert_allclose(reduction(name, fraction)(scores_B_H_W), expected, atol=1e-12)
    count = max(1, round(fraction * flat.shape[1]))
    top = np.sort(flat, axis=1)[:, -count:].mean(1)
    np.testing.assert_allclose(reduction("top", fraction)(scores_B_H_W), top, atol=1e-12)


def test_a_pixel_anywhere_in_the_map_decides_its_maximum() -> None:
    """The thesis' code looked at the first row of pixels alone."""
    scores_B_H_W = torch.zeros(12, 3, 4)
    for position in range(12):
        scores_B_H_W[position].view(-1)[position] = 1
    assert (reduction("max", 1)(scores_B_H_W) == 1).all()
    torch.testing.assert_close(reduction("mean", 1)(scores_B_H_W), torch.full((12,), 1 / 12).double())
