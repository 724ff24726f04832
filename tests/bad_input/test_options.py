"""A bad option of the command line is refused in one message that names it; so is one that makes training diverge."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bad_input.said import says
from tests.experiments import Outcome, command, run_cli, settings, tree

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
    outcome = run_cli(*command(digits_config, outputs), *options)
    assert outcome.status == 2
    says(outcome, "error: ", options[0])
    assert tree(outputs) == before


# What a run that started may leave: whole files, and nothing of a result.
STARTED = frozenset({"new/config.yaml", "new/provenance.json"})


@pytest.mark.parametrize("rate", ["1.0e+30", "1.0e+38"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("model", ["mlp", "mir"])
def test_diverging_training_is_refused(
    model: str, optimizer: str, rate: str, refused: Callable[..., Outcome]
) -> None:
    options = ("name=new", f"model.name={model}", f"optimizer.type={optimizer}", f"optimizer.lr={rate}")
    outcome = refused(*settings(*options), new_files=STARTED)
    says(outcome, "round 1 (seed 3)", "loss became", "in epoch 1", "lower optimizer.lr")
