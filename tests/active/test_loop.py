"""A run in miniature, on real digits: what the loop promises, for every heuristic and kind of member."""

from pathlib import Path

import numpy as np
import pytest
import torch

from src.active.loop import run_rounds
from src.active.plan import make_plan
from src.config import Config
from src.data import load_dataset
from src.utils.console import RunConsole
from src.utils.records import RunRecords
from tests.active.pairs import WAYS, Way

MEMBERS = {
    "plain": {"name": "MLP"},
    "mc_dropout": {"name": "MLP", "mc_dropout": True, "mc_iterations": 3},
    "ensemble": {"name": "MLP", "ensemble": 3},
    "hu": {"name": "MIR", "mir_configs": {"density_model": "gmm"}},
    "hu_greedy": {"name": "MIR", "mir_configs": {"density_model": "gmm", "greedy_search": True}},
    "hu_kde": {"name": "MIR", "mir_configs": {"density_model": "knn"}},
}


def config(heuristic: str, model: dict, **training: object) -> Config:
    keys = {
        "heuristic": heuristic,
        "epochs": 3,
        "iterations": 3,
        "ndata_to_label": [15, 25],
        "verbose": False,
    }
    return Config.model_validate({"name": "mini", "training": {**keys, **training}, "model": model})


def run(config: Config, folder: Path, seed: int = 3) -> RunRecords:
    plan = make_plan(config)
    data = load_dataset(config, torch.device("cpu"))
    records = RunRecords(folder, seed)
    with RunConsole(1, 1, len(plan.labels), 0, verbose=False) as console:
        for _ in run_rounds(config, plan, data, records, console):
            pass
    return records


HAS = {
    "plain": {"one network"},
    "mc_dropout": {"one network", "members"},
    "ensemble": {"members"},
    "hu": {"one network", "density", "density that learns"},
    "hu_greedy": {"one network", "density", "density that learns"},
    "hu_kde": {"one network", "density", "density that learns"},
}


@pytest.mark.parametrize(
    ("way", "members"),
    [
        pytest.param(way, members, id=f"{'-'.join(map(str, way.keys.values()))}-{members}")
        for way in WAYS
        for members in MEMBERS
        if way.needs <= HAS[members]
    ],
)
def test_every_allowed_pair_runs_its_rounds(way: Way, members: str, tmp_path: Path) -> None:
    records = run(config(**way.keys, model=MEMBERS[members]), tmp_path)
    assert [row["labelled"] for row in records.rows] == [20, 35, 60]
    assert records.finished
    with np.load(tmp_path / "queries.npz") as queries:
        assert [len(queries[f"indices_{round_}"]) for round_ in (0, 1)] == [15, 25]
        assert "indices_2" not in queries.files, "nothing is queried after the last round"
        for round_ in (0, 1):
            labelled_in = records.labelled_in_round_N[torch.from_numpy(queries[f"indices_{round_}"])]
            assert (labelled_in == round_ + 1).all()
    assert (records.rows[-1]["density"] is not None) == members.startswith("hu")


def test_without_shuffle_the_highest_scores_are_queried(tmp_path: Path) -> None:
    run(config("entropy", MEMBERS["plain"], shuffle_prop=0, save_scores=True), tmp_path)
    with np.load(tmp_path / "queries.npz") as queries:
        for round_, count in ((0, 15), (1, 25)):
            pool_scores = dict(
                zip(queries[f"pool_indices_{round_}"], queries[f"pool_scores_{round_}"], strict=True)
            )
            assert sorted(pool_scores.values())[-count:] == sorted(queries[f"scores_{round_}"])
            assert all(
                pool_scores[i] == s
                for i, s in zip(queries[f"indices_{round_}"], queries[f"scores_{round_}"], strict=True)
            )
            assert set(queries[f"indices_{round_}"]) <= set(pool_scores)


def test_only_a_part_of_the_pool_is_scored_where_that_is_asked(tmp_path: Path) -> None:
    run(config("entropy", MEMBERS["plain"], max_pool_samples=50, save_scores=True), tmp_path)
    with np.load(tmp_path / "queries.npz") as queries:
        assert len(queries["pool_scores_0"]) == len(queries["pool_indices_1"]) == 50


def test_methods_of_one_seed_share_split_initial_labels_and_first_model(tmp_path: Path) -> None:
    random, entropy = (run(config(name, MEMBERS["plain"]), tmp_path / name) for name in ("random", "entropy"))
    for split in ("train", "val", "test"):
        assert random.rows[0][split] == entropy.rows[0][split]
    held_out = [records.labelled_in_round_N == -2 for records in (random, entropy)]
    assert torch.equal(*held_out)
    assert random.rows[1]["test"] != entropy.rows[1]["test"]


def test_the_final_label_set_is_trained_when_labels_run_out(tmp_path: Path) -> None:
    records = run(config("random", MEMBERS["plain"], ndata_to_label=700, iterations=9, epochs=1), tmp_path)
    assert [row["labelled"] for row in records.rows] == [20, 720, 1154]
    assert records.rows[-1]["pool"] == 0


def test_rows_measure_what_they_say(tmp_path: Path) -> None:
    row = run(config("entropy", MEMBERS["plain"], iterations=1), tmp_path).rows[0]
    assert row["class_balance"] == [2] * 10
    assert row["test"]["loss"] == pytest.approx(row["test"]["nll"], rel=1e-5), (
        "one member, cross-entropy objective"
    )
    assert row["train"]["accuracy"] * 20 == pytest.approx(round(row["train"]["accuracy"] * 20))
    assert set(row["seconds"]) == {"build", "fit", "density", "evaluate"}


def test_what_a_batch_aware_acquisition_keeps_are_the_scores_before_any_pick(tmp_path: Path) -> None:
    run(config("batch_hu", MEMBERS["hu"], save_scores=True), tmp_path)
    run(config("precomputed", MEMBERS["hu"], save_scores=True), tmp_path / "alone")
    with np.load(tmp_path / "queries.npz") as batch, np.load(tmp_path / "alone" / "queries.npz") as alone:
        np.testing.assert_array_equal(batch["pool_indices_0"], alone["pool_indices_0"])
        np.testing.assert_allclose(batch["pool_scores_0"], alone["pool_scores_0"], rtol=1e-6)


def test_only_a_part_of_the_pool_is_weighed_where_that_is_asked(tmp_path: Path) -> None:
    run(config("coreset", MEMBERS["plain"], max_pool_samples=50, save_scores=True), tmp_path)
    with np.load(tmp_path / "queries.npz") as queries:
        assert len(queries["pool_scores_0"]) == 50
        assert set(queries["indices_0"]) <= set(queries["pool_indices_0"])


@pytest.mark.parametrize("kind", ["power", "softmax", "softrank"])
def test_a_stochastic_batch_takes_the_place_of_shuffling(kind: str, tmp_path: Path) -> None:
    keys = {"stochastic_batch": kind, "stochastic_coldness": 1e9, "save_scores": True}
    run(config("entropy", MEMBERS["plain"], **keys, shuffle_prop=1.0), tmp_path)
    with np.load(tmp_path / "queries.npz") as queries:
        assert sorted(queries["scores_0"]) == sorted(queries["pool_scores_0"])[-15:]


def test_a_combination_queries_the_highest_mixed_ranks(tmp_path: Path) -> None:
    combined = {"combination": {"entropy": 0.3, "precomputed": 0.7}}
    run(config("combination", MEMBERS["hu"], shuffle_prop=0, save_scores=True, **combined), tmp_path)
    with np.load(tmp_path / "queries.npz") as queries:
        scores = queries["pool_scores_0"]
        assert scores.min() >= 0
        assert scores.max() <= 1
        assert sorted(queries["scores_0"]) == sorted(scores)[-15:]
