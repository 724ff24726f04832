"""PASCAL VOC 2012's segmentation, in the folders that its archive unpacks into.
Its photographs differ in size, so that a config says to which one they are resized."""

import os
from pathlib import Path
from typing import NoReturn

from src.data.bundle import DatasetInfo
from src.data.files import read_lines
from src.data.label_images import identity
from src.data.registry import DATASETS
from src.data.scene_cache import Scene
from src.data.scenes import Listing, SceneDataset
from src.utils.errors import UserError

CLASS_NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *(
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    ),
)


def colour(label: int) -> tuple[int, int, int]:
    """The published colour map: bits 0, 3, 6 of the class are red's highest bits, bits 1, 4, 7 green's, 2, 5 blue's."""
    red, green, blue = (
        sum((label >> (3 * place + channel) & 1) << (7 - place) for place in range(3)) for channel in range(3)
    )
    return red, green, blue


@DATASETS.register("voc")
class Voc(SceneDataset):
    """M. Everingham et al., 2010, "The PASCAL Visual Object Classes (VOC) Challenge"; the segmentation of 2012.

    Its validation images are the test; validation is a share of its training images.
    """

    published = DatasetInfo(
        name="voc",
        task="segmentation",
        nb_classes=21,
        channels=3,
        rows=500,
        cols=500,
        train_size=1464,
        test_size=1449,
        class_names=CLASS_NAMES,
        palette=tuple(colour(label) for label in range(21)),
    )
    train_id_of = identity(21)
    layout = "VOCdevkit/VOC2012 (torchvision.datasets.VOCSegmentation downloads it)"

    def list_scenes(self) -> Listing | None:
        if not os.path.isdir(self._folder):
            return None
        return Listing(self._named("train"), self._named("val"))

    def own_size(self) -> NoReturn:
        raise self.config.error(
            "data.resize",
            "voc's images differ in size: set it to true, with data.img_rows and data.img_cols as the size that all "
            "are resized to",
        )

    @property
    def _folder(self) -> Path:
        return self.root / "VOCdevkit" / "VOC2012"

    def _named(self, part: str) -> list[Scene]:
        list_ = self._folder / "ImageSets" / "Segmentation" / f"{part}.txt"
        scenes = [
            Scene(
                self._folder / "JPEGImages" / f"{name}.jpg",
                self._folder / "SegmentationClass" / f"{name}.png",
            )
            for _, name in read_lines(list_)
        ]
        for path in (path for scene in scenes for path in scene):
            if not os.path.exists(path):
                raise UserError(f"{path} is missing, which {list_} names; unpack the published archive anew")
        return scenes
