"""``--check`` tells what a run would do, with which data and weights, and how far it has come, and it makes nothing."""

import re
from pathlib import Path

import pytest
import torch
import torchvision
import yaml

from tests.experiments import CONFIGS, FINAL_RUNS, ROOT, SHIPPED, run_cli, tree


@pytest.mark.parametrize("path", [ROOT / "config.yaml", *SHIPPED], ids=lambda path: path.stem)
def test_check_prints_the_plan_without_data_and_makes_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run_cli("--config_path", path, "--check", "--device", "cpu", task=None)
    assert status == 0, err
    for topic in ("data", "model", "query", "rounds", "runs", "device", "state"):
        assert re.search(rf"^  {topic} +\S", out, re.MULTILINE), f"no {topic} in {out}"
    config = yaml.safe_load(path.read_text())
    assert out.startswith(f"{config['name']}: the config is good")
    assert f"  query      {config['training']['heuristic']}" in out
    assert re.search(rf"^  rounds +{config['training']['iterations']}, labels ", out, re.MULTILINE)
    assert re.search(r"^  model .* [\d,]+ parameters", out, re.MULTILINE)
    dataset = config["data"]["dataset"].removeprefix("repeated_")  # which is made of mnist
    generated = dataset in ("digits", "synthetic_streets")
    assert ("nothing to download" if generated else f"{dataset} is absent") in out
    assert ("for testing (sizes assumed: those published of " in out) != generated
    assert not list(tmp_path.iterdir())


def test_check_counts_what_will_be_built(digits_config: Path) -> None:
    _, out, _ = run_cli("--config_path", digits_config, "--check", "--set", "model.ensemble=3")
    # 64-16-16-10, weights and biases, three times.
    one = 64 * 16 + 16 + 16 * 16 + 16 + 16 * 10 + 10
    assert f"{3 * one:,} parameters, 3 members" in out
    assert "labels 20, 30, 50" in out
    assert "1154 to train on, 288 for validation, 355 for testing" in out


def test_check_finds_real_mnist(real_mnist: Path) -> None:
    config = FINAL_RUNS / "mnist_knn.yaml"
    status, out, _ = run_cli("--config_path", config, "--check", "--set", f"data.path={real_mnist}")
    assert status == 0
    assert f"mnist found at {real_mnist}" in out
    assert "assumed" not in out


def test_check_of_a_finished_experiment_changes_nothing(digits_config: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    assert run_cli("--config_path", digits_config, "--output_dir", outputs).status == 0
    before = tree(outputs)
    assert (
        run_cli("--config_path", digits_config, "--output_dir", outputs, "--check", "--overwrite").status == 0
    )
    assert tree(outputs) == before


def test_check_tells_how_far_an_experiment_has_come(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state(*options: str) -> str:
        before = tree(tmp_path)
        arguments = ("--config_path", digits_config, "--output_dir", tmp_path, "--set", "runs=3", *options)
        status, out, _ = run_cli(*arguments, "--set", "random_state=[3, 11, 4]", "--check")
        assert status == 0
        assert tree(tmp_path) == before
        return re.search(r"^  state +(.*(\n {3,}.*)*)", out, re.MULTILINE)[1]  # type: ignore[index]

    assert state() == "not begun"
    options = ("--output_dir", tmp_path, "--set", "runs=2")
    with monkeypatch.context() as patch:
        patch.setattr("src.cli.draw_plots", lambda folder, plan: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_cli("--config_path", digits_config, *options, "--run", "2", "--set", "save_plot=true")
    assert run_cli("--config_path", digits_config, *options, "--run", "1").status == 0
    part = tmp_path / "quick" / "run_2" / ".state.pt.1.part"
    part.touch()  # as a process that is at work may have it
    assert state() == "run 1: finished, 3 rounds; run 2: 1 of 3 rounds; run 3: not begun"
    assert part.exists()
    refusal = state("--set", "training.epochs=3")
    assert refusal.startswith("refused: ")
    assert "training.epochs: 2 -> 3" in refusal
    assert state("--overwrite") == "--overwrite removes all runs first"
    assert "run 2 would be lost" in state("--set", "training.epochs=3", "--overwrite", "--run", "1")


def test_check_says_in_its_headline_that_the_data_is_absent(digits_config: Path, tmp_path: Path) -> None:
    options = ("--set", "data.dataset=mnist", "--set", f"data.path={tmp_path}", "--check")
    status, out, _ = run_cli("--config_path", digits_config, *options)
    assert status == 0
    assert out.splitlines()[0] == "quick: the config is good, but the data is absent"
    assert (
        run_cli("--config_path", digits_config, "--check").out.splitlines()[0] == "quick: the config is good"
    )


def test_check_says_where_pretrained_weights_come_from(
    digits_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    options = ("--set", "model.name=resnet18", "--set", "model.pretrained=true", "--check")

    def weights(*more: str) -> str:
        out = run_cli("--config_path", digits_config, *options, *more).out
        return re.search(r"^  weights +(.*)", out, re.MULTILINE)[1]  # type: ignore[index]

    assert weights().startswith("to be downloaded from https://")
    cached = tmp_path / "checkpoints" / "resnet18-f37072fd.pth"
    cached.parent.mkdir()
    torch.save(torchvision.models.resnet18().state_dict(), cached)
    assert weights() == f"cached at {cached}"
    assert weights("--set", f"model.pretrained_model={cached}") == f"in {cached}"
    assert "weights  " not in run_cli("--config_path", digits_config, "--check").out


def test_a_key_without_effect_is_noted_by_check_and_by_a_run(digits_config: Path, tmp_path: Path) -> None:
    options = ("--output_dir", tmp_path, "--set", "model.mc_iterations=5")
    note = "note: no effect here: model.mc_iterations (model.mc_dropout is false)"
    assert run_cli("--config_path", digits_config, *options, "--check").out.splitlines()[-1] == note
    assert run_cli("--config_path", digits_config, *options).err.splitlines() == [note]


def test_check_notes_crops_that_are_larger_than_the_scenes() -> None:
    config = CONFIGS / "quickstart_segmentation.yaml"

    def notes(*options: str) -> list[str]:
        out = run_cli("--config_path", config, "--check", *options, task=None).out
        assert "quickstart_segmentation: the config is good" in out
        return re.findall("^note: (.*):", out, re.MULTILINE)

    assert notes() == []
    larger = "training.crop_size=49"
    assert notes("--set", larger) == ["training.crop_size 49 exceeds the scenes' 48×96 pixels"]
    assert notes("--set", larger, "--set", "data.augmentation=false") == []


def test_check_says_that_a_fixed_pca_bounds_the_greedy_search(digits_config: Path) -> None:
    mir = "mir_configs={density_model: gmm, greedy_search: true, dim_reduction: 9}".replace("=", ": ")
    options = ("--set", f"model={{name: MIR, hidden_layers: [16, 16], {mir}}}", "--check")
    out = run_cli("--config_path", digits_config, *options).out
    assert "density gmm, greedy search in up to 9 dimensions (dim_reduction bounds greedy_search)" in out
