"""The typed schema of an experiment: every key, its type, its range and its default, held by ``Config``.

Reading files lives in ``load.py``, what must hold between keys in ``checks.py``. Names that registries own
(heuristics, datasets, backbones, density heads, distance metrics) are lower-cased text here; their owners
look them up and complain through ``Config.error``.
"""

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    model_validator,
)
from pydantic_core import PydanticCustomError

from src.config.checks import contradictions
from src.utils.errors import UserError

# What else lives in the folder of outputs, where a run's folder is called by its name.
RESERVED_NAMES = ("final_runs", "figures", "readme.md")


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _scheduler_alias(value: Any) -> Any:
    return "cosineannealing" if value == "cosannwarmup" else value


def _file_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", value) or value.lower() in RESERVED_NAMES:
        raise ValueError("not a plain file name")
    return value


def _distinct_names(value: Any) -> Any:
    """Refuse names that differ in case alone, of which the last would silently stand for all."""
    if isinstance(value, dict) and len({_lower(name) for name in value}) < len(value):
        raise ValueError("a name is given twice")
    return value


def _exactly(kind: type) -> BeforeValidator:
    """Keep 0 from passing for False, and -1.0 for -1, as they do in a Literal."""

    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError(f"not a {kind.__name__}")
        return value

    return BeforeValidator(check)


Natural = Annotated[int, Ge(0)]
Positive = Annotated[int, Ge(1)]
PositiveOrMinusOne = Annotated[Literal[-1], _exactly(int)] | Positive
PositiveOrFalse = Annotated[Literal[False], _exactly(bool)] | Positive
# Networks compute in float32, whose numbers end at 3.4e38.
NonNegativeFloat = Annotated[float, Ge(0), Le(1e38)]
PositiveFloat = Annotated[float, Gt(0), Le(1e38)]
WeightOrFalse = Annotated[Literal[False], _exactly(bool)] | PositiveFloat
UpToOne = Annotated[float, Ge(0), Le(1)]
BelowOne = Annotated[float, Ge(0), Lt(1)]
Text = Annotated[str, MinLen(1)]
FileName = Annotated[
    str,
    AfterValidator(_file_name),
    Field(
        description="a plain file name (letters, digits, '.', '_', '-'; no leading '.'; quoted if it looks "
        f"like a number; none of {', '.join(RESERVED_NAMES)})"
    ),
]
RegistryName = Annotated[str, MinLen(1), BeforeValidator(_lower)]

# YAML gives lists; a frozen config holds tuples, so the container alone is exempt from strictness.
FromList = Field(strict=False)
Naturals = Annotated[tuple[Natural, ...], FromList]
Layers = Annotated[tuple[Positive, ...], MinLen(1), FromList]
Probabilities = Annotated[tuple[BelowOne, ...], FromList]
ChannelMeans = Annotated[tuple[float, ...], FromList]
ChannelStds = Annotated[tuple[PositiveFloat, ...], FromList]
Betas = Annotated[tuple[BelowOne, BelowOne], FromList]

PixelReduction = Annotated[Literal["max", "min", "mean", "sum", "top", "none"], BeforeValidator(_lower)]
ClassReduction = Annotated[Literal["mean", "sum", "max", "min", "median"], BeforeValidator(_lower)]
Scheduler = Annotated[
    Literal["step", "poly", "reduce_on_plateau", "cosineannealing"],
    BeforeValidator(_scheduler_alias),  # validators run from the last to the first
    BeforeValidator(_lower),
]
Discrepancy = Annotated[
    Literal["l2", "l1", "val", "train", "val_l2", "val_l1", "train_l2", "train_val_l2", "train_val_l1"],
    BeforeValidator(_lower),
]
Covariance = Annotated[Literal["full", "tied", "diag", "shrinkage", "ledoit_wolf"], BeforeValidator(_lower)]
Precision = Annotated[Literal["float64", "float32"], BeforeValidator(_lower)]
Bandwidth = Annotated[Literal["validation", "scott"], BeforeValidator(_lower)] | PositiveFloat
NeighbourWeights = Annotated[Literal["uniform", "distance"], BeforeValidator(_lower)]
StochasticBatch = Annotated[Literal["power", "softmax", "softrank"], BeforeValidator(_lower)]
CoverRadius = Annotated[Literal["purity"], BeforeValidator(_lower)] | PositiveFloat
Weights = Annotated[
    dict[RegistryName, PositiveFloat],
    BeforeValidator(_distinct_names),
    Field(
        description="a mapping of heuristics, each named once in whatever case, to weights above 0, as "
        "{entropy: 0.5, precomputed: 0.5}"
    ),
]
SegmentationLoss = Annotated[Literal["cross_entropy", "dice", "dice_ce", "iou"], BeforeValidator(_lower)]
DenseFeatures = Annotated[Literal["logits", "hidden"], BeforeValidator(_lower)]
Oracle = Annotated[Literal["dataset", "file"], BeforeValidator(_lower)]
WandbMode = Annotated[Literal["online", "offline", "disabled"], BeforeValidator(_lower)]
OptimizerType = Annotated[Literal["adam", "sgd"], BeforeValidator(_lower)]


class Section(BaseModel):
    """A frozen group of keys: unknown keys, inexact types and non-finite numbers are refused."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_section_means_defaults(cls, data: Any) -> Any:
        return {} if data is None else data


class TrainingConfig(Section):
    """Acquisition, the budget of labels, and how one round's model is fitted."""

    heuristic: RegistryName = "precomputed"
    reduction: PixelReduction = "mean"
    top_fraction: Annotated[float, Gt(0), Le(1)] = 0.1
    shuffle_prop: UpToOne = 0.2
    stochastic_batch: StochasticBatch | None = None
    stochastic_coldness: PositiveFloat = 1.0
    combination: Weights | None = None
    probcover_delta: CoverRadius = "purity"
    max_pool_samples: PositiveOrMinusOne = -1
    save_scores: bool = False
    ndata_to_label: Natural | Naturals = 20
    iterations: Positive = 10
    initially_labelled: Positive = 20
    initially_balanced: bool = True
    batch_size: Positive = 16
    epochs: Positive = 60
    scheduler: Scheduler | None = "step"
    lr_reduce_factor: Annotated[float, Gt(0), Le(1)] = 0.1
    patience_lr_reduce: Natural = 20
    poly_reduce: NonNegativeFloat = 0.9
    early_stopping: bool = True
    patience_early_stopping: Natural = 20
    load_best_model: bool = True
    loss: SegmentationLoss = "cross_entropy"
    crop_size: Positive = 128
    verbose: bool = True


class DataConfig(Section):
    """The dataset, its split and what is done to its images; null sizes are the dataset's own."""

    dataset: RegistryName = "digits"
    path: Text = "./data"
    nb_classes: Positive | None = None
    img_rows: Positive | None = None
    img_cols: Positive | None = None
    img_channels: Positive | None = None
    val_size: Annotated[float, Gt(0), Lt(1)] = 0.2
    distinct_images: Positive | None = None
    oracle: Oracle = "dataset"
    resize: bool = False
    augmentation: bool = False
    rgb_normalization: bool = False
    mean: ChannelMeans | None = None
    std: ChannelStds | None = None
    ignore_label: int = 255


class MirConfig(Section):
    """The maximally informative representation: backbone, reconstruction decoder and density head."""

    backbone: RegistryName = "mlp"
    reconstruction_weight: NonNegativeFloat = 1.0
    reconstruct_pool: WeightOrFalse = False
    warmup: PositiveOrFalse = False
    feature_dims: Positive | None = None
    features: DenseFeatures = "logits"
    decoder_bn: bool = True
    num_res_blocks: Positive = 1
    density_model: RegistryName = "knn"
    normalize_features: bool = False
    dim_reduction: PositiveOrMinusOne = -1
    covariance: Covariance = "full"
    scoring_precision: Precision = "float64"
    greedy_search: bool = False
    search_step_size: Positive = 1
    reduction: ClassReduction = "mean"
    metric: Discrepancy = "train_val_l2"
    knn_neighbours: Positive = 5
    knn_weights: NeighbourWeights = "distance"
    knn_metric: RegistryName = "euclidean"
    kde_bandwidth: Bandwidth = "validation"
    max_samples: PositiveOrMinusOne = 5000


class DeeplabConfig(Section):
    """DeepLabv3+ alone."""

    backbone: RegistryName = "resnet18"


class ModelConfig(Section):
    """The network and its members; null sizes come from the data."""

    name: RegistryName = "mir"
    ensemble: Positive = 1
    mc_dropout: bool = False
    mc_iterations: Positive = 1
    input_height: Positive | None = None
    input_width: Positive | None = None
    input_channels: Positive | None = None
    output_size: Positive | None = None
    hidden_layers: Layers = (128, 128)
    kernel_sizes: Layers = (3, 3)
    dropout_probabilities: Probabilities = (0.25,)
    use_bias: bool = True
    kl_div_weight: NonNegativeFloat = 1e-4
    small_image_stem: bool = False
    mixed_precision: bool = False
    channels_last: bool = False
    pretrained: bool = False
    pretrained_model: Text | None = None
    use_torch_up: bool = False
    mir_configs: MirConfig = MirConfig()
    deeplab_configs: DeeplabConfig = DeeplabConfig()


class OptimizerConfig(Section):
    """The optimiser's step; ``T0`` is the cosine scheduler's restart period in epochs."""

    type: OptimizerType = "adam"
    lr: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 1e-4
    betas: Betas = (0.9, 0.999)
    momentum: BelowOne = 0.9
    T0: Positive = 10


@dataclass(frozen=True)
class Sources:
    """Where each dotted key was given, as "file:line" or "--set key"; no part of a config's equality."""

    places: dict[str, str] | None = field(compare=False)

    def prefix(self, key: str) -> str:
        """What an error about ``key`` begins with; the key alone for a config that code constructed."""
        if self.places is None:
            return key
        if key not in self.places:
            return f"{key} (default)"
        place = self.places[key]
        return place if place == f"--set {key}" else f"{place}: {key}"


class Config(Section):
    """One experiment. Construct it directly for a test, or from a file with ``load_config``."""

    name: FileName
    random_state: Naturals = (3, 11, 42)
    runs: Positive = 1
    save_plot: bool = False
    save_df: bool = True
    save_gallery: bool = False
    tensorboard_logging: bool = False
    wandb_logging: bool = False
    wandb_project: Text = "hidden-uncertainty"
    wandb_entity: Text | None = None
    wandb_mode: WandbMode | None = None
    week: int = 0
    training: TrainingConfig = TrainingConfig()
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()

    _sources: Sources = PrivateAttr(default=Sources(None))

    @model_validator(mode="after")
    def _keys_agree(self) -> "Config":
        if problems := contradictions(self):
            text = "; ".join(f"{key}: {message}" for key, message in problems)
            raise PydanticCustomError("contradiction", "{text}", {"text": text, "problems": problems})
        return self

    def model_post_init(self, context: Any) -> None:
        """Keep the sources that ``load_config`` passes along as the validation context."""
        if isinstance(context, Sources):
            self._sources = context

    def error(self, key: str, message: str) -> UserError:
        """The error, for the caller to raise, that ``key`` (dotted, such as "model.name") holds a bad value.

        The message begins with the file and line that gave the key, or says that it is the default.
        """
        return UserError(f"{self._sources.prefix(key)}: {message}")
