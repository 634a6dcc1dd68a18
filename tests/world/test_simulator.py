"""The home under the robot's actions, in a small hand-made room with one of everything that matters."""

import math
import threading
import time

import mujoco
import numpy as np
import pytest
from room import (
    BALL,
    CHAIR,
    MUG,
    TABLE,
    TABLE_TOP,
    VASE,
    WALLS,
    assert_same,
    home_at,
    pick_up_mug,
    play,
    random_actions,
    reach_over_mug,
    room,
    wait_for_rest,
)

from safevla.types import ACTION_ID, ACTIONS
from safevla.world import robot
from safevla.world.simulator import Home, settle


@pytest.fixture(scope="module")
def settled():
    return settle(room())


def test_settled_home_sleeps(settled):
    assert settled.data.ntree_awake == 1  # only the robot, which never sleeps
    height = settled.rest_pose[MUG, 2]
    assert height == pytest.approx(TABLE_TOP, abs=0.005)


def test_free_motion_is_kinematic_and_exact(settled):
    home = home_at(settled, 0, 0)
    record = play(home, "move_ahead")[0]
    assert record.substeps == 0 and not record.blocked and record.metres == pytest.approx(0.2)
    play(home, "turn_left_30", "lift_up_10", "arm_out_10", "wrist_right_10")
    assert home.pose == pytest.approx((0.2, 0, math.radians(30)))
    lift, arm, wrist = robot.FOLDED
    assert (home.lift, home.arm) == pytest.approx((lift + 0.1, arm + 0.1))
    assert home.wrist == pytest.approx(wrist - math.radians(10))


def test_limits_shorten_a_motion_without_blocking_it(settled):
    home = home_at(settled, 0, 0.5)
    records = play(home, *["lift_up_10"] * 8) + play(home, *["arm_in_10"] * 2)
    assert home.lift == pytest.approx(1.10) and home.arm == 0.0
    assert not any(record.blocked for record in records)


def test_wall_blocks(settled):
    home = home_at(settled, 1.3, 0)
    records = play(home, *["move_ahead"] * 5)
    assert records[1].substeps == 0 and records[-1].blocked and records[-1].blocked_by == WALLS[0]
    assert 20 < records[-1].blocked_force < 400
    assert records[-1].contact_force[WALLS[0]] == records[-1].blocked_force
    assert home.pose[0] < 1.95 - 0.17 + 0.01  # not inside the wall
    assert not play(home, "move_back")[0].blocked


def test_chair_is_pushed(settled):
    home = home_at(settled, 0, 0.4, math.pi / 2)
    records = play(home, *["move_ahead"] * 4)
    touched = [record for record in records if record.contact_force[CHAIR] > 5]
    assert touched and touched[0].chain[CHAIR] and touched[0].contact_speed[CHAIR] > 0.05
    assert records[-1].displacement_from_rest[CHAIR] > 0.1
    assert max(record.displacement[CHAIR] for record in records) > 0.05
    wait_for_rest(home)
    assert home.data.ntree_awake == 1


def test_bump_is_the_same_kinematic_first_or_simulated_throughout(settled):
    swept, simulated = (home_at(settled, 0, 0.4, math.pi / 2, kinematic) for kinematic in (True, False))
    for action in ("turn_left_6", "turn_right_6", "move_ahead", "move_ahead", "move_ahead"):
        first, second = play(swept, action)[0], play(simulated, action)[0]
        assert np.linalg.norm(np.subtract(swept.pose[:2], simulated.pose[:2])) < 0.01
        assert first.blocked == second.blocked
        np.testing.assert_array_equal(first.contact_force > 5, second.contact_force > 5)
    assert first.contact_force[CHAIR] > 5


@pytest.mark.parametrize("action", [name for name in ACTIONS if not robot.MOTIONS[ACTION_ID[name]].is_still])
def test_simulated_free_motion_ends_where_the_sweep_does(settled, action):
    swept, simulated = (home_at(settled, 0, 0.3, 0.3, kinematic) for kinematic in (True, False))
    for home in (swept, simulated):
        play(home, "arm_out_10", action)
    np.testing.assert_allclose(simulated.joints, swept.joints, atol=0.01)


def test_pick_up_needs_the_tip_within_five_centimetres(settled):
    home = home_at(settled, 0.3, -0.15)
    reach_over_mug(home)
    top = home.entity_position[MUG][2] + 0.1
    play(home, "lift_up_2")  # 5 cm above, give or take what the mug has sunk in
    play(home, "lift_up_2")
    assert home.gripper_tip[2] - top > 0.05
    assert play(home, "pick_up")[0].held == -1
    play(home, "lift_down_2", "lift_down_2")
    assert 0.02 < home.gripper_tip[2] - top < 0.05
    assert play(home, "pick_up")[0].held == MUG


def test_carried_object_stays_in_the_gripper(settled):
    home = home_at(settled, 0.3, -0.15)
    pick_up_mug(home)
    grip = home.gripper_tip - home.entity_position[MUG]
    generator = np.random.default_rng(0)
    names = (
        "move_ahead",
        "move_ahead",
        "move_back",
        "turn_left_30",
        "turn_right_30",
        "wrist_left_10",
        "lift_up_2",
        "arm_out_2",
    )
    simulated = 0
    for name in generator.choice(names, 100):
        simulated += play(home, name)[0].substeps > 0
        assert home.held == MUG
        offset = home.gripper_tip - home.entity_position[MUG]
        assert np.linalg.norm(offset) == pytest.approx(np.linalg.norm(grip), abs=0.02)
    assert 0 < simulated < 100


def test_lifting_off_a_table_is_not_a_contact(settled):
    home = home_at(settled, 0.3, -0.15)
    reach_over_mug(home)
    for record in play(home, "pick_up", "lift_up_2", "lift_up_10", "arm_in_10"):
        assert record.substeps == 0 and record.contact_force[TABLE] == 0


def test_pressing_a_held_object_on_the_table_is_a_contact(settled):
    home = home_at(settled, 0.3, -0.15)
    reach_over_mug(home)
    play(home, "pick_up", "lift_up_10", "lift_up_10")
    records = play(home, "lift_down_10", "lift_down_10", "lift_down_10")
    assert records[-1].blocked and records[-1].contact_force[TABLE] > 20
    assert records[-1].blocked_by == TABLE


@pytest.mark.parametrize(("break_impulse", "breaks"), [(0.6, True), (3.0, False)])
def test_dropped_mug_falls_its_height_and_breaks_above_its_impulse(break_impulse, breaks):
    home = home_at(settle(room(break_impulse)), 0.3, -0.15)
    pick_up_mug(home)
    play(home, "turn_left_30")
    height = home.entity_position[MUG][2]
    records = play(home, "drop") + wait_for_rest(home)
    assert home.held == -1 and records[0].chain[MUG]
    assert max(record.drop_height[MUG] for record in records) == pytest.approx(height, abs=0.03)
    assert records[-1].broken[MUG] == breaks and not records[-1].broken[VASE]
    damage = max(record.damage_impulse[MUG] for record in records)
    assert damage == pytest.approx(
        0.3 * math.sqrt(2 * 9.81 * height), rel=0.3
    )  # the momentum it arrives with
    assert records[-1].supported[MUG] and not records[-1].moving[MUG] and not records[-1].chain[MUG]


def test_mug_pushed_off_the_table_falls_through_a_chain_of_contacts(settled):
    home = home_at(settled, -0.05, -0.35)
    play(home, *["lift_up_10"] * 2, "lift_down_2", *["arm_out_10"] * 3, "arm_out_2")
    records = play(home, "move_ahead", "move_ahead", "move_ahead", "move_ahead") + wait_for_rest(home)
    falls = [record for record in records if record.drop_height[MUG] >= 0.1]
    assert falls and all(record.chain[MUG] for record in falls)
    assert max(record.drop_height[MUG] for record in falls) == pytest.approx(TABLE_TOP, abs=0.08)
    assert records[-1].broken[MUG]
    assert not any(record.drop_height[VASE] > 0.02 for record in records)


def test_falling_object_continues_in_the_next_action(settled):
    home = home_at(settled, 0, 0)
    joint = home.model.body_jntadr[home.scene.body[BALL]]
    home.data.qpos[home.model.jnt_qposadr[joint] + 2] = 2.3
    mujoco.mj_forward(home.model, home.data)
    home.data.qvel[home.model.jnt_dofadr[joint] + 2] = 0.5  # thrown up
    first, second = play(home, "sub_task_done", "sub_task_done")
    assert not first.supported[BALL] and first.moving[BALL] and first.substeps > 0
    assert second.drop_height[BALL] > first.drop_height[BALL] > 0.1


def test_same_actions_give_the_same_bytes_in_any_thread(settled):
    actions = random_actions(3, 60)
    results: list = [None, None, None]

    def run(slot: int) -> None:
        home = Home()
        for _ in range(2):  # the second episode must not remember the first
            home.reset(settled, (0, 0.3, 0.5))
            records = [home.act(int(action)) for action in actions]
        results[slot] = (records, home.data.qpos.tobytes())

    run(0)
    threads = [threading.Thread(target=run, args=(slot,)) for slot in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any(record.substeps for record in results[0][0])
    for records, qpos in results[1:]:
        assert qpos == results[0][1]
        for first, second in zip(records, results[0][0], strict=True):
            assert_same(first, second)


def test_snapshot_restores_everything(settled):
    home = home_at(settled, 0.3, -0.15)
    pick_up_mug(home)
    state = home.state()
    first = play(home, "drop", "move_ahead", "turn_left_30")
    home.set_state(state)
    assert home.held == MUG
    for one, other in zip(first, play(home, "drop", "move_ahead", "turn_left_30"), strict=True):
        assert_same(one, other)


def test_bad_state_is_undone(settled):
    home = home_at(settled, 0, 0, kinematic=False)
    play(home, "move_ahead")
    before = home.data.qpos.copy()
    home.data.qfrc_applied[home.scene.robot.dof[0]] = 1e8
    assert play(home, "move_ahead")[0].nan
    np.testing.assert_array_equal(home.data.qpos, before)


def test_start_inside_something_is_refused(settled):
    with pytest.raises(ValueError, match="chair_0"):
        home_at(settled, 0, 1.1)


def test_unknown_action_is_refused(settled):
    with pytest.raises(ValueError, match="from 0 to 19"):
        home_at(settled, 0, 0).act(20)


def test_long_random_play_stays_sound_and_inside(settled):
    home = home_at(settled, 0, 0.3)
    free, contact = [], []
    for action in random_actions(0, 2000):
        begin = time.perf_counter()
        record = home.act(int(action))
        (contact if record.substeps else free).append(time.perf_counter() - begin)
        assert not record.nan and np.isfinite(home.data.qpos).all()
        assert np.abs(home.pose[:2]).max() < 1.95 - 0.15
        assert np.abs(home.entity_position[TABLE + 1 :, :2]).max() < 2.0
        assert home.entity_position[TABLE + 1 :, 2].min() > -0.1
    for name, seconds in (("free", free), ("contact", contact)):
        print(f"{name}: {1e3 * np.mean(seconds):.2f} ms an action, {len(seconds)} actions")
