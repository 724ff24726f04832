"""How many rows a density head works on at once. What a row costs is the head's business."""

import torch

MEMORY_BUDGET_BYTES = 256 * 2**20
"""Ceiling on the temporaries of one block, the features and the fitted head not counted."""

CPU_CACHE_BYTES = 2**24
"""Temporaries that are read again at once should still be in a CPU's cache then: up to twice as fast as 256 MiB."""


def rows_per_block(bytes_per_row: int) -> int:
    """The most rows whose temporaries fit the budget; one row where not even that fits."""
    return max(1, MEMORY_BUDGET_BYTES // bytes_per_row)


def rows_in_cache(bytes_per_row: int, device: torch.device) -> int:
    """As ``rows_per_block``, and on a CPU no more than fit its cache."""
    rows = rows_per_block(bytes_per_row)
    return min(rows, max(1, CPU_CACHE_BYTES // bytes_per_row)) if device.type == "cpu" else rows
