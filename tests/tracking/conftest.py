"""Weights & Biases without a network, an account or files outside of the test's folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for place in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{place}_DIR", str(tmp_path / "wandb_own"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    import wandb

    wandb.teardown()  # of whatever mode earlier tests of this process were in, or else that stays
    yield
    wandb.teardown()
