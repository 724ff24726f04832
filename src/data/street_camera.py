"""A street as a camera in a car sees it: the image of one frame and the class of every pixel.
What stands in the street is in ``street_scenes``."""

import numpy as np

from src.data.cityscapes_labels import CLASS_NAMES
from src.data.label_images import VOID
from src.data.street_scenes import LOOKS, LOT, LOTS, TEXTURE, TRAIN_ID, Shape, Street, Thing

CAMERA = 1.2
"""Metres of the camera above the road; its focal length is the height of the image."""

NEAREST, FARTHEST = 2.5, 200.0
"""Metres ahead within which something is drawn."""

GRAINS = np.array([LOOKS[name].grain for name in CLASS_NAMES])


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
        # Darker towards the ground, and darker where there is glass.
        shading_R_C = (0.85 + 0.15 * up_R_1) * (1 + LOOKS[part.label].grain * grain_R_C)
        glass_R_C = (np.abs(across_C) < 0.8) & (up_R_1 > 0.1) & (up_R_1 < 0.8) & part.glass
        shading_R_C = shading_R_C * np.where(glass_R_C, 0.55, 1)
        colours_H_W_3[window][inside_R_C] = (colour_3 * shading_R_C[..., None])[inside_R_C]
        mask_H_W[window][inside_R_C] = TRAIN_ID[part.label]


def _inside(shape: Shape, across_C: np.ndarray, up_R_1: np.ndarray) -> np.ndarray:
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


def _lot(along: np.ndarray) -> np.ndarray:
    return (along // LOT).astype(int) % LOTS


def _grain(street: Street, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """The texture at places in metres, 6 of its pixels to each."""
    at, beside = (np.floor(axis * 6).astype(int) % TEXTURE for axis in (along, across))
    return street.texture_T_T[at, beside]
