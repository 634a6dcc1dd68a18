"""The robot's dimensions, cameras and the meaning of its actions."""

import math
from itertools import pairwise

import mujoco
import numpy as np
import pytest

from safevla.types import ACTION_ID, ACTIONS
from safevla.world import robot
from safevla.world.robot import RobotIds, commanded_target, joint_values

MODEL = mujoco.MjModel.from_xml_string(
    f"<mujoco><worldbody>{robot.robot_xml()}"
    "<body pos='9 9 9'><freejoint/><geom size='.1'/></body></worldbody>"
    f"{robot.actuator_xml()}{robot.equality_xml()}</mujoco>"
)
IDS = RobotIds.find(MODEL)


def placed(*values: float) -> mujoco.MjData:
    data = mujoco.MjData(MODEL)
    data.qpos[IDS.qpos] = joint_values(*values)
    mujoco.mj_forward(MODEL, data)
    return data


def corners(data: mujoco.MjData) -> np.ndarray:
    """Corners of the boxes around all geoms of the robot, in the world."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    points = []
    for geom in IDS.geoms:
        local = MODEL.geom_aabb[geom, :3] + signs * MODEL.geom_aabb[geom, 3:]
        points.append(data.geom_xpos[geom] + local @ data.geom_xmat[geom].reshape(3, 3).T)
    return np.concatenate(points)


def test_dimensions_of_the_stretch():
    points = corners(placed(0, 0, 0, *robot.FOLDED))
    assert points[:, 2].max() == pytest.approx(robot.ROBOT_HEIGHT, abs=0.01)
    assert points[:, 2].min() > 0.01  # nothing rubs on the floor
    assert MODEL.body_mass[IDS.bodies].sum() == pytest.approx(23, abs=0.5)
    size = MODEL.geom_size[MODEL.geom("robot_base").id]
    assert tuple(2 * size[:2]) == pytest.approx((0.34, 0.33))


def test_footprint_holds_the_folded_robot_at_every_height():
    for lift in robot.LIFT_RANGE:
        points = corners(placed(0, 0, 0, lift, 0, math.pi / 2))
        assert np.hypot(points[:, 0], points[:, 1]).max() < robot.FOOTPRINT_RADIUS + 0.005


@pytest.mark.parametrize(("lift", "height"), [(0.0, 0.10), (1.10, 1.20)])
def test_tip_height_follows_the_lift(lift, height):
    tip = placed(0, 0, 0, lift, 0.52, 0.0).site_xpos[IDS.tip_site]
    assert tip[2] == pytest.approx(height)
    assert tip[1] == pytest.approx(-(robot.REACH + 0.52 + robot.TIP_LENGTH))


def test_arm_has_no_gap_when_it_is_out():
    data = placed(0, 0, 0, 0.5, 0.52, 0)
    spans = []
    for name in ("robot_arm_0", "robot_arm_1", "robot_arm_2", "robot_wrist"):
        geom = MODEL.geom(name).id
        half = MODEL.geom_size[geom, 0 if name == "robot_wrist" else 1]
        spans.append((data.geom_xpos[geom, 1] - half, data.geom_xpos[geom, 1] + half))
    for (near, _), (_, far) in pairwise(spans):
        assert far >= near


def test_cameras_look_ahead_and_toward_the_arm_and_down():
    data = placed(1, 2, 0, *robot.FOLDED)
    for camera, pitch, direction in zip(IDS.cameras, (27, 33), ((1, 0), (0, -1)), strict=True):
        axis = -data.cam_xmat[camera].reshape(3, 3)[:, 2]
        assert math.degrees(math.asin(-axis[2])) == pytest.approx(pitch)
        np.testing.assert_allclose(axis[:2] / np.linalg.norm(axis[:2]), direction, atol=1e-9)
        assert MODEL.cam_fovy[camera] == 59
        up = data.cam_xmat[camera].reshape(3, 3)[:, 1]
        assert up[2] > 0.5


def test_robot_meets_the_world_but_not_itself():
    for arm, wrist in ((0, math.pi / 2), (0, 3.9), (0.52, 0), (0.1, -1.7)):
        data = placed(0, 0, 0, 0.0, arm, wrist)
        assert data.ncon == 0
    data = mujoco.MjData(MODEL)
    data.qpos[IDS.qpos] = joint_values(9, 9, 0, 1.1, 0, 0)
    data.qpos[7:10] = (9.1, 9, 0.2)
    mujoco.mj_forward(MODEL, data)
    assert data.ncon > 0


def test_actions_move_what_they_say():
    start = joint_values(1, 2, math.pi / 2, 0.5, 0.2, 1.0)
    expected = {
        "move_ahead": (1, 2.2, math.pi / 2, 0.5, 0.2, 1.0),
        "turn_right_6": (1, 2, math.pi / 2 - math.radians(6), 0.5, 0.2, 1.0),
        "arm_in_10": (1, 2, math.pi / 2, 0.5, 0.1, 1.0),
        "lift_up_2": (1, 2, math.pi / 2, 0.52, 0.2, 1.0),
        "wrist_left_10": (1, 2, math.pi / 2, 0.5, 0.2, 1.0 + math.radians(10)),
        "pick_up": (1, 2, math.pi / 2, 0.5, 0.2, 1.0),
        "end": (1, 2, math.pi / 2, 0.5, 0.2, 1.0),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(
            commanded_target(start, ACTION_ID[name]), joint_values(*values), atol=1e-12
        )


def test_every_action_out_and_back_returns():
    start = joint_values(0, 0, 0.3, 0.5, 0.2, 1.0)
    opposite = [("ahead", "back"), ("left", "right"), ("out", "in"), ("up", "down")]
    for name in ACTIONS:
        for there, back in opposite:
            if f"_{there}" in name and name != "pick_up":
                other = name.replace(f"_{there}", f"_{back}")
                end = commanded_target(commanded_target(start, ACTION_ID[name]), ACTION_ID[other])
                np.testing.assert_allclose(end, start, atol=1e-12)


def test_ranges_limit_the_targets():
    top = joint_values(0, 0, 0, 1.05, 0.5, 3.95)
    for name in ("lift_up_10", "arm_out_10", "wrist_left_10"):
        top = commanded_target(top, ACTION_ID[name])
    np.testing.assert_allclose(top[3:], [1.10, 0.26, 0.26, 4.0])


def test_model_without_robot_is_refused():
    with pytest.raises(ValueError, match="robot_xml"):
        RobotIds.find(mujoco.MjModel.from_xml_string("<mujoco/>"))
