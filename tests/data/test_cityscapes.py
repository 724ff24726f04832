"""Cityscapes is read in its folders and by lists; what is missing or does not belong together is named."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

from src.data import availability, dataset_info, load_dataset
from src.data.cityscapes_labels import TRAIN_ID_OF_ID
from src.data.label_images import id_table
from src.data.prepare_data import convert
from src.utils.errors import UserError
from tests.data.scene_files import SIZE, config, grow, image_path, label_path, save

LISTS = [f"{part}_{kind}.txt" for part in ("train", "val") for kind in ("images", "labels")]


def test_scenes_are_those_that_torchvision_finds_in_an_order_of_their_own(tmp_path: Path) -> None:
    grow(tmp_path)
    for kind in ("instanceIds", "color"):
        save(label_path(tmp_path, "train", "f0", kind), np.zeros(SIZE, np.uint8))
    bundle = load_dataset(config(tmp_path), "cpu")
    for source, part in ((bundle.train, "train"), (bundle.test, "val")):
        theirs = torchvision.datasets.Cityscapes(str(tmp_path), part, "fine", "semantic")
        assert len(theirs) == len(source)
        for at, theirs_at in enumerate(sorted(range(len(theirs)), key=theirs.images.__getitem__)):
            image, mask = theirs[theirs_at]
            inputs_H_W_3 = source.inputs(torch.tensor([at]))[0].permute(1, 2, 0)
            np.testing.assert_allclose(inputs_H_W_3.numpy(), np.asarray(image) / 255, rtol=1e-6)
            train_ids = id_table(TRAIN_ID_OF_ID)[np.asarray(mask)]
            assert np.array_equal(source.labels(torch.tensor([at]))[0].numpy(), train_ids)


def test_a_missing_label_file_is_named_with_its_image(tmp_path: Path) -> None:
    grow(tmp_path)
    label_path(tmp_path, "val", "f1").unlink()
    message = (
        f"{label_path(tmp_path, 'val', 'f1')} is missing, the labels of {image_path(tmp_path, 'val', 'f1')};"
    )
    for ask in (dataset_info, availability, lambda config: load_dataset(config, "cpu")):
        with pytest.raises(UserError, match=f"^{re.escape(message)}"):
            ask(config(tmp_path))


def test_a_label_whose_name_would_be_too_long_is_missing(tmp_path: Path) -> None:
    grow(tmp_path)
    frame = "n" * (255 - len("_leftImg8bit.png"))
    save(image_path(tmp_path, "train", frame), np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(UserError, match=r"_gtFine_labelIds\.png is missing, the labels of "):
        dataset_info(config(tmp_path))


@pytest.mark.parametrize(("gone", "left"), [("val", "test"), ("train", "train")])
def test_a_part_without_scenes_is_told(gone: str, left: str, tmp_path: Path) -> None:
    grow(tmp_path)
    shutil.rmtree(tmp_path / "leftImg8bit" / gone)
    message = f"data.path: {tmp_path} has no {left} scene of cityscapes: it needs leftImg8bit/"
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        dataset_info(config(tmp_path))


@pytest.mark.parametrize("dataset", ["cityscapes", "cityscapes_yu"])
def test_without_data_the_facts_are_the_published_ones_and_loading_says_what_is_needed(
    dataset: str, tmp_path: Path
) -> None:
    info = dataset_info(config(tmp_path, dataset))
    assert (info.rows, info.cols, info.train_size, info.test_size) == (1024, 2048, 2975, 500)
    assert availability(config(tmp_path, dataset)).startswith(f"{dataset} is absent: no ")
    with pytest.raises(
        UserError, match=f"^data.path: no .* in {re.escape(str(tmp_path))}; put the dataset there"
    ):
        load_dataset(config(tmp_path, dataset), "cpu")


# ---- by lists -----------------------------------------------------------------------------------------------------


@pytest.fixture
def listed(tmp_path: Path) -> dict[str, list[Path]]:
    """Scenes with train ids, and the four lists of them; by list the paths in it."""
    written = grow(tmp_path)
    lists: dict[str, list[Path]] = {name: [] for name in LISTS}
    for part, scenes_N_H_W_4 in written.items():
        for at, scene_H_W_4 in enumerate(scenes_N_H_W_4):
            train_ids = id_table(TRAIN_ID_OF_ID)[scene_H_W_4[..., 3]]
            label = save(label_path(tmp_path, part, f"f{at}", "trainIds"), train_ids)
            lists[f"{part}_images.txt"].append(image_path(tmp_path, part, f"f{at}").relative_to(tmp_path))
            lists[f"{part}_labels.txt"].append(label.relative_to(tmp_path))
    for name, paths in lists.items():
        write(tmp_path / name, paths)
    return lists


def write(path: Path, lines: list[Path]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def test_lists_give_the_same_scenes_as_the_folders(tmp_path: Path, listed: dict[str, list[Path]]) -> None:
    by_lists, by_folders = (
        load_dataset(config(tmp_path, name), "cpu") for name in ("cityscapes_yu", "cityscapes")
    )
    assert by_lists.info.train_size == 5
    for one, other in ((by_lists.train, by_folders.train), (by_lists.test, by_folders.test)):
        assert torch.equal(one.inputs(one.indices), other.inputs(other.indices))
        assert torch.equal(one.labels(one.indices), other.labels(other.indices))


def test_the_order_of_the_lists_is_the_order_of_the_scenes(
    tmp_path: Path, listed: dict[str, list[Path]]
) -> None:
    before = load_dataset(config(tmp_path, "cityscapes_yu"), "cpu").train
    for name in LISTS[:2]:
        # Absolute paths and empty lines are as good.
        (tmp_path / name).write_text("\n\n".join(str(tmp_path / path) for path in listed[name][::-1]))
    after = load_dataset(config(tmp_path, "cityscapes_yu"), "cpu").train
    for take in ("inputs", "labels"):
        assert torch.equal(getattr(before, take)(before.indices.flip(0)), getattr(after, take)(after.indices))


def dead_image(root: Path, lists: dict[str, list[Path]]) -> str:
    (root / lists["train_images.txt"][2]).unlink()
    return f"{root}/train_images.txt:3 names {root}/{lists['train_images.txt'][2]}, which is not there"


def dead_label(root: Path, lists: dict[str, list[Path]]) -> str:
    (root / lists["val_labels.txt"][1]).unlink()
    return f"{root}/val_labels.txt:2 names {root}/{lists['val_labels.txt'][1]}, which is not there"


def short_list(root: Path, lists: dict[str, list[Path]]) -> str:
    write(root / "train_labels.txt", lists["train_labels.txt"][1:])
    return f"{root}/train_images.txt names 5 files and {root}/train_labels.txt 4; a line of each is one scene"


def other_order(root: Path, lists: dict[str, list[Path]]) -> str:
    write(root / "train_labels.txt", lists["train_labels.txt"][::-1])
    return (
        f"{root}/train_labels.txt names f4_gtFine_trainIds.png in the line in which train_images.txt has "
        "f0_leftImg8bit.png"
    )


def label_ids(root: Path, lists: dict[str, list[Path]]) -> str:
    write(root / "train_labels.txt", [label_path(root, "train", f"f{at}") for at in range(5)])
    return f"{root}/train_labels.txt names f0_gtFine_labelIds.png in the line in which train_images.txt has f0_left"


def missing_list(root: Path, lists: dict[str, list[Path]]) -> str:
    (root / "val_labels.txt").unlink()
    return f"{root}/val_labels.txt is missing; src/data/create_lists.sh makes all four lists"


def empty_list(root: Path, lists: dict[str, list[Path]]) -> str:
    for name in LISTS[2:]:
        write(root / name, [])
    return f"data.path: {root} has no test scene of cityscapes_yu: it needs train_images.txt"


def binary_list(root: Path, lists: dict[str, list[Path]]) -> str:
    (root / "train_images.txt").write_bytes(b"\xff\xfe\x00")
    return f"{root}/train_images.txt is no text in UTF-8"


def long_name(root: Path, lists: dict[str, list[Path]]) -> str:
    write(root / "train_images.txt", [Path("n" * 300), *lists["train_images.txt"][1:]])
    return f"{root}/train_images.txt:1 names {root}/{'n' * 300}, which is not there"


@pytest.mark.parametrize(
    "spoil",
    [
        *(dead_image, dead_label, short_list, other_order),
        *(label_ids, missing_list, empty_list, binary_list, long_name),
    ],
)
def test_lists_that_are_wrong_are_explained(
    spoil: Callable[[Path, dict[str, list[Path]]], str], tmp_path: Path, listed: dict[str, list[Path]]
) -> None:
    message = spoil(tmp_path, listed)
    for ask in (dataset_info, lambda config: load_dataset(config, "cpu")):
        with pytest.raises(UserError, match=f"^{re.escape(message)}"):
            ask(config(tmp_path, "cityscapes_yu"))


@pytest.mark.parametrize("kind", ["_gtCoarse", ""])
def test_lists_may_name_coarse_labels_and_labels_of_other_makers(
    kind: str, tmp_path: Path, listed: dict[str, list[Path]]
) -> None:
    renamed = []
    for path in listed["train_labels.txt"]:
        renamed.append(path.with_name(path.name.replace("_gtFine", kind)))
        (tmp_path / path).rename(tmp_path / renamed[-1])
    before = load_dataset(config(tmp_path, "cityscapes"), "cpu").train
    write(tmp_path / "train_labels.txt", renamed)
    train = load_dataset(config(tmp_path, "cityscapes_yu"), "cpu").train
    assert torch.equal(train.labels(train.indices), before.labels(before.indices))


def test_label_ids_in_the_place_of_train_ids_are_told_with_what_makes_those(
    tmp_path: Path, listed: dict[str, list[Path]]
) -> None:
    path = save(tmp_path / listed["train_labels.txt"][0], np.full(SIZE, 19, np.uint8))
    message = f"{path} holds the id 19 .*none of 0 … 18 and 255; .*python3 src/data/prepare_data.py "
    with pytest.raises(UserError, match=f"^{message}"):
        load_dataset(config(tmp_path, "cityscapes_yu"), "cpu")
    # Which is then right.
    path.rename(str(path).replace("trainIds", "labelIds"))
    convert(tmp_path / "gtFine")
    train = load_dataset(config(tmp_path, "cityscapes_yu"), "cpu").train
    assert (train.labels(train.indices[:1]) == TRAIN_ID_OF_ID[19]).all()
