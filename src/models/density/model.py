"""A density head behind the maps of its features that the config asks for. Which head it is does not matter here."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from src.models.density.base import DensityHead
from src.models.density.memory import rows_per_block
from src.models.density.moments import ClassMoments, concatenated_of_all_processes
from src.models.density.transforms import Projection, l2_normalize, principal_axes
from src.utils.errors import NonFiniteError, UserError

Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""A pass over (features_B_D, labels_B), the same ones whenever it is asked for."""


class DensityModel:
    """L2 normalisation, then a fixed PCA fitted on the training features, then ``head``; itself a DensityHead.

    ``dim_reduction`` is the number of principal axes kept, −1 for no PCA. Fewer are kept where the training
    features span fewer dimensions, as in early rounds; ``diagnostics`` then says how many.
    """

    def __init__(self, head: DensityHead, normalize: bool, dim_reduction: int) -> None:
        if dim_reduction != -1 and dim_reduction < 1:
            raise UserError(
                f"dim_reduction {dim_reduction}: the number of dimensions kept is at least 1, or -1 for no reduction"
            )
        self.head = head
        self.normalize = normalize
        self.dim_reduction = dim_reduction
        self._projection: Projection | None = None

    @torch.no_grad()
    def fit(
        self, features_N_D: Tensor, labels_N: Tensor, val_features_M_D: Tensor, val_labels_M: Tensor
    ) -> None:
        """Fit the PCA and the head. NonFiniteError names the rows that hold NaN or infinity; UserError where
        dim_reduction exceeds D."""
        self.fit_batches(lambda: [(features_N_D, labels_N)], lambda: [(val_features_M_D, val_labels_M)])

    @torch.no_grad()
    def fit_batches(self, train: Batches, val: Batches) -> None:
        """As ``fit`` on all batches (features_B_D, labels_B) together, which are asked for anew for every pass.

        No more than the head needs is held: moments where those suffice, and the features themselves otherwise. Of
        several processes each hands over its share, and all fit on the whole: moments are summed, features copied.
        """
        self._projection = None
        if self.dim_reduction != -1:
            self._projection = self._fit_projection(self._transformed(train, "training features"))
        train_batches = self._transformed(train, "training features")
        val_batches = self._transformed(val, "validation features")
        if self.head.fit_moments is not None:
            self.head.fit_moments(
                ClassMoments.of_batches(train_batches), ClassMoments.of_batches(val_batches)
            )
        else:
            self.head.fit(
                *concatenated_of_all_processes(train_batches), *concatenated_of_all_processes(val_batches)
            )

    def _fit_projection(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Projection:
        moments = ClassMoments.of_batches(
            (features, torch.zeros_like(labels)) for features, labels in batches
        )
        dimension = moments.means_C_D.shape[1]
        if self.dim_reduction > dimension:
            raise UserError(
                f"dim_reduction {self.dim_reduction} exceeds the {dimension} hidden features; "
                "lower it, or set it to -1 for no reduction"
            )
        return principal_axes(*moments.pooled()).leading(self.dim_reduction)

    def _transformed(self, batches: Batches, what: str) -> Iterator[tuple[Tensor, Tensor]]:
        for features_B_D, labels_B in batches():
            _refuse_non_finite(features_B_D, what)
            yield self._mapped(features_B_D), labels_B

    @torch.no_grad()
    def transform(self, features_N_D: Tensor) -> Tensor:
        """What the head sees of these features; NonFiniteError names the rows that hold NaN or infinity."""
        _refuse_non_finite(features_N_D, "features")
        return self._mapped(features_N_D)

    @torch.no_grad()
    def surprise(self, features_N_D: Tensor) -> Tensor:
        """surprise_N of the head; NonFiniteError names the rows that hold NaN or infinity."""
        _refuse_non_finite(features_N_D, "features")
        blocks = features_N_D.split(rows_per_block(6 * 8 * features_N_D.shape[1]))
        return torch.cat([self.head.surprise(self._mapped(block)) for block in blocks])

    def diagnostics(self) -> dict[str, object]:
        """The head's, with ``dim_reduction`` as it came out where there is one."""
        if self._projection is None:
            return self.head.diagnostics()
        return {"dim_reduction": self._projection.axes_D_K.shape[1], **self.head.diagnostics()}

    def _mapped(self, features_N_D: Tensor) -> Tensor:
        if self.normalize:
            features_N_D = l2_normalize(features_N_D)
        if self._projection is None:
            return features_N_D
        # In the features' own dtype, which is how a head knows at what precision it may work.
        return self._projection(features_N_D).to(features_N_D.dtype)


def _refuse_non_finite(features_N_D: Tensor, what: str) -> None:
    bad = (~features_N_D.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if bad:
        shown = ", ".join(map(str, bad[:10])) + (", …" if len(bad) > 10 else "")
        raise NonFiniteError(
            f"{len(bad)} of {len(features_N_D)} rows of the {what} hold NaN or infinity (rows {shown}, from 0): "
            "the network has diverged; lower optimizer.lr or look at these inputs"
        )
