"""Galleries show the ends of a ranking, each input once, with what is known of it, and change no record."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from src.active import task as task_module
from src.active.gallery import save_gallery
from src.active.plan import make_plan
from src.active.task import Fitted, Shown
from src.config import Config
from src.data import DataBundle, Source, load_dataset
from src.models.build import build_model
from src.utils.contact_sheet import SheetGroup
from src.utils.seeding import RoundSeeds
from tests.experiments import results, rows, run_cli

SEEDS = RoundSeeds(3, 0)
CONFIG = Config.model_validate(
    {
        "name": "x",
        "training": {"heuristic": "entropy"},
        "model": {"name": "MLP", "mc_dropout": True, "mc_iterations": 3},
    }
)


@pytest.fixture(scope="module")
def digits() -> DataBundle:
    return load_dataset(CONFIG, "cpu")


class FakeTask:
    """A task that keeps what it is to show."""

    shown = 3

    def __init__(self) -> None:
        self.groups: list[tuple[str, list[int], list[float]]] = []

    def show(self, path: Path, source: Source, groups: Sequence[Shown], fitted: Fitted | None) -> None:
        self.groups = [(group.which, group.indices_N.tolist(), list(group.scores_N)) for group in groups]


def shown(scores: list[float]) -> list[tuple[str, list[int], list[float]]]:
    """Of inputs 100, 101 …"""
    task: Any = FakeTask()
    source: Any = None
    indices_N = 100 + torch.arange(len(scores))
    save_gallery(
        Path("unused"), indices_N, torch.tensor(scores, dtype=torch.float64), source, task, None, "x"
    )
    return task.groups


def test_the_ends_of_the_ranking_are_shown_from_outside_in() -> None:
    assert shown([5, 1, 7, 3, 2, 6, 4, 0]) == [
        ("highest", [102, 105, 100], [7, 6, 5]),
        ("lowest", [107, 101, 104], [0, 1, 2]),
    ]


def test_of_a_few_none_is_shown_twice() -> None:
    assert shown([1, 2, 3]) == [("highest", [102, 101], [3, 2]), ("lowest", [100], [1])]
    assert shown([1]) == [("highest", [100], [1])]
    assert shown([]) == []


def test_equal_scores_are_shown_in_the_order_of_the_pool() -> None:
    assert shown([0.5] * 6)[0] == ("highest", [100, 101, 102], [0.5] * 3)


@pytest.mark.parametrize("with_model", [True, False])
def test_images_come_with_label_prediction_and_score(
    with_model: bool, digits: DataBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(CONFIG)
    model = build_model(CONFIG, plan.input_shape, 10, SEEDS, torch.device("cpu"))
    fitted = Fitted(model, None, 3, SEEDS) if with_model else None
    sheets: list[SheetGroup] = []
    monkeypatch.setattr(task_module, "save_contact_sheet", lambda path, groups: sheets.extend(groups))
    indices_N = torch.tensor([4, 40, 400])
    plan.task.show(
        tmp_path / "x.png", digits.train, [Shown("highest", "scores", indices_N, [3, 2, 1.23456])], fitted
    )
    (sheet,) = sheets
    assert sheet.title == "highest scores"
    assert torch.equal(sheet.images_N_C_H_W, digits.train.pixels(indices_N))
    labels = [f"label {label}" for label in digits.train.labels(indices_N).tolist()]
    if with_model:
        labels = [
            f"{label}\npredicted {most}"
            for label, most in zip(labels, mean_of_passes(model, digits, indices_N), strict=True)
        ]
    assert list(sheet.captions) == [
        f"{label}\n{score}" for label, score in zip(labels, ("3", "2", "1.235"), strict=True)
    ]


def mean_of_passes(model: Any, digits: DataBundle, indices_N: Tensor) -> list[int]:
    """The likeliest classes by the mean of the probabilities under the round's masks."""
    task_module.set_prediction_mode(model, 3, SEEDS)
    with torch.no_grad():
        logits_K_N_C = model(digits.train.inputs(indices_N)[None])
    return logits_K_N_C.softmax(2).mean(0).argmax(1).tolist()


@pytest.mark.parametrize("method", ["training.heuristic=bald", "training.heuristic=coreset"])
def test_a_run_leaves_a_gallery_a_query_and_the_same_records(
    method: str, digits_config: Path, tmp_path: Path
) -> None:
    dropout = ("model.mc_dropout=true", "model.mc_iterations=3") if "bald" in method else ()
    for name, flag in (("with", "true"), ("without", "false")):
        pairs = (method, *dropout, f"save_gallery={flag}")
        settings = [part for pair in pairs for part in ("--set", pair)]
        found = run_cli("--config_path", digits_config, "--output_dir", tmp_path / name, *settings)
        assert found.status == 0, found.err
    folder = tmp_path / "with" / "quick" / "run_1"
    # The last of three rounds asks for nothing.
    assert sorted(path.name for path in folder.glob("*.png")) == ["gallery_0.png", "gallery_1.png"]
    assert not list((tmp_path / "without").rglob("gallery_*"))
    assert results(tmp_path / "with", "quick") == results(tmp_path / "without", "quick")
    seconds = [json.loads(line)["seconds"] for line in (folder / "rounds.jsonl").read_text().splitlines()]
    assert ["gallery" in phases for phases in seconds] == [True, True, False]
    assert len(rows(folder)) == 3
