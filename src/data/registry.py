"""The datasets by name, and what the rest of the program asks of them: facts, availability, the data itself.
How one dataset is read is in its own file; here the config is held against the dataset's own sizes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from src.config import Config
from src.data.bundle import DataBundle, DatasetInfo, Split, Task
from src.utils.errors import UserError
from src.utils.registry import Registry

Arrays = tuple[Tensor, Tensor]
"""images_N_C_H_W (uint8) and labels_N (int64) of one split, on the CPU."""

PLANNED: dict[str, Task] = {
    "cityscapes": "segmentation",
    "cityscapes_yu": "segmentation",
    "voc": "segmentation",
    "synthetic_streets": "segmentation",
}
"""Datasets that configs may name although this version cannot load them."""


class Dataset(ABC):
    """One dataset as a config describes it. Subclasses state ``info`` and register under a name of the schema."""

    task: ClassVar[Task] = "classification"

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    @abstractmethod
    def info(self) -> DatasetInfo:
        """The facts: an attribute of the class where they are published, so that no file need be there."""

    @abstractmethod
    def read(self) -> tuple[Arrays, Arrays]:
        """The training and the test arrays, always in the same order; UserError where files are missing or bad."""

    def names(self) -> Sequence[str]:
        """What inputs are called, training before test, where their order depends on it; none unless overridden."""
        return ()

    @abstractmethod
    def availability(self) -> str:
        """One sentence: where the data is, or where it was looked for and what loading it will try."""


DATASETS: Registry[type[Dataset]] = Registry("dataset", planned=tuple(PLANNED))


def task_of(name: str) -> Task:
    """The task of any dataset of the schema, loadable in this version or not; UserError for an unknown name."""
    planned = PLANNED.get(name.lower())
    return planned if planned is not None else DATASETS.get(name).task


def dataset_info(config: Config) -> DatasetInfo:
    """The facts of the dataset that the config names, without touching a file; image_folder lists its folder.

    Raises UserError, at the line of the key, where the name is unknown or a size or the normalisation in the config
    does not fit the dataset.
    """
    return _checked_info(_dataset(config))


def load_dataset(config: Config, device: torch.device | str) -> DataBundle:
    """The dataset that the config names, whole and on the device; UserError as ``dataset_info`` and for bad files."""
    dataset = _dataset(config)
    info = _checked_info(dataset)
    train, test = dataset.read()
    mean, std = (config.data.mean, config.data.std) if config.data.rgb_normalization else (None, None)

    def on_device(arrays: Arrays) -> Split:
        images_N_C_H_W, labels_N = arrays
        return Split(images_N_C_H_W.to(device), labels_N.to(device), mean, std)

    return DataBundle(info, on_device(train), on_device(test), dataset.names())


def availability(config: Config) -> str:
    """One sentence on whether the data is there, for ``--check``: nothing is read or downloaded."""
    return _dataset(config).availability()


def _dataset(config: Config) -> Dataset:
    try:
        return DATASETS.get(config.data.dataset)(config)
    except UserError as error:
        raise config.error("data.dataset", str(error)) from None


def _checked_info(dataset: Dataset) -> DatasetInfo:
    info = dataset.info
    _check_sizes(dataset.config, info)
    _check_normalisation(dataset.config, info)
    return info


def _check_sizes(config: Config, info: DatasetInfo) -> None:
    data, model = config.data, config.model
    for key, given, own in (
        ("data.nb_classes", data.nb_classes, info.nb_classes),
        ("data.img_rows", data.img_rows, info.rows),
        ("data.img_cols", data.img_cols, info.cols),
        ("data.img_channels", data.img_channels, info.channels),
        ("model.output_size", model.output_size, info.nb_classes),
        ("model.input_height", model.input_height, info.rows),
        ("model.input_width", model.input_width, info.cols),
        ("model.input_channels", model.input_channels, info.channels),
    ):
        if given is not None and given != own:
            raise config.error(
                key,
                f"{given} contradicts {info.name}, which has {own}; leave it null to take the dataset's own",
            )


def _check_normalisation(config: Config, info: DatasetInfo) -> None:
    if not config.data.rgb_normalization:
        return
    for key, values in (("data.mean", config.data.mean), ("data.std", config.data.std)):
        if len(values or ()) != info.channels:
            raise config.error(
                key,
                f"{len(values or ())} values, but {info.name} has {info.channels} channel(s) and "
                "data.rgb_normalization needs one a channel",
            )
