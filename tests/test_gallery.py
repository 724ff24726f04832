"""The command that draws a gallery from records: of the pool where they hold it, and a refusal where it cannot."""

from pathlib import Path

import numpy as np
import pytest
import torch

from src import gallery
from src.gallery import main
from tests.experiments import QUICK, run_cli, tree


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Experiments of three rounds with the pool's scores, ``kept``, and without, ``dropped``."""
    folder = tmp_path_factory.mktemp("gallery")
    (folder / "quick.yaml").write_text(QUICK)
    for name, flag in (("kept", "true"), ("dropped", "false")):
        settings = ("--set", f"name={name}", "--set", f"training.save_scores={flag}")
        assert run_cli("--config_path", folder / "quick.yaml", "--output_dir", folder, *settings).status == 0
    return folder


@pytest.mark.parametrize(
    ("name", "kind", "of"),
    [("kept", "pool_", "the 1124 scored"), ("dropped", "", "the 20 asked for (no others are kept)")],
)
def test_what_the_records_hold_is_drawn(
    name: str, kind: str, of: str, outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    save = gallery.save_gallery

    def keep(path: Path, indices_N: torch.Tensor, scores_N: torch.Tensor, *rest: object) -> None:
        given.extend([indices_N, scores_N, rest[-1]])
        save(path, indices_N, scores_N, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(gallery, "save_gallery", keep)
    picture = tmp_path / "picture.png"
    assert main([name, "--round", "1", "--output_dir", str(outputs), "--out", str(picture)]) == 0
    indices_N, scores_N, said = given
    with np.load(outputs / name / "run_1" / "queries.npz") as file:
        assert indices_N.tolist() == file[f"{kind}indices_1"].tolist()
        assert scores_N.tolist() == file[f"{kind}scores_1"].tolist()
    assert said == of
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_picture_is_beside_the_records_and_is_not_drawn_over(
    outputs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["kept", "--output_dir", str(outputs)]
    before = tree(outputs)
    assert main(arguments) == 0
    path = outputs / "kept" / "run_1" / "gallery_0.png"
    assert capsys.readouterr().out == f"wrote {path}\n"
    after = tree(outputs)
    assert after.keys() - before.keys() == {"kept/run_1/gallery_0.png"}
    assert all(after[name] == content for name, content in before.items())
    assert main(arguments) == 2
    assert "is there already" in capsys.readouterr().err
    assert tree(outputs) == after


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "nothing has not begun, or --output_dir is another"),
        (["kept", "--run", "2"], "run_2: has no finished round"),
        (["kept", "--round", "2"], "round 2, from 0, has asked for nothing; rounds 0 to 1 have"),
        (["kept", "--set", "training.epochs=x"], "--set training.epochs: "),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    arguments: list[str],
    message: str,
    outputs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "picture.png"
    assert main([*arguments, "--output_dir", str(outputs), "--out", str(out)]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: ")
    assert message in said.err
    assert not out.exists()


def test_records_of_another_dataset_are_not_drawn(
    outputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.bundle.DataBundle.fingerprint", lambda self: "another")
    assert main(["kept", "--output_dir", str(outputs), "--out", str(tmp_path / "x.png")]) == 2
    assert "the dataset is not the one of its rounds" in capsys.readouterr().err
