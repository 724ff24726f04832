"""What the config's ``optimizer`` and ``scheduler`` name, as torch has it."""

from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LambdaLR, ReduceLROnPlateau, StepLR

from src.config import OptimizerConfig, TrainingConfig
from src.layers.variational import posterior_parameters

Scheduler = StepLR | LambdaLR | ReduceLROnPlateau | CosineAnnealingWarmRestarts


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> Optimizer:
    """Adam or SGD over all parameters, weight decay as an L2 penalty (not decoupled), as in the literature.

    Posteriors have none: their prior takes its place, and a penalty would pull ρ to 0, which is σ = 0.69.
    """
    posteriors = posterior_parameters(model)
    of_posteriors = {id(parameter) for parameter in posteriors}
    plain = [parameter for parameter in model.parameters() if id(parameter) not in of_posteriors]
    groups = [
        {"params": parameters, "weight_decay": weight_decay}
        for parameters, weight_decay in ((plain, config.weight_decay), (posteriors, 0.0))
        if parameters
    ]
    if config.type == "adam":
        return Adam(groups, config.lr, config.betas, fused=True)
    return SGD(groups, config.lr, config.momentum)


def make_scheduler(
    optimizer: Optimizer, training: TrainingConfig, config: OptimizerConfig
) -> Scheduler | None:
    """The learning rate's course by epoch; None keeps it constant."""
    match training.scheduler:
        case "step":
            return StepLR(optimizer, training.patience_lr_reduce, training.lr_reduce_factor)
        case "poly":
            return LambdaLR(optimizer, lambda epoch: (1 - epoch / training.epochs) ** training.poly_reduce)
        case "reduce_on_plateau":
            return ReduceLROnPlateau(
                optimizer, factor=training.lr_reduce_factor, patience=training.patience_lr_reduce
            )
        case "cosineannealing":
            return CosineAnnealingWarmRestarts(optimizer, config.T0)
        case None:
            return None
