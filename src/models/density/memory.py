"""How many rows a density head works on at once. What a row costs is the head's business."""

MEMORY_BUDGET_BYTES = 256 * 2**20
"""Ceiling on the temporaries of one block, the features and the fitted head not counted."""


def rows_per_block(bytes_per_row: int) -> int:
    """The most rows whose temporaries fit the budget; one row where not even that fits."""
    return max(1, MEMORY_BUDGET_BYTES // bytes_per_row)
