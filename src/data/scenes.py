"""Scenes with a class at every pixel: what their datasets share, and how a batch is taken from their bytes.
How files become bytes is in ``scene_cache``; each dataset says which scenes there are and what its ids mean."""

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from src.data.bundle import DatasetInfo, normalised, per_channel
from src.data.label_images import MEND_IDS, VOID, id_table
from src.data.registry import Dataset, Normalisation
from src.data.scene_cache import Scene, SceneCache, image_size


class SceneSplit:
    """Images and masks of one split on the CPU, as bytes that may be mapped from a file: images_N_C_H_W and masks_N_H_W
    (train ids, 255 = void), both uint8. Batches come out on ``device``.

    Only the bytes of a batch are moved, and become floats there. A split is as large as it likes: what is not in use
    is the operating system's to keep or to drop.
    """

    def __init__(
        self,
        images_N_C_H_W: Tensor,
        masks_N_H_W: Tensor,
        device: torch.device | str,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        ignore_label: int = VOID,
    ) -> None:
        self.images_N_C_H_W, self.masks_N_H_W, self.ignore_label = images_N_C_H_W, masks_N_H_W, ignore_label
        self.device = torch.empty(0, device=device).device  # cuda becomes cuda:0
        channels = images_N_C_H_W.shape[1]
        self.mean_C_1_1 = per_channel(mean, channels, self.device)
        self.std_C_1_1 = per_channel(std, channels, self.device)

    def __len__(self) -> int:
        return len(self.images_N_C_H_W)

    @property
    def indices(self) -> Tensor:
        """All dataset indices of the split, in order."""
        return torch.arange(len(self), device=self.device)

    def pixels(self, indices_B: Tensor) -> Tensor:
        """The uint8 pixels_B_C_H_W of these int64 indices on ``device``."""
        return self.images_N_C_H_W.index_select(0, indices_B.cpu()).to(self.device)

    def inputs(self, indices_B: Tensor) -> Tensor:
        """The same as float32 inputs_B_C_H_W, normalised as ``Split``'s are."""
        return normalised(self.pixels(indices_B), self.mean_C_1_1, self.std_C_1_1)

    def labels(self, indices_B: Tensor) -> Tensor:
        """Their masks_B_H_W as int64 on ``device``, with void as ``ignore_label``."""
        masks_B_H_W = self.masks_N_H_W.index_select(0, indices_B.cpu()).to(self.device).long()
        return masks_B_H_W.masked_fill_(masks_B_H_W == VOID, self.ignore_label)


class Listing(NamedTuple):
    """The scenes of a dataset, in the order of the dataset's indices."""

    train: list[Scene]
    test: list[Scene]


class SceneDataset(Dataset):
    """A segmentation dataset of image and label files below ``data.path``, put there by hand.

    Scenes are resized to ``data.img_rows`` × ``data.img_cols`` where ``data.resize`` is set, without keeping the
    aspect: images bilinearly, labels to the nearest. Otherwise all must have one size, the first one's.
    """

    task = "segmentation"

    published: ClassVar[DatasetInfo]
    """The facts where the data is not there."""

    train_id_of: ClassVar[Mapping[int, int]]
    """What the bytes in label images stand for: a class, or 255 for void."""

    mend_ids: ClassVar[str] = MEND_IDS
    """What to do about bytes that stand for nothing."""

    layout: ClassVar[str]
    """The files that are needed, for the error where they are not there."""

    @abstractmethod
    def list_scenes(self) -> Listing | None:
        """The scenes, None where nothing of the dataset is there; UserError where a part of it is missing."""

    @cached_property
    def info(self) -> DatasetInfo:
        rows, cols = self._size
        listing = self.listing
        if listing is None:
            return replace(self.published, rows=rows, cols=cols)
        return replace(
            self.published, rows=rows, cols=cols, train_size=len(listing.train), test_size=len(listing.test)
        )

    def splits(
        self, device: torch.device | str, mean: Normalisation, std: Normalisation
    ) -> tuple[SceneSplit, SceneSplit]:
        train, test = (
            SceneSplit(scenes[:, :3], scenes[:, 3], device, mean, std, self.config.data.ignore_label)
            for scenes in [cache.bytes() for cache in self.caches()]
        )
        return train, test

    def availability(self) -> str:
        name, listing = self.published.name, self.listing
        if listing is None:
            return f"{name} is absent: {self._lacking}"
        state = (
            "decoded already"
            if all(cache.exists() for cache in self.caches())
            else "to be decoded on first use"
        )
        return f"{name} found at {self.root}: {len(listing.train)} and {len(listing.test)} scenes, {state}"

    def caches(self) -> list[SceneCache]:
        """Of the training and of the test scenes; UserError where there are none."""
        if self.listing is None:
            raise self.config.error(
                "data.path",
                f"{self._lacking}; put the dataset there, or set data.path to its root",
            )
        return [
            SceneCache(
                self.root,
                f"{self.published.name}-{part}",
                scenes,
                id_table(self.train_id_of),
                self._size,
                self.config.data.resize,
                self.config.training.verbose,
                self.mend_ids,
            )
            for part, scenes in self.listing._asdict().items()
        ]

    def names(self) -> Sequence[str]:
        """Where each image lies below ``data.path``; an index belongs to its place in this list."""
        scenes = [*self.listing.train, *self.listing.test] if self.listing is not None else []
        return [os.path.relpath(scene.image, self.root) for scene in scenes]

    @cached_property
    def listing(self) -> Listing | None:
        """``list_scenes``, once; a split without any scene is an error."""
        listing = self.list_scenes()
        for part, scenes in listing._asdict().items() if listing is not None else ():
            if not scenes:
                raise self.config.error(
                    "data.path",
                    f"{self.root} has no {part} scene of {self.published.name}: it needs {self.layout}",
                )
        return listing

    @property
    def _lacking(self) -> str:
        """What there is not, where nothing of the dataset is there."""
        if os.path.isdir(self.root):
            return f"no {self.layout} in {self.root}"
        return f"{self.root} is no folder" if os.path.exists(self.root) else f"{self.root} does not exist"

    @cached_property
    def _size(self) -> tuple[int, int]:
        data = self.config.data
        if data.resize:
            if data.img_rows is None or data.img_cols is None:
                raise self.config.error(
                    "data.img_rows" if data.img_rows is None else "data.img_cols",
                    "data.resize is true and needs data.img_rows and data.img_cols, the size to resize to",
                )
            return data.img_rows, data.img_cols
        return self.own_size()

    def own_size(self) -> tuple[int, int]:
        """Rows and columns of the first scene, or the published ones."""
        if self.listing is None:
            return self.published.rows, self.published.cols
        return image_size(self.listing.train[0].image)
