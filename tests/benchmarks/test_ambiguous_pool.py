"""Blends are what they are said to be, and the ambiguous inputs that were asked for are counted right."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import ambiguous_pool
from benchmarks.__main__ import main
from src.config import Config
from src.data import load_dataset
from src.utils.records import read_query
from tests.experiments import determinism_restored, one_thread

CONFIG = """\
name: small
random_state: [3]
runs: 1
save_plot: false
training: {heuristic: METHOD, epochs: 1, verbose: false}
data: {dataset: mnist, val_size: 0.9}
model: {name: MLP, hidden_layers: [8]}
"""


def test_a_blend_is_the_mean_of_two_classes_and_has_the_label_of_either() -> None:
    """Each image is its class's one grey level; these are the marks of a Golomb ruler, so that a sum tells the pair."""
    greys_C = torch.tensor([0, 1, 6, 10, 23, 26, 34, 41, 53, 55])
    classes_N = torch.arange(500) % 10
    images_N_1_28_28 = greys_C[classes_N].byte()[:, None, None, None].expand(-1, 1, 28, 28)
    samples_B_1_28_28, labels_B_L = ambiguous_pool.blend(images_N_1_28_28, classes_N)
    assert samples_B_1_28_28.shape == (6_000, 1, 28, 28)
    assert labels_B_L.shape == (6_000, 10)
    of_pair = {int(greys_C[a] + greys_C[b]): {a, b} for a in range(10) for b in range(a)}
    assert len(of_pair) == 45
    pairs = [of_pair[round(sample)] for sample in (samples_B_1_28_28[:, 0, 5, 7] * 510).tolist()]
    told = [set(labels) for labels in labels_B_L.tolist()]
    assert all(labels <= pair for labels, pair in zip(told, pairs, strict=True))
    once = np.mean([len(labels) == 1 for labels in told])  # ten coins alike: 2⁻⁹
    assert once < 0.01
    heads = [labels.count(min(pair)) for labels, pair in zip(labels_B_L.tolist(), pairs, strict=True)]
    assert np.mean(heads) == pytest.approx(5, abs=0.1)


def test_queries_are_counted_and_runs_are_not_made_twice(
    tmp_path: Path, real_mnist: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("random", "badge"):
        (tmp_path / f"cold_mnist_{method}.yaml").write_text(CONFIG.replace("METHOD", method))
    monkeypatch.setattr(ambiguous_pool, "COLD_START", tmp_path)
    command = ["ambiguous_pool", "--data", str(real_mnist), "--out", str(tmp_path / "out"), "--runs", "1"]
    told, kept = [], []
    with determinism_restored(), one_thread():
        for _ in range(2):
            assert main([*command, "--methods", "random", "badge"]) == 0
            told.append(capsys.readouterr().out)
            kept.append(
                [path.read_bytes() for path in sorted((tmp_path / "out").glob("*/run_1/rounds.jsonl"))]
            )
    assert told[0] == told[1]
    assert len(kept[0]) == 2 and kept[0] == kept[1], (
        "rows hold seconds, which another run would not have again"
    )

    pool = {"dataset": "dirty_mnist", "path": str(tmp_path / "out" / "blended_mnist")}
    labels_N = load_dataset(Config.model_validate({"name": "pool", "data": pool}), "cpu").train.labels_N
    mnist = {"dataset": "mnist", "path": str(real_mnist)}
    clean = load_dataset(Config.model_validate({"name": "pool", "data": mnist}), "cpu").train.labels_N
    assert torch.equal(labels_N[:60_000], clean)
    for method in ("random", "badge"):
        folder = tmp_path / "out" / f"ambiguous_{method}" / "run_1"
        asked = torch.cat([read_query(folder, round_)[0].indices_Q for round_ in range(5)]).tolist()
        assert len(set(asked)) == 900
        share = sum(index >= 60_000 for index in asked) / 900
        line = next(line for line in told[0].splitlines() if line.startswith(method))
        assert line.endswith(f"{share:.1%}")
        assert 0 < share < 1


def test_mnist_that_is_not_there_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ambiguous_pool", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "give --data the folder that holds it" in capsys.readouterr().err
