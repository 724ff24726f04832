"""What the greedy search minimises, written a second time: the twins in the tests of both greedy heads share it."""

from collections.abc import Callable

import numpy as np

# The formulae as the method's description gives them, of floats t and v.
FORMULAE: dict[str, Callable[[float, float], float]] = {
    "l2": lambda t, v: (t - v) ** 2,
    "l1": lambda t, v: abs(t - v),
    "val": lambda t, v: -v,
    "train": lambda t, v: -t,
    "val_l2": lambda t, v: (t - v) ** 2 - v,
    "val_l1": lambda t, v: abs(t - v) - v,
    "train_l2": lambda t, v: (t - v) ** 2 - t,
    "train_val_l2": lambda t, v: (t - v) ** 2 - (t + v),
    "train_val_l1": lambda t, v: abs(t - v) - (t + v),
}
NUMPY_REDUCTIONS = {"mean": np.mean, "sum": np.sum, "max": np.max, "min": np.min, "median": np.median}
