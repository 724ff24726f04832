"""Bayesian networks: an architecture of variational layers, trained by Bayes by Backprop.
The layers are in ``layers/variational.py``, the architectures are those of the plain networks."""

from torch import Tensor

from src.layers.variational import kl_to_prior
from src.models.network import Network

BAYESIAN = ("bnn", "bcnn")
"""The names of models whose members are samples of their weights."""


class BayesianNetwork(Network):
    """A network of variational layers with the objective CE + ``kl_div_weight`` · KL(posterior ‖ prior).

    Blundell et al. 2015, equation 2, with the divergence in closed form and one weight sample a batch. In
    evaluation the weights are the posterior's means; its Monte-Carlo passes are samples of them. As after training
    (``epoch`` None) the objective is CE alone: the divergence goes on falling when the fit to other data has
    long got worse, and early stopping and the best weights would go by it.
    """

    def __init__(self, network: Network, kl_div_weight: float) -> None:
        super().__init__()
        self.network = network
        self.kl_div_weight = kl_div_weight
        self.feature_dims, self.largest_map = network.feature_dims, network.largest_map

    def encode(self, inputs_M_N_S: Tensor) -> Tensor:
        return self.network.encode(inputs_M_N_S)

    def classify(self, features_M_N_D: Tensor) -> Tensor:
        return self.network.classify(features_M_N_D)

    def last_inputs(self, features_M_N_D: Tensor) -> Tensor:
        return self.network.last_inputs(features_M_N_D)

    def loss(self, inputs_M_N_S: Tensor, labels_M_N: Tensor, epoch: int | None = None) -> Tensor:
        data_loss_M = self.network.loss(inputs_M_N_S, labels_M_N, epoch)
        return data_loss_M if epoch is None else data_loss_M + self.kl_div_weight * kl_to_prior(self.network)
