"""Active learning of street scenes in miniature: what the loop promises of maps, for every heuristic and density."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score, roc_auc_score

from src.active import segmentation
from src.active.acquisition import ACQUISITIONS
from src.active.experiment import Experiment
from src.active.heuristics import HEURISTICS
from src.active.loop import run_rounds
from src.active.maps import reduction
from src.active.plan import make_plan, mc_passes
from src.active.scoring import fit_density
from src.active.segmentation import Segmentation
from src.active.task import Fitted, set_prediction_mode
from src.config import Config
from src.data import DataBundle, load_dataset
from src.models import prediction
from src.models.build import build_density, build_model
from src.models.density import DENSITY_HEADS
from src.utils.console import RunConsole
from src.utils.errors import UserError
from src.utils.records import RunRecords
from src.utils.seeding import RoundSeeds
from tests.experiments import unrendered

SEEDS, CPU = RoundSeeds(3, 0), torch.device("cpu")
MEMBERS = {
    "plain": {"name": "deeplabv3plus"},
    "mc_dropout": {"name": "deeplabv3plus", "mc_dropout": True, "mc_iterations": 2},
    "ensemble": {"name": "deeplabv3plus", "ensemble": 2},
    **{
        head: {"name": "MIR", "mir_configs": {"backbone": "deeplabv3plus", "density_model": head}}
        for head in DENSITY_HEADS
    },
    "gmm_under_mc_dropout": {
        "name": "MIR",
        "dropout_probabilities": [0.5],
        "mc_dropout": True,
        "mc_iterations": 2,
        "mir_configs": {"backbone": "deeplabv3plus", "density_model": "gmm"},
    },
    "gmm_over_drn": {"name": "MIR", "mir_configs": {"backbone": "drn_d_22", "density_model": "gmm"}},
    "hu_greedy": {
        "name": "MIR",
        "mir_configs": {"backbone": "deeplabv3plus", "density_model": "gmm", "greedy_search": True},
    },
}
WITH_DENSITY = {*DENSITY_HEADS, "hu_greedy", "gmm_under_mc_dropout", "gmm_over_drn"}
WITH_MEMBERS = {"mc_dropout", "ensemble", "gmm_under_mc_dropout"}


def config(heuristic: str, members: str = "plain", **training: object) -> Config:
    keys = {"heuristic": heuristic, "epochs": 1, "iterations": 2, "ndata_to_label": 3, "batch_size": 4}
    keys |= {"initially_labelled": 4, "max_pool_samples": 6, "shuffle_prop": 0, "verbose": False, **training}
    if heuristic == "combination":
        keys["combination"] = {"entropy": 1.0, "certainty": 1.0}
    data = {"dataset": "synthetic_streets", "resize": True, "img_rows": 16, "img_cols": 32, "val_size": 0.02}
    return Config.model_validate(
        {"name": "streets", "training": keys, "data": data, "model": MEMBERS[members]}
    )


@pytest.fixture(scope="module")
def streets() -> DataBundle:
    """The generated scenes, with few to test on."""
    whole = load_dataset(config("random"), CPU)
    test = type(whole.test)(whole.test.images_N_C_H_W[:6], whole.test.masks_N_H_W[:6], CPU)
    return DataBundle(whole.info, whole.train, test)


def run(config: Config, data: DataBundle, folder: Path) -> RunRecords:
    plan, records = make_plan(config), RunRecords(folder, 3)
    with RunConsole(1, 1, len(plan.labels), 0, verbose=False, metric="miou") as console:
        for _ in run_rounds(config, plan, data, records, console):
            pass
    return records


def allowed(heuristic: str, members: str) -> bool:
    """By what each is, not by what it declares."""
    if heuristic in ("batchbald", "badge", "batch_hu"):
        return False
    if heuristic == "precomputed":
        return members in WITH_DENSITY
    if heuristic in ("bald", "variance"):
        return members in WITH_MEMBERS
    return members != "ensemble" or heuristic not in ("coreset", "typiclust", "probcover", "hidden_coverage")


# A pixel is scored as an input is, whatever makes the members: every heuristic once, and every kind of member.
DISTINCT = [
    *((heuristic, "mc_dropout") for heuristic in ACQUISITIONS if allowed(heuristic, "mc_dropout")),
    *(("entropy", "plain"), ("bald", "ensemble")),
    *(("precomputed", members) for members in sorted(WITH_DENSITY)),
]


@pytest.mark.parametrize(("heuristic", "members"), DISTINCT)
def test_every_pair_runs_its_rounds(
    heuristic: str, members: str, streets: DataBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", unrendered)
    records = run(config(heuristic, members), streets, tmp_path)
    assert [row["labelled"] for row in records.rows] == [4, 7]
    assert records.finished
    for row in records.rows:
        assert 0 < sum(row["class_balance"]) <= row["labelled"] * 16 * 32
        assert (row["density"] is not None) == (members in WITH_DENSITY)
        for split in ("train", "val", "test"):
            assert 0 < row[split]["miou"] <= 1
            assert len(row[split]["iou"]) == 19
    assert {path.name for path in tmp_path.glob("*.png")} == {"panels_0.png", "panels_1.png"}


@pytest.mark.parametrize("heuristic", list(ACQUISITIONS))
def test_every_other_pair_is_refused_before_data_is_touched(heuristic: str) -> None:
    for members in MEMBERS:
        if allowed(heuristic, members):
            make_plan(config(heuristic, members))
        else:
            with pytest.raises(UserError, match=r"^training\.heuristic"):
                make_plan(config(heuristic, members))


def test_pictures_show_a_few_scenes_from_all_over_the_test_set(
    streets: DataBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmentation, "PICTURED", 3)
    shown: list[Any] = []
    monkeypatch.setattr(segmentation, "save_panels", lambda *given: shown.extend(given))
    given = config("random")
    plan = make_plan(given)
    model = build_model(given, plan.input_shape, 19, SEEDS, CPU)
    plan.task.illustrate(Fitted(model, None, 1, SEEDS), streets, tmp_path, 5)
    path, images, masks, predicted, uncertainty, *_ = shown
    every_other = torch.tensor([0, 2, 4])
    assert path == tmp_path / "panels_5.png"
    assert torch.equal(images, streets.test.pixels(every_other))
    assert torch.equal(masks, streets.test.labels(every_other))
    with torch.no_grad():
        log_probs_N_C_H_W = model(streets.test.inputs(every_other)[None])[0].log_softmax(1)
    assert torch.equal(predicted, log_probs_N_C_H_W.argmax(1))
    entropy = -(log_probs_N_C_H_W.exp() * log_probs_N_C_H_W).sum(1)
    torch.testing.assert_close(uncertainty, entropy, atol=1e-5, rtol=1e-5)


def test_a_gallery_shows_the_scenes_that_score_highest_and_lowest(
    streets: DataBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[str, tuple[Any, ...]] = {}
    monkeypatch.setattr(segmentation, "save_panels", lambda *given: shown.update({given[0].name: given}))
    given = config("entropy", save_scores=True).model_copy(update={"save_gallery": True})
    records = run(given, streets, tmp_path)
    assert records.finished
    with np.load(tmp_path / "queries.npz") as file:
        pool_P, scores_P = file["pool_indices_0"], file["pool_scores_0"]
    # Six scenes are scored, so that there are three of each kind.
    order = np.argsort(-scores_P)
    expected = torch.from_numpy(pool_P[[*order[:3], *order[:2:-1]]])
    _, images, masks, predicted, uncertainty, *_, captions = shown["gallery_0.png"]
    assert torch.equal(images, streets.train.pixels(expected))
    assert torch.equal(masks, streets.train.labels(expected))
    assert predicted.shape == uncertainty.shape == masks.shape
    # By the same model and the same heuristic, and reduced by the mean.
    scores = sorted(scores_P.tolist())
    np.testing.assert_allclose(uncertainty.mean((1, 2)).numpy(), [*scores[:2:-1], *scores[:3]], rtol=1e-4)
    assert [caption.split("\n")[0] for caption in captions] == ["highest"] * 3 + ["lowest"] * 3
    assert "gallery_1.png" not in shown


def test_maps_that_are_not_reduced_cannot_be_ranked() -> None:
    with pytest.raises(UserError, match=r"^training\.reduction: none"):
        make_plan(config("entropy", reduction="none"))


@pytest.mark.parametrize("members", ["plain", "gmm", "gmm_under_mc_dropout", "mc_dropout"])
def test_metrics_are_those_of_all_pixels_at_once_without_void(
    members: str, streets: DataBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(prediction.BATCH_BYTES, "cpu", 1)  # a scene a batch, all under the same masks
    given = config("precomputed" if members in WITH_DENSITY else "entropy", members)
    plan = make_plan(given)
    model = build_model(given, plan.input_shape, 19, SEEDS, CPU)
    density, labelled, held_out = build_density(given, SEEDS), torch.arange(5), torch.arange(5, 9)
    if density is not None:
        fit_density(density, model, streets.train, labelled, held_out)
    task, passes = plan.task, mc_passes(given)
    assert isinstance(task, Segmentation)
    measured = task.evaluate(Fitted(model, density, passes, SEEDS), streets, labelled, held_out)["test"]
    with torch.no_grad():
        inputs_N_C_H_W = streets.test.inputs(streets.test.indices)
        set_prediction_mode(model, passes, SEEDS)
        log_probs_N_C_H_W = model(inputs_N_C_H_W[None]).softmax(2).mean(0).log()
        if density is None:
            uncertainty_N_H_W = -(log_probs_N_C_H_W.exp() * log_probs_N_C_H_W).sum(1)
        else:
            features_N_D_h_w = model.eval().encode(inputs_N_C_H_W[None])[0]
            rows_P_D = features_N_D_h_w.movedim(1, -1).flatten(0, 2)
            surprise = density.surprise(rows_P_D).view(features_N_D_h_w[:, 0].shape).float()
            uncertainty_N_H_W = torch.nn.functional.interpolate(surprise[:, None], (16, 32), mode="bilinear")
    masks_N_H_W = streets.test.labels(streets.test.indices)
    valid = (masks_N_H_W != 255).flatten().numpy()
    truth = masks_N_H_W.flatten().numpy()[valid]
    predicted = log_probs_N_C_H_W.argmax(1).flatten().numpy()[valid]
    present = np.union1d(truth, predicted)
    expected = jaccard_score(truth, predicted, labels=present, average=None)
    assert measured["miou"] == pytest.approx(expected.mean())
    assert measured["accuracy"] == pytest.approx((truth == predicted).mean())
    auroc = roc_auc_score(truth != predicted, uncertainty_N_H_W.flatten().numpy()[valid])
    assert measured["auroc"] == pytest.approx(auroc, abs=1e-3)


def test_a_split_without_a_valid_pixel_is_named(streets: DataBundle) -> None:
    plan = make_plan(config("entropy"))
    model = build_model(config("entropy"), plan.input_shape, 19, SEEDS, CPU)
    void = type(streets.test)(
        streets.test.images_N_C_H_W, torch.full_like(streets.test.masks_N_H_W, 255), CPU
    )
    bundle = DataBundle(streets.info, streets.train, void)
    with pytest.raises(UserError, match="the test scenes: no pixel of the 6 images"):
        plan.task.evaluate(Fitted(model, None, 1, SEEDS), bundle, torch.arange(3), torch.arange(3, 6))


@pytest.mark.parametrize("name", ["mean", "max", "top"])
def test_the_scenes_queried_have_the_highest_reduced_maps(
    name: str, streets: DataBundle, tmp_path: Path
) -> None:
    given = config("entropy", reduction=name, top_fraction=0.2, save_scores=True)
    run(given, streets, tmp_path)
    with np.load(tmp_path / "queries.npz") as queries:
        pool, scores = queries["pool_indices_0"], queries["pool_scores_0"]
        assert set(queries["indices_0"]) == set(pool[np.argsort(scores)[-3:]])
    assert len(scores) == 6
    assert len(set(scores)) == 6


def test_labels_of_a_density_are_what_the_network_predicts_there(streets: DataBundle) -> None:
    given = config("precomputed", "gmm")
    model = build_model(given, make_plan(given).input_shape, 19, SEEDS, CPU)
    seen: list[torch.Tensor] = []

    class Watched:
        def fit_batches(self, train: object, val: object) -> None:
            for features_P_D, labels_P in train():
                assert torch.equal(features_P_D.argmax(1), labels_P)
                seen.append(labels_P)

    fit_density(Watched(), model, streets.train, torch.arange(3), torch.arange(3, 5))
    assert sum(map(len, seen)) == 3 * 4 * 8, "a sample for every place of a map of a quarter of the size"


@pytest.mark.parametrize("name", ["random", "combination", "coreset"])
def test_what_has_no_measure_of_a_single_pixel_is_held_against_the_entropy(name: str) -> None:
    assert ACQUISITIONS.get(name)(config(name).training).uncertainty is HEURISTICS.get("entropy")


def test_the_wide_table_has_ious_and_aurocs(streets: DataBundle, tmp_path: Path) -> None:
    given = config("entropy")
    experiment = Experiment(given, tmp_path)
    records = run(given, streets, experiment.run_folder(1))
    experiment.write_csv()
    with experiment.csv.open(newline="") as file:
        first, second = csv.DictReader(file)
    assert set(first) == {
        "samples",
        *(
            f"{split}_{what}_run1"
            for split in ("test", "train", "val")
            for what in ("ious", "losses", "auroc")
        ),
    }
    assert float(second["test_ious_run1"]) == records.rows[1]["test"]["miou"]
    assert float(second["test_auroc_run1"]) == records.rows[1]["test"]["auroc"]


@pytest.mark.parametrize("name", ["max", "min", "mean", "sum", "top"])
def test_a_scenes_score_is_the_configs_reduction_of_the_whole_map(name: str) -> None:
    maps_B_H_W = torch.rand(2, 5, 7)
    task = make_plan(config("entropy", reduction=name, top_fraction=0.2)).task
    torch.testing.assert_close(task.reduce(maps_B_H_W), reduction(name, 0.2)(maps_B_H_W))


def test_the_class_balance_counts_pixels_without_void(streets: DataBundle) -> None:
    masks = streets.train.labels(torch.arange(3))
    counts = make_plan(config("random")).task.class_balance(streets.train, torch.arange(3))
    assert counts == [int((masks == label).sum()) for label in range(19)]


def test_what_is_uncertain_is_told_by_the_validation_pixels(
    streets: DataBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, float]] = []
    compute = segmentation.DenseMetrics.compute

    def watched(self: segmentation.DenseMetrics, threshold: float) -> dict:
        seen.append((self.mean_uncertainty, threshold))
        return compute(self, threshold)

    monkeypatch.setattr(segmentation.DenseMetrics, "compute", watched)
    run(config("entropy", iterations=1), streets, tmp_path)
    assert len({mean for mean, _ in seen}) == 3
    assert {threshold for _, threshold in seen} == {seen[1][0]}
