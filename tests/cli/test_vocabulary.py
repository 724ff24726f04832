"""``--check`` passes every word of the schema, passes or explains any mixture of them, and what it passes runs to its
end."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from src.models.architectures import DRNS
from tests.experiments import rows, run_cli, settings_of

# The schema's words as the documentation of the config lists them, some in another case.
VOCABULARY = """\
training.heuristic random entropy bald batchbald variance margin certainty precomputed BALD Entropy
training.heuristic coreset badge typiclust probcover batch_hu hidden_coverage combination CoreSet BADGE
training.stochastic_batch softmax softrank null
training.probcover_delta purity
training.reduction max min mean sum none
training.scheduler step poly reduce_on_plateau cosineannealing CosAnnWarmup null
data.dataset digits mnist fashion_mnist dirty_mnist svhn cifar10 cifar100 MNIST
data.dataset cityscapes cityscapes_yu voc synthetic_streets
model.name MIR MLP CNN BNN BCNN UNet deeplabv3plus mlp mir
model.name resnet18 resnet34 resnet50 resnet101 resnet152
model.name resnext50_32x4d resnext101_32x8d wide_resnet50_2 wide_resnet101_2 drn_c_26 drn_c_42 drn_c_58
model.name drn_d_22 drn_d_24 drn_d_38 drn_d_40 drn_d_54 drn_d_56 drn_d_105 drn_d_107
model.mir_configs.backbone MLP resnet18 resnet50 drn_d_22 drn_c_26 deeplabv3plus
model.mir_configs.density_model gmm knn gmm_seg kde
model.mir_configs.reduction mean sum max min median
model.mir_configs.metric l2 l1 val train val_l2 val_l1 train_l2 train_val_l2 train_val_l1
model.mir_configs.knn_weights uniform distance
model.mir_configs.knn_metric euclidean cosine manhattan chebyshev
model.deeplab_configs.backbone resnet18 resnet101
optimizer.type adam sgd Adam SGD
"""
WORDS = [(key, word) for key, *words in map(str.split, VOCABULARY.splitlines()) for word in words]
SCENES = ("cityscapes", "cityscapes_yu", "voc", "synthetic_streets")
DENSE = {"unet", "deeplabv3plus", *DRNS, *SCENES}
"""Words of segmentation, which go with each other and with no word of classification."""
# What to mix: words that work, values that contradict some other, and some that are always refused.
MIXTURE = {
    **{key: [word for name, word in WORDS if name == key] for key, _ in WORDS},
    # Deep ones take long to check.
    "model.name": ["mlp", "mir", "cnn", "bnn", "bcnn", "resnet18", "unet", "drn_d_22"],
    "model.mir_configs.backbone": ["mlp", "resnet18", "drn_d_22"],
    "training.initially_balanced": ["true", "false"],
    "training.max_pool_samples": ["-1", "50"],
    "training.ndata_to_label": ["0", "5000", "[1, 2, 3, 4, 5, 6, 7, 8, 9]"],
    "training.iterations": ["1", "10"],
    "training.initially_labelled": ["1", "200"],
    "data.val_size": ["0.001", "0.5", "0.999"],
    "data.augmentation": ["false", "true"],
    "data.rgb_normalization": ["false", "true"],
    "data.mean": ["null", "[0.5]", "[0.5, 0.5, 0.5]"],
    "data.std": ["null", "[0.2]", "[0.2, 0.2, 0.2]"],
    "data.img_rows": ["null", "8", "32"],
    "model.ensemble": ["1", "3"],
    "model.mc_dropout": ["false", "true"],
    "model.mc_iterations": ["1", "10"],
    "model.hidden_layers": ["[128, 128]", "[1]", "[64, 32, 16]"],
    "model.dropout_probabilities": ["[0.25]", "[]", "[0.1, 0.2, 0.3, 0.4, 0.5]"],
    "model.small_image_stem": ["false", "true"],
    "model.mixed_precision": ["false", "true"],
    "model.channels_last": ["false", "true"],
    "model.pretrained": ["false", "true"],
    "model.mir_configs.reconstruction_weight": ["0.0", "0.5", "2.0"],
    "model.mir_configs.warmup": ["false", "10"],
    "model.mir_configs.feature_dims": ["null", "128"],
    "model.mir_configs.dim_reduction": ["-1", "10", "500"],
    "model.mir_configs.greedy_search": ["false", "true"],
    "wandb_logging": ["true", "false"],
    "runs": ["1", "3", "5"],
}


# What would refuse most mixtures, or take most of their time.
HINDERING = {
    *("data.dataset", "data.img_rows", "model.name", "model.pretrained"),
    *("data.rgb_normalization", "runs", "model.mir_configs.feature_dims", "training.initially_labelled"),
    "model.mir_configs.backbone",
}


def passes_or_explains(config: Path, values: dict[str, str]) -> tuple[int, str]:
    """Check the config with these values over it: no traceback, and a refusal says which key and what else to do."""
    status, out, err = run_cli("--config_path", config, "--check", *settings_of(values), task=None)
    if status == 0:
        assert "the config is good" in out
        assert not err
    else:
        assert status == 2
        assert not out
        assert err.startswith("error: ")
        assert any(key in err for key in values), err
    return status, err


@pytest.mark.parametrize(("key", "word"), WORDS)
def test_check_passes_or_explains_every_word_of_the_schema(key: str, word: str, digits_config: Path) -> None:
    values = {key: word}
    if key == "data.dataset":
        values["data.nb_classes"] = "null"
    if key.startswith("model.mir_configs"):
        values = {"model.name": "MIR", "training.heuristic": "precomputed", **values}
    if word.lower() in ("bald", "batchbald", "variance"):
        values["model.ensemble"] = "2"
    if word in ("precomputed", "batch_hu"):
        values["model.name"] = "MIR"
    if word == "combination":
        values["training.combination"] = "{entropy: 0.5, margin: 0.5}"
    if word.lower() == "mir":
        values["training.heuristic"] = "precomputed"
    if word.lower() in DENSE:
        scenes = {"data.dataset": "synthetic_streets", "data.nb_classes": "null", "model.name": "unet"}
        values = {**scenes, "data.resize": "true", "data.img_rows": "32", "data.img_cols": "64", **values}
    status, err = passes_or_explains(digits_config, values)
    assert status == 0, err


def test_check_explains_segmentation_datasets_to_the_classification_script(digits_config: Path) -> None:
    for name in SCENES:
        status, _, err = run_cli("--config_path", digits_config, "--check", "--set", f"data.dataset={name}")
        assert status == 2
        assert "active_learning_segmentation.py" in err


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries({}, optional={key: st.sampled_from(values) for key, values in MIXTURE.items()}))
def test_check_passes_or_explains_any_mixture_of_the_schema(
    digits_config: Path, values: dict[str, str]
) -> None:
    # A mixture contradicts QUICK's own keys too, and is then refused at the line of one of those.
    digits_config.write_text("name: mixture\n")
    status, out, err = run_cli("--config_path", digits_config, "--check", *settings_of(values), task=None)
    assert (status, bool(out), bool(err)) in ((0, True, False), (2, False, True))
    if status == 2:
        assert err.startswith("error: ")
        assert re.match(r"error: (--set )?(training|data|model|optimizer|random_state|runs)\b", err), err


@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
@given(
    st.fixed_dictionaries(
        {"model.name": st.sampled_from(["MIR", "MLP"]), "data.dataset": st.just("digits")},
        optional={key: st.sampled_from(values) for key, values in MIXTURE.items() if key not in HINDERING},
    )
)
def test_what_check_calls_good_runs_to_its_end(
    digits_config: Path, tmp_path_factory: pytest.TempPathFactory, values: dict[str, str]
) -> None:
    digits_config.write_text(
        "name: mixture\ntraining: {epochs: 1, iterations: 2, initially_labelled: 30, verbose: false}\n"
        "model: {hidden_layers: [8, 8]}\n"
    )
    outputs = tmp_path_factory.mktemp("outputs")
    arguments = ("--config_path", digits_config, "--output_dir", outputs, *settings_of(values))
    assume(run_cli(*arguments, "--check").status == 0)
    status, _, err = run_cli(*arguments)
    assert status == 0, err
    labels = re.search(r"labels ([\d, ]+)$", run_cli(*arguments, "--check").out, re.MULTILINE)[1]  # type: ignore[index]
    assert labels == ", ".join(str(row["labelled"]) for row in rows(outputs / "mixture" / "run_1"))
