"""Dirty-MNIST: MNIST's training images and as many that are ambiguous on purpose; the test images are MNIST's.
Its ambiguous part comes as two published tensors, which have to be put under ``data.path`` by hand."""

from pathlib import Path

import torch
from torch import Tensor

from src.data.bundle import DatasetInfo
from src.data.files import Layout, check_labels, unreadable
from src.data.mnist import Mnist
from src.data.noise import noisy
from src.data.registry import DATASETS, ArrayDataset, Arrays
from src.utils.errors import UserError, in_a_line

SAMPLES, LABELS = "amnist_samples.pt", "amnist_labels.pt"
LAYOUT = Layout(("AmbiguousMNIST", "."), (SAMPLES, LABELS))
AMBIGUOUS = 60_000
"""Training labels that are taken from the ambiguous part, in its order; the rest is its own test set."""
NOISE = 0.05 * 0.3081 * 255
"""Standard deviation in grey levels of 0 … 255; the authors' is 0.05 of MNIST's own, which is 0.3081 of its range."""


@DATASETS.register("dirty_mnist")
class DirtyMnist(ArrayDataset):
    """J. Mukhoti, A. Kirsch, J. van Amersfoort, P. Torr, Y. Gal, 2021, "Deep Deterministic Uncertainty: A New Simple
    Baseline", https://arxiv.org/abs/2102.11582.

    ``amnist_samples.pt`` holds N×1×28×28 grey values in 0 … 1 and ``amnist_labels.pt`` N×L class numbers: L labels of
    each image, drawn from what it may be. An image is repeated once for each of its labels, one after the other, and
    the first 60,000 of those are trained on, behind MNIST's 60,000. As in the authors' loader, Gaussian noise tells
    these copies apart. Here it is the same in every run, rounded to bytes and cut off at black and white, and MNIST's
    own images, of which there is one each, are left without.
    """

    info = DatasetInfo(
        name="dirty_mnist",
        task="classification",
        nb_classes=10,
        channels=1,
        rows=28,
        cols=28,
        train_size=Mnist.info.train_size + AMBIGUOUS,
        test_size=Mnist.info.test_size,
        class_names=Mnist.info.class_names,
    )

    def read(self) -> tuple[Arrays, Arrays]:
        place = LAYOUT.find(self.root)
        if place is None:
            raise self.config.error(
                "data.path",
                f"{LAYOUT.missing(self.root)}; download {SAMPLES} and {LABELS} from the release data-v1.0.0 of "
                f"https://github.com/BlackHC/ddu_dirty_mnist and put them into {LAYOUT.places(self.root)[0]}",
            )
        images_A_1_28_28, labels_A = read_ambiguous(place)
        train, test = Mnist(self.config).read()
        return (torch.cat([train[0], images_A_1_28_28]), torch.cat([train[1], labels_A])), test

    def availability(self) -> str:
        place = LAYOUT.find(self.root)
        if place is None:
            return (
                f"dirty_mnist is absent: {LAYOUT.missing(self.root)}, and they have to be put there by hand"
            )
        return f"dirty_mnist's ambiguous images found at {place}; {Mnist(self.config).availability()}"


def read_ambiguous(place: Path) -> Arrays:
    """The first 60,000 (image, label) pairs of the ambiguous part, as uint8 with noise and int64.

    Raises UserError, naming the file, where a tensor is not as published.
    """
    samples_N_1_28_28, labels_N_L = _load(place / SAMPLES), _load(place / LABELS)
    if samples_N_1_28_28.shape[1:] != (1, 28, 28) or not samples_N_1_28_28.is_floating_point():
        raise _bad(place / SAMPLES, f"holds {_shape(samples_N_1_28_28)}, not floats of shape N×1×28×28")
    # A little over is clipped, bytes from 0 to 255 are another file's; NaN compares as false and is refused too.
    if not ((samples_N_1_28_28 >= -0.5) & (samples_N_1_28_28 <= 1.5)).all():
        raise _bad(place / SAMPLES, "holds other values than grey ones from 0 to 1")
    if labels_N_L.ndim != 2 or len(labels_N_L) != len(samples_N_1_28_28):
        images = len(samples_N_1_28_28)
        raise _bad(place / LABELS, f"holds {_shape(labels_N_L)}, not a row for each of {images} images")
    if (labels_N_L != labels_N_L.long()).any():
        raise _bad(place / LABELS, "holds fractions, not class numbers")
    if labels_N_L.numel() < AMBIGUOUS:
        raise _bad(place / LABELS, f"holds {labels_N_L.numel()} labels and at least {AMBIGUOUS} are needed")
    labels_A = labels_N_L.flatten()[:AMBIGUOUS].long()
    check_labels(labels_A, DirtyMnist.info.nb_classes, place / LABELS, "dirty_mnist")
    rows_A = torch.arange(AMBIGUOUS) // labels_N_L.shape[1]
    return noisy(samples_N_1_28_28 * 255, rows_A, NOISE, "noise of dirty MNIST"), labels_A


def _load(path: Path) -> Tensor:
    """The one tensor in the file; nothing else in it is ever run (``weights_only``)."""
    try:
        tensor = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise unreadable(path, error) from None
    except Exception as error:  # torch answers damaged files with errors of many kinds
        raise _bad(path, f"is no sound file of torch ({in_a_line(error)})") from None
    if not isinstance(tensor, Tensor):
        raise _bad(path, f"holds {type(tensor).__name__}, not a tensor")
    return tensor


def _bad(path: Path, what: str) -> UserError:
    return UserError(f"{path} {what}; put a good copy of the published file in its place")


def _shape(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {'×'.join(map(str, tensor.shape))}"
