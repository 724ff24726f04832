"""The datasets by name, and what the rest of the program asks of them: facts, availability, the data itself.
How one dataset is read is in its own file; here the config is held against the dataset's own sizes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from src.config import Config
from src.data.bundle import DataBundle, DatasetInfo, Source, Split, Task
from src.data.given_labels import GivenLabels
from src.utils.errors import UserError
from src.utils.registry import Registry

Arrays = tuple[Tensor, Tensor]
"""images_N_C_H_W (uint8) and labels_N (int64) of one split, on the CPU."""

Normalisation = Sequence[float] | None
"""A mean or standard deviation a channel; None where pixels are only divided by 255."""


class Dataset(ABC):
    """One dataset as a config describes it. Subclasses state ``info`` and register under a name of the schema."""

    task: ClassVar[Task] = "classification"

    def __init__(self, config: Config) -> None:
        self.config = config

    @property
    def root(self) -> Path:
        """Where a dataset of files is looked for."""
        return Path(self.config.data.path).expanduser()

    @property
    @abstractmethod
    def info(self) -> DatasetInfo:
        """The facts: an attribute of the class where they are published, so that no file need be there."""

    @abstractmethod
    def splits(
        self, device: torch.device | str, mean: Normalisation, std: Normalisation
    ) -> tuple[Source, Source]:
        """The training and the test split, always in the same order; UserError where files are missing or bad."""

    def names(self) -> Sequence[str]:
        """What inputs are called, training before test, where their order depends on it; none unless overridden."""
        return ()

    def given_labels(self) -> GivenLabels | None:
        """Where a person labels the inputs, if one does; nobody unless overridden."""
        return None

    @abstractmethod
    def availability(self) -> str:
        """One sentence: where the data is, or where it was looked for and what loading it will try."""


class ArrayDataset(Dataset):
    """A dataset small enough to be held whole on the device."""

    @abstractmethod
    def read(self) -> tuple[Arrays, Arrays]:
        """The training and the test arrays, always in the same order; UserError where files are missing or bad."""

    def splits(
        self, device: torch.device | str, mean: Normalisation, std: Normalisation
    ) -> tuple[Split, Split]:
        train, test = (
            Split(images_N_C_H_W.to(device), labels_N.to(device), mean, std)
            for images_N_C_H_W, labels_N in self.read()
        )
        return train, test


DATASETS: Registry[type[Dataset]] = Registry("dataset")


def task_of(name: str) -> Task:
    """The task of the dataset of that name; UserError for an unknown name."""
    return DATASETS.get(name).task


def dataset_info(config: Config) -> DatasetInfo:
    """The facts of the dataset that the config names, reading no pixels: datasets of people's own files list them and
    look at the first one's size.

    Raises UserError, at the line of the key, where the name is unknown or a size or the normalisation in the config
    does not fit the dataset.
    """
    return _checked_info(_dataset(config))


def load_dataset(config: Config, device: torch.device | str) -> DataBundle:
    """The dataset that the config names, for the device; UserError as ``dataset_info`` and for bad files."""
    dataset = _dataset(config)
    info = _checked_info(dataset)
    mean, std = (config.data.mean, config.data.std) if config.data.rgb_normalization else (None, None)
    return DataBundle(info, *dataset.splits(device, mean, std), dataset.names(), dataset.given_labels())


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
    _check_ignore_label(dataset.config, info)
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
            resized = info.task == "segmentation" and key in ("data.img_rows", "data.img_cols")
            raise config.error(
                key,
                f"{given} contradicts {info.name}, which has {own}; leave it null to take the dataset's own"
                + (", or set data.resize to true" if resized else ""),
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


def _check_ignore_label(config: Config, info: DatasetInfo) -> None:
    ignored = config.data.ignore_label
    if info.task == "segmentation" and 0 <= ignored < info.nb_classes:
        raise config.error(
            "data.ignore_label",
            f"{ignored} is the class {info.class_names[ignored]!r} of {info.name}, and void pixels need a number "
            f"that is no class (0 … {info.nb_classes - 1}); 255 is usual",
        )
