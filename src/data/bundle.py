"""What a dataset is once it is in memory: its facts, its two splits, and how a batch is taken from them.
Nothing here reads a file or knows a particular dataset, and nothing decides which inputs are labelled."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

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
        self.mean_C_1_1 = self._per_channel(mean)
        self.std_C_1_1 = self._per_channel(std)

    def __len__(self) -> int:
        return len(self.labels_N)

    @property
    def device(self) -> torch.device:
        return self.images_N_C_H_W.device

    @property
    def indices(self) -> Tensor:
        """All dataset indices of the split, in order."""
        return torch.arange(len(self), device=self.device)

    def inputs(self, indices_B: Tensor) -> Tensor:
        """The images of these int64 indices as float32 inputs_B_C_H_W on the split's device.

        Pixels are divided by 255 into [0, 1] and then, where the split has them, mean is subtracted and the rest is
        divided by std, per channel. An index outside 0 … len − 1 raises (negative ones too).
        """
        # index_select, because advanced indexing of uint8 images is an order of magnitude slower on a CPU.
        selected_B_C_H_W = self.images_N_C_H_W.index_select(0, indices_B.to(self.device))
        inputs_B_C_H_W = selected_B_C_H_W.float().mul_(1 / 255)
        if self.mean_C_1_1 is not None:
            inputs_B_C_H_W.sub_(self.mean_C_1_1)
        if self.std_C_1_1 is not None:
            inputs_B_C_H_W.div_(self.std_C_1_1)
        return inputs_B_C_H_W

    def _per_channel(self, values: Sequence[float] | None) -> Tensor | None:
        if values is None:
            return None
        channels = self.images_N_C_H_W.shape[1]
        if len(values) != channels:
            raise ValueError(f"{len(values)} normalisation values for {channels} channels")
        return torch.tensor(values, dtype=torch.float32, device=self.device).view(channels, 1, 1)


@dataclass(frozen=True)
class DataBundle:
    """A dataset in memory. Validation inputs and the pool are subsets of ``train``; ``test`` is only evaluated on."""

    info: DatasetInfo
    train: Split
    test: Split
    names: Sequence[str] = ()
    """What inputs are called, training before test, where that has a say in their order."""

    def fingerprint(self) -> str:
        """Another one where a dataset index may mean another input: by sizes, labels and names, not by pixels."""
        content = hashlib.sha256(f"{len(self.train)} {len(self.test)}".encode())
        for split in (self.train, self.test):
            content.update(split.labels_N.cpu().numpy().tobytes())
        for name in self.names:
            content.update(b"\0" + name.encode(errors="surrogateescape"))
        return content.hexdigest()


def _describe(tensor: Tensor) -> str:
    return f"{tensor.dtype} of shape {tuple(tensor.shape)}"
