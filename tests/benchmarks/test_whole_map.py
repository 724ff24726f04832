"""The two rankings are those that the loop makes of the first round's pool, and what is said of them is true."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import whole_map
from benchmarks.whole_map import Agreement, agreement, top_row
from src.active import plan
from src.config import load_config
from src.data import load_dataset
from src.layers.upsample import bilinear
from src.utils.records import read_query
from tests.experiments import determinism_restored, one_thread, run_cli

CONFIG = """\
name: streets
random_state: [3]
runs: 1
save_plot: false
training:
  heuristic: precomputed
  initially_labelled: 4
  ndata_to_label: 20
  iterations: 2
  batch_size: 4
  epochs: 1
  shuffle_prop: 0.2
  save_scores: true
  verbose: false
data: {dataset: synthetic_streets, resize: true, img_rows: 16, img_cols: 32, augmentation: true}
model:
  name: MIR
  mir_configs: {backbone: deeplabv3plus, density_model: gmm, normalize_features: true}
"""


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    path = tmp_path / "streets.yaml"
    path.write_text(CONFIG)
    return path


def test_the_rankings_are_the_loops(
    streets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    maps = []

    def kept(scores_B_H_W: Tensor) -> Tensor:
        maps.append(scores_B_H_W.double())
        return maps[-1].mean((1, 2))

    monkeypatch.setattr(plan, "reduction", lambda *_: kept)
    assert run_cli("--config_path", streets, "--output_dir", tmp_path, task="segmentation").status == 0
    monkeypatch.undo()
    pool_scores_N = read_query(tmp_path / "streets" / "run_1", 0)[0].pool_scores_N
    maps_N_H_W = torch.cat(maps).numpy()
    whole_N, top_N = maps_N_H_W.mean((1, 2)), maps_N_H_W[:, 0].mean(1)
    np.testing.assert_allclose(pool_scores_N, whole_N)
    with determinism_restored(), one_thread():
        whole_map.main(["--configs", str(streets)])
    lines = capsys.readouterr().out.splitlines()

    ranks_2_N = np.argsort(np.argsort([whole_N, top_N]))
    spearman = np.corrcoef(ranks_2_N)[0, 1]
    shared = len(np.intersect1d(np.argsort(whole_N)[-20:], np.argsort(top_N)[-20:]))
    assert 0 < shared < 20, "or the test could not tell the two rankings from one"
    chance = 20 * 20 / len(whole_N)
    assert lines[4].split() == ["3", str(len(whole_N)), f"{spearman:.3f}", "20", str(shared), f"{chance:.1f}"]
    assert lines[-1] == (
        f"whole_map: Spearman {spearman:.3f} to {spearman:.3f}, of the queried scenes {shared / 20:.0%} to "
        f"{shared / 20:.0%} are the same, by chance {20 / len(whole_N):.0%}"
    )


def test_the_classes_of_the_top_row_are_counted(streets: Path) -> None:
    config = load_config(streets)
    data = load_dataset(config, "cpu")
    masks_N_H_W = data.train.labels(data.train.indices).numpy()
    for rows in (slice(1), slice(None)):
        known = masks_N_H_W[:, rows][masks_N_H_W[:, rows] != config.data.ignore_label]
        expected_C = [np.mean(known == which) for which in range(data.info.nb_classes)]
        np.testing.assert_allclose(whole_map.class_shares(config, data, rows), expected_C, atol=1e-6)


def test_like_rankings_share_all_and_opposite_ones_nothing() -> None:
    scores_N = torch.tensor([0.3, -2.0, 5.0, 1.0, 0.0, 4.0])
    assert agreement(scores_N, scores_N.exp(), 2) == Agreement(pytest.approx(1), 2, 2, pytest.approx(4 / 6))
    assert agreement(scores_N, -scores_N, 2) == Agreement(pytest.approx(-1), 2, 0, pytest.approx(4 / 6))


def test_a_map_has_the_same_means_when_it_is_enlarged() -> None:
    maps_B_h_w = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for mean in (whole_map.whole_map, top_row):
        torch.testing.assert_close(mean(bilinear(maps_B_h_w, (20, 28))), mean(maps_B_h_w))
    torch.testing.assert_close(top_row(maps_B_h_w), maps_B_h_w[:, 0].sum(1) / 7)
