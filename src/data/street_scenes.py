"""Streets as a camera in a car sees them, drawn with the class of every pixel: what stands there, textures and light.
How many streets there are, and which are trained on, is in ``synthetic_streets``."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from src.data.cityscapes_labels import CLASS_NAMES
from src.data.label_images import VOID

TRAIN_ID = {name: train_id for train_id, name in enumerate(CLASS_NAMES)}


class Part(NamedTuple):
    """A piece of a thing, seen from behind. Lengths are in metres, heights above the ground."""

    label: str
    width: float
    bottom: float
    top: float
    shape: str


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
    Kind(0.9, 6, (1.2, 4.2), True, (Part("car", 1.9, 0.1, 1, "box"), Part("car", 1.5, 0.7, 1.5, "oval"))),
    Kind(0.25, 1, (1.5, 3.6), True, (Part("truck", 2.6, 0.4, 3.4, "box"),)),
    Kind(0.25, 1, (1.5, 3.8), True, (Part("bus", 2.7, 0.3, 3.2, "box"),)),
    Kind(0.2, 1, (3.5, 4.5), True, (Part("train", 3.4, 0.3, 3.9, "box"),)),
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

GRAINS = np.array([LOOKS[name].grain for name in CLASS_NAMES])
ROADSIDES = {
    "building": (0.6, 6, 18),
    "vegetation": (0.25, 3, 9),
    "wall": (0.07, 1.5, 3),
    "fence": (0.08, 1, 2),
}
"""What lines a street: the share of its lots, and the lowest and greatest height in metres."""

LOT, LOTS = 7.0, 64
"""Metres of a lot along the street, and after how many lots they repeat."""

CAMERA = 1.2
"""Metres of the camera above the road; its focal length is the height of the image."""

NEAREST, FARTHEST = 2.5, 200.0
"""Metres ahead within which something is drawn."""

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


def photograph(
    street: Street, frame: int, size: tuple[int, int], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """image_3_H_W and mask_H_W (train ids, 255 = void), both uint8, ``frame`` steps along the street."""
    rows, cols = size
    colours_H_W_3, mask_H_W = _surroundings(street, frame * street.advance, rows, cols)
    placed = [(thing.depth + frame * (thing.speed - street.advance), thing) for thing in street.things]
    for depth, thing in sorted(placed, key=lambda there: -there[0]):
        if depth > NEAREST:
            _paint(thing, depth, street, colours_H_W_3, mask_H_W)
    _paint_hood(colours_H_W_3, mask_H_W)
    exposure = street.light_3 * rng.normal(1, 0.04)
    seen_H_W_3 = colours_H_W_3 * exposure + rng.normal(0, street.noise, (rows, cols, 1))
    pixels_H_W_3 = (np.clip(seen_H_W_3 + rng.normal(0, 0.02, seen_H_W_3.shape), 0, 1) * 255).astype(np.uint8)
    return pixels_H_W_3.transpose(2, 0, 1), mask_H_W


def _surroundings(street: Street, travelled: float, rows: int, cols: int) -> tuple[np.ndarray, np.ndarray]:
    """Colours and classes of the sky, the ground and what lines the street."""
    # Image coordinates in heights of the image, from the vanishing point; depths and laterals in metres.
    y_H_1 = ((np.arange(rows) + 0.5) / rows - street.horizon)[:, None]
    x_W = (np.arange(cols) + 0.5 - street.vanishing * cols) / rows
    depth_H_1 = np.clip(CAMERA / np.maximum(y_H_1, 1e-6), 0, FARTHEST)
    lateral_H_W = x_W * depth_H_1
    mask_H_W = np.repeat(np.where(y_H_1 < 0, TRAIN_ID["sky"], TRAIN_ID["road"]), cols, 1)
    own_H_W_3 = np.zeros((rows, cols, 3))
    # Where on its surface each pixel lies, for the texture: as in the image in the sky, else in metres.
    along_H_W, across_H_W = np.broadcast_to(depth_H_1 + travelled, mask_H_W.shape).copy(), lateral_H_W.copy()
    along_H_W[y_H_1[:, 0] < 0] = y_H_1[y_H_1[:, 0] < 0] * 9
    is_lined_H_W = np.zeros(mask_H_W.shape, bool)
    for side, of_side_W in zip(street.sides, (x_W < 0, x_W >= 0), strict=True):
        beside_H_W = (np.abs(lateral_H_W) > street.half_width) & (y_H_1 > 0) & of_side_W
        lot_H_1 = _lot(depth_H_1 + travelled)
        mask_H_W = np.where(beside_H_W, side.ground_L[lot_H_1], mask_H_W)
        depth_W = np.clip(side.distance / np.maximum(np.abs(x_W), 1e-6), 0, FARTHEST)
        lot_W = _lot(depth_W + travelled)
        height_H_W = CAMERA - y_H_1 * depth_W
        ragged_W = np.where(side.labels_L[lot_W] == TRAIN_ID["vegetation"], 1.0, 0.0)
        crown_W = 2.5 * ragged_W * _grain(street, depth_W + travelled, np.zeros(cols))
        lined_H_W = (height_H_W > 0) & (height_H_W < side.heights_L[lot_W] + crown_W) & of_side_W
        mask_H_W = np.where(lined_H_W, side.labels_L[lot_W], mask_H_W)
        own_H_W_3 = np.where(lined_H_W[..., None], side.colours_L_3[lot_W], own_H_W_3)
        along_H_W = np.where(lined_H_W, depth_W + travelled, along_H_W)
        across_H_W = np.where(lined_H_W, height_H_W, across_H_W)
        is_lined_H_W |= lined_H_W
    colours_H_W_3 = np.where(is_lined_H_W[..., None], own_H_W_3, street.colours_C_3[mask_H_W])
    on_ground_H_W = (y_H_1 > 0) & ~is_lined_H_W
    grain_H_W = GRAINS[mask_H_W] * _grain(street, along_H_W, across_H_W)
    windows_H_W = (mask_H_W == TRAIN_ID["building"]) & (along_H_W % 3 < 1.4) & ((across_H_W - 1) % 3 < 1.6)
    markings_H_W = (mask_H_W == TRAIN_ID["road"]) & (np.abs(lateral_H_W) < 0.12) & (along_H_W % 6 < 3)
    shadow_H_W = on_ground_H_W & (_grain(street, along_H_W / 8, across_H_W / 8) > 0.3)
    shading_H_W = (1 + grain_H_W) * np.where(windows_H_W, 0.6, 1) * np.where(markings_H_W, 1.8, 1)
    shading_H_W = shading_H_W * np.where(shadow_H_W, street.shade, 1)
    return colours_H_W_3 * shading_H_W[..., None], mask_H_W.astype(np.uint8)


def _paint(
    thing: Thing, depth: float, street: Street, colours_H_W_3: np.ndarray, mask_H_W: np.ndarray
) -> None:
    """Put a thing over what is there already."""
    rows, cols = mask_H_W.shape
    for part, colour_3 in zip(thing.kind.parts, thing.colours_P_3, strict=True):
        middle = street.vanishing * cols + rows * thing.lateral / depth
        half = max(rows * part.width / depth / 2, 0.5)
        bottom, top = (
            rows * (street.horizon + (CAMERA - height) / depth) for height in (part.bottom, part.top)
        )
        rows_R = np.arange(max(0, int(top)), min(rows, int(bottom) + 1))
        cols_C = np.arange(max(0, int(middle - half)), min(cols, int(middle + half) + 1))
        if not len(rows_R) or not len(cols_C):
            continue
        # −1 … 1 from the left to the right, and from the bottom to the top.
        across_C = (cols_C + 0.5 - middle) / half
        up_R_1 = ((bottom - rows_R - 0.5) / (bottom - top) * 2 - 1)[:, None]
        inside_R_C = _inside(part.shape, across_C, up_R_1)
        window = (slice(rows_R[0], rows_R[-1] + 1), slice(cols_C[0], cols_C[-1] + 1))
        grain_R_C = _grain(
            street, across_C * part.width * 2 + thing.lateral, up_R_1 * (part.top - part.bottom) * 2
        )
        # Darker towards the ground, and glass in the upper half of what is large enough to have some.
        shading_R_C = (0.85 + 0.15 * up_R_1) * (1 + LOOKS[part.label].grain * grain_R_C)
        glass_R_C = (np.abs(across_C) < 0.8) & (up_R_1 > 0.1) & (up_R_1 < 0.8) & (part.width > 1.45)
        shading_R_C = shading_R_C * np.where(glass_R_C, 0.55, 1)
        colours_H_W_3[window][inside_R_C] = (colour_3 * shading_R_C[..., None])[inside_R_C]
        mask_H_W[window][inside_R_C] = TRAIN_ID[part.label]


def _inside(shape: str, across_C: np.ndarray, up_R_1: np.ndarray) -> np.ndarray:
    if shape == "oval":
        return across_C**2 + up_R_1**2 <= 1
    if shape == "wheels":
        wheels_R_C = ((np.abs(across_C) - 0.55) / 0.45) ** 2 + ((up_R_1 + 0.2) / 0.8) ** 2 <= 1
        return wheels_R_C | ((np.abs(across_C) < 0.2) & (up_R_1 > -0.5))
    return (np.abs(across_C) <= 1) & (np.abs(up_R_1) <= 1)


def _paint_hood(colours_H_W_3: np.ndarray, mask_H_W: np.ndarray) -> None:
    """The own car below everything, which is void."""
    rows, cols = mask_H_W.shape
    x_W, y_H_1 = (np.arange(cols) + 0.5) / cols * 2 - 1, ((np.arange(rows) + 0.5) / rows)[:, None]
    hood_H_W = y_H_1 > 0.93 + 0.1 * x_W**2
    colours_H_W_3[hood_H_W] = 0.15
    mask_H_W[hood_H_W] = VOID


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


def _lot(along: np.ndarray) -> np.ndarray:
    return (along // LOT).astype(int) % LOTS


def _texture(rng: np.random.Generator) -> np.ndarray:
    """Noise of three scales, between −1 and 1."""
    scales = [
        np.kron(rng.uniform(-1, 1, (TEXTURE // cell, TEXTURE // cell)), np.ones((cell, cell)))
        for cell in (1, 4, 16)
    ]
    return np.mean(scales, 0)


def _grain(street: Street, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """The texture at places in metres, 6 of its pixels to each."""
    at, beside = (np.floor(axis * 6).astype(int) % TEXTURE for axis in (along, across))
    return street.texture_T_T[at, beside]
