"""Fixtures that several packages' tests share, and the skip of tests that need hardware which is not there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.experiments import QUICK, ROOT
from tests.processes.pair import Pair

# How long one example takes says more of what else the machine does than of the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

# No test speaks to Weights & Biases, whoever is logged in.
os.environ |= {"WANDB_MODE": "disabled", "WANDB_ERROR_REPORTING": "false"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked ``cuda`` where torch has no CUDA device."""
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def digits_config(tmp_path: Path) -> Path:
    """A config file of three quick rounds on the digits; ``--set`` makes other experiments of it."""
    path = tmp_path / "quick.yaml"
    path.write_text(QUICK)
    return path


@pytest.fixture(scope="session")
def pair() -> Iterator[Pair]:
    """Runs scripts by two processes."""
    pair = Pair()
    yield pair
    pair.close()


@pytest.fixture(scope="session")
def real_mnist() -> Path:
    """A ``data.path`` that holds the real MNIST; the test is skipped where there is none."""
    for path in (ROOT / "data", ROOT.parent / "shared" / "data" / "mnist"):
        if (path / "MNIST" / "raw").is_dir():
            return path
    pytest.skip("no real MNIST: its four files belong into data/MNIST/raw")
