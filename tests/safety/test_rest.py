"""Fragile collections and precarious places, on both sides of each boundary."""

from __future__ import annotations

from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
from tabletop import TABLE_HALF, TABLE_TOP, box, cylinder, settle_table

from safevla.safety import rest
from safevla.safety.rest import analyse_rest, find_precarious


def clusters(bodies: list[str], **options: object) -> list[int]:
    return list(analyse_rest(settle_table(bodies, **options)).cluster[1:])


def precarious(*bodies: str, **options: object) -> list[bool]:
    return list(analyse_rest(settle_table(list(bodies), **options)).precarious[1:])


@pytest.mark.parametrize(("gap", "expected"), [(0.299, [0, 0, 0]), (0.301, [-1, -1, -1])])
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


@pytest.mark.parametrize(("margin", "expected"), [(0.0198, True), (0.0202, False)])
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


# ------------------------------------------------------------------ contacts written by hand

WEIGHT = 10.0  # N
ABOVE = 1.0 + 1e-9


def rests(monkeypatch: pytest.MonkeyPatch, *contacts: tuple[float, float], tilt: float = 0.0) -> bool:
    """Return whether a thing on another movable thing is precarious.

    Args:
        monkeypatch: replaces what MuJoCo says about forces.
        contacts: force (N) of each contact of the two, and how far upward it pushes the thing (1: up).
        tilt: of the thing, rad.
    """
    scene = SimpleNamespace(
        model=SimpleNamespace(
            body_mass=np.array([0.0, 1.0, 1.0]), opt=SimpleNamespace(gravity=[0, 0, -WEIGHT])
        ),
        names=["below", "thing"],
        body=np.array([1, 2]),
        geom_entity=np.array([0, 1]),
        present=np.ones(2, bool),
        movable=np.ones(2, bool),
    )
    axes = np.tile(np.eye(3).reshape(9), (3, 1))
    axes[2, 8] = np.cos(tilt)
    found = [
        SimpleNamespace(geom1=0, geom2=1, frame=np.array([0, 0, upward]), pos=np.zeros(3))
        for _, upward in contacts
    ]

    def force(model: object, data: object, index: int, result: np.ndarray) -> None:
        result[0] = contacts[index][0]

    monkeypatch.setattr(rest.mujoco, "mj_contactForce", force)
    return bool(find_precarious(scene, SimpleNamespace(ncon=len(found), contact=found, xmat=axes))[1])


@pytest.mark.parametrize(("share", "stands"), [(0.02, False), (0.02 * ABOVE, True)])
def test_a_contact_bears_with_more_than_a_fiftieth_of_the_weight(
    share: float, stands: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rests(monkeypatch, (share * WEIGHT, 1.0)) is stands


@pytest.mark.parametrize(("upward", "stands"), [(0.7, False), (0.7 * ABOVE, True), (-1.0, False)])
def test_a_contact_bears_where_it_is_steeper_than_seven_tenths(
    upward: float, stands: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rests(monkeypatch, (WEIGHT, upward)) is stands


@pytest.mark.parametrize(("share", "leans"), [(0.03, False), (0.03 * ABOVE, True)])
def test_what_leans_presses_sideways_with_more_than_3_hundredths_of_its_weight(
    share: float, leans: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tilt = np.radians(10.0)
    assert rests(monkeypatch, (share * WEIGHT, 0.0), tilt=tilt) is leans
    assert rests(monkeypatch, *[(share * WEIGHT / 2, 0.0)] * 2, tilt=tilt) is leans, "contacts add up"


@pytest.mark.parametrize(("degrees", "leans"), [(5.0, False), (5.0 * ABOVE, True)])
def test_what_leans_is_tilted_by_more_than_5_degrees(
    degrees: float, leans: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rests(monkeypatch, (WEIGHT, 0.0), tilt=np.radians(degrees)) is leans
