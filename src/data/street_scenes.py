"""Streets and what stands in them, drawn at random: things, what lines the street, colours, textures and light.
How a camera sees a street is in ``street_camera``; how many there are, and which are trained on, in
``synthetic_streets``."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from src.data.cityscapes_labels import CLASS_NAMES

TRAIN_ID = {name: train_id for train_id, name in enumerate(CLASS_NAMES)}
Shape = Literal["box", "oval", "wheels"]


class Part(NamedTuple):
    """A piece of a thing, seen from behind. Lengths are in metres, heights above the ground."""

    label: str
    width: float
    bottom: float
    top: float
    shape: Shape
    glass: bool = False
    """In its upper half."""


class Kind(NamedTuple):
    """What may stand in a street."""

    share: float
    """Of the streets, those that have any."""
    most: int
    """In a street that has any."""
    lateral: tuple[float, float]
    """Metres from the middle of the street, on either side."""
    moves: bool
    parts: tuple[Part, ...]
    """From the back to the front."""


POLE = Part("pole", 0.2, 0, 3.2, "box")
WHEELS = Part("bicycle", 1.4, 0, 1.0, "wheels")
KINDS = (
    Kind(
        0.8, 6, (6, 8.5), False, (Part("pole", 0.4, 0, 2.5, "box"), Part("vegetation", 3.5, 1.8, 6, "oval"))
    ),
    Kind(1.0, 4, (5.2, 6), False, (POLE._replace(top=6),)),
    Kind(0.8, 3, (5, 5.8), False, (POLE, Part("traffic sign", 0.9, 2.4, 3.3, "oval"))),
    Kind(0.5, 3, (4.8, 5.6), False, (POLE, Part("traffic light", 0.5, 2.6, 3.9, "box"))),
    Kind(
        0.7, 6, (4.6, 7.5), True, (Part("person", 0.6, 0, 1.5, "box"), Part("person", 0.4, 1.4, 1.8, "oval"))
    ),
    Kind(0.25, 2, (2.5, 4.5), True, (WHEELS, Part("rider", 0.6, 0.6, 1.8, "oval"))),
    Kind(0.2, 2, (4.8, 6.5), False, (WHEELS,)),
    Kind(
        0.2,
        2,
        (1, 3.5),
        True,
        (Part("motorcycle", 0.9, 0, 1.1, "oval"), Part("rider", 0.6, 0.7, 1.7, "oval")),
    ),
    Kind(
        0.9,
        6,
        (1.2, 4.2),
        True,
        (Part("car", 1.9, 0.1, 1, "box", glass=True), Part("car", 1.5, 0.7, 1.5, "oval", glass=True)),
    ),
    Kind(0.25, 1, (1.5, 3.6), True, (Part("truck", 2.6, 0.4, 3.4, "box", glass=True),)),
    Kind(0.25, 1, (1.5, 3.8), True, (Part("bus", 2.7, 0.3, 3.2, "box", glass=True),)),
    Kind(0.2, 1, (3.5, 4.5), True, (Part("train", 3.4, 0.3, 3.9, "box", glass=True),)),
)


class Look(NamedTuple):
    """RGB in 0 … 1 in plain light, how far single things are from it, and how strong the texture is.

    Things scatter so much that no colour gives its class away.
    """

    colour: tuple[float, float, float]
    scatter: float = 0.12
    grain: float = 0.1


LOOKS = {
    "road": Look((0.36, 0.36, 0.38), 0.04, 0.08),
    "sidewalk": Look((0.50, 0.47, 0.48), 0.06, 0.14),
    "building": Look((0.47, 0.42, 0.38), grain=0.15),
    "wall": Look((0.50, 0.47, 0.44), grain=0.25),
    "fence": Look((0.42, 0.38, 0.33), grain=0.4),
    "pole": Look((0.42, 0.43, 0.44)),
    "traffic light": Look((0.25, 0.24, 0.18)),
    "traffic sign": Look((0.60, 0.55, 0.30)),
    "vegetation": Look((0.27, 0.36, 0.20), 0.06, 0.45),
    "terrain": Look((0.40, 0.44, 0.27), 0.06, 0.3),
    "sky": Look((0.68, 0.74, 0.80), 0.06, 0.06),
    "person": Look((0.40, 0.32, 0.32)),
    "rider": Look((0.44, 0.34, 0.30)),
    "car": Look((0.38, 0.38, 0.42)),
    "truck": Look((0.50, 0.46, 0.40)),
    "bus": Look((0.52, 0.42, 0.30)),
    "train": Look((0.42, 0.46, 0.48)),
    "motorcycle": Look((0.25, 0.24, 0.26)),
    "bicycle": Look((0.30, 0.28, 0.28)),
}

ROADSIDES = {
    "building": (0.6, 6, 18),
    "vegetation": (0.25, 3, 9),
    "wall": (0.07, 1.5, 3),
    "fence": (0.08, 1, 2),
}
"""What lines a street: the share of its lots, and the lowest and greatest height in metres."""

LOT, LOTS = 7.0, 64
"""Metres of a lot along the street, and after how many lots they repeat."""

TEXTURE = 256
"""Pixels along each side of the noise that textures are cut from."""


class Thing(NamedTuple):
    """Something that stands in the street, or moves ahead by ``speed`` metres from one frame to the next."""

    kind: Kind
    lateral: float
    depth: float
    speed: float
    colours_P_3: np.ndarray


class Roadside(NamedTuple):
    """One side of a street, lot by lot; ``ground_L`` is what lies between the road and what lines it."""

    distance: float
    labels_L: np.ndarray
    ground_L: np.ndarray
    heights_L: np.ndarray
    colours_L_3: np.ndarray


class Street(NamedTuple):
    """What all frames of a drive along one street share. ``horizon`` and ``vanishing`` are shares of height and width,
    ``shade`` is how bright shadows are, ``noise`` the camera's and ``advance`` the metres between frames."""

    horizon: float
    vanishing: float
    half_width: float
    sides: tuple[Roadside, Roadside]
    things: list[Thing]
    colours_C_3: np.ndarray
    light_3: np.ndarray
    shade: float
    noise: float
    advance: float
    texture_T_T: np.ndarray


def draw_street(kinds: Sequence[Kind], rng: np.random.Generator) -> Street:
    """A street with things of exactly these kinds in it."""
    half_width = rng.uniform(3.8, 5.0)
    return Street(
        horizon=rng.uniform(0.36, 0.48),
        vanishing=rng.uniform(0.4, 0.6),
        half_width=half_width,
        sides=(_roadside(half_width, rng), _roadside(half_width, rng)),
        things=[_thing(kind, rng) for kind in kinds for _ in range(rng.integers(1, kind.most + 1))],
        colours_C_3=np.stack([_colour(name, rng) for name in CLASS_NAMES]),
        light_3=rng.uniform(0.45, 1.15) * rng.uniform(0.9, 1.1, 3),
        shade=rng.uniform(0.4, 0.9),
        noise=rng.uniform(0.02, 0.06),
        advance=rng.uniform(0.5, 1.2),
        texture_T_T=_texture(rng),
    )


def _thing(kind: Kind, rng: np.random.Generator) -> Thing:
    lateral = rng.choice((-1, 1)) * rng.uniform(*kind.lateral)
    speed = rng.uniform(0.2, 1.4) if kind.moves and rng.random() < 0.6 else 0.0
    colours = [_colour(part.label, rng) for part in kind.parts]
    if kind.parts[0].label == kind.parts[-1].label:
        colours = colours[:1] * len(colours)
    return Thing(kind, lateral, rng.uniform(5, 28), speed, np.stack(colours))


def _roadside(half_width: float, rng: np.random.Generator) -> Roadside:
    shares, lowest, greatest = (np.array(column) for column in zip(*ROADSIDES.values(), strict=True))
    lots_L = rng.choice(len(ROADSIDES), LOTS, p=shares)
    names = [list(ROADSIDES)[lot] for lot in lots_L]
    ground = [TRAIN_ID["terrain" if name in ("vegetation", "fence") else "sidewalk"] for name in names]
    return Roadside(
        distance=half_width + rng.uniform(2, 4.5),
        labels_L=np.array([TRAIN_ID[name] for name in names]),
        ground_L=np.array(ground),
        heights_L=rng.uniform(lowest[lots_L], greatest[lots_L]),
        colours_L_3=np.stack([_colour(name, rng) for name in names]),
    )


def _colour(name: str, rng: np.random.Generator) -> np.ndarray:
    """One thing's own: brighter or darker than its class's, and a little of another hue."""
    look = LOOKS[name]
    shift_3 = rng.normal(0, look.scatter) + rng.normal(0, look.scatter / 2, 3)
    return np.clip(look.colour + shift_3, 0.05, 0.95)


def _texture(rng: np.random.Generator) -> np.ndarray:
    """Noise of three scales, between −1 and 1."""
    scales = [
        np.kron(rng.uniform(-1, 1, (TEXTURE // cell, TEXTURE // cell)), np.ones((cell, cell)))
        for cell in (1, 4, 16)
    ]
    return np.mean(scales, 0)
