"""Typed experiment configs: the schema, loading with located errors, writing back and comparing."""

from src.config.load import differences, load_config, to_yaml, what_counts
from src.config.schema import (
    Config,
    DataConfig,
    DeeplabConfig,
    MirConfig,
    ModelConfig,
    OptimizerConfig,
    TrainingConfig,
)

__all__ = [
    "Config",
    "DataConfig",
    "DeeplabConfig",
    "MirConfig",
    "ModelConfig",
    "OptimizerConfig",
    "TrainingConfig",
    "differences",
    "load_config",
    "to_yaml",
    "what_counts",
]
