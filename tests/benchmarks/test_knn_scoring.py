"""All contestants of knn_scoring search the same features and are held to the same distances. Nothing is timed."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import knn_scoring
from benchmarks.__main__ import main
from benchmarks.knn_scoring import Case
from src.data import DataBundle, DatasetInfo, Split
from src.utils.errors import UserError

SMALL = ["knn_scoring", "--pool", "40", "--bank", "60", "--dims", "8"]


class FaissTwin:
    """What of FAISS the benchmark uses, written out slowly, for where FAISS is not installed."""

    class IndexFlatL2:
        def __init__(self, dims: int) -> None:
            self._bank_M_D = np.empty((0, dims))

        def add(self, bank_M_D: np.ndarray) -> None:
            self._bank_M_D = np.concatenate([self._bank_M_D, bank_M_D])

        def search(self, queries_N_D: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
            squares_N_M = ((queries_N_D[:, None] - self._bank_M_D) ** 2).sum(axis=2)
            rows_N_K = squares_N_M.argsort(axis=1)[:, :count]
            return np.take_along_axis(squares_N_M, rows_N_K, axis=1), rows_N_K


@pytest.fixture
def faiss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", FaissTwin)
    monkeypatch.setattr(knn_scoring, "version", lambda package: "0")


@pytest.fixture
def no_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> DataBundle:
        raise UserError("data.path: no such files")

    monkeypatch.setattr(knn_scoring, "load_dataset", absent)


def test_without_faiss_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert main(SMALL) == 2
    assert "pip install --no-deps -r benchmarks/requirements.txt" in capsys.readouterr().err


def test_a_small_case_ends_with_the_ratio(
    faiss: None, no_mnist: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(SMALL) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.split()[:3] == ["noise", "60", "8"] for line in lines) == 1
    assert "the hidden features of MNIST are left out: data.path: no such files" in lines
    assert lines[-1].startswith("knn_scoring: ours ")
    assert "FAISS" in lines[-1] and "ratio" in lines[-1]


@pytest.mark.parametrize("name", knn_scoring.CONTESTANTS)
def test_every_contestant_finds_the_five_nearest(faiss: None, name: str) -> None:
    case = knn_scoring.noise(60, 8, 40)
    assert [part.shape for part in (case.bank_M_D, case.pool_N_D)] == [(60, 8), (40, 8)]
    build, _, _ = knn_scoring.CONTESTANTS[name]
    expected_N_K = torch.cdist(case.pool_N_D.double(), case.bank_M_D.double()).sort(dim=1).values[:, :5]
    np.testing.assert_allclose(build(case)(case.pool_N_D), expected_N_K, rtol=1e-4)


def test_a_contestant_that_is_not_exact_fails_the_benchmark(
    faiss: None, no_mnist: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def careless(case: Case) -> Callable[[Tensor], np.ndarray]:
        return knn_scoring.ours(Case(case.name, case.bank_M_D[:50], case.labels_M[:50], case.pool_N_D))

    monkeypatch.setitem(knn_scoring.CONTESTANTS, "torch", (careless, 1, 40))
    assert main(SMALL) == 2
    assert "a contestant is not exact" in capsys.readouterr().err


def test_the_time_of_a_part_is_scaled_up_but_for_building(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 7.0, 10.0])
    monkeypatch.setattr(knn_scoring.time, "perf_counter", lambda: next(clock))
    seconds, distances_N_K = knn_scoring.timed(knn_scoring.ours, knn_scoring.noise(60, 8, 40), 10)
    assert seconds == 7 + 3 * 4
    assert distances_N_K.shape == (10, 5)


def test_features_of_images_are_a_networks_that_has_learnt_them() -> None:
    """Bright rows tell the classes: after training, unseen images lie nearest to labelled ones of their class."""
    labels_N = torch.arange(240) % 10
    images_N_C_H_W = torch.randint(60, (240, 1, 28, 28), dtype=torch.uint8)
    images_N_C_H_W[torch.arange(240), 0, 2 * labels_N] += 180
    split = Split(images_N_C_H_W, labels_N)
    info = DatasetInfo("mnist", "classification", 10, 1, 28, 28, 240, 240, tuple("0123456789"))
    config = knn_scoring.mnist_config(Path("unused"), 16, epochs=30)
    case = knn_scoring.mnist_features(DataBundle(info, split, split), config, 200, 400)
    assert case.bank_M_D.shape == (200, 16)
    assert case.pool_N_D.shape == (400, 16)
    assert not torch.equal(case.pool_N_D[:120], case.pool_N_D[280:])  # images, and the same moved
    nearest_N = torch.cdist(case.pool_N_D[40:280], case.bank_M_D).argmin(dim=1)
    assert (case.labels_M[nearest_N] == labels_N).double().mean() > 0.9
