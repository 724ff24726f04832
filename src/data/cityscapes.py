"""Cityscapes, in the folders it is published in and by lists of files. Its classes are in ``cityscapes_labels``.
Whatever else lies in the same folders under the same names (CamVid, say) is read just so."""

import os
import re
from pathlib import Path

from src.data.bundle import DatasetInfo
from src.data.cityscapes_labels import CLASS_NAMES, COLOURS, TRAIN_ID_OF_ID
from src.data.files import read_lines
from src.data.label_images import identity
from src.data.registry import DATASETS
from src.data.scene_cache import Scene
from src.data.scenes import Listing, SceneDataset
from src.utils.errors import UserError

IMAGE, IDS = "_leftImg8bit.png", "_gtFine_labelIds.png"
TRAIN_IDS = re.compile(r"(_gtFine|_gtCoarse)?_trainIds\.png$")


def _published(name: str) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        task="segmentation",
        nb_classes=19,
        channels=3,
        rows=1024,
        cols=2048,
        train_size=2975,
        test_size=500,
        class_names=CLASS_NAMES,
        palette=COLOURS,
    )


@DATASETS.register("cityscapes")
class Cityscapes(SceneDataset):
    """M. Cordts et al., 2016, "The Cityscapes Dataset for Semantic Urban Scene Understanding", its fine annotations.

    Images and label ids lie as published and as torchvision reads them. The published validation scenes are the test,
    since the labels of its own test are secret; validation is a share of the training scenes.
    """

    published = _published("cityscapes")
    train_id_of = TRAIN_ID_OF_ID
    layout = f"leftImg8bit/{{train,val}}/<city>/*{IMAGE} with gtFine/{{train,val}}/<city>/*{IDS}"

    def list_scenes(self) -> Listing | None:
        if not os.path.isdir(self.root / "leftImg8bit"):
            return None
        images = {
            part: sorted((self.root / "leftImg8bit" / part).glob(f"*/*{IMAGE}")) for part in ("train", "val")
        }
        if not any(images.values()):
            return None
        train, test = ([self._scene(path, part) for path in paths] for part, paths in images.items())
        return Listing(train, test)

    def _scene(self, image: Path, part: str) -> Scene:
        label = self.root / "gtFine" / part / image.parent.name / (image.name.removesuffix(IMAGE) + IDS)
        if not os.path.exists(label):
            raise UserError(f"{label} is missing, the labels of {image}; put it there, or remove the image")
        return Scene(image, label)


@DATASETS.register("cityscapes_yu")
class CityscapesYu(SceneDataset):
    """Cityscapes as F. Yu's DRN code reads it: ``train_images.txt`` and ``train_labels.txt`` name a file a line, the
    same scene in the same line, and ``val_images.txt`` and ``val_labels.txt`` the test's.

    Paths are relative to the lists' folder, or absolute. Labels hold train ids: ``prepare_data.py`` makes them, and
    ``create_lists.sh`` the lists.
    """

    published = _published("cityscapes_yu")
    train_id_of = identity(19)
    mend_ids = (
        "if these are label ids, call the file *_gtFine_labelIds.png and let python3 src/data/prepare_data.py "
        "<root>/gtFine/ make train ids of it"
    )
    layout = "train_images.txt, train_labels.txt, val_images.txt, val_labels.txt (src/data/create_lists.sh makes them)"

    def list_scenes(self) -> Listing | None:
        lists = [
            self.root / f"{part}_{kind}.txt" for part in ("train", "val") for kind in ("images", "labels")
        ]
        missing = [path for path in lists if not os.path.exists(path)]
        if len(missing) == len(lists):
            return None
        if missing:
            raise UserError(f"{missing[0]} is missing; src/data/create_lists.sh makes all four lists")
        return Listing(self._paired(*lists[:2]), self._paired(*lists[2:]))

    def _paired(self, images_list: Path, labels_list: Path) -> list[Scene]:
        images, labels = self._paths(images_list), self._paths(labels_list)
        if len(images) != len(labels):
            raise UserError(
                f"{images_list} names {len(images)} files and {labels_list} {len(labels)}; a line of each is one scene"
            )
        for image, label in zip(images, labels, strict=True):
            frames = image.name.removesuffix(IMAGE), TRAIN_IDS.sub("", label.name)
            if frames[0] != frames[1] and frames != (image.name, label.name):
                raise UserError(
                    f"{labels_list} names {label.name} in the line in which {images_list.name} has {image.name}; a "
                    f"line of each is one scene, and its label ends in _trainIds.png; src/data/create_lists.sh makes "
                    "such lists"
                )
        return [Scene(*paths) for paths in zip(images, labels, strict=True)]

    def _paths(self, list_: Path) -> list[Path]:
        named = [(number, self.root / line) for number, line in read_lines(list_)]
        for number, path in named:
            if not os.path.exists(path):  # which takes a name that is too long for one that is not there
                raise UserError(
                    f"{list_}:{number} names {path}, which is not there; put it there, or make the list anew with "
                    "src/data/create_lists.sh"
                )
        return [path for _, path in named]
