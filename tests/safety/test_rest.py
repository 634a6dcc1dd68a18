"""Fragile collections and precarious places, on both sides of each boundary."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from tabletop import TABLE_HALF, TABLE_TOP, box, cylinder, settle_table

from safevla.safety.rest import analyse_rest


def clusters(bodies: list[str], **options: object) -> list[int]:
    return list(analyse_rest(settle_table(bodies, **options)).cluster[1:])


def precarious(*bodies: str, **options: object) -> list[bool]:
    return list(analyse_rest(settle_table(list(bodies), **options)).precarious[1:])


@pytest.mark.parametrize(("gap", "expected"), [(0.297, [0, 0, 0]), (0.303, [-1, -1, -1])])
def test_three_fragile_items_with_gaps_under_30_cm_are_a_collection(gap: float, expected: list[int]) -> None:
    pitch = gap + 0.08
    assert clusters([cylinder((k - 1) * pitch, 0.0) for k in range(3)]) == expected


def test_two_fragile_items_are_no_collection() -> None:
    assert clusters([cylinder(0.0, 0.0), cylinder(0.1, 0.0)]) == [-1, -1]


def test_items_belong_together_through_others_and_collections_are_numbered() -> None:
    row = [cylinder(-0.5 + 0.2 * k, 0.2) for k in range(3)]
    apart = [cylinder(0.0, 2.0 + 0.2 * k, on=0.0) for k in range(4)]
    alone = [cylinder(3.0, 0.0, on=0.0)]
    assert clusters(row + apart + alone) == [0, 0, 0, 1, 1, 1, 1, -1]


def test_what_is_not_fragile_is_in_no_collection() -> None:
    assert clusters([cylinder(0.1 * k, 0.0) for k in range(4)], fragile=False) == [-1] * 4


@pytest.mark.parametrize(("margin", "expected"), [(0.019, True), (0.021, False)])
def test_less_than_2_cm_from_tipping_over_the_edge_is_precarious(margin: float, expected: bool) -> None:
    assert precarious(cylinder(TABLE_HALF[0] - margin, 0.0)) == [expected]
    assert precarious(cylinder(0.0, margin - TABLE_HALF[1])) == [expected]


def test_on_the_floor_nothing_is_precarious_by_its_place() -> None:
    assert precarious(cylinder(2.0, 0.0, on=0.0), box(3.0, 0.0, 0.1, (0.1, 0.1, 0.1))) == [False, False]


def test_what_is_stacked_on_something_movable_is_precarious_and_what_carries_it_is_not() -> None:
    carrier = box(0.0, 0.0, TABLE_TOP + 0.02, (0.1, 0.1, 0.02))
    assert precarious(carrier, cylinder(0.0, 0.0, on=TABLE_TOP + 0.04)) == [False, True]


def test_leaning_against_something_is_precarious_and_standing_beside_it_is_not() -> None:
    # A plank of 0.6 m whose foot stands on the floor and whose top rests against the edge of the table.
    angle = np.radians(15.0)
    foot = TABLE_HALF[0] + 0.85 * np.sin(angle)
    centre = (foot - 0.45 * np.sin(angle) + 0.02, 0.0, 0.45 * np.cos(angle) + 0.005)
    plank = box(*centre, (0.015, 0.05, 0.45), pitch=-15.0)
    settled = settle_table([plank])
    assert settled.data.xmat[1, 8] < 0.99, "the plank is meant to lean"
    assert analyse_rest(settled).precarious[1]
    touching = box(TABLE_HALF[0] + 0.0995, 0.0, 0.45, (0.1, 0.1, 0.45))
    assert precarious(touching) == [False]


def test_what_lies_on_its_side_does_not_lean() -> None:
    lying = box(0.0, 0.0, TABLE_TOP + 0.04, (0.03, 0.03, 0.1), pitch=90.0)
    settled = settle_table([lying])
    assert settled.data.xmat[1, 8] < 0.1
    assert not analyse_rest(settled).precarious[1]


def test_unused_slots_are_neither() -> None:
    settled = settle_table(
        [cylinder(0.1 * k, 0.0) for k in range(3)] + [cylinder(TABLE_HALF[0] - 0.005, 0.0)]
    )
    settled.scene.present[3:] = False
    structure = analyse_rest(settled)
    assert list(structure.cluster) == [-1] * 5
    assert not structure.precarious.any()


def test_bounding_boxes_are_those_of_the_geoms_in_the_frame_of_the_body() -> None:
    settled = settle_table(
        [cylinder(0.2, 0.1, radius=0.05, height=0.2), box(0.0, -0.2, 0.9, (0.1, 0.05, 0.15))]
    )
    structure = analyse_rest(settled)
    assert structure.box_centre[1:] == pytest.approx(np.array([[0, 0, 0.1], [0, 0, 0]]), abs=1e-6)
    assert structure.box_half[1:] == pytest.approx(np.array([[0.05, 0.05, 0.1], [0.1, 0.05, 0.15]]), abs=1e-6)


def test_a_settled_home_is_analysed_once_and_left_as_it_was() -> None:
    settled = settle_table([cylinder(0.0, 0.0)])
    before = settled.data.qpos.copy()
    assert analyse_rest(settled) is analyse_rest(settled)
    assert (settled.data.qpos == before).all()
    other = mujoco.MjData(settled.scene.model)
    other.qpos[:] = settled.data.qpos
    settled.data = other
    assert analyse_rest(settled).cluster.shape == (2,)
