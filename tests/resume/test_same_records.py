"""The same config and seed give the same records, and another seed gives others."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.experiments import METHODS, command, results, run_cli


@pytest.mark.parametrize("method", METHODS)
def test_same_config_and_seed_give_the_same_records(method: str, digits_config: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert run_cli(*command(digits_config, first, *METHODS[method])).status == 0
    # Nothing may come from global state.
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    assert run_cli(*command(digits_config, second, *METHODS[method])).status == 0
    assert results(first, "quick") == results(second, "quick")


def test_another_seed_gives_other_records(digits_config: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    assert run_cli(*command(digits_config, outputs, "runs=2")).status == 0
    found = results(outputs, "quick")
    assert found["run_1"]["rounds"] != found["run_2"]["rounds"]
    assert found["run_1"]["queries"] != found["run_2"]["queries"]
