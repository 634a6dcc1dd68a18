"""Motions by compiled kernels and by the Python bindings are the same bytes."""

import mujoco
import numpy as np
import pytest
from room import MUG, assert_same, pick_up_mug, random_actions, room

from safevla.types import ACTION_ID, Knobs
from safevla.world import native
from safevla.world.contacts import ROBOT
from safevla.world.simulator import Home, HousePool, settle


def pair(settled, start) -> tuple[Home, Home]:
    """Two homes that are the same but for how motions are carried out."""
    fast, plain = Home(), Home()
    for home in (fast, plain):
        home.reset(settled, start)
    assert fast._motion.functions is not None
    plain._motion.functions = None
    return fast, plain


def assert_same_homes(one: Home, other: Home) -> None:
    for name in ("qpos", "qvel", "ctrl", "xpos", "cam_xpos", "subtree_com", "qacc_warmstart", "tree_asleep"):
        assert getattr(one.data, name).tobytes() == getattr(other.data, name).tobytes(), name
    assert one.data.time == other.data.time
    for first, second in zip(one._tracker.snapshot(), other._tracker.snapshot(), strict=True):
        assert np.asarray(first).tobytes() == np.asarray(second).tobytes()


def play_both(homes, actions) -> list:
    records = []
    for action in actions:
        first, second = (home.act(int(action)) for home in homes)
        assert_same(first, second)
        assert_same_homes(*homes)
        records.append(first)
    return records


def test_in_a_room_with_something_in_the_gripper():
    homes = pair(settle(room()), (0.3, -0.15, 0.0))
    for home in homes:
        pick_up_mug(home)
    assert_same_homes(*homes)
    actions = random_actions(1, 60)
    records = play_both(homes, [0] * 8 + actions[actions != ACTION_ID["drop"]].tolist())
    assert all(record.held == MUG for record in records)
    assert {record.substeps > 0 for record in records} == {False, True}
    records = play_both(homes, [ACTION_ID["drop"], *random_actions(2, 40)])
    assert records[0].held == -1


@pytest.mark.parametrize("seed", [0, 1])
def test_in_a_generated_home(seed):
    settled = HousePool().get(seed, "S", "train", Knobs(1.0, 1.0, 1.0, 1.0, 1.0))
    start = free_start(settled, seed)
    records = play_both(pair(settled, start), random_actions(seed, 80))
    assert {record.substeps > 0 for record in records} == {False, True}
    assert max(record.contact_force.max() for record in records) > 5


def free_start(settled, seed: int) -> tuple[float, float, float]:
    generator, home = np.random.default_rng(seed), Home()
    x0, y0, x1, y1 = settled.scene.bounds
    for _ in range(500):
        start = (generator.uniform(x0, x1), generator.uniform(y0, y1), generator.uniform(-3, 3))
        try:
            home.reset(settled, start)
        except ValueError:
            continue
        return start
    raise AssertionError("no free place found")


def test_bad_state_is_noticed_by_both():
    homes = pair(settle(room()), (0.0, 0.0, 0.0))
    for home in homes:
        home.kinematic = False
        home.data.qfrc_applied[home.scene.robot.dof[0]] = 1e8
    assert play_both(homes, [0])[0].nan


def test_a_full_arena_goes_back_to_the_bindings(monkeypatch):
    fast, plain = pair(settle(room()), (0.0, 0.4, np.pi / 2))
    monkeypatch.setattr(native, "FULL_ARENA", 0.0)
    used = []
    monkeypatch.setattr(fast._motion, "_simulate_by_bindings", used.append)
    assert fast._motion.simulate(np.zeros((3, 7))) is None and len(used) == 1
    monkeypatch.undo()
    records = play_both((fast, plain), [0, 0, 0])
    assert any(record.substeps for record in records)


def test_what_is_swept_is_what_dynamics_gives():
    """From the same states; benchmarks/sweep_agreement.py does it for thousands of actions, with costs."""
    settled = settle(room())
    swept, simulated = Home(), Home(kinematic=False)
    for home in (swept, simulated):
        home.reset(settled, (0.0, 0.3, 0.5))
    compared = pressed = 0
    for action in random_actions(7, 250):
        simulated.set_state(swept.state())
        before = robot_overlaps(swept)
        first, second = swept.act(int(action)), simulated.act(int(action))
        if first.substeps:
            assert_same(first, second)
            continue
        compared += 1
        np.testing.assert_allclose(swept.joints, simulated.joints, atol=0.005)
        assert first.blocked == second.blocked and not (first.chain != second.chain).any()
        np.testing.assert_array_equal(first.broken, second.broken)
        np.testing.assert_allclose(first.displacement, second.displacement, atol=0.002)
        touched = set(np.flatnonzero(second.contact_force > 1.0).tolist())
        pressed += bool(touched)
        assert not (first.contact_force > 0.0).any() and touched <= before  # only what it drives off from
    assert compared > 60 and pressed < 15


def robot_overlaps(home: Home) -> set[int]:
    """Return the entities that the robot is in contact with where it stands."""
    data = home.state().data
    mujoco.mj_kinematics(home.model, data)
    mujoco.mj_collision(home.model, data)
    owners = home.scene.geom_entity[data.contact.geom[data.contact.dist < 0.0]]
    return set(owners[(owners == ROBOT).any(axis=1)].ravel().tolist())
