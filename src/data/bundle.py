"""What a dataset is once it is loaded: its facts, its two splits, and how a batch is taken from them.
Nothing here reads a file or knows a particular dataset, and nothing decides which inputs are labelled."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from src.data.given_labels import GivenLabels, with_given

Task = Literal["classification", "segmentation"]


@dataclass(frozen=True)
class DatasetInfo:
    """The published facts of a dataset, known without touching a file. Sizes are in pixels and inputs."""

    name: str
    task: Task
    nb_classes: int
    channels: int
    rows: int
    cols: int
    train_size: int
    test_size: int
    class_names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...] | None = None
    """RGB of each class in 0 … 255, where classes are drawn (segmentation)."""


class Source(Protocol):
    """One split: inputs and labels by dataset index, in an order that never changes."""

    def __len__(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where inputs and labels come out."""
        ...

    @property
    def indices(self) -> Tensor:
        """All dataset indices of the split, in order, on its device."""
        ...

    def pixels(self, indices_B: Tensor) -> Tensor:
        """The uint8 pixels_B_C_H_W of these int64 indices, as they were read."""
        ...

    def inputs(self, indices_B: Tensor) -> Tensor:
        """inputs_B_C_H_W in float32 for these int64 indices; an index outside 0 … len − 1 raises."""
        ...

    def labels(self, indices_B: Tensor) -> Tensor:
        """Their int64 labels: labels_B, or masks_B_H_W where every pixel has a label."""
        ...


class Split:
    """Images and labels of one split, held whole on one device: images_N_C_H_W as uint8, labels_N as int64.

    A batch is an index selection on the uint8 images followed by arithmetic in place: no loader, no workers, and a
    quarter of the memory of float32. Raises ValueError where the tensors are not as described.
    """

    def __init__(
        self,
        images_N_C_H_W: Tensor,
        labels_N: Tensor,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        if images_N_C_H_W.dtype != torch.uint8 or images_N_C_H_W.ndim != 4:
            raise ValueError(f"images must be uint8 N,C,H,W, got {_describe(images_N_C_H_W)}")
        if labels_N.dtype != torch.int64 or labels_N.shape != images_N_C_H_W.shape[:1]:
            raise ValueError(f"labels must be int64, one an image, got {_describe(labels_N)}")
        if labels_N.device != images_N_C_H_W.device:
            raise ValueError(f"images on {images_N_C_H_W.device} but labels on {labels_N.device}")
        self.images_N_C_H_W = images_N_C_H_W.contiguous()
        self.labels_N = labels_N.contiguous()
        channels = images_N_C_H_W.shape[1]
        self.mean_C_1_1 = per_channel(mean, channels, self.device)
        self.std_C_1_1 = per_channel(std, channels, self.device)

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def device(self) -> torch.device:
        return self.images_N_C_H_W.device

    @property
    def indices(self) -> Tensor:
        """All dataset indices of the split, in order."""
        return torch.arange(len(self), device=self.device)

    def pixels(self, indices_B: Tensor) -> Tensor:
        """The uint8 pixels_B_C_H_W of these int64 indices on the split's device."""
        # index_select, because advanced indexing of uint8 images is an order of magnitude slower on a CPU.
        return self.images_N_C_H_W.index_select(0, indices_B.to(self.device))

    def inputs(self, indices_B: Tensor) -> Tensor:
        """The images of these int64 indices as float32 inputs_B_C_H_W on the split's device.

        Pixels are divided by 255 into [0, 1] and then, where the split has them, mean is subtracted and the rest is
        divided by std, per channel. An index outside 0 … len − 1 raises (negative ones too).
        """
        return normalised(self.pixels(indices_B), self.mean_C_1_1, self.std_C_1_1)

    def labels(self, indices_B: Tensor) -> Tensor:
        """labels_B of these int64 indices; an index outside 0 … len − 1 raises (negative ones too)."""
        return self.labels_N.index_select(0, indices_B.to(self.device))


@dataclass(frozen=True)
class DataBundle:
    """A loaded dataset. Validation inputs and the pool are subsets of ``train``; ``test`` is only evaluated on."""

    info: DatasetInfo
    train: Source
    test: Source
    names: Sequence[str] = ()
    """What inputs are called, training before test, where that has a say in their order."""
    given: GivenLabels | None = None
    """Where a person labels them. Then labels that are not known yet are −1."""

    def set_labels(self, labels: Mapping[int, int]) -> None:
        """Let inputs have these classes from now on, by index, training before test; ValueError for maps of labels."""
        first = 0
        for split in (self.train, self.test):
            if not isinstance(split, Split):
                raise ValueError("only inputs of one label each can be labelled")
            own = {at - first: label for at, label in labels.items() if 0 <= at - first < len(split)}
            split.labels_N = with_given(split.labels_N, own)
            first += len(split)

    def fingerprint(self) -> str:
        """Another one where a dataset index may mean another input: by sizes, labels and names, not by pixels."""
        content = hashlib.sha256(f"{len(self.train)} {len(self.test)}".encode())
        for split in (self.train, self.test):
            # Masks would take a look at every pixel; scenes have names. What a person gives comes with time.
            if isinstance(split, Split) and self.given is None:
                content.update(split.labels_N.cpu().numpy().tobytes())
        for name in (*self.names, *(self.given.class_names if self.given is not None else ())):
            content.update(b"\0" + name.encode(errors="surrogateescape"))
        return content.hexdigest()


def normalised(bytes_B_C_H_W: Tensor, mean_C_1_1: Tensor | None, std_C_1_1: Tensor | None) -> Tensor:
    """New float32 inputs_B_C_H_W: bytes over 255, less the mean and over the standard deviation where given."""
    inputs_B_C_H_W = bytes_B_C_H_W.float().mul_(1 / 255)
    if mean_C_1_1 is not None:
        inputs_B_C_H_W.sub_(mean_C_1_1)
    if std_C_1_1 is not None:
        inputs_B_C_H_W.div_(std_C_1_1)
    return inputs_B_C_H_W


def per_channel(values: Sequence[float] | None, channels: int, device: torch.device) -> Tensor | None:
    """The values as float32 of shape C,1,1; ValueError where there is not one a channel."""
    if values is None:
        return None
    if len(values) != channels:
        raise ValueError(f"{len(values)} normalisation values for {channels} channels")
    return torch.tensor(values, dtype=torch.float32, device=device).view(channels, 1, 1)


def _describe(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"
