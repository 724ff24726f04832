"""Experiments whose labels a person gives."""

from pathlib import Path

import pytest

from tests.active.oracle.person import Experiment, experiment, without_classes


@pytest.fixture
def own(tmp_path: Path) -> Experiment:
    """Nothing is labelled but the test images."""
    without_classes(tmp_path / "images")
    return experiment(tmp_path, "file")


@pytest.fixture
def waiting(own: Experiment) -> Experiment:
    """The same where the first labels are asked for."""
    assert own.run().status == 0
    return own
