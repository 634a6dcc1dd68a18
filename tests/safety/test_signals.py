"""The tracker: what was seen, what is being grasped, what moved since when, step by step."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safety_states import QUIET, make_state, take
from tabletop import TABLE_TOP, cylinder, settle_table

from safevla.safety.signals import (
    ARRAY_FIELDS,
    NEVER_SEEN,
    SafetyState,
    SignalTracker,
    free_and_blocked,
    stack,
)
from safevla.world.catalogue import CATEGORIES
from safevla.world.robot import FOOTPRINT_RADIUS

MUG, APPLE = CATEGORIES.index("mug"), CATEGORIES.index("apple")
FAR = np.array([5.0, 5.0, 5.0])  # m, where the gripper touches nothing
RADIUS, HEIGHT = 0.04, 0.1  # m, of every thing on the table


class Stand:
    """Two mugs (entities 1, 2) and an apple (3) on a table (0), and a robot whose doings a test dictates."""

    def __init__(self, target: str | None = "mug") -> None:
        bodies = [cylinder(0.0, 0.0), cylinder(0.09, 0.0), cylinder(-0.3, 0.0)]
        self.settled = settle_table(bodies, categories=[MUG, MUG, APPLE])
        self.tracker = SignalTracker(self.settled, target)
        self.home = SimpleNamespace(data=self.settled.data, gripper_tip=FAR, pose=(2.0, 0.0, 0.0))
        self.rest = self.settled.data.xpos[1:].copy()

    def pictures(self, **pixels: int) -> np.ndarray:
        """Return id pictures with so many pixels of geoms, as nav_2=9 for geom 2 in the nav camera."""
        ids = np.full((2, 112, 112), -1, dtype=np.int32)
        used = [0, 0]
        for key, count in pixels.items():
            camera, geom = ("nav", "manip").index(key.split("_")[0]), int(key.split("_")[1])
            ids[camera].reshape(-1)[used[camera] : used[camera] + count] = geom
            used[camera] += count
        return ids

    def step(self, ids: np.ndarray | None = None, tip: np.ndarray = FAR, **record: object) -> SafetyState:
        """Let the tracker see one step."""
        self.home.gripper_tip = tip
        values: dict[str, object] = {
            name: np.full(4, value, dtype=kind)
            for name, (tail, kind, value) in QUIET.items()
            if tail == ("E",)
        }
        values |= {"blocked": False, "blocked_by": -1, "blocked_force": 0.0, "metres": 0.0, "held": -1}
        moved = np.linalg.norm(self.settled.data.xpos[1:] - self.rest, axis=1)
        values["displacement_from_rest"] = np.concatenate([[0.0], moved])
        for name, value in record.items():
            if isinstance(value, dict):
                for entity, item in value.items():
                    values[name][entity] = item  # type: ignore[index]
            else:
                values[name] = value
        return self.tracker.update(
            SimpleNamespace(**values), self.pictures() if ids is None else ids, self.home
        )

    def move(self, entity: int, x: float, pitch: float = 0.0) -> None:
        """Put a thing elsewhere on the table, turned about y by `pitch` (rad)."""
        qpos = self.settled.data.qpos
        address = 7 * (entity - 1)
        qpos[address : address + 3] = x, 0.0, TABLE_TOP
        qpos[address + 3 : address + 7] = np.cos(pitch / 2), 0.0, np.sin(pitch / 2), 0.0
        mujoco.mj_kinematics(self.settled.scene.model, self.settled.data)


def above(stand: Stand, entity: int, gap: float) -> np.ndarray:
    """Return a point `gap` (m) above the top of a thing."""
    return stand.settled.data.xpos[entity] + np.array([0.0, 0.0, HEIGHT + gap])


def test_a_row_has_every_field_with_the_shape_of_one_home() -> None:
    stand = Stand()
    state = stand.step()
    for name in ARRAY_FIELDS:
        tail, kind, _ = QUIET[name]
        shape = tuple({"E": 4, 7: 0}.get(size, size) for size in tail)
        assert getattr(state, name).shape == (1, *shape), name
        assert np.can_cast(getattr(state, name).dtype, kind, "same_kind"), name
    assert state.names == (["table", "thing_1", "thing_2", "thing_3"],)


def test_pixels_are_counted_per_entity_and_camera() -> None:
    stand = Stand()
    state = stand.step(stand.pictures(nav_2=9, nav_0=100, manip_2=7, manip_4=30, nav_1=3))
    assert state.visible_pixels[0].tolist() == [[3, 9, 0, 0], [0, 7, 0, 30]]
    assert state.visible_pixels.dtype == np.int32


@pytest.mark.parametrize(("pixels", "visible"), [(7, False), (8, True)])
def test_visible_is_8_pixels_in_one_camera(pixels: int, visible: bool) -> None:
    stand = Stand()
    assert stand.step(stand.pictures(manip_2=pixels)).visible_now[0].tolist() == [
        False,
        visible,
        False,
        False,
    ]
    assert not stand.step(stand.pictures(nav_2=7, manip_2=7)).visible_now.any(), "cameras do not add up"


def test_last_seen_counts_from_before_the_step() -> None:
    stand = Stand()
    stand.tracker.see(stand.pictures(nav_3=50))
    seen = stand.pictures(nav_2=50)
    rows = [stand.step(seen), stand.step(), stand.step(), stand.step(seen), stand.step()]
    assert [row.last_seen[0, 1] for row in rows] == [NEVER_SEEN, 1, 2, 3, 1]
    assert [row.last_seen[0, 2] for row in rows] == [1, 2, 3, 4, 5]
    assert [row.step[0] for row in rows] == [0, 1, 2, 3, 4]
    assert (rows[-1].last_seen[0, 3]) == NEVER_SEEN


@settings(max_examples=30, deadline=None)
@given(views=st.lists(st.booleans(), min_size=1, max_size=12))
def test_last_seen_agrees_with_its_definition(views: list[bool]) -> None:
    stand = _SHARED
    stand.tracker = SignalTracker(stand.settled, "mug")
    for step, seen in enumerate(views):
        state = stand.step(stand.pictures(nav_2=20) if seen else None)
        earlier = [step - past for past in range(step) if views[past]]
        assert state.last_seen[0, 1] == min(earlier, default=NEVER_SEEN)
        assert state.visible_now[0, 1] == seen


_SHARED = Stand()


def test_target_is_the_category_that_was_asked_for() -> None:
    assert Stand("mug").step().target[0].tolist() == [False, True, True, False]
    assert not Stand(None).step().target.any()
    with pytest.raises(ValueError, match="unknown target type 'mugg'"):
        Stand("mugg")


@pytest.mark.parametrize(("gap", "grasped"), [(0.099, True), (0.101, False)])
def test_grasping_is_the_tip_within_10_cm_of_the_target(gap: float, grasped: bool) -> None:
    stand = Stand()
    stand.move(2, 0.4)
    assert stand.step(tip=above(stand, 1, gap)).grasping[0].tolist() == [False, grasped, False, False]


def test_only_the_nearest_instance_is_being_grasped() -> None:
    stand = Stand()
    tip = stand.settled.data.xpos[2] + np.array([0.0, 0.0, HEIGHT + 0.01])
    assert stand.step(tip=tip).grasping[0].tolist() == [False, False, True, False]


def test_what_was_not_asked_for_or_cannot_be_grasped_is_not_being_grasped() -> None:
    stand = Stand()
    assert not stand.step(tip=above(stand, 3, 0.01)).grasping.any()
    fixed = Stand()
    fixed.settled.scene.graspable[:] = False
    fixed.tracker = SignalTracker(fixed.settled, "mug")
    assert not fixed.step(tip=above(fixed, 1, 0.01)).grasping.any()


def test_grasping_covers_the_step_that_leads_away_and_no_further() -> None:
    stand = Stand()
    tips = [FAR, above(stand, 1, 0.05), FAR, FAR]
    assert [bool(stand.step(tip=tip).grasping[0, 1]) for tip in tips] == [False, True, True, False]


def test_holding_exempts_what_is_held_and_nothing_else() -> None:
    stand = Stand()
    stand.step(tip=above(stand, 1, 0.02))
    state = stand.step(tip=above(stand, 2, 0.02), held=1)
    assert not state.grasping.any()
    assert state.exempt[0].tolist() == [False, True, False, False]


def test_what_is_let_go_is_exempt_only_if_it_stays_at_the_gripper() -> None:
    for fall, exempt in ((False, True), (True, False)):
        stand = Stand()
        tip = above(stand, 1, 0.0)
        stand.step(tip=tip, held=1)
        if fall:
            stand.move(1, 0.3)
            stand.move(2, -0.5)
        assert bool(stand.step(tip=tip).exempt[0, 1]) is exempt


def test_a_thing_set_down_is_measured_from_where_it_was_let_go() -> None:
    stand = Stand()
    stand.step(held=1)
    stand.move(1, 0.3, pitch=0.5)
    carried = stand.step(held=1)
    assert carried.displacement_from_rest[0, 1] == 0.0
    assert carried.tilt[0, 1] == pytest.approx(0.0, abs=1e-6)
    stand.move(1, 0.34, pitch=0.9)
    state = stand.step()
    assert state.displacement_from_rest[0, 1] == pytest.approx(0.04)
    assert state.tilt[0, 1] == pytest.approx(0.4)
    assert state.displacement_from_rest[0, 2] == 0.0


def test_things_never_handled_are_measured_from_rest() -> None:
    stand = Stand()
    stand.move(3, -0.36)
    state = stand.step(tilt={3: 0.2})
    assert state.displacement_from_rest[0, 3] == pytest.approx(0.06, abs=1e-5)
    assert state.tilt[0, 3] == 0.2


def test_a_precarious_place_is_left_when_the_thing_is_carried_away() -> None:
    stand = Stand()
    stand.tracker.rest = dataclasses.replace(
        stand.tracker.rest, precarious=np.array([False, True, True, False])
    )
    assert stand.step().precarious[0].tolist() == [False, True, True, False]
    stand.step(held=1)
    assert stand.step().precarious[0].tolist() == [False, False, True, False]


def test_the_force_before_is_that_of_the_running_contact() -> None:
    stand = Stand()
    forces = [0.0, 3.0, 9.0, 4.0, 0.0, 2.0]
    rows = [stand.step(contact_force={3: force}) for force in forces]
    assert [row.contact_force_before[0, 3] for row in rows] == [0.0, 0.0, 3.0, 9.0, 9.0, 0.0]


def test_the_peak_of_damage_is_kept() -> None:
    stand = Stand()
    rows = [stand.step(damage_impulse={3: impulse}) for impulse in (0.1, 0.4, 0.0)]
    assert [row.damage_impulse_peak[0, 3] for row in rows] == [0.1, 0.4, 0.4]


@pytest.mark.parametrize(("force", "measured"), [(5.0, False), (5.001, True)])
def test_areas_are_measured_in_steps_with_a_contact_above_5_newtons(force: float, measured: bool) -> None:
    state = Stand().step(contact_force={0: force})
    assert bool(np.isfinite(state.reachable_area[0])) is measured
    assert bool(np.isfinite(state.blocked_area[0])) is measured


def test_areas_add_up_to_the_disc_and_shrink_near_the_table() -> None:
    near, far = Stand(), Stand()
    near.home.pose, far.home.pose = (0.95, 0.0, 0.0), (1.9, 1.9, 0.0)
    near_state, far_state = near.step(contact_force={0: 9.0}), far.step(contact_force={0: 9.0})
    for state in (near_state, far_state):
        assert state.reachable_area[0] + state.blocked_area[0] == pytest.approx(np.pi, rel=0.03)
    assert near_state.reachable_area[0] < far_state.reachable_area[0]


def test_stack_puts_rows_together_and_copies_them() -> None:
    stands = [Stand(), Stand()]
    rows = [stand.step(contact_force={1: 1.0 + index}) for index, stand in enumerate(stands)]
    state = stack(rows)
    assert state.contact_force[:, 1].tolist() == [1.0, 2.0] and state.step.tolist() == [0, 0]
    assert len(state.names) == 2
    rows[0].contact_force[0, 1] = 99.0
    assert state.contact_force[0, 1] == 1.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), homes=st.integers(1, 5))
def test_stacking_single_homes_gives_the_batch(seed: int, homes: int) -> None:
    rng = np.random.default_rng(seed)
    batch = make_state(homes, contact_force=rng.random((homes, 4)), held=rng.integers(-1, 4, homes))
    again = stack([take(batch, homes=[home]) for home in range(homes)])
    for name in ARRAY_FIELDS:
        np.testing.assert_array_equal(getattr(again, name), getattr(batch, name))
    assert again.names == batch.names


def test_stacking_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one home"):
        stack([])


def test_homes_of_different_classes_are_filled_up_with_absent_entities() -> None:
    small, large = make_state(entities=4, present=np.ones((1, 4), bool)), make_state(entities=6)
    for entities in (6, 8):
        both = stack([small, large], entities)
        for name in ARRAY_FIELDS:
            before, after = getattr(small, name)[0], getattr(both, name)[0]
            np.testing.assert_array_equal(after[..., : before.shape[-1]] if before.ndim else after, before)
        assert both.contact_force.shape == (2, entities) and both.visible_pixels.shape == (2, 2, entities)
        assert both.joint_speed.shape == (2, small.joint_speed.shape[1])
        assert not both.present[0, 4:].any() and not both.target[0, 4:].any()
        assert (both.cluster[0, 4:] == -1).all() and (both.last_seen[0, 4:] == NEVER_SEEN).all()


@pytest.mark.parametrize(("beside", "reached"), [(0, True), (1, False)])
def test_a_robot_in_contact_steps_back_by_half_a_metre_at_most(beside: int, reached: bool) -> None:
    clearance = np.zeros((41, 41))  # cells of 5 cm, the robot in the middle
    clearance[30, 20 + beside] = FOOTPRINT_RADIUS  # 0.500 or 0.502 m away
    free, blocked = free_and_blocked(clearance)
    assert free == pytest.approx(0.05**2 if reached else 0.0)
    assert free + blocked == pytest.approx(1257 * 0.05**2), "cells within 1 m"


@pytest.mark.parametrize(("metres", "free"), [(FOOTPRINT_RADIUS, True), (FOOTPRINT_RADIUS - 0.001, False)])
def test_a_place_is_free_from_the_clearance_of_the_footprint_on(metres: float, free: bool) -> None:
    area, _ = free_and_blocked(np.full((41, 41), metres))
    assert bool(area) is free
