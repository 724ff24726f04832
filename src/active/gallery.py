"""The inputs of a pool that score highest and lowest, as a picture: what a method finds surprising, and what it does
not. Only looks on; no record depends on it."""

from pathlib import Path

from torch import Tensor

from src.active.selection import rank
from src.active.task import Fitted, Shown, Task
from src.data import Source


def save_gallery(
    path: Path,
    indices_N: Tensor,
    scores_N: Tensor,
    source: Source,
    task: Task,
    fitted: Fitted | None,
    of: str,
) -> None:
    """Replace the PNG at ``path`` by the highest and the lowest of these scores, each under or beside its input.

    ``indices_N`` are dataset indices into ``source``; ``of`` says what was scored. With ``fitted`` each has its
    prediction too. No input is shown twice, so that of a few some have a place among the highest only; of none at all
    there is no picture.
    """
    order_N = rank(scores_N)
    count = min(task.shown, (len(order_N) + 1) // 2)
    highest_Q, lowest_Q = order_N[:count], order_N[count:].flip(0)[:count]
    groups = [
        Shown(which, f"scores of {of}", indices_N[positions_Q], scores_N[positions_Q].tolist())
        for which, positions_Q in (("highest", highest_Q), ("lowest", lowest_Q))
        if len(positions_Q)
    ]
    if groups:
        task.show(path, source, groups, fitted)
