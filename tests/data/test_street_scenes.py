"""A street holds the kinds that are asked for, and only what can move moves."""

import numpy as np

from src.data.street_scenes import KINDS, Thing, draw_street


def things() -> list[Thing]:
    rng = np.random.default_rng(0)
    return [thing for _ in range(50) for thing in draw_street(KINDS, rng).things]


def test_a_street_has_every_kind_asked_for_at_most_so_often_and_so_far_aside() -> None:
    rng = np.random.default_rng(0)
    for kind in KINDS:
        drawn = [draw_street([kind], rng).things for _ in range(30)]
        assert {len(of_street) for of_street in drawn} == set(range(1, kind.most + 1))
        nearest, farthest = kind.lateral
        assert all(
            thing.kind is kind and nearest <= abs(thing.lateral) <= farthest
            for some in drawn
            for thing in some
        )


def test_some_of_what_can_move_moves_and_nothing_else_does() -> None:
    for moves in (False, True):
        speeds = [thing.speed for thing in things() if thing.kind.moves == moves]
        assert min(speeds) == 0
        assert (max(speeds) > 1) == moves
