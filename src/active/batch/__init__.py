"""Acquisitions that weigh a batch as a whole; one file a method. ``BATCH_HEURISTICS`` names them."""

from src.active.batch import badge, batch_hu, batchbald, coreset, hidden_coverage, probcover, typiclust
from src.active.batch.base import (
    BATCH_HEURISTICS,
    Batch,
    BatchHeuristic,
    DoubtfulFeatures,
    Evidence,
    LastLayer,
)

__all__ = [
    "BATCH_HEURISTICS",
    "Batch",
    "BatchHeuristic",
    "DoubtfulFeatures",
    "Evidence",
    "LastLayer",
    "badge",
    "batch_hu",
    "batchbald",
    "coreset",
    "hidden_coverage",
    "probcover",
    "typiclust",
]
