"""No test of the command line downloads a dataset."""

import pytest

from src.data.published import PublishedDataset


@pytest.fixture(autouse=True)
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dataset: PublishedDataset) -> None:
        raise AssertionError(f"{dataset.info.name} was about to be downloaded")

    monkeypatch.setattr(PublishedDataset, "_download", refuse)
