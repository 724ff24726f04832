"""The classes of Cityscapes: the ids in its label images, the train ids that networks learn, and the colours.
How label images are read is in ``label_images``, which scenes there are in ``cityscapes``."""

from typing import NamedTuple

from src.data.label_images import VOID


class Label(NamedTuple):
    """One of the 35 labels that annotators had."""

    name: str
    id: int
    train_id: int
    """The class, 0 … 18; 255 for what no network is trained or tested on; −1 for what is never drawn."""
    colour: tuple[int, int, int]


LABELS = (
    Label("unlabeled", 0, VOID, (0, 0, 0)),
    Label("ego vehicle", 1, VOID, (0, 0, 0)),
    Label("rectification border", 2, VOID, (0, 0, 0)),
    Label("out of roi", 3, VOID, (0, 0, 0)),
    Label("static", 4, VOID, (0, 0, 0)),
    Label("dynamic", 5, VOID, (111, 74, 0)),
    Label("ground", 6, VOID, (81, 0, 81)),
    Label("road", 7, 0, (128, 64, 128)),
    Label("sidewalk", 8, 1, (244, 35, 232)),
    Label("parking", 9, VOID, (250, 170, 160)),
    Label("rail track", 10, VOID, (230, 150, 140)),
    Label("building", 11, 2, (70, 70, 70)),
    Label("wall", 12, 3, (102, 102, 156)),
    Label("fence", 13, 4, (190, 153, 153)),
    Label("guard rail", 14, VOID, (180, 165, 180)),
    Label("bridge", 15, VOID, (150, 100, 100)),
    Label("tunnel", 16, VOID, (150, 120, 90)),
    Label("pole", 17, 5, (153, 153, 153)),
    Label("polegroup", 18, VOID, (153, 153, 153)),
    Label("traffic light", 19, 6, (250, 170, 30)),
    Label("traffic sign", 20, 7, (220, 220, 0)),
    Label("vegetation", 21, 8, (107, 142, 35)),
    Label("terrain", 22, 9, (152, 251, 152)),
    Label("sky", 23, 10, (70, 130, 180)),
    Label("person", 24, 11, (220, 20, 60)),
    Label("rider", 25, 12, (255, 0, 0)),
    Label("car", 26, 13, (0, 0, 142)),
    Label("truck", 27, 14, (0, 0, 70)),
    Label("bus", 28, 15, (0, 60, 100)),
    Label("caravan", 29, VOID, (0, 0, 90)),
    Label("trailer", 30, VOID, (0, 0, 110)),
    Label("train", 31, 16, (0, 80, 100)),
    Label("motorcycle", 32, 17, (0, 0, 230)),
    Label("bicycle", 33, 18, (119, 11, 32)),
    Label("license plate", -1, -1, (0, 0, 142)),
)
"""As published with M. Cordts et al., 2016, "The Cityscapes Dataset for Semantic Urban Scene Understanding"."""

CLASSES = tuple(label for label in LABELS if 0 <= label.train_id < VOID)
"""The 19 labels that are evaluated, in the order of their train ids."""

CLASS_NAMES = tuple(label.name for label in CLASSES)
COLOURS = tuple(label.colour for label in CLASSES)

TRAIN_ID_OF_ID = {label.id: label.train_id for label in LABELS}
ID_OF_TRAIN_ID = {VOID: 0} | {label.train_id: label.id for label in CLASSES}
"""What a prediction is handed in as; void becomes "unlabeled"."""
