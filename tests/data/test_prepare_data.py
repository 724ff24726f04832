"""Train ids beside label ids, and the lists of them: made once, whole or not at all, from the command line."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.data import Source, load_dataset
from src.data.prepare_data import convert, main
from src.utils.errors import UserError
from tests.data.scene_files import SIZE, config, grow, label_path, save
from tests.data.test_cityscapes_labels import EXPECTED
from tests.experiments import ROOT, environment

TRAIN_ID_OF = {id_: train_id % 256 for _, id_, train_id, _ in EXPECTED}


def made(root: Path) -> list[Path]:
    return sorted((root / "gtFine").rglob("*_gtFine_trainIds.png"))


def create_lists(root: Path | str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(ROOT / "src" / "data" / "create_lists.sh"), str(root)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_every_label_file_gets_its_train_ids_beside_it(tmp_path: Path) -> None:
    written = grow(tmp_path)
    save(label_path(tmp_path, "train", "f0", "instanceIds"), np.zeros(SIZE, np.uint8))
    assert convert(tmp_path / "gtFine") == (7, 0)
    assert len(made(tmp_path)) == 7
    for part, scenes_N_H_W_4 in written.items():
        for at, scene_H_W_4 in enumerate(scenes_N_H_W_4):
            train_ids = np.asarray(Image.open(label_path(tmp_path, part, f"f{at}", "trainIds")))
            expected = [[TRAIN_ID_OF[id_] for id_ in row] for row in scene_H_W_4[..., 3].tolist()]
            assert train_ids.tolist() == expected


def test_only_what_is_missing_or_older_than_its_source_is_made(tmp_path: Path) -> None:
    grow(tmp_path)
    convert(tmp_path / "gtFine")
    times = {path: path.stat().st_mtime_ns for path in made(tmp_path)}
    missing, older, *rest = made(tmp_path)
    missing.unlink()
    os.utime(older, ns=(0, 0))
    assert convert(tmp_path / "gtFine") == (2, 5)
    assert missing.exists() and older.stat().st_mtime_ns > 0
    assert all(path.stat().st_mtime_ns == times[path] for path in rest)


def test_the_reverse_gives_back_the_ids_of_the_classes_and_unlabeled_for_void(tmp_path: Path) -> None:
    train_ids = np.array([[*range(19), 255]], np.uint8)
    save(tmp_path / "deep" / "f0_trainIds.png", train_ids)
    assert convert(tmp_path, reverse=True) == (1, 0)
    ids = np.asarray(Image.open(tmp_path / "deep" / "f0_labelIds.png"))[0].tolist()
    assert ids == [*sorted(id_ for id_, train_id in TRAIN_ID_OF.items() if train_id < 19), 0]
    assert convert(tmp_path, reverse=True) == (0, 1)


def test_the_reverse_never_writes_over_ground_truth(tmp_path: Path) -> None:
    grow(tmp_path)
    convert(tmp_path / "gtFine")
    before = label_path(tmp_path, "train", "f0").read_bytes()
    for path in made(tmp_path):
        os.utime(path, (2e9, 2e9))
    with pytest.raises(UserError, match="is ground truth, whose label ids would be lost"):
        convert(tmp_path / "gtFine", reverse=True)
    assert label_path(tmp_path, "train", "f0").read_bytes() == before


@pytest.mark.parametrize("spoilt", ["id", "cut"])
def test_a_bad_file_is_named_and_gets_no_half_written_one(
    spoilt: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grow(tmp_path)
    path = label_path(tmp_path, "train", "f3")
    if spoilt == "id":
        save(path, np.full(SIZE, 40, np.uint8))
    else:
        path.write_bytes(path.read_bytes()[:-30])
    assert main([str(tmp_path / "gtFine")]) == 2
    assert f"error: {path} " in capsys.readouterr().err
    assert label_path(tmp_path, "train", "f3", "trainIds") not in made(tmp_path)
    assert not list(tmp_path.rglob(".*"))
    save(path, np.zeros(SIZE, np.uint8))
    assert main([str(tmp_path / "gtFine")]) == 0
    assert len(made(tmp_path)) == 7


KILLED = """
import os, signal, sys
from src.data import prepare_data
os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)
prepare_data.main([sys.argv[1]])
"""


def test_what_a_killed_process_had_half_written_is_removed_by_the_next(tmp_path: Path) -> None:
    grow(tmp_path)
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "gtFine")], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert list(tmp_path.rglob(".*.part"))
    assert convert(tmp_path / "gtFine") == (7, 0)
    assert not list(tmp_path.rglob(".*.part"))


def test_a_folder_without_labels_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(str(tmp_path))} holds no .*_gtFine_labelIds.png"):
        convert(tmp_path)


def test_as_scripts_they_make_what_cityscapes_yu_reads(tmp_path: Path) -> None:
    grow(tmp_path)
    for at, name in enumerate(("f", "f_h", "f_a")):  # names that sort otherwise once their endings differ
        save(tmp_path / f"leftImg8bit/train/b/{name}_leftImg8bit.png", np.full((*SIZE, 3), at, np.uint8))
        save(tmp_path / f"gtFine/train/b/{name}_gtFine_labelIds.png", np.full(SIZE, 7 + at // 2, np.uint8))
    for kind in ("leftImg8bit", "gtFine"):  # a city may lie on another disk
        elsewhere = (tmp_path / kind / "train" / "b").rename(tmp_path / f"{kind} elsewhere")
        (tmp_path / kind / "train" / "b").symlink_to(elsewhere)
    command = [sys.executable, "src/data/prepare_data.py", f"{tmp_path}/gtFine/"]
    outcome = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment(), check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout == "10 written, 0 were there already\n"
    outcome = create_lists(tmp_path)
    assert outcome.returncode == 0, outcome.stderr
    by_lists, by_folders = (
        load_dataset(config(tmp_path, name), "cpu") for name in ("cityscapes_yu", "cityscapes")
    )
    for one, other in ((by_lists.train, by_folders.train), (by_lists.test, by_folders.test)):
        assert sorted_scenes(one) == sorted_scenes(other)


def sorted_scenes(source: Source) -> list[bytes]:
    scenes = torch.cat([source.inputs(source.indices), source.labels(source.indices)[:, None].float()], 1)
    return sorted(scene.numpy().tobytes() for scene in scenes)


@pytest.mark.parametrize("root", ["absent", "file", "-x", ""])
def test_lists_of_what_is_no_folder_are_refused_in_a_line(root: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    outcome = create_lists(root, cwd=tmp_path)
    message = f"error: {root} is no folder; name the one that holds leftImg8bit and gtFine\n"
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (2, "", message)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_lists_need_images_and_train_ids(tmp_path: Path) -> None:
    assert "leftImg8bit/train is missing" in create_lists(tmp_path).stderr
    grow(tmp_path)
    outcome = create_lists(tmp_path)
    assert outcome.returncode == 2
    assert "f0_gtFine_trainIds.png is missing; python3 src/data/prepare_data.py" in outcome.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gtFine", "leftImg8bit"]
