"""Fitted densities that take inputs of the pool in, one at a time, as if those had been labelled. Which input comes
next is for ``batch_hu.py`` to say."""

import math
from typing import Protocol

import torch
from torch import Tensor

from src.models.density import GMM, KNN
from src.models.density.gaussians import COVARIANCE_FLOOR, floored_factors
from src.models.density.memory import rows_in_cache
from src.models.density.neighbours import NeighbourIndex


class Growing(Protocol):
    """The surprise of a pool under a density that grows with it."""

    @property
    def surprise_N(self) -> Tensor:
        """Of every input, also of those that joined."""
        ...

    def join(self, position: int) -> None:
        """Let that input count as a labelled one, of the class that is most probable for it now."""
        ...


class GrowingGaussians:
    """Class Gaussians of full covariance, as if refitted on the labelled inputs and all that joined.

    A joining x moves the mean of its class by (x − μ)/(n + 1) and adds n/(n + 1)·(x − μ)(x − μ)ᵀ to its scatter S; all
    other classes only lose prior. The floor ε of Σ = S/n + ε·I does not shrink with n as S/n does, so that the new
    precision is no rank-one update of the old one: taking it for one (Sherman & Morrison 1950) would scale distances
    in directions without variance by (n + 1)/n, which is 1.5 at two labels. So Σ of that one class is factored anew,
    and the pool whitened with it: N·K² for a pick, and log-densities of N × C numbers are held.
    """

    def __init__(self, gmm: GMM, features_N_D: Tensor) -> None:
        self._coordinates_N_K = gmm.coordinates(features_N_D)
        fitted = gmm.gaussians
        self._labels_C, self._counts_C = fitted.labels_C, fitted.counts_C.double()
        self._means_C_K = fitted.means_C_D.clone()
        self._scatters_C_K_K = fitted.factors_C_D_D @ fitted.factors_C_D_D.mT
        self._scatters_C_K_K.diagonal(dim1=1, dim2=2).sub_(COVARIANCE_FLOOR)
        self._scatters_C_K_K *= self._counts_C[:, None, None]
        self._log_pdf_C_N = torch.stack([self._log_pdf(c) for c in range(len(self._counts_C))])

    @property
    def surprise_N(self) -> Tensor:
        return -self._log_joint(self._log_pdf_C_N).logsumexp(dim=0)

    def join(self, position: int) -> None:
        c = int(self._log_joint(self._log_pdf_C_N[:, position, None]).argmax())
        offset_K = self._coordinates_N_K[position] - self._means_C_K[c]
        count = self._counts_C[c] + 1
        self._means_C_K[c] += offset_K / count
        self._scatters_C_K_K[c].addr_(offset_K, offset_K * (self._counts_C[c] / count))
        self._counts_C[c] = count
        self._log_pdf_C_N[c] = self._log_pdf(c)

    def _log_joint(self, log_pdf_C_N: Tensor) -> Tensor:
        return (self._counts_C / self._counts_C.sum()).log()[:, None] + log_pdf_C_N

    def _log_pdf(self, c: int) -> Tensor:
        covariance_K_K = self._scatters_C_K_K[c] / self._counts_C[c]
        covariance_K_K.diagonal().add_(COVARIANCE_FLOOR)
        factor_K_K = floored_factors(covariance_K_K[None], self._labels_C[c, None])[0]
        identity_K_K = torch.eye(len(factor_K_K), dtype=torch.float64, device=factor_K_K.device)
        whitening_K_K = torch.linalg.solve_triangular(factor_K_K, identity_K_K, upper=False).T.contiguous()
        blocks = self._coordinates_N_K.split(rows_in_cache(2 * 8 * len(factor_K_K), factor_K_K.device))
        squares_N = torch.cat(
            [((block - self._means_C_K[c]) @ whitening_K_K).square_().sum(dim=1) for block in blocks]
        )
        log_norm = factor_K_K.diagonal().log().sum() + 0.5 * len(factor_K_K) * math.log(2 * math.pi)
        return -0.5 * squares_N - log_norm


class GrowingNeighbours:
    """The nearest labelled or joined features of each input, whose classes vote.

    A joining input has the class it would be voted into, and is a neighbour of every input that it is nearer to than
    the last one held; among equally near ones the earlier stay. A cap on labelled features (``max_samples``) does not
    keep it out. A pick costs N·D, and N × K distances and classes are held.
    """

    def __init__(self, knn: KNN, features_N_D: Tensor) -> None:
        self._knn = knn
        self._features_N_D = features_N_D
        self._distances_N_K, self._classes_N_K = knn.nearest(features_N_D)
        self._surprise_N = features_N_D.new_empty(len(features_N_D), dtype=torch.float64)
        self._class_N = torch.empty_like(self._classes_N_K[:, 0])
        self._judge(torch.arange(len(features_N_D), device=features_N_D.device))

    @property
    def surprise_N(self) -> Tensor:
        return self._surprise_N

    def join(self, position: int) -> None:
        joining = NeighbourIndex(self._features_N_D[position, None], self._knn.metric, 1)
        distances_N_1, _ = joining(self._features_N_D)
        # Until the bank has as many as a neighbourhood, every joining input makes it larger.
        if self._distances_N_K.shape[1] < self._knn.neighbours:
            self._distances_N_K = torch.nn.functional.pad(self._distances_N_K, (0, 1), value=torch.inf)
            self._classes_N_K = torch.nn.functional.pad(self._classes_N_K, (0, 1))
        nearer = (distances_N_1[:, 0] < self._distances_N_K[:, -1]).nonzero().flatten()
        distances_M_J = torch.cat([self._distances_N_K[nearer], distances_N_1[nearer]], dim=1)
        joined_M_1 = self._class_N[position].expand(len(nearer), 1)
        classes_M_J = torch.cat([self._classes_N_K[nearer], joined_M_1], dim=1)
        distances_M_J, order_M_J = distances_M_J.sort(dim=1, stable=True)
        self._distances_N_K[nearer] = distances_M_J[:, :-1]
        self._classes_N_K[nearer] = classes_M_J.gather(1, order_M_J)[:, :-1]
        self._judge(nearer)

    def _judge(self, rows_M: Tensor) -> None:
        for rows_B in rows_M.split(self._knn.rows_per_vote()):
            judged = self._knn.judge(self._distances_N_K[rows_B], self._classes_N_K[rows_B])
            self._surprise_N[rows_B], self._class_N[rows_B] = judged
