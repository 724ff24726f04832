"""Live tracking of runs by TensorBoard and Weights & Biases. Both are optional, only look on, and may fail without
harm to a run; what a run is kept by are its records."""

from src.tracking.choice import epochs_a_round, tracking_of_run, unavailable
from src.tracking.tracker import Tracked, Tracker

__all__ = ["Tracked", "Tracker", "epochs_a_round", "tracking_of_run", "unavailable"]
