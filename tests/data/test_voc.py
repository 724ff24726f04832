"""VOC's segmentation is read where its archive puts it, at the one size that a config gives."""

import re
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image

from src.data import availability, dataset_info, load_dataset
from src.data.voc import Voc, colour
from src.utils.errors import UserError
from tests.data.scene_files import config

SIZE = {"resize": True, "img_rows": 8, "img_cols": 10}


def grow(root: Path) -> Path:
    """Two and one photographs of different sizes, and one that no list has; the folder of them all."""
    folder = root / "VOCdevkit" / "VOC2012"
    for name in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
        (folder / name).mkdir(parents=True)
    for at, size in enumerate([(30, 40), (40, 30), (25, 25), (9, 9)]):
        Image.fromarray(np.full((*size, 3), 60 * at, np.uint8)).save(folder / "JPEGImages" / f"p{at}.jpg")
        ids = np.full(size, at, np.uint8)
        ids[0], ids[-1] = 255, 20
        mask = Image.fromarray(ids, "P")
        mask.putpalette([channel for index in range(256) for channel in colour(index)])
        mask.save(folder / "SegmentationClass" / f"p{at}.png")
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text("p0\np1\n")
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("p2\n")
    return folder


def test_scenes_are_those_of_the_lists_resized(tmp_path: Path) -> None:
    grow(tmp_path)
    bundle = load_dataset(config(tmp_path, "voc", **SIZE), "cpu")
    assert (bundle.info.train_size, bundle.info.test_size, bundle.info.nb_classes) == (2, 1, 21)
    for source, part in ((bundle.train, "train"), (bundle.test, "val")):
        theirs = torchvision.datasets.VOCSegmentation(str(tmp_path), "2012", part)
        assert len(theirs) == len(source)
        for at, (image, mask) in enumerate(theirs):
            expected = np.asarray(image.resize((10, 8), Image.Resampling.BILINEAR)) / 255
            inputs = source.inputs(source.indices[at : at + 1])[0].permute(1, 2, 0)
            np.testing.assert_allclose(inputs.numpy(), expected, rtol=1e-6)
            nearest = np.asarray(mask.resize((10, 8), Image.Resampling.NEAREST))
            assert np.array_equal(source.labels(source.indices[at : at + 1])[0].numpy(), nearest)


def test_a_size_to_resize_to_is_needed_with_data_or_without(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(UserError, match=r"^data.resize: voc's images differ in size: set it to true"):
            dataset_info(config(tmp_path, "voc"))
        if not any(tmp_path.iterdir()):
            grow(tmp_path)


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    assert availability(config(tmp_path, "voc", **SIZE)).startswith(
        "voc is absent: no VOCdevkit/VOC2012 (torchv"
    )
    assert dataset_info(config(tmp_path, "voc", **SIZE)).train_size == 1464
    folder = grow(tmp_path)
    label = folder / "SegmentationClass" / "p1.png"
    label.unlink()
    list_ = folder / "ImageSets" / "Segmentation" / "train.txt"
    with pytest.raises(UserError, match=f"^{re.escape(f'{label} is missing, which {list_} names; unpack')}"):
        load_dataset(config(tmp_path, "voc", **SIZE), "cpu")
    list_.unlink()
    with pytest.raises(UserError, match=f"^{re.escape(str(list_))} cannot be read"):
        load_dataset(config(tmp_path, "voc", **SIZE), "cpu")


def test_a_list_of_anything_but_names_is_told(tmp_path: Path) -> None:
    list_ = grow(tmp_path) / "ImageSets" / "Segmentation" / "train.txt"
    for content, message in (
        (b"p0\n\xff\xfe", f"{list_} is no text in UTF-8"),
        (b"p0\n" + b"n" * 300, f"{tmp_path}/VOCdevkit/VOC2012/JPEGImages/{'n' * 300}.jpg is missing, which"),
        (b"p0\nn\0n", f"{tmp_path}/VOCdevkit/VOC2012/JPEGImages/n\0n.jpg is missing, which"),
    ):
        list_.write_bytes(content)
        with pytest.raises(UserError, match=f"^{re.escape(message)}"):
            dataset_info(config(tmp_path, "voc", **SIZE))


def test_classes_and_colours_are_the_published_ones() -> None:
    # The development kit's colour map, by class.
    expected = {
        "background": (0, 0, 0),
        "aeroplane": (128, 0, 0),
        "bicycle": (0, 128, 0),
        "bird": (128, 128, 0),
        "boat": (0, 0, 128),
        "bottle": (128, 0, 128),
        "bus": (0, 128, 128),
        "car": (128, 128, 128),
        "cat": (64, 0, 0),
        "chair": (192, 0, 0),
        "cow": (64, 128, 0),
        "diningtable": (192, 128, 0),
        "dog": (64, 0, 128),
        "horse": (192, 0, 128),
        "motorbike": (64, 128, 128),
        "person": (192, 128, 128),
        "pottedplant": (0, 64, 0),
        "sheep": (128, 64, 0),
        "sofa": (0, 192, 0),
        "train": (128, 192, 0),
        "tvmonitor": (0, 64, 128),
    }
    assert Voc.published.palette is not None
    assert dict(zip(Voc.published.class_names, Voc.published.palette, strict=True)) == expected
    assert colour(255) == (224, 224, 192)
