"""Streamed metrics of maps against scikit-learn, torchmetrics and slow twins on the whole arrays."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score, roc_auc_score
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_auroc,
    multiclass_calibration_error,
    multiclass_jaccard_index,
)

from src.utils.dense_metrics import DenseMetrics
from src.utils.errors import NonFiniteError, UserError
from src.utils.metrics import classification_metrics

VOID = 255
Maps = tuple[Tensor, Tensor, Tensor]


def some_maps(seed: int = 0, n: int = 5, classes: int = 4, rows: int = 9, cols: int = 14) -> Maps:
    """Predictions better than chance, uncertainties better than noise, and labels with a tenth of the pixels void."""
    generator = torch.Generator().manual_seed(seed)
    masks_N_H_W = torch.randint(classes, (n, rows, cols), generator=generator)
    logits_N_C_H_W = torch.randn(n, classes, rows, cols, generator=generator)
    logits_N_C_H_W.scatter_add_(1, masks_N_H_W[:, None], torch.full((n, 1, rows, cols), 1.5))
    log_probs_N_C_H_W = (2 * logits_N_C_H_W).log_softmax(1)
    noise_N_H_W = torch.rand(n, rows, cols, generator=generator)
    uncertainty_N_H_W = -(log_probs_N_C_H_W.exp() * log_probs_N_C_H_W).sum(1) + noise_N_H_W
    masks_N_H_W[torch.rand(n, rows, cols, generator=generator) < 0.1] = VOID
    return log_probs_N_C_H_W, uncertainty_N_H_W, masks_N_H_W


def measured(maps: Maps, batch: int = 2, threshold: float | None = None, void: int = VOID) -> dict[str, Any]:
    metrics = DenseMetrics(maps[0].shape[1], void, "cpu")
    for part in zip(*(tensor.split(batch) for tensor in maps), strict=True):
        metrics.update(*part)
    return metrics.compute(threshold)


def flat(maps: Maps) -> tuple[Tensor, Tensor, Tensor]:
    """log_probs_N_C, uncertainty_N and labels_N of the valid pixels."""
    valid = maps[2] != VOID
    return maps[0].movedim(1, -1)[valid], maps[1][valid], maps[2][valid]


def slow_patches(maps: Maps, threshold: float) -> dict[str, float | None]:
    """The paper's four counts, patch by patch and pixel by pixel."""
    count = {(accurate, certain): 0 for accurate in (True, False) for certain in (True, False)}
    for log_probs, uncertainty, mask in zip(*maps, strict=True):
        predicted = log_probs.argmax(0)
        for top in range(0, mask.shape[0], 4):
            for left in range(0, mask.shape[1], 4):
                window = np.s_[top : top + 4, left : left + 4]
                valid = mask[window] != VOID
                if valid.any():
                    right = (predicted[window] == mask[window])[valid].double().mean().item()
                    mean = uncertainty[window][valid].double().mean().float().item()
                    count[right > 0.5, mean <= np.float32(threshold)] += 1

    def ratio(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    certain = count[True, True] + count[False, True]
    inaccurate = count[False, True] + count[False, False]
    good = count[True, True] + count[False, False]
    return {
        "pac": ratio(count[True, True], certain),
        "pui": ratio(count[False, False], inaccurate),
        "pavpu": ratio(good, sum(count.values())),
    }


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 8), n=st.integers(1, 5), batch=st.integers(1, 5))
def test_metrics_agree_with_sklearn_and_torchmetrics_on_the_whole_arrays(
    seed: int, classes: int, n: int, batch: int
) -> None:
    maps = some_maps(seed, n, classes)
    got = measured(maps, batch)
    log_probs, uncertainty, labels = flat(maps)
    predicted = log_probs.argmax(1)
    wrong = predicted != labels
    assert got["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    expected = jaccard_score(labels, predicted, labels=range(classes), average=None)
    assert got["iou"] == pytest.approx(expected.tolist())
    assert got["miou"] == pytest.approx(expected.mean())
    assert got["miou"] == pytest.approx(
        multiclass_jaccard_index(maps[0], maps[2], classes, ignore_index=VOID).item(), abs=1e-6
    )
    assert got["auroc"] == pytest.approx(roc_auc_score(wrong, uncertainty), abs=1e-12)
    # torchmetrics takes scores outside 0 … 1 for logits.
    assert got["auroc"] == pytest.approx(binary_auroc(uncertainty / 10, wrong.long()).item(), abs=1e-5)
    assert got["auroc_bound"] == 0
    of_inputs = classification_metrics(log_probs, labels)
    for measure in ("ece", "bin_inputs", "bin_right", "bin_confidence"):
        assert got[measure] == pytest.approx(of_inputs[measure], abs=1e-6), measure
    theirs = multiclass_calibration_error(log_probs.float().exp(), labels, classes, n_bins=15, norm="l1")
    assert got["ece"] == pytest.approx(theirs.item(), abs=1e-5)


@settings(max_examples=20)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 9), st.none() | st.floats(0, 2.5))
def test_patch_metrics_agree_with_counting_patch_by_patch(
    seed: int, rows: int, cols: int, threshold: float | None
) -> None:
    maps = some_maps(seed, rows=rows, cols=cols)
    expected = slow_patches(maps, flat(maps)[1].double().mean().item() if threshold is None else threshold)
    got = measured(maps, threshold=threshold)
    assert {name: got[name] for name in expected} == expected


def test_void_pixels_have_no_say() -> None:
    log_probs, uncertainty, masks = some_maps()
    before = measured((log_probs, uncertainty, masks))
    spoilt = masks == VOID
    uncertainty[spoilt] = 1e6
    log_probs = log_probs.where(~spoilt[:, None], torch.full_like(log_probs, -math.log(4)))
    assert measured((log_probs, uncertainty, masks)) == before


@pytest.mark.parametrize("void", [VOID, -1, 2])
def test_void_may_be_any_label_even_one_of_a_class(void: int) -> None:
    log_probs, uncertainty, masks = some_maps()
    masks[masks == VOID] = void
    metrics = measured((log_probs, uncertainty, masks), void=void)
    valid = masks != void
    matrix = confusion_matrix(masks[valid], log_probs.argmax(1)[valid], labels=range(4))
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    assert metrics["iou"] == pytest.approx((matrix.diagonal() / union).tolist())
    assert metrics == measured((log_probs, uncertainty, masks.where(valid, VOID)))


def test_images_without_a_valid_pixel_change_nothing() -> None:
    maps = some_maps()
    blank = some_maps(seed=1)
    more = tuple(torch.cat([blank[i], maps[i]]) for i in range(2))
    masks = torch.cat([torch.full_like(blank[2], VOID), maps[2]])
    assert measured((*more, masks), batch=1) == measured(maps)


def test_no_valid_pixel_at_all_is_an_error_that_says_so() -> None:
    log_probs, uncertainty, masks = some_maps()
    with pytest.raises(UserError, match=r"no pixel of the 5 images .* void \(255\)"):
        measured((log_probs, uncertainty, torch.full_like(masks, VOID)))
    metrics = DenseMetrics(4, VOID, "cpu")
    assert metrics.mean_uncertainty is None


def test_a_class_that_does_not_occur_is_null_and_has_no_say_in_the_mean() -> None:
    log_probs = torch.tensor([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1], [0.7, 0.2, 0.1]]).log().T[None, :, None]
    metrics = measured((log_probs, torch.zeros(1, 1, 3), torch.tensor([[[0, 1, 1]]])))
    assert metrics["iou"] == [0.5, 0.5, None]
    assert metrics["miou"] == 0.5


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    log_probs = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]]).log().T[None, :, None]
    metrics = measured((log_probs, torch.zeros(1, 1, 2), torch.tensor([[[0, 0]]])))
    assert metrics["iou"] == [0.5, None, 0.0]
    assert metrics["miou"] == 0.25


@pytest.mark.parametrize("right", [True, False])
def test_all_right_or_all_wrong_is_null_and_never_nan(right: bool) -> None:
    log_probs, uncertainty, _ = some_maps()
    predicted = log_probs.argmax(1)
    metrics = measured((log_probs, uncertainty, predicted if right else (predicted + 1) % 4))
    assert metrics["auroc"] is None and metrics["auroc_bound"] is None
    assert metrics["accuracy"] == metrics["miou"] == float(right)
    assert (metrics["pui"] is None) == right
    assert metrics["pac"] == float(right)
    numbers = [value for value in metrics.values() if isinstance(value, float)]
    assert np.isfinite(numbers).all()


def test_constant_uncertainty_ranks_nothing_and_leaves_every_patch_certain() -> None:
    log_probs, uncertainty, masks = some_maps()
    metrics = measured((log_probs, torch.full_like(uncertainty, 0.1), masks))
    assert metrics["auroc"] == 0.5
    assert metrics["pui"] == 0
    assert metrics["pac"] == metrics["pavpu"]


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.permutations(range(5)), st.integers(1, 5))
def test_batches_and_the_order_of_images_do_not_matter(seed: int, order: list[int], batch: int) -> None:
    maps = some_maps(seed)
    shuffled = tuple(tensor[order] for tensor in maps)
    assert measured(shuffled, batch, threshold=1.0) == measured(maps, 5, threshold=1.0)  # type: ignore[arg-type]


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([torch.exp, torch.arctan, lambda u: 3 * u - 7]))
def test_only_the_order_of_uncertainties_matters_to_the_auroc(seed: int, transform: Any) -> None:
    log_probs, uncertainty, masks = some_maps(seed)
    before = measured((log_probs, uncertainty, masks))["auroc"]
    # In float64, then ranked again: float32 might round two uncertainties to one.
    ranks = transform(uncertainty.double()).flatten().unique(return_inverse=True)[1].view_as(uncertainty)
    assert measured((log_probs, ranks, masks))["auroc"] == before


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([0.25, 0.5, 2.0, 1024.0]))
def test_another_unit_of_uncertainty_changes_nothing(seed: int, factor: float) -> None:
    # A power of two, which float32 multiplies by without rounding.
    log_probs, uncertainty, masks = some_maps(seed, n=2)
    assert measured((log_probs, factor * uncertainty, masks)) == measured((log_probs, uncertainty, masks))


def test_a_confidence_at_the_edge_of_two_bins_belongs_to_the_upper() -> None:
    log_probs = torch.tensor([[0.8, 0.2], [0.75, 0.25]], dtype=torch.float64).log().T[None, :, None]
    metrics = measured((log_probs, torch.zeros(1, 1, 2), torch.tensor([[[0, 1]]])))
    # Right with 0.8 = 12/15 in one bin, wrong with 0.75 in another.
    assert metrics["ece"] == pytest.approx((0.2 + 0.75) / 2)


def test_the_threshold_may_be_the_mean_of_other_images() -> None:
    validation, test = some_maps(1), some_maps(2)
    other = DenseMetrics(4, VOID, "cpu")
    other.update(*validation)
    mean = flat(validation)[1].double().mean().item()
    assert other.mean_uncertainty == pytest.approx(mean)
    assert measured(test, threshold=other.mean_uncertainty) == measured(test, threshold=mean)
    assert measured(test, threshold=mean / 2) != measured(test, threshold=mean)


def test_computing_in_between_disturbs_nothing() -> None:
    maps = some_maps()
    metrics = DenseMetrics(4, VOID, "cpu")
    for part in zip(*(tensor.split(1) for tensor in maps), strict=True):
        metrics.update(*part)
        metrics.compute()
    assert metrics.compute() == measured(maps)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_non_finite_inputs_raise_with_their_position(which: int, value: float) -> None:
    maps = some_maps()
    maps[which][3, ..., 6, 11] = value
    what = ("log-probabilities", "uncertainties")[which]
    with pytest.raises(NonFiniteError, match=rf"{what} .* 1 pixels, first at image 3 .*, row 6, column 11$"):
        measured(maps)


def test_a_class_of_probability_zero_is_fine() -> None:
    log_probs = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).log()[None, :, None]
    metrics = measured((log_probs, torch.tensor([[[0.0, 1.0]]]), torch.tensor([[[0, 0]]])))
    assert (metrics["accuracy"], metrics["auroc"], metrics["ece"]) == (0.5, 1.0, 0.5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p, u, m: (3 * p, u, m), "not to 1"),
        (lambda p, u, m: (p, u[:, 1:], m), "do not go with"),
        (lambda p, u, m: (p[:, :3], u, m), "do not go with"),
        (lambda p, u, m: (p, u, m[:, :, 1:]), "do not go with"),
        (lambda p, u, m: (p, u, m.where(m != 3, torch.tensor(4))), "from 0 to 3 or 255"),
        (lambda p, u, m: (p, u, m.where(m != 0, torch.tensor(-1))), "from 0 to 3 or 255"),
        (lambda p, u, m: (p, u, m.double()), "int64"),
    ],
    ids=["logits", "uncertainty", "classes", "masks", "label too high", "label negative", "float labels"],
)
def test_what_cannot_be_measured_raises_and_counts_nothing(spoil: Any, message: str) -> None:
    maps = some_maps()
    metrics = DenseMetrics(4, VOID, "cpu")
    with pytest.raises(ValueError, match=message):
        metrics.update(*spoil(*maps))
    metrics.update(*maps)
    assert metrics.compute() == measured(maps)


@pytest.mark.cuda
def test_a_gpu_measures_as_the_cpu_does() -> None:
    maps = some_maps()
    metrics = DenseMetrics(4, VOID, "cuda")
    torch.use_deterministic_algorithms(True)
    try:
        metrics.update(*(tensor.cuda() for tensor in maps))
        on_gpu = metrics.compute(threshold=1.0)
    finally:
        torch.use_deterministic_algorithms(False)
    expected = measured(maps, threshold=1.0)
    for measure in ("ece", "bin_confidence"):
        assert on_gpu.pop(measure) == pytest.approx(expected.pop(measure), abs=1e-6)
    assert on_gpu == expected
