"""A folder a class becomes a dataset, split by a draw of its own where it has no test images."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from src.active import loop
from src.config import Config, load_config
from src.data import DataBundle, availability, dataset_info, load_dataset
from src.data.decoding import CACHE_FOLDER
from src.data.registry import DATASETS
from src.utils.errors import UserError
from tests.experiments import rows, run_cli, tree

CLASSES = ("bee", "ant", "cow")


def image(path: Path, shade: int, size: tuple[int, int] = (4, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), shade, np.uint8)).save(path)
    return path


def grow(root: Path, classes: tuple[str, ...] = CLASSES, count: int = 10) -> Path:
    """``count`` images of each class; the shade of each is its own."""
    for label, name in enumerate(classes):
        for at in range(count):
            image(root / name / f"{at:02}.png", 20 * label + at)
    return root


def config(root: Path, **data: object) -> Config:
    return Config.model_validate(
        {"name": "test", "data": {"dataset": "image_folder", "path": str(root), **data}}
    )


def shades(bundle: DataBundle) -> tuple[list[int], list[int]]:
    train, test = (split.images_N_C_H_W[:, 0, 0, 0].tolist() for split in (bundle.train, bundle.test))
    return train, test


def test_train_and_test_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    grow(tmp_path / "train", count=3)
    grow(tmp_path / "test", count=2)
    bundle = load_dataset(config(tmp_path), "cpu")
    # Classes are numbered by name: ant has shades from 20, bee from 0, cow from 40.
    assert bundle.info.class_names == ("ant", "bee", "cow")
    assert shades(bundle) == ([20, 21, 22, 0, 1, 2, 40, 41, 42], [20, 21, 0, 1, 40, 41])
    assert bundle.train.labels_N.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert bundle.test.labels_N.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset_info(config(tmp_path)) == bundle.info
    assert (bundle.info.train_size, bundle.info.test_size) == (len(bundle.train), len(bundle.test))


def test_without_them_a_fifth_of_each_class_is_the_test_whatever_the_seed(tmp_path: Path) -> None:
    grow(tmp_path)
    bundle = load_dataset(config(tmp_path), "cpu")
    train, test = shades(bundle)
    assert sorted(train + test) == sorted(20 * label + at for label in range(3) for at in range(10))
    assert bundle.test.labels_N.tolist() == [0, 0, 1, 1, 2, 2]
    assert train == sorted(train[:8]) + sorted(train[8:16]) + sorted(train[16:])
    other_seed = Config.model_validate({**config(tmp_path).model_dump(), "random_state": [99]})
    assert shades(load_dataset(other_seed, "cpu")) == (train, test)
    # Which of a class are tested is drawn: not the same positions in every class.
    assert len({tuple(shade % 20 for shade in test[at : at + 2]) for at in (0, 2, 4)}) > 1
    # A class that joins moves no other's images.
    grow(tmp_path, ("dog",))
    assert shades(load_dataset(config(tmp_path), "cpu"))[1][:6] == test


def test_the_smallest_class_has_one_image_for_each(tmp_path: Path) -> None:
    bundle = load_dataset(config(grow(tmp_path, count=2)), "cpu")
    assert (len(bundle.train), len(bundle.test)) == (3, 3)


def test_subfolders_count_and_hidden_or_other_files_do_not(tmp_path: Path) -> None:
    grow(tmp_path, count=2)
    image(tmp_path / "ant" / "red" / "deep.PNG", 99)
    image(tmp_path / "ant" / ".thumbs" / "small.png", 200)
    image(tmp_path / "ant" / "._hidden.png", 200)
    image(tmp_path / ".git" / "a.png", 200)
    (tmp_path / "ant" / "notes.txt").write_text("no image")
    (tmp_path / "README.md").write_text("no class")
    train, test = shades(load_dataset(config(tmp_path), "cpu"))
    assert sorted(train + test) == [0, 1, 20, 21, 40, 41, 99]


def test_train_can_be_the_name_of_a_class(tmp_path: Path) -> None:
    grow(tmp_path, ("train", "bus"))
    grow(tmp_path / "train", ("freight",))
    assert load_dataset(config(tmp_path), "cpu").info.class_names == ("bus", "train")


def test_sizes_are_the_first_images_unless_the_config_gives_them(tmp_path: Path) -> None:
    grow(tmp_path)
    image(tmp_path / "cow" / "09.png", 49, size=(5, 5))
    info = dataset_info(config(tmp_path))
    assert (info.channels, info.rows, info.cols) == (3, 4, 6)
    resized = config(tmp_path, img_rows=8, img_cols=9, img_channels=1)
    assert load_dataset(resized, "cpu").train.images_N_C_H_W.shape == (24, 1, 8, 9)
    with pytest.raises(UserError, match=r"09.png has 5 rows and 5 columns.*set data.img_rows"):
        load_dataset(config(tmp_path), "cpu")


def test_availability_counts_and_tells_whether_it_is_decoded(tmp_path: Path) -> None:
    grow(tmp_path)
    found = f"image_folder found at {tmp_path}: 30 images, "
    assert availability(config(tmp_path)) == found + "to be decoded on first use"
    assert not (tmp_path / CACHE_FOLDER).exists()
    load_dataset(config(tmp_path), "cpu")
    assert availability(config(tmp_path)) == found + "decoded already"
    assert availability(config(tmp_path, img_rows=2, img_cols=2)) == found + "to be decoded on first use"


def test_a_second_loading_is_the_same_as_the_first(tmp_path: Path) -> None:
    grow(tmp_path)
    first, second = (load_dataset(config(tmp_path), "cpu") for _ in range(2))
    for one, other in ((first.train, second.train), (first.test, second.test)):
        assert torch.equal(one.images_N_C_H_W, other.images_N_C_H_W)
        assert torch.equal(one.labels_N, other.labels_N)


def emptied(root: Path) -> None:
    shutil.rmtree(root / "bee")
    (root / "bee").mkdir()


def one_class(root: Path) -> None:
    for name in CLASSES[1:]:
        shutil.rmtree(root / name)


def one_image(root: Path) -> None:
    for path in sorted((root / "bee").iterdir())[1:]:
        path.unlink()


def no_folder(root: Path) -> None:
    shutil.rmtree(root)


def a_file(root: Path) -> None:
    shutil.rmtree(root)
    root.write_text("no folder")


def differing(root: Path) -> None:
    grow(root / "train")
    grow(root / "test", CLASSES[:2])


def train_alone(root: Path) -> None:
    shutil.move(root, root.with_name("train"))
    root.mkdir()
    shutil.move(root.with_name("train"), root / "train")


def train_and_val(root: Path) -> None:
    train_alone(root)
    grow(root / "val")


def val_and_test(root: Path) -> None:
    train_and_val(root)
    shutil.move(root / "train", root / "test")


def no_text(root: Path) -> None:
    os.rename(root / "bee", os.fsencode(root) + b"/b\xe9e")


def no_text_in_train(root: Path) -> None:
    train_alone(root)
    grow(root / "test")
    no_text(root / "train")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (emptied, "class folder ROOT/bee has no image (.bmp, "),
        (one_class, "ROOT has 1 class folders and at least two are needed"),
        (
            one_image,
            "class folder ROOT/bee has one image, and one is needed for training and one for the test",
        ),
        (no_folder, "ROOT cannot be listed (No such file or directory); image_folder needs a folder"),
        (
            a_file,
            "ROOT cannot be listed (Not a directory); image_folder needs a folder that holds train/<class>/",
        ),
        (differing, "ROOT: train and test differ in the class folders cow; give both the same"),
        (
            train_alone,
            "ROOT has train/ without test/, and all images of train/ are in folders of it; rename the other part, "
            "such as val/, to test/, or move train/* up",
        ),
        (
            train_and_val,
            "ROOT has train/ without test/, and all images of train/ are in folders of it; rename",
        ),
        (val_and_test, "ROOT has test/ without train/, and all images of test/ are in folders of it; rename"),
        (no_text, r"the name of class folder 'b\udce9e' in ROOT is no text in UTF-8; rename the folder"),
        (no_text_in_train, r"the name of class folder 'b\udce9e' in ROOT/train is no text in UTF-8; rename"),
    ],
)
def test_a_folder_that_is_no_dataset_is_explained(
    spoil: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    root = grow(tmp_path / "images")
    spoil(root)
    for ask in (dataset_info, availability, lambda config: load_dataset(config, "cpu")):
        with pytest.raises(UserError) as caught:
            ask(config(root))
        assert str(caught.value).startswith(f"data.path: {message.replace('ROOT', str(root))}")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"img_rows": 8}, "data.img_cols: image_folder needs data.img_rows and data.img_cols"),
        ({"img_cols": 8}, "data.img_rows: image_folder needs data.img_rows and data.img_cols"),
        ({"img_channels": 2}, "data.img_channels: 2: images are grey (1) or RGB (3, or null)"),
        ({"nb_classes": 4}, "data.nb_classes: 4 contradicts image_folder, which has 3"),
        (
            {"rgb_normalization": True, "mean": [0.5], "std": [1.0]},
            "data.mean: 1 values, but image_folder has 3",
        ),
    ],
)
def test_keys_that_do_not_fit_are_told_before_any_decoding(
    data: dict[str, object], message: str, tmp_path: Path
) -> None:
    grow(tmp_path)
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        load_dataset(config(tmp_path, **data), "cpu")
    assert not (tmp_path / CACHE_FOLDER).exists()


def test_it_is_registered_for_classification() -> None:
    assert DATASETS.get("image_folder").task == "classification"


def test_an_experiment_on_a_folder_runs_and_its_check_tells_of_it(tmp_path: Path) -> None:
    root = grow(tmp_path / "images", count=20)
    path = tmp_path / "own.yaml"
    path.write_text(
        "name: own\n"
        "training: {heuristic: entropy, iterations: 2, initially_labelled: 9, epochs: 1, verbose: false}\n"
        f"data: {{dataset: image_folder, path: {root}, augmentation: true}}\n"
        "model: {name: MLP, hidden_layers: [4, 4]}\n"
    )
    status, out, err = run_cli("--config_path", path, "--check")
    assert status == 0, err
    assert "image_folder, 3×4×6, 3 classes: 38 to train on, 10 for validation, 12 for testing" in out
    assert f"image_folder found at {root}: 60 images, to be decoded on first use" in out
    assert run_cli("--config_path", path, "--output_dir", tmp_path / "outputs").status == 0
    assert [row["labelled"] for row in rows(tmp_path / "outputs" / "own" / "run_1")] == [9, 29]
    assert load_config(path).data.dataset == "image_folder"


def added(root: Path) -> None:
    image(root / "ant" / "00a.png", 99)


def renamed(root: Path) -> None:
    (root / "ant" / "00.png").rename(root / "ant" / "99.png")


def exchanged(root: Path) -> None:
    """As many images in each class as before."""
    added(root)
    (root / "ant" / "19.png").unlink()


@pytest.mark.parametrize("change", [added, renamed, exchanged])
def test_a_run_is_not_taken_up_on_a_folder_that_has_changed(
    change: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its indices would mean other images. Where the folder is as it was, moved or not, the run goes on."""
    root, outputs, path = grow(tmp_path / "images", count=20), tmp_path / "outputs", tmp_path / "own.yaml"
    path.write_text(
        "name: own\n"
        "training: {heuristic: random, iterations: 2, initially_labelled: 9, epochs: 1, verbose: false}\n"
        "data: {dataset: image_folder, path: images}\n"
        "model: {name: MLP, hidden_layers: [4, 4]}\n"
    )
    command = ("--config_path", path, "--output_dir", outputs)
    monkeypatch.chdir(tmp_path)
    run_round, rounds = loop.run_round, 0

    def interrupted(*arguments: Any) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            raise KeyboardInterrupt
        run_round(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "run_round", interrupted)
        assert run_cli(*command).status == 130
    before = tree(outputs)
    other = shutil.copytree(root, tmp_path / "other" / "images").parent
    change(root)
    outcome = run_cli(*command)
    assert outcome.status == 2
    assert (
        f"{outputs / 'own' / 'run_1' / 'state.pt'}: the dataset is not the one of its rounds" in outcome.err
    )
    assert tree(outputs) == before
    monkeypatch.chdir(other)
    assert run_cli(*command).status == 0
    assert [row["labelled"] for row in rows(outputs / "own" / "run_1")] == [9, 29]


def test_images_without_a_class_come_last_in_each_part_for_a_person_to_label(tmp_path: Path) -> None:
    grow(tmp_path / "train", ("cow", "unlabelled"), count=2)
    grow(tmp_path / "test", ("ant", "unlabelled"), count=1)
    (tmp_path / "train" / "bee").mkdir()  # a class without an image yet
    own = config_of_a_person(tmp_path)
    bundle = load_dataset(own, "cpu")
    assert bundle.info.class_names == ("ant", "bee", "cow")
    assert (bundle.train.labels_N.tolist(), bundle.test.labels_N.tolist()) == ([2, 2, -1, -1], [0, -1])
    assert [bundle.names[at] for at in (2, 5)] == ["train/unlabelled/00.png", "test/unlabelled/00.png"]
    assert bundle.given.came_labelled_N.tolist() == [True, True, False, False, True, False]
    assert availability(own).endswith("; 3 without a class, 0 labelled since")
    # What is given later is no other dataset, and one more class is.
    before = bundle.fingerprint()
    bundle.given.keep({3: 1, 5: 0}, "test")
    bundle = load_dataset(own, "cpu")
    assert (bundle.train.labels_N.tolist(), bundle.test.labels_N.tolist()) == ([2, 2, -1, 1], [0, 0])
    assert availability(own).endswith("; 3 without a class, 2 labelled since")
    assert bundle.fingerprint() == before
    (tmp_path / "train" / "dog").mkdir()
    assert load_dataset(own, "cpu").fingerprint() != before


def config_of_a_person(root: Path) -> Config:
    data = {"dataset": "image_folder", "path": str(root), "oracle": "file"}
    return Config.model_validate({"name": "t", "training": {"initially_balanced": False}, "data": data})


def no_test(root: Path) -> None:
    shutil.rmtree(root / "test")


def empty_train(root: Path) -> None:
    shutil.rmtree(root / "train")
    (root / "train" / "ant").mkdir(parents=True)


def one_class_known(root: Path) -> None:
    for part in ("train", "test"):
        for name in CLASSES[1:]:
            shutil.rmtree(root / part / name)


def loose(root: Path) -> None:
    image(root / "train" / "a.png", 1)
    image(root / "train" / "b.png", 1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_test, "data.oracle: file needs ROOT/test: images whose class is not known belong into train/unl"),
        (empty_train, "data.path: ROOT/train has no image in any folder of it"),
        (one_class_known, "data.path: ROOT has 1 class folders and at least two are needed; make one for"),
        (
            loose,
            "data.path: ROOT/train/a.png is in no folder of train/, as are 2 images in all; move those whose class is "
            "not known to ROOT/train/unlabelled",
        ),
    ],
)
def test_a_folder_that_no_person_can_label_is_explained(
    spoil: Callable[[Path], None], message: str, tmp_path: Path
) -> None:
    grow(tmp_path / "train", (*CLASSES, "unlabelled"), count=1)
    grow(tmp_path / "test", count=1)
    spoil(tmp_path)
    with pytest.raises(UserError) as caught:
        dataset_info(config_of_a_person(tmp_path))
    assert str(caught.value).startswith(message.replace("ROOT", str(tmp_path)))


@pytest.mark.parametrize("part", ["", "train"])
def test_images_without_a_class_are_no_class_of_a_dataset_that_labels_itself(
    part: str, tmp_path: Path
) -> None:
    grow(tmp_path / "train")
    grow(tmp_path / "test")
    grow(tmp_path / part, (*CLASSES, "unlabelled"))
    if not part:
        shutil.rmtree(tmp_path / "train")
        shutil.rmtree(tmp_path / "test")
    with pytest.raises(UserError, match=r"^data\.oracle: dataset tells .* set it to file"):
        dataset_info(config(tmp_path))


@pytest.mark.parametrize("size", [{}, {"img_rows": 4, "img_cols": 6}])
def test_all_corrupt_images_are_told_at_once(size: dict[str, int], tmp_path: Path) -> None:
    """Also where the first one is among them, whose size would be all images'."""
    root = grow(tmp_path / "images")
    bad = [*(root / "ant").iterdir(), root / "bee" / "03.png", root / "cow" / "04.png"]
    for path in bad:
        path.write_bytes(b"no image")
    with pytest.raises(UserError) as caught:
        load_dataset(config(root, **size), "cpu")
    first, *lines = str(caught.value).splitlines()
    assert first == f"{len(bad)} of 30 images cannot be used:"
    assert len({line.split()[0] for line in lines[:-1]} & set(map(str, bad))) == 10
    assert lines[-1].strip() == f"… and {len(bad) - 10} more"
