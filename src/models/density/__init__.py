"""Density heads: how surprising hidden features are, given those of the labelled set. One file per estimator;
``DENSITY_HEADS`` names them, ``DensityModel`` puts the config's feature maps in front of one."""

from src.models.density.base import DENSITY_HEADS, DensityHead
from src.models.density.gmm import GMM
from src.models.density.gmm_seg import ClassGreedyGMM
from src.models.density.greedy import GreedySearch
from src.models.density.kde import KDE
from src.models.density.knn import KNN
from src.models.density.model import DensityModel

__all__ = [
    "DENSITY_HEADS",
    "GMM",
    "KDE",
    "KNN",
    "ClassGreedyGMM",
    "DensityHead",
    "DensityModel",
    "GreedySearch",
]
