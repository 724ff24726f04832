"""Training objectives over pixels, void excluded: from logits and masks of M members to one loss a member.
Which of them a network has, and at what resolution its logits are, is the network's business."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from src.config.schema import SegmentationLoss

TINY = 1e-12
"""In place of a denominator of 0, which a class has that does not occur; occurring ones have at least 1."""


@dataclass(frozen=True)
class DenseLoss:
    """logits_M_N_C_H_W, masks_M_N_H_W → loss_M; pixels of ``ignore_label`` have no say.

    - ``cross_entropy``: its mean over the valid pixels of the batch, in nats.
    - ``dice``: 1 − 2I/(P + Y), with the sums over an image's valid pixels of p·y, p and y for one class, averaged over
      the classes that occur in the image and then over images (Milletari et al. 2016, without squares).
    - ``iou``: the same of I/(P + Y − I) (Rahman & Wang 2016).
    - ``dice_ce``: ``dice`` + cross-entropy, the latter a mean over each image's valid pixels and then over images.

    An image without a valid pixel counts for nothing; where there is no other, the loss and its gradient are 0.
    """

    kind: SegmentationLoss = "cross_entropy"
    ignore_label: int = 255

    def __call__(self, logits_M_N_C_H_W: Tensor, masks_M_N_H_W: Tensor) -> Tensor:
        valid_M_N_H_W = masks_M_N_H_W != self.ignore_label
        if self.kind == "cross_entropy":
            losses_M_N_H_W = self._cross_entropies(logits_M_N_C_H_W, masks_M_N_H_W)
            return losses_M_N_H_W.flatten(1).sum(1) / valid_M_N_H_W.flatten(1).sum(1).clamp(min=1)
        loss_M_N = _overlap_loss(logits_M_N_C_H_W, masks_M_N_H_W, valid_M_N_H_W, union=self.kind == "iou")
        if self.kind == "dice_ce":
            losses_M_N_H_W = self._cross_entropies(logits_M_N_C_H_W, masks_M_N_H_W)
            loss_M_N = loss_M_N + losses_M_N_H_W.sum((-2, -1)) / valid_M_N_H_W.sum((-2, -1)).clamp(min=1)
        return loss_M_N.sum(1) / valid_M_N_H_W.flatten(2).any(2).sum(1).clamp(min=1)

    def weight(self, masks_M_N_H_W: Tensor) -> Tensor:
        """weight_M in float64: what a batch counts for in a mean over batches; its valid pixels for cross-entropy, its
        images with any for the others."""
        valid_M_N_P = (masks_M_N_H_W != self.ignore_label).flatten(2)
        counted = valid_M_N_P.sum(2) if self.kind == "cross_entropy" else valid_M_N_P.any(2)
        return counted.sum(1).double()

    def _cross_entropies(self, logits_M_N_C_H_W: Tensor, masks_M_N_H_W: Tensor) -> Tensor:
        """losses_M_N_H_W, 0 where void. Pixels are rows: torch's kernel for maps is not deterministic on a GPU."""
        logits_P_C = logits_M_N_C_H_W.movedim(2, -1).flatten(0, -2)
        losses_P = F.cross_entropy(
            logits_P_C, masks_M_N_H_W.flatten(), ignore_index=self.ignore_label, reduction="none"
        )
        return losses_P.view(masks_M_N_H_W.shape)


def _overlap_loss(
    logits_M_N_C_H_W: Tensor, masks_M_N_H_W: Tensor, valid_M_N_H_W: Tensor, union: bool
) -> Tensor:
    """loss_M_N: 1 − the mean overlap of the classes in each image (intersection over union, or Dice); 0 without any."""
    classes_C_1_1 = torch.arange(logits_M_N_C_H_W.shape[2], device=masks_M_N_H_W.device)[:, None, None]
    valid_M_N_1_H_W = valid_M_N_H_W[:, :, None]
    truth_M_N_C_H_W = (masks_M_N_H_W[:, :, None] == classes_C_1_1) & valid_M_N_1_H_W
    # Autocast would leave bfloat16 on a CPU, and sums over pixels would be rounded to it.
    dtype = torch.promote_types(logits_M_N_C_H_W.dtype, torch.float32)
    probs_M_N_C_H_W = logits_M_N_C_H_W.softmax(2, dtype)
    intersection_M_N_C = (probs_M_N_C_H_W * truth_M_N_C_H_W).sum((-2, -1))
    predicted_M_N_C = (probs_M_N_C_H_W * valid_M_N_1_H_W).sum((-2, -1))
    truth_M_N_C = truth_M_N_C_H_W.sum((-2, -1))
    occurs_M_N_C = truth_M_N_C > 0
    both_M_N_C = predicted_M_N_C + truth_M_N_C
    overlap_M_N_C = (
        intersection_M_N_C / (both_M_N_C - intersection_M_N_C).clamp(min=TINY)
        if union
        else 2 * intersection_M_N_C / both_M_N_C.clamp(min=TINY)
    )
    missed_M_N = ((1 - overlap_M_N_C) * occurs_M_N_C).sum(-1)
    return missed_M_N / occurs_M_N_C.sum(-1).clamp(min=1)
