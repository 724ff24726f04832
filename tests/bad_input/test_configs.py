"""A bad config is refused in one message that names the file, the line and the key, and what to write there."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_input.said import says
from tests.experiments import QUICK, Outcome

# Each edit of QUICK, and what the message has to hold beside the file, the line and the key of the edit.
EDITS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "unknown_key": ("  epochs: 2", "  epochs: 2\n  colour: red", ("training.colour: unknown key",)),
    "near_miss_spelling": ("epochs: 2", "epoch: 2", ("training.epoch: unknown key", "did you mean epochs?")),
    "key_of_another_section": ("runs: 1", "lr: 0.1", ("lr: unknown key", "belongs to optimizer")),
    "near_miss_value": (
        "heuristic: entropy",
        "heuristic: entrpy",
        ("training.heuristic", "did you mean 'entropy'?", "choices: badge, bald"),
    ),
    "wrong_type": ("epochs: 2", "epochs: two", ("training.epochs", "whole number", '"two"')),
    "fraction_for_a_count": ("epochs: 2", "epochs: 2.5", ("training.epochs", "whole number", "2.5")),
    "text_for_a_flag": ("verbose: false", 'verbose: "no"', ("training.verbose", "true or false")),
    "beyond_float32": ("lr: 0.01", "lr: 1.0e+39", ("optimizer.lr", "at most 1e+38")),
    "not_a_number": ("lr: 0.01", "lr: .nan", ("optimizer.lr", "number above 0")),
    "sizes_contradict_the_dataset": (
        "nb_classes: 10",
        "nb_classes: 9",
        ("data.nb_classes", "9 contradicts digits, which has 10"),
    ),
    "sizes_contradict_each_other": (
        "hidden_layers: [16, 16]",
        "output_size: 7",
        ("model.output_size", "is 7 and data.nb_classes is 10"),
    ),
    "ndata_to_label_too_short": (
        "ndata_to_label: [10, 20]",
        "ndata_to_label: [10]",
        ("training.ndata_to_label", "3 iterations label 2 times", "1 entries"),
    ),
    "more_labels_than_are_scored": (
        "  verbose: false",
        "  max_pool_samples: 15",
        ("training.max_pool_samples", "15 inputs are scored", "asks for 20"),
    ),
    "more_initial_labels_than_pool": (
        "initially_labelled: 20",
        "initially_labelled: 1155",
        ("training.initially_labelled", "1155 exceeds the 1154"),
    ),
    "hu_without_density_head": (
        "heuristic: entropy",
        "heuristic: precomputed",
        ("training.heuristic", "density head", "model.name MIR"),
    ),
    "bald_without_members": (
        "heuristic: entropy",
        "heuristic: bald",
        ("training.heuristic", "needs members", "model.ensemble", "model.mc_dropout"),
    ),
    "ensemble_with_mc_passes": (
        "  name: MLP",
        "  ensemble: 3\n  mc_dropout: true\n  mc_iterations: 5",
        ("model.ensemble", "model.mc_iterations", "not both"),
    ),
    "mc_dropout_without_dropout": (
        "  name: MLP",
        "  mc_dropout: true\n  dropout_probabilities: [0.0]",
        ("model.dropout_probabilities", "above 0"),
    ),
    "mc_dropout_without_a_layer_for_it": (
        "hidden_layers: [16, 16]",
        "hidden_layers: [16]\n  mc_iterations: 5\n  mc_dropout: true",
        ("model.mc_dropout", "this network has none", "model.hidden_layers"),
    ),
    "unknown_dataset": ("dataset: digits", "dataset: digts", ("data.dataset", "did you mean 'digits'?")),
    "cityscapes_in_classification": (
        "dataset: digits",
        "dataset: cityscapes",
        ("data.dataset", "segmentation", "active_learning_segmentation.py"),
    ),
    "segmentation_network_on_digits": (
        "  name: MLP",
        "  name: UNet",
        ("model.name", "is a network for segmentation", "choices: "),
    ),
    "unknown_model": ("  name: MLP", "  name: MPL", ("model.name", "did you mean 'mlp'?")),
    "unknown_distance": (
        "  name: MLP",
        "  name: MIR\n  mir_configs: {knn_metric: euclid}",
        ("model.mir_configs.knn_metric", "euclid", "euclidean"),
    ),
    "pca_wider_than_features": (
        "  name: MLP",
        "  name: MIR\n  mir_configs: {dim_reduction: 17}",
        ("model.mir_configs.dim_reduction", "exceeds the 16 hidden features"),
    ),
    "feature_dims_contradict_backbone": (
        "  name: MLP",
        "  name: MIR\n  mir_configs: {feature_dims: 64}",
        (
            "model.mir_configs.feature_dims",
            "64 contradicts the backbone",
            "16 wide",
            "asserts",
            "null",
            "model.hidden_layers",
        ),
    ),
    "seeds_fewer_than_runs": ("runs: 1", "runs: 3", ("random_state", "3 runs need 3 seeds", "has 2")),
    "one_seed_for_two_runs": (
        "random_state: [3, 11]\nruns: 1",
        "random_state: [3, 3]\nruns: 2",
        ("random_state: 3 is given to several of the 2 runs",),
    ),
    "validation_set_empty": ("  nb_classes: 10", "  val_size: 0.0001", ("data.val_size", "leaves 0")),
    "name_with_a_slash": ("name: quick", "name: ../quick", ("name", "plain file name", "../quick")),
    "reserved_name": ("name: quick", "name: final_runs", ("name", "plain file name", "final_runs")),
    "python_tag": (
        "epochs: 2",
        "epochs: !!python/object/apply:os.system ['touch pwned']",
        ("the tag", "python/object/apply:os.system is not allowed"),
    ),
    "duplicate_key": ("  epochs: 2", "  epochs: 2\n  epochs: 3", ("duplicate key 'epochs'", "first given")),
    "unclosed_bracket": ("ndata_to_label: [10, 20]", "ndata_to_label: [10, 20", ("not valid YAML",)),
    "tab_indentation": ("  epochs: 2", "\tepochs: 2", ("not valid YAML",)),
}
# Two edits contradict a key elsewhere, or are noticed on the line below; their messages name that line.
LINE_OF = {
    "seeds_fewer_than_runs": "random_state",
    "mc_dropout_without_dropout": "dropout_probabilities",
    "mc_dropout_without_a_layer_for_it": "mc_dropout",
    "unknown_distance": "knn_metric",
    "pca_wider_than_features": "dim_reduction",
    "feature_dims_contradict_backbone": "feature_dims",
    "unclosed_bracket": "iterations",
    "unknown_key": "colour",
    "duplicate_key": "epochs: 3",
}


@pytest.mark.parametrize("kind", EDITS)
def test_bad_config_is_refused_at_its_line(
    kind: str, digits_config: Path, refused: Callable[..., Outcome]
) -> None:
    old, new, words = EDITS[kind]
    assert QUICK.count(old) == 1
    text = QUICK.replace(old, new)
    digits_config.write_text(text)
    sought = LINE_OF.get(kind, new.splitlines()[0])
    line = next(number for number, line in enumerate(text.splitlines(), 1) if sought in line)
    says(refused(), f"{digits_config}:{line}:", *words)
    assert not Path("pwned").exists()


FILES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty_file": (b"", ("the file is empty",)),
    "only_comments": (b"# nothing\n", ("the file is empty",)),
    "a_list": (b"- name: quick\n", (":1: a config is a mapping",)),
    "no_name": (b"runs: 1\n", ("name: missing",)),
    "not_utf8": (b"name: qu\xefck\n", ("not UTF-8", "byte 8")),
    "binary": (b"name: \x00\x01\n", (":1: the character 0x0 is not allowed",)),
    "two_documents": (b"name: quick\n---\nname: quick\n", (":2:", "second YAML document")),
    "alias_of_itself": (b"name: quick\ntraining: &t {epochs: *t}\n", (":2:", "alias")),
}


@pytest.mark.parametrize("kind", FILES)
def test_bad_config_file_is_refused(kind: str, digits_config: Path, refused: Callable[..., Outcome]) -> None:
    content, words = FILES[kind]
    digits_config.write_bytes(content)
    says(refused(), str(digits_config), *words)


def test_missing_config_file_is_refused(digits_config: Path, refused: Callable[..., Outcome]) -> None:
    digits_config.unlink()
    says(refused(), f"{digits_config}: no such config file")


def test_folder_as_config_file_is_refused(digits_config: Path, refused: Callable[..., Outcome]) -> None:
    says(refused("--config_path", digits_config.parent), f"{digits_config.parent}: is a directory")
