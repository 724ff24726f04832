"""How wide the kernels of each class are: Scott's rule, or the width under which validation samples are likeliest.
The density itself lives elsewhere."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from src.models.density.kernels import ClassKernels, kernel_log_density
from src.models.density.memory import rows_per_block
from src.utils.errors import NonFiniteError, UserError

FLOOR = 1e-3
"""The smallest spread or bandwidth, in units of ``common_spread``: identical samples have none, and validation
samples that coincide with labelled ones are likelier the narrower the kernels, without end."""

CANDIDATES = 24
RESOLUTION = 0.005
"""A search tries so many bandwidths at a time, evenly in their logarithm, and ends where neighbours differ by at
most so large a fraction. The log-likelihood of a sample is then within about D · RESOLUTION² / 4 nats of the best."""


def scott_bandwidths(kernels_C: Sequence[ClassKernels]) -> list[float]:
    """h_c = σ_c · n_c^(−1/(D + 4)) (Scott 1992, "Multivariate Density Estimation"), with n_c the samples of
    class c and σ_c² the mean over dimensions of their unbiased variance, as in SciPy's ``gaussian_kde``.

    A class with one sample has σ_c = ``common_spread``; in any other, σ_c is at least FLOOR of that.
    """
    common = common_spread(kernels_C)
    bandwidths = []
    for kernels in kernels_C:
        spread = max(_spread([kernels]), FLOOR * common) if len(kernels) > 1 else common
        bandwidths.append(spread * len(kernels) ** (-1 / (kernels.dimension + 4)))
    return bandwidths


def validation_bandwidths(kernels_C: Sequence[ClassKernels], val_C_M_D: Sequence[Tensor]) -> list[float]:
    """h_c that maximises the log-likelihood of class c's validation samples under its kernels, to RESOLUTION and
    at least FLOOR · ``common_spread`` (Silverman 1986, "Density Estimation", §3.4.4, there by leaving
    one out).

    A class without validation samples has the h that, shared by all others, maximises the sum of theirs.
    UserError where no class has any.
    """
    judged = [(kernels, val) for kernels, val in zip(kernels_C, val_C_M_D, strict=True) if len(val)]
    if not judged:
        raise UserError(
            "no validation sample has a labelled class, so kde_bandwidth: validation has nothing to choose by; set "
            "model.mir_configs.kde_bandwidth to scott or to a length, or enlarge data.val_size"
        )
    floor = FLOOR * common_spread(kernels_C)
    shared = _likeliest(judged, floor) if len(judged) < len(kernels_C) else math.nan
    return [
        _likeliest([(kernels, val)], floor) if len(val) else shared
        for kernels, val in zip(kernels_C, val_C_M_D, strict=True)
    ]


def common_spread(kernels_C: Sequence[ClassKernels]) -> float:
    """The pooled standard deviation within classes, a mean over dimensions; where it is zero that of the class
    means, and where that is zero too, 1."""
    means = ClassKernels.of(torch.stack([kernels.mean_D for kernels in kernels_C]))
    return _spread(kernels_C) or _spread([means]) or 1.0


def _spread(kernels_C: Sequence[ClassKernels]) -> float:
    """σ with σ² = Σ_c Σ_b |x_b − mean_c|² / (D · Σ_c (n_c − 1)); 0 where every class has one sample."""
    freedom = sum(len(kernels) - 1 for kernels in kernels_C) * kernels_C[0].dimension
    scatter = sum(kernels.norms_B.sum().item() for kernels in kernels_C)
    return math.sqrt(scatter / freedom) if freedom else 0.0


def _likeliest(judged: Sequence[tuple[ClassKernels, Tensor]], floor: float) -> float:
    """The one bandwidth h ≥ ``floor`` under which validation samples are likeliest, each under its own class.

    Where the derivative is zero, h² is a weighted mean of squared distances over D, so that all maxima lie
    between those of the nearest and of the furthest samples: the first candidates span just these.
    """
    dimension = judged[0][0].dimension
    passes = _passes(judged)
    nearest, furthest = (
        sum(squares.sum().item() for squares in reduced)
        for reduced in zip(*((block.amin(dim=1), block.amax(dim=1)) for block in passes()), strict=True)
    )
    scale = dimension * sum(len(val) for _, val in judged)
    low = max(math.sqrt(nearest / scale), floor)
    high = max(math.sqrt(furthest / scale), floor)
    if not math.isfinite(high):
        raise NonFiniteError(
            "squared distances between features overflow: the network has diverged; lower optimizer.lr"
        )
    while True:
        step = (high / low) ** (1 / (CANDIDATES - 1))
        candidates_K = [low * step**k for k in range(CANDIDATES)]
        likelihood_K = torch.zeros(CANDIDATES, dtype=torch.float64)
        for block in passes():
            sums = [kernel_log_density(block, h, dimension).sum() for h in candidates_K]
            likelihood_K += torch.stack(sums).cpu()
        best = int(likelihood_K.argmax())
        if step <= 1 + RESOLUTION:
            return candidates_K[best]
        low, high = candidates_K[max(best - 1, 0)], candidates_K[min(best + 1, CANDIDATES - 1)]


def _passes(judged: Sequence[tuple[ClassKernels, Tensor]]) -> Callable[[], Iterable[Tensor]]:
    """Passes over the squared distances of validation samples to their class, in blocks squares_N_B: held where
    all of them fit the memory budget beside what is made of them, and otherwise computed for every pass."""

    def blocks() -> Iterator[Tensor]:
        for kernels, val_M_D in judged:
            yield from kernels.blocks(val_M_D)

    if sum(len(kernels) * len(val_M_D) for kernels, val_M_D in judged) > rows_per_block(4 * 8):
        return blocks
    held = list(blocks())
    return lambda: held
