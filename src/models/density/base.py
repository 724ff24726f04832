"""What every density head promises, and the registry that holds them. The estimators are one file each beside
this one."""

from collections.abc import Callable
from typing import ClassVar, Protocol, Self

from torch import Tensor

from src.config import MirConfig
from src.models.density.moments import ClassMoments
from src.utils.registry import Registry


class DensityHead(Protocol):
    """A density over hidden features, fitted anew each round; improbable features are surprising ones."""

    samples_per_class: ClassVar[int]
    """How many labelled samples a class needs to have a part in the density."""
    searches_dimension: ClassVar[bool]
    """Whether ``greedy_search`` means anything to this head."""
    normalizes_projections: ClassVar[bool]
    """Whether ``normalize_features`` is this head's own business, rather than done before it sees the features."""

    @classmethod
    def from_config(cls, mir: MirConfig, seed: int) -> Self:
        """The unfitted head that the config describes; ``seed`` is for what it draws. UserError on bad options, with
        their ``key``."""
        ...

    def fit(
        self, features_N_D: Tensor, labels_N: Tensor, val_features_M_D: Tensor, val_labels_M: Tensor
    ) -> None:
        """Fit on labelled features; validation features only choose hyperparameters and are never scored against
        themselves."""

    @property
    def fit_moments(self) -> Callable[[ClassMoments, ClassMoments], None] | None:
        """The same from the moments of training and validation features, which then need not be held together; None
        for a head that needs the features themselves."""

    def surprise(self, features_N_D: Tensor) -> Tensor:
        """surprise_N in float64, higher = less probable; independent of how rows are split into calls."""
        ...

    def diagnostics(self) -> dict[str, object]:
        """What the last fit decided and how well it held, in JSON's types, small enough for one row a round."""
        ...


DENSITY_HEADS: Registry[type[DensityHead]] = Registry("density model")
