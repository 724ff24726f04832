"""What a config comes to before any data is touched: the checks that take a dataset's facts or a model's, and sizes.
Checks of keys against keys are the config's own."""

from dataclasses import dataclass

from src.active.acquisition import ACQUISITIONS, Acquisition
from src.active.batch import BATCH_HEURISTICS
from src.active.heuristics import HEURISTICS
from src.active.maps import reduction
from src.active.segmentation import Segmentation
from src.active.task import Classification, Task
from src.config import Config
from src.data import DatasetInfo, dataset_info, task_of
from src.models.bayesian import BAYESIAN
from src.models.build import check_model
from src.models.density import DENSITY_HEADS
from src.utils.errors import UserError

ENTRY_SCRIPTS = {
    "classification": "active_learning_classification.py",
    "segmentation": "active_learning_segmentation.py",
}


@dataclass(frozen=True)
class Plan:
    """What a config comes to, known without data: the dataset's facts, the acquisition, sizes and budgets."""

    info: DatasetInfo
    task: Task
    acquisition: Acquisition
    parameters: int
    labels: list[int]
    """Labelled inputs in each round."""
    train_size: int
    val_size: int

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, rows, columns."""
        return self.info.channels, self.info.rows, self.info.cols


def make_plan(config: Config, script: str | None = None) -> Plan:
    """Check everything that can be checked without data; UserError names the key, and its line where known.

    ``script`` is the task that the entry script is for; None takes the dataset's.
    """
    _check_task(config, script)
    info = dataset_info(config)
    acquisition = check_heuristic(config)
    if info.task == "segmentation":
        _check_dense(config, acquisition)
    parameters = check_model(
        config, (info.channels, info.rows, info.cols), info.nb_classes, dense=info.task == "segmentation"
    )
    val_size = round(info.train_size * config.data.val_size)
    train_size = info.train_size - val_size
    if not val_size or not train_size:
        raise config.error("data.val_size", f"of {info.train_size} inputs leaves {val_size} for validation")
    if config.training.initially_labelled > train_size:
        raise config.error(
            "training.initially_labelled",
            f"{config.training.initially_labelled} exceeds the {train_size} inputs that {info.name} has left "
            f"after data.val_size {config.data.val_size}",
        )
    balanced = config.training.initially_balanced and info.task == "classification"
    few = balanced and config.training.initially_labelled <= info.nb_classes
    density = config.model.mir_configs.density_model
    if few and config.model.name == "mir" and DENSITY_HEADS.get(density).samples_per_class > 1:
        raise config.error(
            "training.initially_labelled",
            f"{config.training.initially_labelled} balanced labels give no class of {info.nb_classes} the two that a "
            f"{density} density needs; label at least {info.nb_classes + 1}",
        )
    scored, most = config.training.max_pool_samples, max(queries(config), default=0)
    if scored != -1 and scored < most:
        raise config.error(
            "training.max_pool_samples",
            f"{scored} inputs are scored and training.ndata_to_label asks for {most} of them; raise it, or -1 to "
            "score the whole pool",
        )
    task = make_task(config, info, acquisition)
    return Plan(info, task, acquisition, parameters, budget(config, train_size), train_size, val_size)


def make_task(config: Config, info: DatasetInfo, acquisition: Acquisition) -> Task:
    """The dataset's task as this config wants it done."""
    if info.task == "classification":
        return Classification(info.nb_classes, info.class_names)
    training = config.training
    return Segmentation(
        info,
        config.data.ignore_label,
        acquisition.uncertainty,
        reduction(training.reduction, training.top_fraction),
    )


def queries(config: Config) -> list[int]:
    """Labels asked for after each round but the last."""
    labels = config.training.ndata_to_label
    count = config.training.iterations - 1
    return [labels] * count if isinstance(labels, int) else list(labels[:count])


def budget(config: Config, train_size: int) -> list[int]:
    """Labelled inputs in each round; rounds end once all of ``train_size`` are labelled."""
    labels = [config.training.initially_labelled]
    for count in queries(config):
        if labels[-1] == train_size:
            break
        labels.append(min(train_size, labels[-1] + count))
    return labels


def check_heuristic(config: Config) -> Acquisition:
    """The acquisition that the config names, if the model can feed it; UserError at the line of the key otherwise."""
    key, name, model = "training.heuristic", config.training.heuristic, config.model
    _check_combination(config)
    try:
        acquisition = ACQUISITIONS.get(name)(config.training)
    except UserError as error:
        raise config.error(key, str(error)) from None

    def consumer(*what: str) -> str | None:
        """What consumes any of this, by name: of a combination the first part that does."""
        if name == "combination":
            parts = config.training.combination or {}
            return next(
                (f"{part}' of the 'combination" for part in parts if HEURISTICS.get(part).consumes in what),
                None,
            )
        return None if acquisition.consumes.isdisjoint(what) else name

    density = consumer("surprise", "density")
    if density and model.name != "mir":
        raise config.error(
            key,
            f"'{density}' scores by a density head, and model.name '{model.name}' has none; "
            "use model.name MIR or another heuristic",
        )
    one_network = consumer(
        "surprise", "density", "features", "labelled_features", "doubtful_features", "last_layer"
    )
    if one_network and model.ensemble > 1:
        raise config.error(key, f"'{one_network}' reads one network's features; set model.ensemble to 1")
    members = consumer("members", "member_log_probs")
    if members and max(model.ensemble, mc_passes(config)) < 2:
        raise config.error(
            key,
            f"'{members}' measures disagreement and needs members; set model.ensemble ≥ 2, "
            "or model.mc_dropout (not for a BNN or BCNN) with model.mc_iterations ≥ 2",
        )
    try:
        acquisition.check(model)
    except UserError as error:
        raise config.error(key, f"'{name}' {error}") from None
    _check_stochastic_batch(config, acquisition)
    return acquisition


def _check_dense(config: Config, acquisition: Acquisition) -> None:
    """What cannot be had of maps; UserError at the key."""
    one_an_input = {"member_log_probs", "last_layer", "density"}
    if not acquisition.consumes.isdisjoint(one_an_input):
        raise config.error(
            "training.heuristic",
            f"'{config.training.heuristic}' needs one distribution or feature vector an input, and a scene has one a "
            "pixel; use a heuristic of single inputs, or coreset, typiclust, probcover, hidden_coverage, which see a "
            "scene's mean features",
        )
    if config.training.reduction == "none":
        raise config.error(
            "training.reduction",
            "none leaves a map of scores, which ranks no scenes; use mean, sum, max, min or top",
        )


def _check_combination(config: Config) -> None:
    weights, key = config.training.combination, "training.combination"
    if config.training.heuristic == "combination" and not weights:
        raise config.error(
            key, "'combination' needs heuristics with their weights, as {entropy: 0.5, precomputed: 0.5}"
        )
    for name in weights or {}:
        if name in BATCH_HEURISTICS:
            raise config.error(
                key, f"'{name}' chooses its batch as a whole and cannot be combined; take it out"
            )
        try:
            HEURISTICS.get(name)
        except UserError as error:
            raise config.error(key, str(error)) from None


def _check_stochastic_batch(config: Config, acquisition: Acquisition) -> None:
    kind, name = config.training.stochastic_batch, config.training.heuristic
    if kind is None or kind in acquisition.perturbations:
        return
    if acquisition.perturbations:
        raise config.error(
            "training.stochastic_batch",
            f"power takes scores that are never negative, and those of '{name}' may be; "
            f"use {' or '.join(acquisition.perturbations)}",
        )
    raise config.error(
        "training.stochastic_batch",
        f"{kind} makes a batch of single scores, and '{name}' chooses its batch as a whole; set it to null",
    )


def mc_passes(config: Config) -> int:
    """Monte-Carlo passes at inference, by dropout or by weight samples; 1 means a deterministic network."""
    model = config.model
    return model.mc_iterations if model.mc_dropout or model.name in BAYESIAN else 1


def _check_task(config: Config, task: str | None) -> None:
    try:
        own = task_of(config.data.dataset)
    except UserError as error:
        raise config.error("data.dataset", str(error)) from None
    if task is not None and own != task:
        raise config.error(
            "data.dataset", f"'{config.data.dataset}' is for {own}; run {ENTRY_SCRIPTS[own]} on this config"
        )


def reconstructs_pool(config: Config) -> bool:
    """Whether the network learns to rebuild unlabelled inputs too."""
    return config.model.name == "mir" and config.model.mir_configs.reconstruct_pool is not False
