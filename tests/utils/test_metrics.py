"""Metrics against scikit-learn, against obvious slow twins, and against laws they must obey."""

import math
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, precision_score, recall_score
from torch import Tensor

from src.utils.errors import NonFiniteError
from src.utils.metrics import classification_metrics


def some_predictions(
    seed: int, n: int = 300, classes: int = 5, sharpness: float = 2.0
) -> tuple[Tensor, Tensor]:
    """Log-probabilities better than chance, and labels."""
    generator = torch.Generator().manual_seed(seed)
    labels_N = torch.randint(classes, (n,), generator=generator)
    logits_N_C = torch.randn(n, classes, generator=generator)
    logits_N_C[torch.arange(n), labels_N] += 1
    return (sharpness * logits_N_C).log_softmax(dim=1), labels_N


def slow_ece(log_probs_N_C: Tensor, labels_N: Tensor, bins: int = 15) -> float:
    """Inputs are put into bins one by one, and the definition is summed over the bins."""
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for log_probs, label in zip(log_probs_N_C.tolist(), labels_N.tolist(), strict=True):
        confidence = math.exp(max(log_probs))
        bin_index = min(int(confidence * bins), bins - 1)
        members[bin_index].append((confidence, log_probs.index(max(log_probs)) == label))
    error = 0.0
    for group in filter(None, members):
        confidence = sum(confidence for confidence, _ in group) / len(group)
        accuracy = sum(correct for _, correct in group) / len(group)
        error += len(group) / len(labels_N) * abs(accuracy - confidence)
    return error


def flat(metrics: dict[str, float | list[float]]) -> list[float]:
    return [
        number for value in metrics.values() for number in (value if isinstance(value, list) else [value])
    ]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 200), st.floats(0.01, 3))
def test_metrics_agree_with_sklearn(seed: int, classes: int, n: int, sharpness: float) -> None:
    log_probs_N_C, labels_N = some_predictions(seed, n, classes, sharpness)
    # No sharper than 3, because scikit-learn clamps probabilities at 2e-16 and we don't.
    metrics = classification_metrics(log_probs_N_C, labels_N)
    probs, labels, all_labels = log_probs_N_C.double().exp().numpy(), labels_N.numpy(), list(range(classes))
    probs /= probs.sum(axis=1, keepdims=True)
    predicted = probs.argmax(axis=1)
    assert metrics["accuracy"] == pytest.approx(accuracy_score(labels, predicted), abs=1e-6)
    assert metrics["nll"] == pytest.approx(log_loss(labels, probs, labels=all_labels), rel=1e-5, abs=1e-6)
    for name, score in (("precision", precision_score), ("recall", recall_score)):
        expected = score(labels, predicted, labels=all_labels, average=None, zero_division=0)
        assert metrics[name] == pytest.approx(expected.tolist(), abs=1e-6)


def test_brier_sums_over_classes() -> None:
    log_probs_N_C = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5]]).log()
    # (0.3² + 0.2² + 0.1²) and (0² + 0.5² + 0.5²), averaged.
    assert classification_metrics(log_probs_N_C, torch.tensor([0, 2]))["brier"] == pytest.approx(
        (0.14 + 0.5) / 2
    )


def test_brier_of_certain_mistakes_approaches_two() -> None:
    log_probs_N_C = torch.tensor([[60.0, 0.0], [60.0, 0.0]]).log_softmax(dim=1)
    assert classification_metrics(log_probs_N_C, torch.tensor([1, 1]))["brier"] == pytest.approx(2.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 200), st.floats(0.01, 20))
def test_ece_agrees_with_its_definition(seed: int, classes: int, n: int, sharpness: float) -> None:
    log_probs_N_C, labels_N = some_predictions(seed, n, classes, sharpness)
    expected = slow_ece(log_probs_N_C, labels_N)
    assert classification_metrics(log_probs_N_C, labels_N)["ece"] == pytest.approx(expected, abs=1e-5)


def test_ece_keeps_its_precision_on_a_large_split() -> None:
    log_probs_N_C, labels_N = some_predictions(0, n=60_000, classes=10, sharpness=6)
    expected = slow_ece(log_probs_N_C, labels_N)
    assert classification_metrics(log_probs_N_C, labels_N)["ece"] == pytest.approx(expected, abs=2e-5)


def test_certain_predictions_share_the_last_bin() -> None:
    """Certain and wrong, and at 0.95 and right: one bin of confidence 0.975 and accuracy 0.5."""
    log_probs_N_C = torch.tensor([[1.0, 0.0], [0.95, 0.05]]).log()
    log_probs_N_C[0, 1] = -50.0
    assert classification_metrics(log_probs_N_C, torch.tensor([1, 0]))["ece"] == pytest.approx(
        0.475, abs=1e-6
    )


def test_a_probability_rounded_above_one_is_no_logit() -> None:
    log_probs_N_C, labels_N = some_predictions(1)
    before = classification_metrics(log_probs_N_C, labels_N)
    nearly_certain = torch.tensor([[1e-6, -30.0, -30.0, -30.0, -30.0]])
    after = classification_metrics(
        torch.cat([log_probs_N_C, nearly_certain]), torch.cat([labels_N, torch.tensor([0])])
    )
    assert after["ece"] == pytest.approx(before["ece"], abs=0.01)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.randoms())
def test_order_of_inputs_does_not_matter(seed: int, random: Random) -> None:
    log_probs_N_C, labels_N = some_predictions(seed, n=60)
    order = list(range(60))
    random.shuffle(order)
    shuffled = classification_metrics(log_probs_N_C[order], labels_N[order])
    assert flat(shuffled) == pytest.approx(flat(classification_metrics(log_probs_N_C, labels_N)), abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.permutations(range(5)))
def test_renaming_classes_renames_only_the_per_class_metrics(seed: int, new_of_old: list[int]) -> None:
    log_probs_N_C, labels_N = some_predictions(seed, n=60)
    old_of_new = np.argsort(new_of_old).tolist()
    renamed = classification_metrics(log_probs_N_C[:, old_of_new], torch.tensor(new_of_old)[labels_N])
    original: dict[str, Any] = classification_metrics(log_probs_N_C, labels_N)
    for name in ("accuracy", "nll", "brier", "ece"):
        assert renamed[name] == pytest.approx(original[name], abs=1e-6)
    for name in ("precision", "recall"):
        assert renamed[name] == pytest.approx([original[name][old] for old in old_of_new], abs=1e-6)


def test_whole_split_differs_from_mean_of_batch_means() -> None:
    """A last batch of one input would weigh as much as a full one."""
    log_probs_N_C, labels_N = some_predictions(2, n=65)
    batches: list[dict[str, Any]] = [
        classification_metrics(log_probs_N_C[start:stop], labels_N[start:stop])
        for start, stop in ((0, 64), (64, 65))
    ]
    whole = classification_metrics(log_probs_N_C, labels_N)
    for name in ("accuracy", "nll", "brier", "ece"):
        first, last = (batch[name] for batch in batches)
        assert whole[name] != pytest.approx((first + last) / 2, abs=1e-3)
    for name in ("accuracy", "nll", "brier"):
        assert whole[name] == pytest.approx((64 * batches[0][name] + batches[1][name]) / 65, abs=1e-6)


def test_a_class_never_predicted_and_never_seen_scores_zero() -> None:
    log_probs_N_C = torch.tensor([[0.8, 0.1, 0.1], [0.9, 0.05, 0.05]]).log()
    metrics = classification_metrics(log_probs_N_C, torch.tensor([0, 1]))
    assert metrics["precision"] == pytest.approx([0.5, 0, 0])
    assert metrics["recall"] == pytest.approx([1, 0, 0])


def test_zero_probability_of_another_class_is_fine() -> None:
    log_probs_N_C = torch.tensor([[1.0, 0.0]]).log()
    assert classification_metrics(log_probs_N_C, torch.tensor([0])) == {
        "accuracy": 1.0,
        "nll": 0.0,
        "brier": 0.0,
        "ece": pytest.approx(0, abs=1e-6),
        **{name: [0.0] * 14 + [1.0] for name in ("bin_inputs", "bin_right", "bin_confidence")},
        "precision": [1.0, 0.0],
        "recall": [1.0, 0.0],
    }


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_log_probabilities_raise_with_their_position(value: float) -> None:
    log_probs_N_C, labels_N = some_predictions(3)
    log_probs_N_C[7, 3] = value
    with pytest.raises(NonFiniteError, match=r"1 of 300 inputs, positions 7$"):
        classification_metrics(log_probs_N_C, labels_N)


def test_a_label_of_probability_zero_raises_rather_than_being_clamped() -> None:
    log_probs_N_C = torch.tensor([[0.5, 0.5], [1.0, 0.0]]).log()
    with pytest.raises(NonFiniteError, match=r"NLL is infinite, at 1 of 2 inputs, positions 1$"):
        classification_metrics(log_probs_N_C, torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("log_probs_N_C", "labels_N", "message"),
    [
        (torch.randn(4, 3), torch.tensor([0, 1, 2, 0]), "not to 1"),
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), "no inputs"),
        (torch.full((2, 2), 0.5).log(), torch.tensor([0, 1, 1]), "do not go with"),
        (torch.full((2, 2), 0.5).log(), torch.tensor([0, 2]), "from 0 to 1"),
        (torch.full((2, 2), 0.5).log(), torch.tensor([0, -1]), "from 0 to 1"),
        (torch.full((2, 2), 0.5).log(), torch.tensor([0.0, 1.0]), "int64"),
    ],
    ids=["logits", "empty", "other length", "label too high", "label negative", "float labels"],
)
def test_what_cannot_be_measured_raises(log_probs_N_C: Tensor, labels_N: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classification_metrics(log_probs_N_C, labels_N)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 200), st.floats(0.01, 30))
def test_bins_are_those_of_the_ece(seed: int, classes: int, n: int, sharpness: float) -> None:
    log_probs_N_C, labels_N = some_predictions(seed, n, classes, sharpness)
    metrics: dict[str, Any] = classification_metrics(log_probs_N_C, labels_N)
    inputs, right, confidence = (metrics[f"bin_{name}"] for name in ("inputs", "right", "confidence"))
    assert len(inputs) == len(right) == len(confidence) == 15
    assert sum(inputs) == n
    assert sum(right) == pytest.approx(n * metrics["accuracy"], abs=1e-4)
    gaps = [abs(hits - total) for hits, total in zip(right, confidence, strict=True)]
    assert sum(gaps) / n == pytest.approx(metrics["ece"], abs=1e-5)
    for place, (count, total) in enumerate(zip(inputs, confidence, strict=True)):
        assert count * (place / 15 - 1e-6) <= total <= count * ((place + 1) / 15 + 1e-6)


def test_ece_is_that_of_its_bins_whatever_the_number_of_inputs() -> None:
    draw = torch.Generator().manual_seed(0)
    logits_N_C = 4 * torch.randn(1_000_000, 3, generator=draw) + torch.tensor([6.0, 0, 0])
    log_probs_N_C = logits_N_C.log_softmax(dim=1)
    labels_N = torch.multinomial(log_probs_N_C.exp(), 1, generator=draw)[:, 0]  # perfectly calibrated
    found: Any = classification_metrics(log_probs_N_C, labels_N)
    gaps = np.abs(np.array(found["bin_right"]) - np.array(found["bin_confidence"]))
    assert found["ece"] == pytest.approx(gaps.sum() / 1_000_000, abs=1e-12)
    assert found["ece"] < 1e-3
