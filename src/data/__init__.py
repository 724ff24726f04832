"""Datasets by name: ``load_dataset`` and what describes it.
Every module of this package is imported, so a dataset that registers itself in its own file is found."""

from importlib import import_module
from pkgutil import iter_modules

from src.data.bundle import DataBundle, DatasetInfo, Source, Split, Task
from src.data.registry import DATASETS, availability, dataset_info, load_dataset, task_of

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "DATASETS",
    "DataBundle",
    "DatasetInfo",
    "Source",
    "Split",
    "Task",
    "availability",
    "dataset_info",
    "load_dataset",
    "task_of",
]
