"""The configs that come with the project load, and say what they are meant to say."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from src.active.plan import ENTRY_SCRIPTS, make_plan
from src.config import Config, load_config
from src.config.wording import SECTIONS
from src.data import task_of
from tests.experiments import CONFIGS, FINAL_RUNS, ROOT, SHIPPED

ABLATIONS = CONFIGS / "ablations"
COLD_START = CONFIGS / "cold_start"
# Heuristic and ensemble.
COLD_METHODS = {
    "random": ("random", 1),
    "softmax": ("entropy", 1),
    "margin": ("margin", 1),
    "de": ("entropy", 3),
    "knn": ("precomputed", 1),
    "coreset": ("coreset", 1),
    "typiclust": ("typiclust", 1),
    "badge": ("badge", 1),
    "hidden_coverage": ("hidden_coverage", 1),
}
METHODS = ["random", "softmax", "mcd", "de", "hu", "hu_greedy_l2", "knn"]
DENSE_METHODS = ["random", "softmax", "mcd", "hu", "hu_greedy_l2", "knn", "class_greedy"]
# The network of each dataset's experiments, by itself and as the backbone of HU methods.
NETWORKS = {"mnist": "mlp", "fashion_mnist": "mlp", "cifar10": "resnet18", "svhn": "resnet18"}
DENSE = {"cityscape": "drn_d_22", "camvid": "deeplabv3plus"}
METHODS_OF = {**dict.fromkeys(NETWORKS, METHODS), **dict.fromkeys(DENSE, DENSE_METHODS)}
# The last rounds have every label there is.
MNIST_LABELS = [100, 200, 400, 600, 800, 1000, 2000, 4000, 6000, 8000, 10000, 20000, 30000, 40000, 48000]
PUBLISHED_LABELS = {
    "mnist": MNIST_LABELS,
    "fashion_mnist": MNIST_LABELS,
    "cityscape": [100, 200, 400, 600, 800, 1000, 2000, 2380],
}
DISCREPANCIES = ["l1", "val", "val_l1", "val_l2"]  # beside l2, the main experiment's
# What makes the method: the keys in which methods of a dataset may differ.
OF_METHODS: Any = {
    "name": True,
    "training": {"heuristic"},
    "model": {"name", "mc_dropout", "mc_iterations", "ensemble", "mir_configs"},
}


def keys(data: dict[str, object], section: str = "") -> set[str]:
    found = set()
    for name, value in data.items():
        dotted = f"{section}.{name}".lstrip(".")
        found |= keys(value, dotted) if isinstance(value, dict) else {dotted}
    return found


def test_config_yaml_holds_every_key_at_its_default() -> None:
    path = ROOT / "config.yaml"
    config = load_config(path)
    assert config == Config(name=config.name)
    every = {
        f"{section}.{key}".lstrip(".") for section, model in SECTIONS.items() for key in model.model_fields
    }
    assert keys(yaml.safe_load(path.read_text())) == every - SECTIONS.keys()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_experiment_config_loads_under_its_file_name(path: Path) -> None:
    assert load_config(path).name == path.stem


def test_every_experiment_has_one_command_that_names_its_file() -> None:
    commands = [
        line.split()
        for line in (CONFIGS / "experiment_commands.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    named = [ROOT / path for _, _, _, path in commands]
    assert sorted(named) == SHIPPED
    for (python, script, option, _), path in zip(commands, named, strict=True):
        task = task_of(load_config(path).data.dataset)
        assert (python, script, option) == ("python3", ENTRY_SCRIPTS[task], "--config_path")


@pytest.mark.parametrize(
    ("dataset", "method"),
    [
        *((dataset, method) for dataset in METHODS_OF for method in METHODS_OF[dataset]),
        ("camvid", "hidden_coverage"),
    ],
)
def test_methods_share_all_but_the_method(dataset: str, method: str) -> None:
    config = load_config(FINAL_RUNS / f"{dataset}_{method}.yaml")
    reference = load_config(FINAL_RUNS / f"{dataset}_random.yaml")
    assert config.model_dump(exclude=OF_METHODS) == reference.model_dump(exclude=OF_METHODS)


@pytest.mark.parametrize("dataset", METHODS_OF)
def test_hidden_uncertainty_methods_share_all_but_the_density(dataset: str) -> None:
    own = {"density_model", "greedy_search", "search_step_size", "reduction", "metric"}
    own |= {"knn_neighbours", "knn_weights", "knn_metric", "max_samples"}
    methods = [method for method in METHODS_OF[dataset] if method.startswith(("hu", "knn", "class_greedy"))]
    shared = [
        load_config(FINAL_RUNS / f"{dataset}_{method}.yaml").model.mir_configs.model_dump(exclude=own)
        for method in methods
    ]
    assert shared == shared[:1] * len(methods)


@pytest.mark.parametrize("dataset", METHODS_OF)
def test_methods_are_the_published_ones(dataset: str) -> None:
    network = {**NETWORKS, **DENSE}[dataset]

    def method(name: str) -> tuple[object, ...]:
        config = load_config(FINAL_RUNS / f"{dataset}_{name}.yaml")
        model, mir = config.model, config.model.mir_configs
        density = (mir.backbone, mir.density_model, mir.greedy_search) if model.name == "mir" else None
        return (
            config.training.heuristic,
            model.name,
            model.ensemble,
            model.mc_dropout,
            model.mc_iterations,
            density,
        )

    published = {
        "random": ("random", network, 1, False, 1, None),
        "softmax": ("entropy", network, 1, False, 1, None),
        "mcd": ("entropy", network, 1, True, 10, None),
        "de": ("entropy", network, 3, False, 1, None),
        "hu": ("precomputed", "mir", 1, False, 1, (network, "gmm", False)),
        "hu_greedy_l2": ("precomputed", "mir", 1, False, 1, (network, "gmm", True)),
        "knn": ("precomputed", "mir", 1, False, 1, (network, "knn", False)),
        "class_greedy": ("precomputed", "mir", 1, False, 1, (network, "gmm_seg", True)),
    }
    assert {name: method(name) for name in METHODS_OF[dataset]} == {
        name: published[name] for name in METHODS_OF[dataset]
    }


def test_camvid_is_covered_in_the_hidden_map() -> None:
    config = load_config(FINAL_RUNS / "camvid_hidden_coverage.yaml")
    assert config.training.heuristic == "hidden_coverage"
    assert (config.model.mir_configs.backbone, config.model.mir_configs.features) == (
        "deeplabv3plus",
        "hidden",
    )


@pytest.mark.parametrize(
    ("ablation", "of", "changed"),
    [
        *((f"hu_greedy_{metric}", "hu_greedy_l2", {"metric": metric}) for metric in DISCREPANCIES),
        ("hu_lambda100", "hu", {"reconstruction_weight": 100.0}),
        ("hu_greedy_l2_lambda100", "hu_greedy_l2", {"reconstruction_weight": 100.0}),
    ],
)
def test_an_ablation_varies_one_key(ablation: str, of: str, changed: dict[str, object]) -> None:
    config = load_config(ABLATIONS / f"ablation_mnist_{ablation}.yaml")
    expected = load_config(FINAL_RUNS / f"mnist_{of}.yaml").model_dump()
    assert expected["model"]["mir_configs"].items().isdisjoint(changed.items())
    expected["name"] = config.name
    expected["model"]["mir_configs"] |= changed
    assert config.model_dump() == expected


def test_the_ablations_are_all_there_and_start_from_l2_and_a_weight_of_one() -> None:
    assert len(list(ABLATIONS.iterdir())) == len(DISCREPANCIES) + 2
    greedy = load_config(FINAL_RUNS / "mnist_hu_greedy_l2.yaml").model.mir_configs
    assert (greedy.metric, greedy.reconstruction_weight) == ("l2", 1)


@pytest.mark.parametrize("dataset", PUBLISHED_LABELS)
def test_rounds_are_at_the_published_numbers_of_labels(dataset: str) -> None:
    assert make_plan(load_config(FINAL_RUNS / f"{dataset}_random.yaml")).labels == PUBLISHED_LABELS[dataset]


def test_fashion_mnist_is_run_as_mnist_is() -> None:
    mnist, fashion = (load_config(FINAL_RUNS / f"{name}_random.yaml") for name in ("mnist", "fashion_mnist"))
    own: Any = {"name": True, "data": {"dataset"}}
    assert fashion.model_dump(exclude=own) == mnist.model_dump(exclude=own)


@pytest.mark.parametrize("method", COLD_METHODS)
@pytest.mark.parametrize("dataset", ["mnist", "fashion_mnist"])
def test_cold_starts_differ_in_the_query_and_its_members_only(dataset: str, method: str) -> None:
    found = load_config(COLD_START / f"cold_{dataset}_{method}.yaml").model_dump()
    heuristic, ensemble = COLD_METHODS[method]
    assert (found["training"]["heuristic"], found["model"]["ensemble"]) == (heuristic, ensemble)
    expected = load_config(COLD_START / "cold_mnist_random.yaml").model_dump()
    expected["name"], expected["data"]["dataset"] = found["name"], dataset
    expected["training"]["heuristic"], expected["model"]["ensemble"] = heuristic, ensemble
    assert found == expected


def test_cold_starts_are_ten_pairs_without_shuffling() -> None:
    config = load_config(COLD_START / "cold_mnist_random.yaml")
    assert len(set(config.random_state[: config.runs])) == 10
    assert config.training.shuffle_prop == 0
    assert make_plan(config).labels == MNIST_LABELS[:11]
    assert len(list(COLD_START.iterdir())) == 2 * len(COLD_METHODS)


def test_svhn_is_run_as_cifar10_is_without_mirrored_digits() -> None:
    cifar, svhn = (load_config(FINAL_RUNS / f"{name}_random.yaml") for name in ("cifar10", "svhn"))
    own: Any = {"name": True, "data": {"dataset", "augmentation", "mean", "std"}}
    assert svhn.model_dump(exclude=own) == cifar.model_dump(exclude=own)
    assert not svhn.data.augmentation


def test_cifar10_rounds_end_with_every_label() -> None:
    config = load_config(FINAL_RUNS / "cifar10_random.yaml")
    assert isinstance(config.training.ndata_to_label, tuple)
    labels = config.training.initially_labelled + sum(config.training.ndata_to_label)
    assert labels == 50_000 * (1 - config.data.val_size)
    assert len(config.training.ndata_to_label) == config.training.iterations - 1


# A config as users have them: every key of the schema, names in the case they write them in.
USERS_CONFIG = """
name: cityscapes_HU
random_state: [3, 11, 42]
runs: 3
save_plot: False
save_df: True
wandb_logging: False
week: 12
training:
  heuristic: BatchBALD
  reduction: Mean
  shuffle_prop: 0.05
  batch_size: 8
  epochs: 100
  ndata_to_label: [50, 50, 100]
  iterations: 4
  initially_labelled: 50
  initially_balanced: False
  verbose: True
  scheduler: CosAnnWarmup
  lr_reduce_factor: 0.5
  patience_lr_reduce: 25
  poly_reduce: 0.9
  early_stopping: False
  load_best_model: True
  patience_early_stopping: 30
  crop_size: 256
data:
  dataset: Cityscapes
  nb_classes: 19
  img_rows: 256
  img_cols: 512
  img_channels: 3
  val_size: 0.1
  resize: True
  augmentation: True
  rgb_normalization: True
  mean: [0.2902, 0.2976, 0.3042]
  std: [0.1829, 0.1875, 0.1877]
  path: ./data/cityscapes
  ignore_label: 255
model:
  name: MIR
  ensemble: 1
  mc_dropout: True
  mc_iterations: 5
  mir_configs:
    backbone: DRN_D_22
    reconstruction_weight: 1
    density_model: GMM_seg
    warmup: False
    feature_dims: 19
    normalize_features: True
    dim_reduction: -1
    decoder_bn: True
    num_res_blocks: 2
    greedy_search: True
    search_step_size: 2
    reduction: Median
    metric: Val_L1
    knn_weights: Distance
    knn_metric: Cosine
    knn_neighbours: 5
    max_samples: -1
  deeplab_configs:
    backbone: ResNet50
  input_height: 256
  input_width: 512
  input_channels: 3
  output_size: 19
  hidden_layers: [128, 128]
  kernel_sizes: [3, 3]
  dropout_probabilities: [0.25, 0.5]
  use_bias: True
  kl_div_weight: 1e-3
  pretrained: True
  pretrained_model: ./weights/DRN.pth
  use_torch_up: False
optimizer:
  type: Adam
  lr: 1e-3
  momentum: 0.9
  weight_decay: 1e-4
  betas: [0.9, 0.999]
  T0: 10
"""


def test_a_config_with_every_key_in_mixed_case_loads(tmp_path: Path) -> None:
    path = tmp_path / "users.yaml"
    path.write_text(USERS_CONFIG)
    config = load_config(path)
    assert config.training.scheduler == "cosineannealing"
    assert config.model.mir_configs.density_model == "gmm_seg"
    assert config.model.pretrained_model == "./weights/DRN.pth"
    assert config.optimizer.weight_decay == 1e-4
