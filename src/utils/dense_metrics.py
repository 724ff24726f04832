"""How good predicted label maps and their uncertainty maps are, over the pixels of a whole split, in bounded memory.
Metrics of one label an input are in ``metrics.py``; what is uncertain, and why, is decided elsewhere."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from src.utils.errors import NonFiniteError, UserError
from src.utils.metrics import ECE_BINS, NORMALISATION_TOLERANCE
from src.utils.processes import count, summed
from src.utils.ranked_counts import RankedCounts

PATCH = 4
"""Rows and columns of a patch, in pixels."""

FIXED_POINT = 2**30
"""Confidences are added up as integers in this unit: exactly, in whatever order, for up to 8e9 pixels."""

Metric = float | None | list[float | None]


class DenseMetrics:
    """Metrics of a stream of predicted maps. Pixels whose label is ``ignore_label`` (void) have no say in any.

    Every count is an integer, so neither the batches nor a GPU's order of additions changes a result (but for the
    mean uncertainty, a float64, in its last digits).
    """

    def __init__(self, nb_classes: int, ignore_label: int, device: torch.device | str) -> None:
        self.nb_classes, self.ignore_label = nb_classes, ignore_label
        self.images = 0
        self._confusion_C_C = torch.zeros(nb_classes, nb_classes, dtype=torch.int64, device=device)
        self._inner_edges = torch.linspace(0, 1, ECE_BINS + 1, device=device)[1:-1]
        self._bins_3_E = torch.zeros(3, ECE_BINS, dtype=torch.int64, device=device)
        self._pixels = RankedCounts(device)
        self._patches = RankedCounts(device)
        self._total_uncertainty = torch.zeros((), dtype=torch.float64, device=device)

    @property
    def mean_uncertainty(self) -> float | None:
        """Over all valid pixels so far; None where there is none."""
        pixels = int(self._confusion_C_C.sum())
        return self._total_uncertainty.item() / pixels if pixels else None

    def of_all_processes(self) -> "DenseMetrics":
        """Those of the images that all processes of the run have counted, for each of them."""
        if count() == 1:
            return self
        whole = DenseMetrics(self.nb_classes, self.ignore_label, self._confusion_C_C.device)
        whole.images = int(summed(torch.tensor(self.images)))
        whole._confusion_C_C, whole._bins_3_E = summed(self._confusion_C_C), summed(self._bins_3_E)
        whole._total_uncertainty = summed(self._total_uncertainty)
        whole._pixels, whole._patches = self._pixels.of_all_processes(), self._patches.of_all_processes()
        return whole

    @torch.no_grad()
    def update(self, log_probs_B_C_H_W: Tensor, uncertainty_B_H_W: Tensor, masks_B_H_W: Tensor) -> None:
        """Count B more images: log-probabilities (nats), uncertainty in any unit (as float32), int64 labels.

        All are on the device of the metrics. Raises NonFiniteError, with the position of the image in the stream
        and of the pixel, for NaN and ∞ (log-probabilities may be −∞), and ValueError for shapes that do not go
        together, labels that are neither void nor a class, and probabilities that do not sum to 1.
        """
        uncertainty_B_H_W = uncertainty_B_H_W.float()
        self._check(log_probs_B_C_H_W, uncertainty_B_H_W, masks_B_H_W)
        valid_B_H_W = masks_B_H_W != self.ignore_label
        log_confidence_B_H_W, predicted_B_H_W = log_probs_B_C_H_W.max(dim=1)  # the first of equals
        right_B_H_W = predicted_B_H_W == masks_B_H_W
        right_N, uncertainty_N = right_B_H_W[valid_B_H_W], uncertainty_B_H_W[valid_B_H_W]
        self._count_classes(masks_B_H_W[valid_B_H_W], predicted_B_H_W[valid_B_H_W])
        self._count_confidences(log_confidence_B_H_W[valid_B_H_W].double().exp(), right_N)
        self._pixels.add(uncertainty_N, ~right_N)
        self._count_patches(uncertainty_B_H_W, right_B_H_W, valid_B_H_W)
        self._total_uncertainty += uncertainty_N.double().sum()
        self.images += len(masks_B_H_W)

    def compute(self, threshold: float | None = None) -> dict[str, Metric]:
        """The metrics of all images so far. None (JSON's null) stands for what is not defined.

        miou, iou
            intersection over union of each class, in a list, from one confusion matrix of all pixels: pixels of the
            class predicted as such, over pixels that are of the class or predicted as it. None for a class that
            is neither in any label nor predicted; the mean is over the others.
        accuracy
            share of pixels whose most probable class (the first of equals) is the label.
        ece, bin_inputs, bin_right, bin_confidence
            expected calibration error of the pixels' most probable class and its bins, as in
            ``classification_metrics``; an input is a pixel.
        auroc, auroc_bound
            probability that a wrong pixel is more uncertain than a right one, equal ones counting half, and how far
            from it the exact number can be: 0 for up to about a million different uncertainties. None where all
            pixels are right, or all wrong.
        pac, pui, pavpu
            p(accurate | certain), p(uncertain | inaccurate) and p(accurate and certain, or inaccurate and
            uncertain) of patches (J. Mukhoti, Y. Gal 2018, "Evaluating Bayesian deep learning methods for semantic
            segmentation"). Patches are the 4×4 squares of a grid from the upper left corner, cut off at the other
            edges; one without a valid pixel does not count. A patch is accurate if more than half of its valid pixels
            are right, and uncertain if their mean uncertainty is above the threshold. None where no patch is
            certain (pac), or inaccurate (pui).

        Uncertainties have no common scale, so the threshold must come from the same model: by default it is the
        mean over the very pixels that are evaluated, as in the paper's tables; ``mean_uncertainty`` of other images
        can be passed instead. It is compared as float32. Raises UserError where not one pixel was valid.
        """
        mean = self.mean_uncertainty
        if mean is None:
            raise UserError(
                f"no pixel of the {self.images} images has a label other than void ({self.ignore_label}), so there "
                "is nothing to measure; look at their label files and at data.ignore_label, or take more scenes"
            )
        confusion_C_C = self._confusion_C_C.double().cpu()
        hits_C = confusion_C_C.diagonal()
        union_C = confusion_C_C.sum(0) + confusion_C_C.sum(1) - hits_C
        area = self._pixels.area()
        return {
            "miou": (hits_C / union_C)[union_C > 0].mean().item(),
            "iou": [
                _ratio(hits, union) for hits, union in zip(hits_C.tolist(), union_C.tolist(), strict=True)
            ],
            "accuracy": (hits_C.sum() / confusion_C_C.sum()).item(),
            "auroc": area.auroc if area else None,
            "auroc_bound": area.bound if area else None,
            "ece": self._calibration_error(),
            **self._calibration_bins(),
            **self._patch_metrics(mean if threshold is None else threshold),
        }

    def _count_classes(self, labels_N: Tensor, predicted_N: Tensor) -> None:
        classes = self.nb_classes
        counts_CC = torch.bincount(labels_N * classes + predicted_N, minlength=classes * classes)
        self._confusion_C_C += counts_CC.view(classes, classes)

    def _count_confidences(self, confidence_N: Tensor, right_N: Tensor) -> None:
        bin_N = torch.bucketize(confidence_N.float(), self._inner_edges, right=True)
        fixed_N = (confidence_N * FIXED_POINT).round().to(torch.int64)
        for number in range(ECE_BINS):  # rather than scattered, which a GPU does one by one for so few places
            in_bin_N = bin_N == number
            self._bins_3_E[0, number] += in_bin_N.sum()
            self._bins_3_E[1, number] += (in_bin_N & right_N).sum()
            self._bins_3_E[2, number] += (in_bin_N * fixed_N).sum()

    def _count_patches(self, uncertainty_B_H_W: Tensor, right_B_H_W: Tensor, valid_B_H_W: Tensor) -> None:
        pixels_P = _patch_sums(valid_B_H_W.to(torch.int64))
        right_P = _patch_sums((right_B_H_W & valid_B_H_W).to(torch.int64))
        total_P = _patch_sums(uncertainty_B_H_W.double() * valid_B_H_W)
        counts_P = pixels_P > 0
        inaccurate_P = 2 * right_P <= pixels_P
        self._patches.add((total_P / pixels_P)[counts_P], inaccurate_P[counts_P])

    def _calibration_error(self) -> float:
        pixels_E, right_E, confidence_E = self._bins_3_E.double().cpu()
        return ((right_E - confidence_E / FIXED_POINT).abs().sum() / pixels_E.sum()).item()

    def _calibration_bins(self) -> dict[str, Metric]:
        inputs_E, right_E, confidence_E = self._bins_3_E.double().cpu()
        return {
            "bin_inputs": inputs_E.tolist(),
            "bin_right": right_E.tolist(),
            "bin_confidence": (confidence_E / FIXED_POINT).tolist(),
        }

    def _patch_metrics(self, threshold: float) -> dict[str, Metric]:
        (accurate_certain, accurate_uncertain), (inaccurate_certain, inaccurate_uncertain) = (
            self._patches.split(threshold)
        )
        certain = accurate_certain + inaccurate_certain
        inaccurate = inaccurate_certain + inaccurate_uncertain
        patches = certain + accurate_uncertain + inaccurate_uncertain
        return {
            "pac": _ratio(accurate_certain, certain),
            "pui": _ratio(inaccurate_uncertain, inaccurate),
            "pavpu": _ratio(accurate_certain + inaccurate_uncertain, patches),
        }

    def _check(self, log_probs_B_C_H_W: Tensor, uncertainty_B_H_W: Tensor, masks_B_H_W: Tensor) -> None:
        shape = (len(masks_B_H_W), self.nb_classes, *masks_B_H_W.shape[1:])
        if log_probs_B_C_H_W.shape != shape or uncertainty_B_H_W.shape != masks_B_H_W.shape:
            raise ValueError(
                f"log-probabilities of shape {tuple(log_probs_B_C_H_W.shape)} (B, C = {self.nb_classes}, H, W) and "
                f"uncertainties of shape {tuple(uncertainty_B_H_W.shape)} do not go with labels of shape "
                f"{tuple(masks_B_H_W.shape)}"
            )
        # One pass over the probabilities finds NaN, +∞ and what does not sum to 1.
        log_sum_B_H_W = log_probs_B_C_H_W.logsumexp(dim=1)
        self._refuse_non_finite(log_sum_B_H_W, "the predicted log-probabilities")
        self._refuse_non_finite(uncertainty_B_H_W, "the uncertainties")
        if (log_sum_B_H_W.abs() > NORMALISATION_TOLERANCE).any():
            sums = log_sum_B_H_W.exp()
            raise ValueError(f"probabilities sum to between {sums.min():.4g} and {sums.max():.4g}, not to 1")
        wrong_B_H_W = (masks_B_H_W < 0) | (masks_B_H_W >= self.nb_classes)
        wrong_B_H_W &= masks_B_H_W != self.ignore_label
        if masks_B_H_W.dtype != torch.int64 or wrong_B_H_W.any():
            raise ValueError(
                f"labels must be int64 from 0 to {self.nb_classes - 1} or {self.ignore_label} for void; these are "
                f"{masks_B_H_W.dtype} from {masks_B_H_W.min()} to {masks_B_H_W.max()}"
            )

    def _refuse_non_finite(self, values_B_H_W: Tensor, what: str) -> None:
        bad_B_H_W = ~values_B_H_W.isfinite()
        if bad_B_H_W.any():
            image, row, column = bad_B_H_W.nonzero()[0].tolist()
            raise NonFiniteError(
                f"{what} are NaN or infinite at {int(bad_B_H_W.sum())} pixels, first at image {self.images + image} "
                f"(from 0, as evaluated), row {row}, column {column}"
            )


def _patch_sums(values_B_H_W: Tensor) -> Tensor:
    """sums_P over each patch; what a patch has beyond the edges adds nothing."""
    rows, cols = values_B_H_W.shape[1:]
    padded_B_H_W = pad(values_B_H_W, (0, -cols % PATCH, 0, -rows % PATCH))
    return padded_B_H_W.unflatten(2, (-1, PATCH)).unflatten(1, (-1, PATCH)).sum(dim=(2, 4)).flatten()


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
