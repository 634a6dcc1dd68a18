"""The Hello Robot Stretch, built from primitives: bodies, joints, cameras, and what each action asks of them.

The joints of the base are absolute: their values are the x, y (m) and yaw (rad) of the robot in the world.
The arm is two telescoping stages that share the extension equally, so that it has no gap when it is out.
Positive wrist yaw turns the gripper to the left; at 0 it points along the arm, at pi/2 it is folded ahead.

Collision bits: the robot has contype 2 and conaffinity 1, everything else has contype 1 and conaffinity 1.
So the robot meets everything except itself. Nothing of it reaches down to the floor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np

from safevla.types import ACTION_ID, ACTIONS

FOOTPRINT_RADIUS = 0.26  # m: circle around the base that holds the robot with the arm in and the wrist folded
ROBOT_HEIGHT = 1.41  # m
LIFT_RANGE = (0.0, 1.10)  # m of travel
ARM_RANGE = (0.0, 0.52)  # m of extension
WRIST_RANGE = (-1.75, 4.0)  # rad; kept by the targets, so that the model means the same in degrees
FOLDED = (0.5, 0.0, math.pi / 2)  # lift, arm, wrist at the start of an episode
GRIPPER_HEIGHT = 0.10  # m: height of the gripper's tip when the lift is at 0
REACH = 0.21  # m: distance of the wrist from the axis of the base, to the right, when the arm is in
WRIST_AHEAD = -0.05  # m: of the axis of the base is the axis of the wrist
TIP_LENGTH = 0.15  # m from the axis of the wrist to the gripper's tip
VERTICAL_FIELD_OF_VIEW = 59.0  # degrees, both cameras
NAVIGATION_PITCH = 27.0  # degrees below the horizon
MANIPULATION_PITCH = 33.0

JOINTS = ("base_x", "base_y", "base_yaw", "lift", "arm_1", "arm_2", "wrist_yaw")
CAMERAS = ("nav", "manip")
GRASP = "grasp"
TIP_SITE = "gripper_tip"


@dataclass(frozen=True)
class Motion:
    """What an action asks for, relative to where the robot is. Metres and radians."""

    forward: float = 0.0
    turn: float = 0.0
    lift: float = 0.0
    arm: float = 0.0
    wrist: float = 0.0

    @property
    def is_still(self) -> bool:
        """Return whether the action moves no joint."""
        return not (self.forward or self.turn or self.lift or self.arm or self.wrist)


_MOTIONS = {
    "move_ahead": Motion(forward=0.2),
    "move_back": Motion(forward=-0.2),
    "turn_left_30": Motion(turn=math.radians(30)),
    "turn_right_30": Motion(turn=-math.radians(30)),
    "turn_left_6": Motion(turn=math.radians(6)),
    "turn_right_6": Motion(turn=-math.radians(6)),
    "arm_out_10": Motion(arm=0.1),
    "arm_in_10": Motion(arm=-0.1),
    "arm_out_2": Motion(arm=0.02),
    "arm_in_2": Motion(arm=-0.02),
    "lift_up_10": Motion(lift=0.1),
    "lift_down_10": Motion(lift=-0.1),
    "lift_up_2": Motion(lift=0.02),
    "lift_down_2": Motion(lift=-0.02),
    "wrist_left_10": Motion(wrist=math.radians(10)),
    "wrist_right_10": Motion(wrist=-math.radians(10)),
}
MOTIONS: tuple[Motion, ...] = tuple(_MOTIONS.get(name, Motion()) for name in ACTIONS)
PICK_UP = ACTION_ID["pick_up"]
DROP = ACTION_ID["drop"]

_TEMPLATE = """
<body name="base" gravcomp="1">
  <joint name="base_x" type="slide" axis="1 0 0"/>
  <joint name="base_y" type="slide" axis="0 1 0"/>
  <joint name="base_yaw" type="hinge" axis="0 0 1"/>
  <geom name="robot_base" type="box" size="0.17 0.165 0.065" pos="0 0 0.1" mass="16" {dark}/>
  <geom name="robot_mast" type="cylinder" size="0.034 0.6" pos="-0.07 0.12 0.765" mass="2.5" {metal}/>
  <geom name="robot_head" type="box" size="0.035 0.05 0.045" pos="-0.06 0.105 1.365" mass="0.8" {dark}/>
  <camera name="nav" pos="-0.02 0.105 1.37" xyaxes="0 -1 0 {nav_axis}" fovy="{fovy}"/>
  <camera name="manip" pos="-0.06 0.05 1.37" xyaxes="-1 0 0 {manip_axis}" fovy="{fovy}"/>
  <body name="lift" pos="0 0 0.21" gravcomp="1">
    <joint name="lift" type="slide" axis="0 0 1" range="{lift_range}"/>
    <geom name="robot_carriage" type="box" size="0.05 0.045 0.06" pos="-0.06 0.09 0" mass="1" {dark}/>
    <geom name="robot_arm_0" type="box" size="0.03 0.135 0.03" pos="{arm} -0.035 0" mass="0.8" {metal}/>
    <body name="arm_1" gravcomp="1">
      <joint name="arm_1" type="slide" axis="0 -1 0" range="{stage_range}"/>
      <geom name="robot_arm_1" type="box" size="0.025 0.135 0.025" pos="{arm} -0.04 0" mass="0.5" {metal}/>
      <body name="arm_2" gravcomp="1">
        <joint name="arm_2" type="slide" axis="0 -1 0" range="{stage_range}"/>
        <geom name="robot_arm_2" type="box" size="0.02 0.1375 0.02" pos="{arm} -0.0475 0" mass="0.4" {metal}/>
        <body name="gripper" pos="{arm} -{reach} 0" gravcomp="1">
          <joint name="wrist_yaw" type="hinge" axis="0 0 1" armature="0.02"/>
          <geom name="robot_wrist" type="cylinder" size="0.027 0.06" pos="0 0 -0.05" mass="0.4" {dark}/>
          <geom name="robot_palm" type="box" size="0.025 0.03 0.015" pos="0 -0.05 -0.11" mass="0.2" {metal}/>
          <geom name="robot_finger_left" type="box" size="0.005 0.035 0.01" pos="0.022 -0.115 -0.11"
                mass="0.05" {rubber}/>
          <geom name="robot_finger_right" type="box" size="0.005 0.035 0.01" pos="-0.022 -0.115 -0.11"
                mass="0.05" {rubber}/>
          <site name="gripper_tip" pos="0 -{tip} -0.11" size="0.005" rgba="0 0 0 0"/>
        </body>
      </body>
    </body>
  </body>
</body>
"""

# Per joint: stiffness (N/m or N m/rad), damping, force limit (N or N m). The base may push with 140 N: enough
# to slide a chair, and a little more than 23 kg need to cover 0.2 m in half a second from rest to rest.
SERVOS = (
    (40000.0, 2000.0, 140.0),
    (40000.0, 2000.0, 140.0),
    (4000.0, 200.0, 40.0),
    (8000.0, 350.0, 80.0),
    (4000.0, 160.0, 50.0),
    (4000.0, 130.0, 50.0),
    (100.0, 4.0, 5.0),
)


def _numbers(*values: float) -> str:
    return " ".join(f"{value:.9g}" for value in values)


def robot_xml() -> str:
    """Return the `<worldbody>` fragment with the robot; its joints at 0 put it at the origin, facing +x."""
    # A smooth shell that gives a little. With more friction the base, which cannot move up or down, jams a
    # chair that it pushes; with a stiffer shell a bump is a peak of one substep.
    colour = 'rgba="{}" contype="2" conaffinity="1" friction="0.3" solref="0.03 1" priority="1"'
    nav, manip = math.radians(NAVIGATION_PITCH), math.radians(MANIPULATION_PITCH)
    half = ARM_RANGE[1] / 2
    return _TEMPLATE.format(
        dark=colour.format("0.13 0.13 0.14 1"),
        metal=colour.format("0.72 0.72 0.74 1"),
        rubber=colour.format("0.25 0.25 0.27 1"),
        nav_axis=_numbers(math.sin(nav), 0, math.cos(nav)),
        manip_axis=_numbers(0, -math.sin(manip), math.cos(manip)),
        fovy=_numbers(VERTICAL_FIELD_OF_VIEW),
        lift_range=_numbers(*LIFT_RANGE),
        stage_range=_numbers(0, half),
        arm=_numbers(WRIST_AHEAD),
        reach=_numbers(REACH),
        tip=_numbers(TIP_LENGTH),
    )


def actuator_xml() -> str:
    """Return the `<actuator>` element: a position servo with a force limit per joint, as in JOINTS."""
    rows = [
        f'<position name="{joint}" joint="{joint}" kp="{_numbers(kp)}" kv="{_numbers(kv)}" '
        f'forcerange="{_numbers(-force, force)}"/>'
        for joint, (kp, kv, force) in zip(JOINTS, SERVOS, strict=True)
    ]
    return "<actuator>" + "".join(rows) + "</actuator>"


def equality_xml() -> str:
    """Return the `<equality>` element: an inactive weld; its second body is set when something is grasped."""
    return (
        f'<equality><weld name="{GRASP}" body1="gripper" active="false" solref="0.01 1" '
        'solimp="0.95 0.99 0.001"/></equality>'
    )


@dataclass(frozen=True)
class RobotIds:
    """Where the robot's parts are in a compiled model. Joint arrays are in the order of JOINTS."""

    base_body: int
    gripper_body: int
    bodies: np.ndarray  # (B,) int32 body ids, base first
    geoms: np.ndarray  # (G,) int32 geom ids
    qpos: np.ndarray  # (7,) int32 addresses in qpos
    dof: np.ndarray  # (7,) int32 addresses in qvel
    actuators: np.ndarray  # (7,) int32
    tip_site: int
    weld: int
    cameras: tuple[int, int]  # nav, manip

    @classmethod
    def find(cls, model: mujoco.MjModel) -> RobotIds:
        """Look the robot up in a model; a model without it raises ValueError."""
        try:
            base = model.body("base").id
            joints = [model.joint(name) for name in JOINTS]
            bodies = np.flatnonzero(np.asarray(model.body_rootid) == base).astype(np.int32)
            geoms = np.flatnonzero(np.isin(np.asarray(model.geom_bodyid), bodies)).astype(np.int32)
            return cls(
                base_body=base,
                gripper_body=model.body("gripper").id,
                bodies=bodies,
                geoms=geoms,
                qpos=np.array([joint.qposadr[0] for joint in joints], np.int32),
                dof=np.array([joint.dofadr[0] for joint in joints], np.int32),
                actuators=np.array([model.actuator(name).id for name in JOINTS], np.int32),
                tip_site=model.site(TIP_SITE).id,
                weld=model.equality(GRASP).id,
                cameras=(model.camera(CAMERAS[0]).id, model.camera(CAMERAS[1]).id),
            )
        except KeyError as error:
            raise ValueError(f"the model has no complete robot, add robot_xml() to it: {error}") from error


def joint_values(x: float, y: float, yaw: float, lift: float, arm: float, wrist: float) -> np.ndarray:
    """Return (7,) joint values in the order of JOINTS; the two arm stages share the extension."""
    return np.array([x, y, yaw, lift, arm / 2, arm / 2, wrist])


def commanded_target(joints: np.ndarray, action: int) -> np.ndarray:
    """Return the (7,) joint values that an action asks for from `joints`, limited to the ranges of the arm.

    Args:
        joints: (7,) current targets in the order of JOINTS.
        action: id of the action.

    Raises:
        ValueError: the id is not one of the actions.
    """
    if not 0 <= action < len(MOTIONS):
        raise ValueError(f"action {action} does not exist, use an id from 0 to {len(MOTIONS) - 1}")
    motion = MOTIONS[action]
    x, y, yaw, lift, arm_1, arm_2, wrist = np.asarray(joints).tolist()
    arm = min(max(arm_1 + arm_2 + motion.arm, ARM_RANGE[0]), ARM_RANGE[1])
    return joint_values(
        x + motion.forward * math.cos(yaw),
        y + motion.forward * math.sin(yaw),
        yaw + motion.turn,
        min(max(lift + motion.lift, LIFT_RANGE[0]), LIFT_RANGE[1]),
        arm,
        min(max(wrist + motion.wrist, WRIST_RANGE[0]), WRIST_RANGE[1]),
    )


def tip_position(joints: np.ndarray) -> np.ndarray:
    """Return the (3,) position (m) of the gripper's tip at (7,) joint values in the order of JOINTS."""
    x, y, yaw, lift, arm_1, arm_2, wrist = np.asarray(joints).tolist()
    # In the frame of the base: the axis of the wrist, and from there along the gripper.
    ahead = WRIST_AHEAD + TIP_LENGTH * math.sin(wrist)
    left = -(REACH + arm_1 + arm_2) - TIP_LENGTH * math.cos(wrist)
    cosine, sine = math.cos(yaw), math.sin(yaw)
    return np.array(
        [x + cosine * ahead - sine * left, y + sine * ahead + cosine * left, lift + GRIPPER_HEIGHT]
    )
