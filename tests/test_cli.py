"""The command line as its users meet it: the shipped config from end to end, ``--check``, and the entry scripts."""

import csv
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from matplotlib.image import imread

from src import cli
from src.active.loop import run_rounds
from src.data.published import PublishedDataset
from src.models.architectures import DRNS
from tests.experiments import (
    CONFIGS,
    FINAL_RUNS,
    ROOT,
    SHIPPED,
    command,
    determinism_restored,
    environment,
    one_thread,
    results,
    rows,
    run_cli,
    settings_of,
    tree,
)

ENTRY_SCRIPTS = ["active_learning_classification.py", "active_learning_segmentation.py"]

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


@pytest.fixture(autouse=True)
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dataset: PublishedDataset) -> None:
        raise AssertionError(f"{dataset.info.name} was about to be downloaded")

    monkeypatch.setattr(PublishedDataset, "_download", refuse)


# ---- a run, from end to end ---------------------------------------------------------------------------------------


def test_shipped_config_runs_to_a_table_and_a_plot(tmp_path: Path) -> None:
    status, out, _ = run_cli("--config_path", ROOT / "config.yaml", "--output_dir", tmp_path)
    assert status == 0
    found = rows(tmp_path / "quickstart" / "run_1")
    assert [row["labelled"] for row in found] == list(range(20, 201, 20))

    title, *table = re.findall(r"^ *(?:round|\d+) +(?:labels|\d+)  .*$", out, re.MULTILINE)
    assert title.split()[:2] == ["round", "labels"]
    assert [line.split()[:2] for line in table] == [
        [str(row["round"] + 1), str(row["labelled"])] for row in found
    ]
    for line, row in zip(table, found, strict=True):
        shown = [f"{row[split]['accuracy']:.2%}" for split in ("train", "val", "test")]
        assert line.split()[2:5] == shown

    plot = Path(re.search(r"^plot +(.+)$", out, re.MULTILINE)[1])  # type: ignore[index]
    assert plot.is_relative_to(tmp_path)
    assert plot.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    picture = imread(plot)
    assert min(picture.shape[:2]) > 300
    assert picture.std() > 0.01, "the picture is blank"
    assert Path(re.search(r"^curves +(.+)$", out, re.MULTILINE)[1]).is_file()  # type: ignore[index]

    # A network that learns: far above chance at the end, and above its own start.
    accuracies = [row["test"]["accuracy"] for row in found]
    assert accuracies[-1] > 0.8
    assert accuracies[-1] > accuracies[0] + 0.1


@pytest.mark.parametrize("head", ["gmm", "gmm_seg"])
def test_greedy_search_is_drawn_beside_the_learning_curve(
    head: str, digits_config: Path, tmp_path: Path
) -> None:
    options = {
        "model.name": "MIR",
        "training.heuristic": "precomputed",
        "training.initially_balanced": "true",
        "model.mir_configs.density_model": head,
        "save_plot": "true",
    }
    pictures = {}
    for flag in ("true", "false"):
        options["model.mir_configs.greedy_search"] = flag
        status, out, err = run_cli(
            "--config_path", digits_config, "--output_dir", tmp_path / flag, *settings_of(options)
        )
        assert status == 0, err
        pictures[flag] = [Path(found) for found in re.findall(r"^plot +(.+)$", out, re.MULTILINE)]
    assert [path.name for path in pictures["true"]] == ["learning_curve.png", "dimension_search.png"]
    assert imread(pictures["true"][1]).std() > 0.01, "the picture is blank"
    assert [path.name for path in pictures["false"]] == ["learning_curve.png"]
    assert not list((tmp_path / "false").rglob("dimension_search.*"))
    with pictures["true"][1].with_suffix(".csv").open(newline="") as file:
        assert {row["labels"] for row in csv.DictReader(file)} == {"20", "30", "50"}


def test_labels_that_run_out_end_the_rounds_with_all_of_them_trained_on(
    digits_config: Path, tmp_path: Path
) -> None:
    overrides = ("training.ndata_to_label=500", "training.iterations=9", "training.epochs=1")
    assert run_cli(*command(digits_config, tmp_path, *overrides)).status == 0
    found = rows(tmp_path / "quick" / "run_1")
    assert [row["labelled"] for row in found] == [20, 520, 1020, 1154]
    assert [row["pool"] for row in found] == [1134, 634, 134, 0]
    assert sum(found[-1]["class_balance"]) == 1154


def test_wandb_logging_breaks_no_run(digits_config: Path, tmp_path: Path) -> None:
    for name, flag in (("with", "true"), ("without", "false")):
        options = ("--output_dir", tmp_path / name, "--set", f"wandb_logging={flag}")
        assert run_cli("--config_path", digits_config, *options).status == 0
    assert results(tmp_path / "with", "quick") == results(tmp_path / "without", "quick")


def test_save_plot_draws_the_curve_and_its_numbers_after_every_round(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def looking(*given: Any) -> Iterator[int]:
        for round_ in run_rounds(*given):
            yield round_
            # Here all that is done after a round has been done.
            with (tmp_path / "quick" / "learning_curve.csv").open(newline="") as file:
                seen.append([row["labels"] for row in csv.DictReader(file)])
            (tmp_path / "quick" / "learning_curve.png").unlink()

    monkeypatch.setattr(cli, "run_rounds", looking)
    options = ("--output_dir", tmp_path, "--set", "save_plot=true")
    assert run_cli("--config_path", digits_config, *options).status == 0
    assert seen == [["20"], ["20", "30"], ["20", "30", "50"]]


@pytest.mark.parametrize("arguments", [["--check"], ["--set", "training.iterations=1"]])
def test_a_reader_who_goes_away_ends_it_quietly(
    arguments: list[str], digits_config: Path, tmp_path: Path
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    script = ROOT / "active_learning_classification.py"
    found = subprocess.run(
        [sys.executable, script, *command(digits_config, tmp_path), *arguments],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=environment() | {"PYTHONUNBUFFERED": ""},  # as it is by default: Python writes late
        check=False,
    )
    os.close(writing)
    assert (found.returncode, found.stderr) == (141, b"")


def test_verbose_changes_nothing(digits_config: Path, tmp_path: Path) -> None:
    outputs = {}
    for flag in ("true", "false"):
        options = ("--output_dir", tmp_path / flag, "--set", f"training.verbose={flag}")
        status, out, err = run_cli("--config_path", digits_config, *options)
        assert status == 0
        assert out.count("labels  test accuracy") == 3
        assert out.startswith(
            "run 1/1  digits: 1154 to train on, 288 for validation, 355 for testing; "
            "3 rounds from 20 to 50 labels, on cpu\n"
        )
        outputs[flag] = err
    # No terminal is there to show a bar on.
    assert outputs == {"true": "", "false": ""}
    assert results(tmp_path / "true", "quick") == results(tmp_path / "false", "quick")


@pytest.mark.parametrize(
    ("visible", "told"), [("0", True), ("GPU-1,GPU-2", True), ("", False), ("-1", False)]
)
def test_a_gpu_that_was_given_and_cannot_be_used_is_told(
    visible: str, told: bool, digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    status, out, err = run_cli("--config_path", digits_config, "--output_dir", tmp_path, "--check")
    assert status == 0 and "device     cpu" in out
    assert (f"CUDA_VISIBLE_DEVICES is {visible}, but torch" in err) == told
    assert told or not err


def test_provenance_names_code_versions_device_and_command(digits_config: Path, tmp_path: Path) -> None:
    assert run_cli("--config_path", digits_config, "--output_dir", tmp_path, "--device", "cpu").status == 0
    found = yaml.safe_load((tmp_path / "quick" / "provenance.json").read_text())
    assert found.keys() == {"time", "command", "git", "python", "packages", "device", "host"}
    assert found["git"].keys() == {"sha", "dirty"}
    assert found["device"]["type"] == "cpu"
    assert {"torch", "numpy"} <= found["packages"].keys()


def test_real_mnist_gets_through_a_round(real_mnist: Path, tmp_path: Path) -> None:
    config = FINAL_RUNS / "mnist_hu.yaml"
    quick = {"data.path": str(real_mnist), "runs": "1", "training.iterations": "2", "training.epochs": "2"}
    status, out, err = run_cli("--config_path", config, "--output_dir", tmp_path, *settings_of(quick))
    assert status == 0, err
    found = rows(tmp_path / "mnist_hu" / "run_1")
    assert [(row["labelled"], row["pool"]) for row in found] == [(100, 47_900), (200, 47_800)]
    assert found[0]["class_balance"] == [10] * 10
    assert "plot" in out


@pytest.mark.cuda
def test_shipped_config_runs_on_a_gpu(tmp_path: Path) -> None:
    for name in ("first", "second"):
        options = ("--output_dir", tmp_path / name, "--device", "cuda")
        status, _, err = run_cli("--config_path", ROOT / "config.yaml", *options)
        assert status == 0, err
    assert results(tmp_path / "first", "quickstart") == results(tmp_path / "second", "quickstart")


# ---- --check ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [ROOT / "config.yaml", *SHIPPED], ids=lambda path: path.stem)
def test_check_prints_the_plan_without_data_and_makes_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run_cli("--config_path", path, "--check", "--device", "cpu", task=None)
    assert status == 0, err
    for topic in ("data", "model", "query", "rounds", "runs", "device", "state"):
        assert re.search(rf"^  {topic} +\S", out, re.MULTILINE), f"no {topic} in {out}"
    config = yaml.safe_load(path.read_text())
    assert out.startswith(f"{config['name']}: the config is good")
    assert f"  query      {config['training']['heuristic']}" in out
    assert re.search(rf"^  rounds +{config['training']['iterations']}, labels ", out, re.MULTILINE)
    assert re.search(r"^  model .* [\d,]+ parameters", out, re.MULTILINE)
    dataset = config["data"]["dataset"].removeprefix("repeated_")  # which is made of mnist
    generated = dataset in ("digits", "synthetic_streets")
    assert ("nothing to download" if generated else f"{dataset} is absent") in out
    assert ("for testing (sizes assumed: those published of " in out) != generated
    assert not list(tmp_path.iterdir())


def test_check_counts_what_will_be_built(digits_config: Path) -> None:
    _, out, _ = run_cli("--config_path", digits_config, "--check", "--set", "model.ensemble=3")
    # 64-16-16-10, weights and biases, three times.
    one = 64 * 16 + 16 + 16 * 16 + 16 + 16 * 10 + 10
    assert f"{3 * one:,} parameters, 3 members" in out
    assert "labels 20, 30, 50" in out
    assert "1154 to train on, 288 for validation, 355 for testing" in out


def test_check_finds_real_mnist(real_mnist: Path) -> None:
    config = FINAL_RUNS / "mnist_knn.yaml"
    status, out, _ = run_cli("--config_path", config, "--check", "--set", f"data.path={real_mnist}")
    assert status == 0
    assert f"mnist found at {real_mnist}" in out
    assert "assumed" not in out


def test_check_of_a_finished_experiment_changes_nothing(digits_config: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    assert run_cli("--config_path", digits_config, "--output_dir", outputs).status == 0
    before = tree(outputs)
    assert (
        run_cli("--config_path", digits_config, "--output_dir", outputs, "--check", "--overwrite").status == 0
    )
    assert tree(outputs) == before


def test_check_tells_how_far_an_experiment_has_come(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state(*options: str) -> str:
        before = tree(tmp_path)
        arguments = ("--config_path", digits_config, "--output_dir", tmp_path, "--set", "runs=3", *options)
        status, out, _ = run_cli(*arguments, "--set", "random_state=[3, 11, 4]", "--check")
        assert status == 0
        assert tree(tmp_path) == before
        return re.search(r"^  state +(.*(\n {3,}.*)*)", out, re.MULTILINE)[1]  # type: ignore[index]

    assert state() == "not begun"
    options = ("--output_dir", tmp_path, "--set", "runs=2")
    with monkeypatch.context() as patch:
        patch.setattr("src.cli.draw_plots", lambda folder, plan: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_cli("--config_path", digits_config, *options, "--run", "2", "--set", "save_plot=true")
    assert run_cli("--config_path", digits_config, *options, "--run", "1").status == 0
    part = tmp_path / "quick" / "run_2" / ".state.pt.1.part"
    part.touch()  # as a process that is at work may have it
    assert state() == "run 1: finished, 3 rounds; run 2: 1 of 3 rounds; run 3: not begun"
    assert part.exists()
    refusal = state("--set", "training.epochs=3")
    assert refusal.startswith("refused: ")
    assert "training.epochs: 2 -> 3" in refusal
    assert state("--overwrite") == "--overwrite removes all runs first"
    assert "run 2 would be lost" in state("--set", "training.epochs=3", "--overwrite", "--run", "1")


def test_check_says_in_its_headline_that_the_data_is_absent(digits_config: Path, tmp_path: Path) -> None:
    options = ("--set", "data.dataset=mnist", "--set", f"data.path={tmp_path}", "--check")
    status, out, _ = run_cli("--config_path", digits_config, *options)
    assert status == 0
    assert out.splitlines()[0] == "quick: the config is good, but the data is absent"
    assert (
        run_cli("--config_path", digits_config, "--check").out.splitlines()[0] == "quick: the config is good"
    )


def test_check_says_where_pretrained_weights_come_from(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    options = ("--set", "model.name=resnet18", "--set", "model.pretrained=true", "--check")

    def weights(*more: str) -> str:
        out = run_cli("--config_path", digits_config, *options, *more).out
        return re.search(r"^  weights +(.*)", out, re.MULTILINE)[1]  # type: ignore[index]

    assert weights().startswith("to be downloaded from https://")
    cached = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    cached.parent.mkdir()
    torch.save(torchvision.models.resnet18().state_dict(), cached)
    assert weights() == f"cached at {cached}"
    assert weights("--set", f"model.pretrained_model={cached}") == f"in {cached}"
    assert "weights  " not in run_cli("--config_path", digits_config, "--check").out


def test_a_key_without_effect_is_noted_by_check_and_by_a_run(digits_config: Path, tmp_path: Path) -> None:
    options = ("--output_dir", tmp_path, "--set", "model.mc_iterations=5")
    note = "note: no effect here: model.mc_iterations (model.mc_dropout is false)"
    assert run_cli("--config_path", digits_config, *options, "--check").out.splitlines()[-1] == note
    assert run_cli("--config_path", digits_config, *options).err.splitlines() == [note]


def test_check_notes_crops_that_are_larger_than_the_scenes() -> None:
    config = CONFIGS / "quickstart_segmentation.yaml"

    def notes(*options: str) -> list[str]:
        out = run_cli("--config_path", config, "--check", *options, task=None).out
        assert "quickstart_segmentation: the config is good" in out
        return re.findall("^note: (.*):", out, re.MULTILINE)

    assert notes() == []
    larger = "training.crop_size=49"
    assert notes("--set", larger) == ["training.crop_size 49 exceeds the scenes' 48×96 pixels"]
    assert notes("--set", larger, "--set", "data.augmentation=false") == []


def test_check_says_that_a_fixed_pca_bounds_the_greedy_search(digits_config: Path) -> None:
    mir = "mir_configs={density_model: gmm, greedy_search: true, dim_reduction: 9}".replace("=", ": ")
    options = ("--set", f"model={{name: MIR, hidden_layers: [16, 16], {mir}}}", "--check")
    out = run_cli("--config_path", digits_config, *options).out
    assert "density gmm, greedy search in up to 9 dimensions (dim_reduction bounds greedy_search)" in out


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


# ---- the entry scripts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", ENTRY_SCRIPTS)
def test_entry_scripts_are_short(script: str) -> None:
    assert len((ROOT / script).read_text().splitlines()) <= 40


def run_script(script: str, arguments: list[Any], monkeypatch: pytest.MonkeyPatch) -> int:
    """Run an entry script as ``python script arguments``, in this process; its exit status."""
    monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
    with pytest.raises(SystemExit) as exited, determinism_restored(), one_thread():
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert isinstance(exited.value.code, int)
    return exited.value.code


def test_segmentation_script_refuses_digits(
    digits_config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--config_path", digits_config, "--output_dir", digits_config.parent / "outputs"]
    assert run_script("active_learning_segmentation.py", arguments, monkeypatch) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"error: {digits_config}:13: data.dataset: 'digits' is for classification")
    assert "active_learning_classification.py" in err
    assert not out
    assert not (digits_config.parent / "outputs").exists()


def test_segmentation_script_refuses_a_classifier(
    digits_config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--config_path", digits_config, "--check", "--set", "data.dataset=synthetic_streets"]
    arguments += ["--set", "data.nb_classes=null"]
    assert run_script("active_learning_segmentation.py", arguments, monkeypatch) == 2
    assert "'mlp' is a network for classification" in capsys.readouterr().err


def test_classification_script_runs_a_config(
    digits_config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--config_path", digits_config, "--output_dir", digits_config.parent / "outputs"]
    assert run_script("active_learning_classification.py", arguments, monkeypatch) == 0
    assert "plot" in capsys.readouterr().out


def test_help_names_every_documented_option() -> None:
    status, out, _ = run_cli("--help")
    assert status == 0
    for option in ("--config_path", "--set", "--run", "--check", "--overwrite", "--device"):
        assert option in out


def test_config_path_defaults_to_the_config_beside(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    digits_config.rename("config.yaml")
    status, out, _ = run_cli("--check")
    assert status == 0
    assert out.startswith("quick: the config is good")
