"""Which inputs are labelled, held out or still in the pool; one array is the whole history. All indices are dataset
indices, and what decides which to label next lives elsewhere."""

import torch
from torch import Tensor

from src.utils.errors import UserError
from src.utils.seeding import RoundSeeds

POOL = -1
HELD_OUT = -2


class Pool:
    """``labelled_in_round_N`` holds, for each input of the training set, the round whose model first saw its label
    (0 = initially labelled), or POOL, or HELD_OUT for the validation set."""

    def __init__(self, labelled_in_round_N: Tensor) -> None:
        self.labelled_in_round_N = labelled_in_round_N

    @classmethod
    def start(
        cls,
        count: int,
        balanced_labels_N: Tensor | None,
        val_size: float,
        initially_labelled: int,
        seeds: RoundSeeds,
        before_others_N: Tensor | None = None,
    ) -> "Pool":
        """Hold out the share ``val_size`` of ``count`` inputs and label the first, both drawn with the run's seed.

        Where their labels are given the start is balanced: class counts differ by at most one. Inputs of the mask
        ``before_others_N`` are labelled before others, as far as they are not held out. Raises UserError
        where the dataset is too small for either.
        """
        held_out = round(count * val_size)
        if not 0 < held_out < count:
            raise UserError(f"data.val_size {val_size} of {count} inputs leaves {held_out} for validation")
        pool = cls(torch.full((count,), POOL, dtype=torch.int32))
        split = torch.randperm(count, generator=seeds.generator("validation split"))
        pool.labelled_in_round_N[split[:held_out]] = HELD_OUT
        candidates_P = pool.pool_indices
        if initially_labelled > len(candidates_P):
            raise UserError(
                f"training.initially_labelled {initially_labelled} exceeds the {len(candidates_P)} inputs that "
                f"remain of {count} after data.val_size {val_size}"
            )
        generator = seeds.generator("initial labels")
        order_P = candidates_P[torch.randperm(len(candidates_P), generator=generator)]
        if before_others_N is not None:
            order_P = order_P[(~before_others_N[order_P]).int().argsort(stable=True)]
        if balanced_labels_N is not None:
            labels_P = balanced_labels_N.cpu()[order_P]
            order_P = _balance(order_P, labels_P, initially_labelled, generator)
        pool.label(order_P[:initially_labelled], 0)
        return pool

    @property
    def labelled_indices(self) -> Tensor:
        """Labelled dataset indices, ascending."""
        return (self.labelled_in_round_N >= 0).nonzero().flatten()

    @property
    def pool_indices(self) -> Tensor:
        """Unlabelled dataset indices, ascending."""
        return (self.labelled_in_round_N == POOL).nonzero().flatten()

    @property
    def val_indices(self) -> Tensor:
        """Held-out dataset indices, ascending."""
        return (self.labelled_in_round_N == HELD_OUT).nonzero().flatten()

    def label(self, indices: Tensor, round_: int) -> None:
        """Move pool inputs to the labelled set of that round; ValueError where one is not in the pool."""
        if (self.labelled_in_round_N[indices] != POOL).any() or len(indices.unique()) != len(indices):
            raise ValueError("only inputs of the pool can be labelled, each once")
        self.labelled_in_round_N[indices] = round_


def _balance(order_P: Tensor, labels_P: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """The first ``count`` of ``order_P`` such that class counts differ by at most one."""
    classes = labels_P.unique()
    classes = classes[torch.randperm(len(classes), generator=generator)]
    base, extra = divmod(count, len(classes))
    chosen = []
    for position, class_ in enumerate(classes):
        quota = base + (position < extra)
        members = order_P[labels_P == class_]
        if len(members) < quota:
            raise UserError(
                f"training.initially_balanced needs {quota} inputs of class {int(class_)}, which has {len(members)}; "
                "lower training.initially_labelled or set training.initially_balanced to false"
            )
        chosen.append(members[:quota])
    return torch.cat(chosen)
