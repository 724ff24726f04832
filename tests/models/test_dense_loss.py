"""Every objective against a slow, obvious twin over single pixels, and against torchmetrics for hard predictions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.functional.classification import multiclass_jaccard_index
from torchmetrics.functional.segmentation import dice_score

from src.models.dense_loss import DenseLoss

KINDS = ["cross_entropy", "dice", "dice_ce", "iou"]
CLASSES, VOID = 4, 255


def some(
    members: int = 2, images: int = 3, rows: int = 5, cols: int = 4, void: float = 0.3, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """logits_M_N_C_H_W in float64 and masks_M_N_H_W, of which a share is void."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(members, images, CLASSES, rows, cols, generator=generator, dtype=torch.float64)
    masks = torch.randint(CLASSES, (members, images, rows, cols), generator=generator)
    masks[torch.rand(masks.shape, generator=generator) < void] = VOID
    return (2 * logits).requires_grad_(), masks


def slowly(kind: str, logits_N_C_H_W: np.ndarray, masks_N_H_W: np.ndarray, void: int = VOID) -> float:
    """One member's loss, pixel by pixel."""
    entropies, by_image = [], []
    for logits_C_H_W, mask_H_W in zip(logits_N_C_H_W, masks_N_H_W, strict=True):
        own, overlap = [], {}
        pixels = [
            (logits_C_H_W[:, row, col], label)
            for (row, col), label in np.ndenumerate(mask_H_W)
            if label != void
        ]
        for logits_C, label in pixels:
            probs_C = np.exp(logits_C) / np.exp(logits_C).sum()
            own.append(-np.log(probs_C[label]))
            for c in {label for _, label in pixels}:
                both = overlap.setdefault(c, [0.0, 0.0, 0.0])
                both[0] += probs_C[c] * (label == c)
                both[1] += probs_C[c]
                both[2] += label == c
        entropies += own
        if pixels:
            dice = np.mean([1 - 2 * i / (p + y) for i, p, y in overlap.values()])
            iou = np.mean([1 - i / (p + y - i) for i, p, y in overlap.values()])
            by_image.append({"dice": dice, "iou": iou, "dice_ce": dice + np.mean(own)}.get(kind))
    values = entropies if kind == "cross_entropy" else by_image
    return float(np.mean(values)) if values else 0.0


@settings(max_examples=30)
@given(st.integers(0, 1000), st.sampled_from([0.0, 0.3, 0.9]), st.sampled_from([VOID, 0, -1]))
@pytest.mark.parametrize("kind", KINDS)
def test_each_members_loss_is_that_of_the_slow_twin(kind: str, seed: int, void: float, ignored: int) -> None:
    logits, masks = some(void=void, seed=seed)
    masks[masks == VOID] = ignored
    got = DenseLoss(kind, ignored)(logits, masks)
    expected = [
        slowly(kind, x, y, ignored) for x, y in zip(logits.detach().numpy(), masks.numpy(), strict=True)
    ]
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["dice", "iou"])
def test_hard_predictions_have_torchmetrics_overlaps(kind: str) -> None:
    """Its Dice and Jaccard scores of one image without void, averaged over the classes that occur in it."""
    logits, masks = some(members=1, images=1, rows=9, cols=9, void=0)
    predicted, truth = logits[0].argmax(1), masks[0]
    if kind == "dice":
        score = dice_score(predicted, truth, CLASSES, average="none", input_format="index")[0]
    else:
        score = multiclass_jaccard_index(predicted, truth, CLASSES, average="none")
    hard = 1000 * torch.nn.functional.one_hot(predicted, CLASSES).movedim(-1, 1).double()
    assert len(truth.unique()) == CLASSES
    assert DenseLoss(kind)(hard[None], masks).item() == pytest.approx(1 - score.mean().item(), abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_void_pixels_have_no_say(kind: str) -> None:
    logits, masks = some()
    loss = DenseLoss(kind)(logits, masks)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    void = (masks == VOID)[:, :, None].expand_as(logits)
    assert (gradient[void] == 0).all() and (gradient[~void] != 0).any()
    other = torch.where(void, 100 * torch.randn(logits.shape, dtype=torch.float64), logits)
    torch.testing.assert_close(DenseLoss(kind)(other, masks), loss, rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_valid_pixel_loss_gradient_and_weight_are_0(kind: str) -> None:
    logits, masks = some()
    masks[0] = VOID  # of one member alone
    loss = DenseLoss(kind)
    values, weights = loss(logits, masks), loss.weight(masks)
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert values[0] == weights[0] == 0 and (gradient[0] == 0).all()
    assert values[1] > 0 and weights[1] > 0 and (gradient[1] != 0).any()
    assert gradient.isfinite().all()


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 6))
@pytest.mark.parametrize("kind", KINDS)
def test_weighted_means_over_batches_are_the_loss_of_the_whole(kind: str, seed: int, size: int) -> None:
    logits, masks = some(images=6, seed=seed)
    masks[:, 2] = VOID
    loss = DenseLoss(kind)
    total = sum(
        loss(x, y) * loss.weight(y) for x, y in zip(logits.split(size, 1), masks.split(size, 1), strict=True)
    )
    torch.testing.assert_close(total / loss.weight(masks), loss(logits, masks), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_it_can_be_brought_to_0_by_its_gradient(kind: str) -> None:
    logits, masks = some()
    optimizer = torch.optim.Adam([logits], 0.5)
    for _ in range(60):
        optimizer.zero_grad()
        loss = DenseLoss(kind)(logits, masks).sum()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02


@pytest.mark.cuda
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_on_a_gpu_are_the_same_bits_every_time(kind: str) -> None:
    logits, masks = (tensor.detach().cuda() for tensor in some(rows=120, cols=140))
    logits = logits.float().requires_grad_()

    def gradient() -> Tensor:
        return torch.autograd.grad(DenseLoss(kind)(logits, masks).sum(), logits)[0]

    assert torch.equal(gradient(), gradient())
