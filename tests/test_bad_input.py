"""Bad input of every kind ends in one message that tells what to mend, status 2, and every earlier byte in place."""

import errno
import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import torchvision

from tests.experiments import QUICK, Outcome, parts, results, run_cli, tree


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with the finished experiment of QUICK."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "quick.yaml").write_text(QUICK)
    assert (
        run_cli("--config_path", folder / "quick.yaml", "--output_dir", folder / "outputs", *ONE_RUN).status
        == 0
    )
    return folder / "outputs"


ONE_RUN = ("--run", "1")


@pytest.fixture
def outputs(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished experiment, for a test to try to damage."""
    return Path(shutil.copytree(finished, tmp_path / "outputs"))


@pytest.fixture
def refused(digits_config: Path, outputs: Path) -> Callable[..., Outcome]:
    """Run the command line with these further options and hold it to what bad input must come to."""

    def run(*options: str | Path, new_files: frozenset[str] = frozenset()) -> Outcome:
        before = tree(outputs)
        outcome = run_cli("--config_path", digits_config, "--output_dir", outputs, *options)
        assert outcome.status == 2, outcome
        messages = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
        assert len(messages) == 1, outcome.err
        assert "Traceback" not in outcome.err + outcome.out
        after = tree(outputs)
        assert {name: after.get(name) for name in before} == before
        assert after.keys() - before.keys() <= new_files
        assert not parts(outputs)
        return outcome

    return run


def says(outcome: Outcome, *words: str) -> None:
    for word in words:
        assert word in outcome.err, f"{word!r} is not in {outcome.err!r}"


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


OPTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "set_without_equals": (("--set", "training.epochs"), ("--set training.epochs", "key.sub=value")),
    "set_without_key": (("--set", "=3"), ("--set =3", "key.sub=value")),
    "set_with_an_empty_part": (
        ("--set", "training..epochs=3"),
        ("--set training..epochs=3", "key.sub=value"),
    ),
    "set_below_a_value": (("--set", "name.first=x"), ("--set name.first", "name is a value")),
    "set_unknown_key": (("--set", "training.epoch=3"), ("--set training.epoch", "did you mean epochs?")),
    "set_wrong_type": (("--set", "training.epochs=x"), ("--set training.epochs", "whole number")),
    "set_with_python_tag": (("--set", "week=!!python/name:os.system"), ("--set week", "is not allowed")),
    "run_zero": (("--run", "0"), ("--run 0", "runs 1 to 1")),
    "run_beyond_the_last": (("--run", "2"), ("--run 2", "runs 1 to 1")),
    "run_negative": (("--run", "-1"), ("--run -1", "runs 1 to 1")),
    "device_of_no_such_number": (("--device", "cuda:99"), ("--device cuda:99", "choices: cpu")),
    "device_of_no_such_kind": (("--device", "abacus"), ("--device abacus", "choices: cpu")),
    "device_of_no_such_name": (("--device", "gpu"), ("error: --device gpu: no such device; choices: cpu\n",)),
    "device_without_memory": (("--device", "meta"), ("--device meta", "choices: cpu")),
    "device_absent": (("--device", "xpu"), ("--device xpu", "choices: cpu")),
    "device_empty": (("--device", ""), ("--device", "choices: cpu")),
    "edited_config_on_resume": (
        ("--set", "training.epochs=3", "--set", "model.dropout_probabilities=[0.5]"),
        ("training.epochs: 2 -> 3", "model.dropout_probabilities", "--overwrite", "name"),
    ),
    "edited_seed_on_resume": (("--set", "random_state=[4, 11]"), ("random_state", "[3, 11]", "[4, 11]")),
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_bad_options_are_refused(kind: str, refused: Callable[..., Outcome]) -> None:
    options, words = OPTIONS[kind]
    says(refused(*options), *words)


@pytest.mark.parametrize(
    "options", [["--epochs", "3"], ["--run", "one"], ["--set"], ["--over"]], ids=" ".join
)
def test_options_that_do_not_exist_are_refused(
    options: list[str], digits_config: Path, outputs: Path
) -> None:
    before = tree(outputs)
    outcome = run_cli("--config_path", digits_config, "--output_dir", outputs, *options)
    assert outcome.status == 2
    says(outcome, "error: ", options[0])
    assert tree(outputs) == before


# What a run that started may leave: whole files, and nothing of a result.
STARTED = frozenset({"new/config.yaml", "new/provenance.json"})


def test_missing_data_that_cannot_be_downloaded_is_refused(
    refused: Callable[..., Outcome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise URLError("no network here")

    monkeypatch.setattr(torchvision.datasets, "MNIST", no_network)
    (tmp_path / "data").mkdir()
    outcome = refused(
        *("--set", "name=new", "--set", "data.dataset=mnist", "--set", f"data.path={tmp_path / 'data'}"),
    )
    says(outcome, "data.path", "train-images-idx3-ubyte", "no network here", str(tmp_path / "data"))
    assert not tree(tmp_path / "data")


def test_truncated_gzip_is_refused(refused: Callable[..., Outcome], tmp_path: Path) -> None:
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            whole = gzip.compress(bytes((0, 0, 8, int(kind[-1]))) + os.urandom(1000))
            (raw / f"{part}-{kind}-ubyte.gz").write_bytes(whole[:-500])
    before = tree(raw)
    outcome = refused(
        *("--set", "name=new", "--set", "data.dataset=mnist", "--set", f"data.path={tmp_path / 'data'}"),
    )
    says(outcome, str(raw / "train-images-idx3-ubyte.gz"), "cut off", "put a good copy in its place")
    assert tree(raw) == before


def test_overwrite_with_missing_data_keeps_the_earlier_results(
    refused: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise URLError("no network here")

    monkeypatch.setattr(torchvision.datasets, "MNIST", no_network)
    options = ("--set", "data.dataset=mnist", "--set", f"data.path={tmp_path}", "--overwrite")
    says(refused(*options), "data.path", "no network here")


@pytest.mark.parametrize("rate", ["1.0e+30", "1.0e+38"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("model", ["mlp", "mir"])
def test_diverging_training_is_refused(
    model: str, optimizer: str, rate: str, refused: Callable[..., Outcome]
) -> None:
    options = ("name=new", f"model.name={model}", f"optimizer.type={optimizer}", f"optimizer.lr={rate}")
    outcome = refused(*(part for option in options for part in ("--set", option)), new_files=STARTED)
    says(outcome, "round 1 (seed 3)", "loss became", "in epoch 1", "lower optimizer.lr")


def test_unwritable_output_is_refused(refused: Callable[..., Outcome], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    says(refused("--output_dir", file / "below"), str(file / "below"), "cannot write", "Not a directory")
    says(refused("--output_dir", file), str(file), "cannot write", "Not a directory")
    assert file.read_text() == "in the way"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_output_on_a_file_system_that_refuses_is_refused(refused: Callable[..., Outcome]) -> None:
    says(refused("--output_dir", "/proc/outputs"), "/proc/outputs", "cannot write")


def test_disk_that_fills_up_costs_no_finished_round(
    digits_config: Path, tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever write the disk fills up in, the run ends with a message, and goes on once there is room."""
    outputs = tmp_path / "outputs"
    command = ("--config_path", digits_config, "--output_dir", outputs)
    fsync, writes = os.fsync, 0
    for full_at in range(1, 100):
        writes = 0

        def on_full_disk(descriptor: int, full_at: int = full_at) -> None:
            nonlocal writes
            writes += 1
            if writes == full_at:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", on_full_disk)
        outcome = run_cli(*command)
        if outcome.status == 0:
            break
        assert outcome.status == 2
        says(outcome, "error: ", "cannot write (No space left on device)", str(outputs))
        assert not parts(outputs)
    assert full_at > 5, "the run never wrote, so nothing was tried"
    assert results(outputs, "quick") == results(finished, "quick")


def test_plot_that_cannot_be_written_is_refused(
    refused: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def on_full_disk(source: Path, target: Path) -> None:
        if Path(target).name == "learning_curve.png":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", on_full_disk)
    says(refused(), "learning_curve.png", "cannot write")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_line(path: Path, number: int, line: str) -> None:
    lines = path.read_text().splitlines()
    lines[number - 1] = line
    path.write_text("".join(f"{line}\n" for line in lines))


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


# What is damaged of a run, how, what is told of it, and how many of its three rounds are kept.
DAMAGES: dict[str, tuple[str, Callable[[Path], object], str, int]] = {
    "state_truncated": ("state.pt", truncate, "is damaged (BadZipFile", 3),
    "state_empty": ("state.pt", lambda path: path.write_bytes(b""), "is damaged (BadZipFile", 3),
    "state_of_text": ("state.pt", lambda path: path.write_text("hello"), "is damaged (BadZipFile", 3),
    "state_with_a_flipped_byte": ("state.pt", flip_byte, "is damaged (BadZipFile", 3),
    "state_deleted": ("state.pt", Path.unlink, "is missing", 3),
    "queries_truncated": ("queries.npz", truncate, "is damaged (BadZipFile", 3),
    "queries_empty": ("queries.npz", lambda path: path.write_bytes(b""), "is damaged (EOFError", 3),
    "queries_of_text": ("queries.npz", lambda path: path.write_text("hello"), "is damaged (ValueError", 3),
    "queries_with_a_flipped_byte": ("queries.npz", flip_byte, "is damaged (BadZipFile", 3),
    "queries_deleted": ("queries.npz", Path.unlink, "is missing", 3),
    "rounds_cut_off": ("rounds.jsonl", lambda path: path.write_bytes(path.read_bytes()[:-20]), "line 3", 2),
    "rounds_with_garbage": (
        "rounds.jsonl",
        lambda path: replace_line(path, 2, '{"round": 1, "lab'),
        "line 2 is not JSON",
        2,
    ),
    "rounds_with_another_kind_of_line": (
        "rounds.jsonl",
        lambda path: replace_line(path, 3, "5"),
        "line 3 is not a JSON object",
        2,
    ),
    "rounds_with_another_number": (
        "rounds.jsonl",
        lambda path: path.write_text(path.read_text().replace('"labelled": 30', '"labelled": 31')),
        "line 2 is not what was written",
        2,
    ),
    "rounds_with_a_line_lost": (
        "rounds.jsonl",
        lambda path: path.write_text("".join(path.read_text().splitlines(keepends=True)[:2])),
        "has 2 of 3 rounds",
        2,
    ),
    "rounds_deleted": ("rounds.jsonl", Path.unlink, "is missing", 2),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_records_are_recovered_and_run_on_to_the_same(
    kind: str, outputs: Path, digits_config: Path, finished: Path
) -> None:
    name, damage, what, kept = DAMAGES[kind]
    run = outputs / "quick" / "run_1"
    damage(run / name)
    bad = (run / name).read_bytes() if (run / name).exists() else None
    command = ("--config_path", digits_config, "--output_dir", outputs)
    told = f"rounds 1 to {kept} are kept, {'none is lost' if kept == 3 else 'round 3 is run again'}"
    before = tree(outputs)
    outcome = run_cli(*command, "--check")
    assert tree(outputs) == before
    for words in (f"{name} {what}", told):
        assert words in outcome.out, outcome.out
    outcome = run_cli(*command)
    assert outcome.status == 0, outcome.err
    (line,) = outcome.err.splitlines()
    assert line.startswith(f"{run}: {name} {what}")
    assert told in line
    assert results(outputs, "quick") == results(finished, "quick")
    if bad is not None:
        assert (run / f"{name}.damaged").read_bytes() == bad
    assert run_cli(*command).err == ""


@pytest.mark.parametrize("name", ["state.pt", "queries.npz", "rounds.jsonl"])
def test_records_of_which_no_round_is_left_are_refused(
    name: str, outputs: Path, refused: Callable[..., Outcome]
) -> None:
    run = outputs / "quick" / "run_1"
    for path in (run / name, run / "previous" / name):
        path.write_text("hello")
    says(refused(), f"{run / name}: ", "restore it or use --overwrite")


def test_damage_of_another_run_is_recovered_before_the_table_is_made(
    digits_config: Path, tmp_path: Path
) -> None:
    """Run 2 is damaged, and run 1 has rounds to come."""
    command = ("--config_path", digits_config, "--output_dir", tmp_path, "--set", "runs=2")
    assert run_cli(*command).status == 0
    whole, path = results(tmp_path, "quick"), tmp_path / "quick" / "run_2" / "rounds.jsonl"
    shutil.rmtree(tmp_path / "quick" / "run_1")
    truncate(path)
    outcome = run_cli(*command, "--run", "1")
    assert outcome.status == 0, outcome.err
    assert outcome.err.startswith(f"{path.parent}: rounds.jsonl line ")
    assert run_cli(*command).status == 0
    assert results(tmp_path, "quick") == whole


def test_damage_does_not_hide_that_the_config_is_another(
    outputs: Path, refused: Callable[..., Outcome]
) -> None:
    truncate(outputs / "quick" / "run_1" / "state.pt")
    says(refused("--set", "training.epochs=3"), "training.epochs: 2 -> 3")


def test_damaged_resolved_config_is_refused(outputs: Path, refused: Callable[..., Outcome]) -> None:
    path = outputs / "quick" / "config.yaml"
    path.write_text("name: [quick\n")
    says(refused(), str(path), "not valid YAML")


def test_records_damaged_beyond_reading_can_be_overwritten(
    digits_config: Path, outputs: Path, finished: Path
) -> None:
    for path in (outputs / "quick").rglob("*.*"):
        path.write_bytes(b"\x80garbage")
    outcome = run_cli("--config_path", digits_config, "--output_dir", outputs, "--overwrite")
    assert outcome.status == 0
    assert results(outputs, "quick") == results(finished, "quick")
