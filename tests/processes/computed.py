"""What processes compute together, by name. ``computed.py FOLDER`` by several processes computes all of it and leaves
``FOLDER/<process>.pt``; the tests compare that with what this process computes alone."""

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from src.active.acquisition import ACQUISITIONS
from src.active.heuristics import HEURISTICS
from src.active.maps import reduction
from src.active.scoring import PoolView, collect, fit_density, score_pool
from src.active.task import set_prediction_mode
from src.config import Config, OptimizerConfig, TrainingConfig
from src.layers.member_axis import with_member_axis
from src.layers.stacked import member_state, stack_members
from src.models.build import build_model
from src.models.cnn import CNN
from src.models.dense import DenseNetwork
from src.models.dense_loss import DenseLoss
from src.models.density import GMM, KDE, KNN, ClassGreedyGMM, DensityModel
from src.models.density.greedy import GreedySearch
from src.models.density.moments import ClassMoments
from src.models.joint_fit import Setting
from src.models.mir import MIR
from src.models.mlp import MLP, MLPDecoder
from src.models.network import Network
from src.models.prediction import mean_loss, predict
from src.models.training import Training
from src.utils import processes
from src.utils.dense_metrics import DenseMetrics
from src.utils.ranked_counts import RankedCounts
from src.utils.seeding import RoundSeeds
from tests.models.fakes import Blobs, Images, Scenes

SEEDS = RoundSeeds(3, 2)
TRAIN, VAL, POOL = torch.arange(61), torch.arange(61, 90), torch.arange(90, 301)
BLOBS, SCENES = Blobs(301), Scenes(7, (3, 16, 24))

COMPUTED: dict[str, Callable[[], list[Tensor]]] = {}


def computed(function: Callable[[], list[Tensor]]) -> Callable[[], list[Tensor]]:
    COMPUTED[function.__name__] = function
    return function


def mlp(members: int = 1, dropout: tuple[float, ...] = (0.5,)) -> MLP:
    torch.manual_seed(0)
    return stack_members([MLP((8,), (16, 6), 3, dropout) for _ in range(members)])


class Normed(DenseNetwork):
    """A dense network with a batch norm; half as large maps as its input."""

    def __init__(self) -> None:
        super().__init__(4, 3, "hidden", DenseLoss("cross_entropy"))
        self.conv = with_member_axis(
            nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        )
        self.head = with_member_axis(nn.Conv2d(4, 3, 1))

    def hidden_map(self, inputs_M_N_I_H_W: Tensor) -> Tensor:
        return self.conv(inputs_M_N_I_H_W)

    def enlarge(self, logits_M_N_C: Tensor, size: object) -> Tensor:
        return logits_M_N_C.repeat_interleave(2, -2).repeat_interleave(2, -1)


def normed(members: int = 1) -> Network:
    torch.manual_seed(0)
    return stack_members([Normed() for _ in range(members)])


# ---- looking ------------------------------------------------------------------------------------------------------


@computed
def predictions_and_losses() -> list[Tensor]:
    model = mlp(members=2)
    set_prediction_mode(model, 1, SEEDS)
    sets = (POOL, POOL[:3], POOL[:1])  # the last leaves one process without any
    return [found for some in sets for found in (predict(model, BLOBS, some), mean_loss(model, BLOBS, some))]


def scored(name: str, density: DensityModel | None = None, passes: int = 1) -> list[Tensor]:
    view = PoolView(mlp(), density, BLOBS, TRAIN, POOL, 3, passes, SEEDS)
    few = PoolView(mlp(), density, BLOBS, TRAIN, POOL[:1], 3, passes, SEEDS)
    return [score_pool(HEURISTICS.get(name), view), score_pool(HEURISTICS.get(name), few)]


@computed
def scores_of_chance() -> list[Tensor]:
    return scored("random")


@computed
def entropies() -> list[Tensor]:
    return scored("entropy")


@computed
def disagreements_of_mc_dropout() -> list[Tensor]:
    return scored("bald", passes=4)


def surprises(head: object, dim_reduction: int = -1, train: Tensor = TRAIN) -> list[Tensor]:
    density = DensityModel(head, normalize=True, dim_reduction=dim_reduction)
    fit_density(density, mlp(), BLOBS, train, VAL)
    return scored("precomputed", density)


@computed
def surprises_of_gaussians() -> list[Tensor]:
    return surprises(GMM())


@computed
def surprises_of_gaussians_on_principal_axes() -> list[Tensor]:
    return surprises(GMM(), dim_reduction=4)


@computed
def surprises_of_gaussians_of_a_class_that_one_process_has_not() -> list[Tensor]:
    alone = torch.cat([TRAIN[TRAIN % 3 == 0][:12], TRAIN[TRAIN % 3 == 1][:12]])
    return surprises(GMM(), train=alone)


@computed
def surprises_of_a_greedy_search_by_moments() -> list[Tensor]:
    return surprises(GMM(GreedySearch(1, "l2", "mean")))


@computed
def surprises_of_a_greedy_search_by_medians() -> list[Tensor]:
    return surprises(GMM(GreedySearch(1, "l2", "median")))


@computed
def surprises_of_class_greedy_gaussians() -> list[Tensor]:
    return surprises(ClassGreedyGMM())


@computed
def surprises_of_neighbours() -> list[Tensor]:
    return surprises(KNN(max_samples=10))


@computed
def surprises_of_kernels() -> list[Tensor]:
    return surprises(KDE())


@computed
def batch_aware_picks() -> list[Tensor]:
    density = DensityModel(GMM(), normalize=False, dim_reduction=-1)
    fit_density(density, mlp(), BLOBS, TRAIN, VAL)
    picks = []
    for name in ("badge", "coreset", "hidden_coverage", "typiclust", "batchbald", "batch_hu"):
        passes = 4 if name == "batchbald" else 1
        view = PoolView(mlp(), density, BLOBS, TRAIN, POOL, 3, passes, SEEDS)
        acquisition = ACQUISITIONS.get(name)(TrainingConfig(heuristic=name))
        picks.append(acquisition.choose(acquisition.observe(view), 8, SEEDS).positions_Q)
    return picks


@computed
def evidence_of_a_pool_of_one() -> list[Tensor]:
    view = PoolView(mlp(), None, BLOBS, TRAIN, POOL[:1], 3, 4, SEEDS)
    return [collect("features", view), collect("member_log_probs", view), *collect("last_layer", view)]


@computed
def moments() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    features_N_D = torch.randn(40, 3, generator=generator) + 100
    labels_N = torch.arange(40) // 11
    own = processes.share(torch.arange(40))
    both = ClassMoments.of_batches((features_N_D[part], labels_N[part]) for part in own.split(7))
    # All of it is the first process's.
    first = torch.arange(40 if processes.first() else 0)
    alone = ClassMoments.of_batches(
        (features_N_D[part], labels_N[part]) for part in first.split(7) if len(part)
    )
    return [*both, *alone]


@computed
def scores_of_scenes() -> list[Tensor]:
    view = PoolView(
        normed(), None, SCENES, torch.arange(0), torch.arange(7), 3, 1, SEEDS, reduction("mean", 1.0)
    )
    return [score_pool(HEURISTICS.get("entropy"), view), collect("features", view)]


@computed
def metrics_of_scenes() -> list[Tensor]:
    model, found = normed().eval(), []
    for scenes in (7, 1):
        metrics = DenseMetrics(3, 255, "cpu")
        for index in processes.share(torch.arange(scenes)).split(1):
            if not len(index):
                continue
            with torch.no_grad():
                log_probs = model(SCENES.inputs(index)[None])[0].log_softmax(1)
            metrics.update(log_probs, -log_probs.amax(1), SCENES.labels(index))
        whole = metrics.of_all_processes().compute()
        found.append(torch.tensor([whole[name] for name in ("miou", "accuracy", "auroc", "ece", "pavpu")]))
    return found


@computed
def ranked_counts_beyond_their_capacity() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    values_N = torch.randn(2000, generator=generator)
    positive_N = torch.rand(2000, generator=generator) < 0.3
    counts = RankedCounts("cpu", capacity=64)
    for part in processes.share(torch.arange(2000)).split(100):
        counts.add(values_N[part], positive_N[part])
    area = counts.of_all_processes().area()
    assert area is not None
    return [torch.tensor([area.auroc])]


# ---- training -----------------------------------------------------------------------------------------------------


def trained(
    model: Network,
    source: object,
    batch_size: int,
    count: int,
    lr: float = 0.02,
    unlabelled_U: Tensor | None = None,
) -> list[Tensor]:
    training = TrainingConfig(epochs=3, batch_size=batch_size, early_stopping=False, load_best_model=False)
    # Not Adam, which makes a step as large as any of a gradient that is but rounding.
    optimizer = OptimizerConfig(type="sgd", lr=lr, momentum=0.9)
    indices = torch.arange(count)
    split = 2 * count // 3
    setting = Setting(
        *(source, indices[:split], indices[split:], training, optimizer, SEEDS), unlabelled_U=unlabelled_U
    )
    history = Training(model, setting).run()
    return [torch.tensor(history.train_loss), torch.tensor(history.val_loss), *member_state(model).values()]


@computed
def training_of_an_mlp() -> list[Tensor]:
    """40 inputs in batches of 13: the last batch has one, and one process none of it."""
    return trained(mlp(dropout=()), BLOBS, batch_size=13, count=60)


@computed
def training_with_the_pool_rebuilt() -> list[Tensor]:
    """Of the last batch one process has nothing, neither labelled nor of the pool."""
    torch.manual_seed(0)
    parts = [MIR(MLP((8,), (16, 6), 3, ()), MLPDecoder((8,), (16, 6)), 1.0, 0, 0.5) for _ in range(2)]
    return trained(stack_members(parts), BLOBS, batch_size=13, count=60, unlabelled_U=POOL)


@computed
def training_of_an_ensemble() -> list[Tensor]:
    return trained(mlp(3, dropout=()), BLOBS, batch_size=16, count=60)


@computed
def training_of_images() -> list[Tensor]:
    torch.manual_seed(0)
    return trained(CNN((1, 8, 8), (5, 5), (3, 3), 3, ()), Images(30, (1, 8, 8)), batch_size=8, count=30)


@computed
def training_with_batch_norm_on_scenes_with_void() -> list[Tensor]:
    """Scenes differ in their valid pixels, and so in what the processes' parts of a batch count for."""
    scenes = Scenes(12, (3, 16, 24))
    scenes.labels_N[::3, 3:] = 255
    return trained(normed(2), scenes, batch_size=4, count=12)


@computed
def training_with_batch_norm_on_a_last_batch_of_one() -> list[Tensor]:
    """9 scenes in batches of 4: one process has no part of the last, and nothing that it must do beside counts."""
    return trained(normed(), Scenes(13, (3, 16, 24)), batch_size=4, count=13)


@computed
def training_with_batch_norm_on_single_values() -> list[Tensor]:
    """Maps of one place: a last batch of one has no variance, and is normalised by the running statistics."""
    return trained(normed(), Scenes(13, (3, 2, 2)), batch_size=4, count=13)


@computed
def training_of_a_drn_in_float64() -> list[Tensor]:
    """Deep and normalised, it makes of float32's rounding in one step what shows in the next."""
    given = {"name": "drn_d_22", "dropout_probabilities": []}
    config = Config.model_validate({"name": "drn", "model": given})
    scenes = Scenes(9, (3, 32, 48))
    scenes.inputs_N_C_H_W = scenes.inputs_N_C_H_W.double()
    model = build_model(config, (3, 32, 48), 3, SEEDS, torch.device("cpu")).double()
    return trained(model, scenes, batch_size=4, count=9, lr=0.001)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    with processes.together(torch.device("cpu")):
        found = {name: function() for name, function in COMPUTED.items()}
        # What comes from the first, and numbers of which each process has another.
        told = processes.from_first({"who": processes.number(), "rows": [1, None, torch.arange(3)]})
        found["told"] = [torch.tensor([told["who"], told["rows"][0]]), told["rows"][2]]
        found["largest"] = [torch.tensor([processes.largest(processes.number())])]
        number = processes.number()
    torch.save(found, folder / f"{number}.pt")
