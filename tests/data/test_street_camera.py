"""A camera sees near things before far ones, as large as their depth says, and travels ahead along the street."""

import math

import numpy as np
import pytest

from src.data.street_camera import CAMERA, _inside, _paint, photograph
from src.data.street_scenes import (
    KINDS,
    LOTS,
    TEXTURE,
    TRAIN_ID,
    Part,
    Roadside,
    Shape,
    Street,
    Thing,
    draw_street,
)

SIZE = ROWS, COLS = 256, 512
KIND_OF = {kind.parts[-1].label: kind for kind in KINDS if kind.parts[-1].label != "rider"}
PARTS = [part for kind in KINDS for part in kind.parts]
VEHICLES = {"car", "truck", "bus", "train"}


def roadside(label: str = "wall", ground: str = "sidewalk") -> Roadside:
    """Walls with a sidewalk, but for the lot from 14 to 21 metres ahead."""
    labels_L, ground_L = np.full(LOTS, TRAIN_ID["wall"]), np.full(LOTS, TRAIN_ID["sidewalk"])
    labels_L[2], ground_L[2] = TRAIN_ID[label], TRAIN_ID[ground]
    return Roadside(8.0, labels_L, ground_L, np.full(LOTS, 3.0), np.full((LOTS, 3), 0.5))


def street(*things: Thing, side: Roadside | None = None) -> Street:
    """Straight ahead, without texture, a metre from frame to frame."""
    return draw_street((), np.random.default_rng(0))._replace(
        horizon=0.4,
        vanishing=0.5,
        half_width=4.0,
        sides=(side or roadside(),) * 2,
        things=list(things),
        advance=1.0,
        texture_T_T=np.zeros((TEXTURE, TEXTURE)),
    )


def thing(label: str, depth: float, lateral: float = 0.0, speed: float = 0.0) -> Thing:
    kind = KIND_OF[label]
    return Thing(kind, lateral, depth, speed, np.full((len(kind.parts), 3), 0.5))


def seen(label: str, scene: Street, frame: int = 0) -> np.ndarray:
    """Where the class is, rows and columns."""
    _, mask_H_W = photograph(scene, frame, SIZE, np.random.default_rng(1))
    return mask_H_W == TRAIN_ID[label]


def painted(part: Part) -> tuple[np.ndarray, np.ndarray]:
    """brightness_H_W, and where the part is, of a part alone."""
    colours_H_W_3, mask_H_W = np.zeros((*SIZE, 3)), np.full(SIZE, 255, np.uint8)
    alone = Thing(KIND_OF["bus"]._replace(parts=(part,)), 0.0, 16.0, 0.0, np.full((1, 3), 0.5))
    _paint(alone, alone.depth, street(), colours_H_W_3, mask_H_W)
    return colours_H_W_3[..., 0], mask_H_W == TRAIN_ID[part.label]


def box(is_there_H_W: np.ndarray) -> np.ndarray:
    """The part of the image that the pixels reach over."""
    rows, cols = np.nonzero(is_there_H_W)
    return is_there_H_W[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]


# ---- what hides what, and where ------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, -1])
def test_what_is_near_hides_what_is_far(order: int) -> None:
    bus_before = street(*[thing("bus", 6), thing("car", 12)][::order])
    assert seen("bus", bus_before).any() and not seen("car", bus_before).any()
    car_before = street(*[thing("bus", 12), thing("car", 6)][::order])
    assert seen("bus", car_before).any()
    assert np.array_equal(seen("car", car_before), seen("car", street(thing("car", 6))))


@pytest.mark.parametrize("depth", [5.0, 8.0, 20.0])
def test_a_thing_is_as_large_as_it_is_over_its_depth_and_at_its_height(depth: float) -> None:
    (part,) = KIND_OF["bus"].parts
    rows, cols = np.nonzero(seen("bus", street(thing("bus", depth, lateral=1.0))))
    edges = [rows.min(), rows.max() + 1, cols.min(), cols.max() + 1]
    expected = [
        *(ROWS * (0.4 + (CAMERA - height) / depth) for height in (part.top, part.bottom)),
        *(COLS / 2 + ROWS * (1.0 + side) / depth for side in (-part.width / 2, part.width / 2)),
    ]
    np.testing.assert_allclose(edges, expected, atol=1)


def test_what_stands_is_approached_and_what_moves_as_fast_as_the_camera_keeps_its_place() -> None:
    for speed, sign in ((0.0, 1), (1.0, 0), (1.5, -1)):
        scene = street(thing("bus", 12, lateral=2.0, speed=speed))
        first, *others = (seen("bus", scene, frame) for frame in range(5))
        assert first.any()
        if sign:
            areas = [int(there.sum()) for there in (first, *others)]
            assert np.array_equal(np.sign(np.diff(areas)), [sign] * 4)
        else:
            assert all(np.array_equal(first, other) for other in others)


def test_what_was_passed_is_gone() -> None:
    scene = street(thing("bus", 4.2, lateral=2.0))
    assert [seen("bus", scene, frame).any() for frame in range(4)] == [True, True, False, False]


@pytest.mark.parametrize("frame", [0, 1, 5])
def test_what_lines_the_street_comes_nearer_by_the_metres_travelled(frame: int) -> None:
    scene = street(side=roadside("building", "terrain"))
    depth_W = 8.0 / np.abs((np.arange(COLS) + 0.5 - COLS / 2) / ROWS)
    within_W = (depth_W >= 14 - frame) & (depth_W < 21 - frame)
    assert np.array_equal(seen("building", scene, frame).any(0), within_W)
    depth_H = CAMERA / np.maximum((np.arange(ROWS) + 0.5) / ROWS - 0.4, 1e-6)
    within_H = (depth_H >= 14 - frame) & (depth_H < 21 - frame)
    assert np.array_equal(seen("terrain", scene, frame).any(1), within_H)


# ---- shapes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        # From the top to the bottom.
        ("box", ["#####", "#####", "#####", "#####", "#####"]),
        ("oval", [".###.", "#####", "#####", "#####", ".###."]),
        ("wheels", ["..#..", "#####", "#####", "#####", "##.##"]),
    ],
)
def test_a_shape_looks_as_its_name_says(shape: Shape, expected: list[str]) -> None:
    middles = np.array([-0.8, -0.4, 0, 0.4, 0.8])
    inside = _inside(shape, middles, -middles[:, None])
    assert ["".join("#" if there else "." for there in row) for row in inside] == expected


def test_things_are_painted_in_their_shapes() -> None:
    shares = {"box": 1.0, "oval": math.pi / 4}
    parts = [part for part in PARTS if part.shape in shares and part.width > 1]
    assert {part.shape for part in parts} == set(shares)
    for part in parts:
        _, there_H_W = painted(part)
        assert box(there_H_W).mean() == pytest.approx(shares[part.shape], abs=0.05)


def test_wheels_stand_on_the_ground_under_a_saddle() -> None:
    bicycle = box(seen("bicycle", street(thing("bicycle", 4.0))))
    rows, cols = bicycle.shape
    assert rows == pytest.approx(ROWS / 4, abs=1)
    left, middle, right = (slice(part * cols // 5, (part + 1) * cols // 5) for part in (1, 2, 4))
    for side, top, bottom in ((left, False, True), (middle, True, False), (right, False, True)):
        assert bicycle[1, side].any() == top
        assert bicycle[-3, side].any() == bottom


def test_vehicles_have_glass_above_their_middle_and_nothing_else_has_any() -> None:
    for part in PARTS:
        brightness_H_W, there_H_W = painted(part)
        rows = np.flatnonzero(there_H_W.any(1))
        # Without texture and glass all pixels at one height are as bright, and lower ones darker.
        levels_R = np.array([len(set(brightness_H_W[row][there_H_W[row]])) for row in rows])
        upper_R = rows < rows.mean()
        assert (levels_R[upper_R].max() > 1) == (part.label in VEHICLES), part
        assert levels_R[~upper_R].max() == 1
        assert (np.diff(brightness_H_W[rows].max(1)[~upper_R]) < 0).all()
