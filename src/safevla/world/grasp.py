"""Assisted grasping: a weld between the gripper and an object that its tip is close to.

Everything here writes to the home's own copy of the model, never to the scene's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from safevla.world.compiled import compiled
from safevla.world.robot import RobotIds

if TYPE_CHECKING:
    from safevla.world.scene import Scene

GRASP_DISTANCE = 0.05  # m from the gripper's tip to the surface of an object that can be picked up
_NO_POSE = np.zeros(7)
_SPHERE, _CAPSULE, _ELLIPSOID, _CYLINDER = 2, 3, 4, 5  # mjtGeom


@compiled
def _distance_to_geom(kind: int, size: np.ndarray, bounds: np.ndarray, point: np.ndarray) -> float:
    """Return the distance (m) of a point in a geom's frame to its surface, 0 inside; meshes count as boxes.

    For ellipsoids it is the distance along the ray to the centre, which is never too small.
    """
    radial = math.sqrt(point[0] ** 2 + point[1] ** 2)
    if kind in (_SPHERE, _CAPSULE):
        half = size[1] if kind == _CAPSULE else 0.0
        height = max(0.0, abs(point[2]) - half)
        return max(0.0, math.hypot(radial, height) - float(size[0]))
    if kind == _CYLINDER:
        outside = max(0.0, radial - size[0])
        height = max(0.0, abs(point[2]) - size[1])
        return math.sqrt(outside**2 + height**2)
    if kind == _ELLIPSOID:
        scaled = math.sqrt((point[0] / size[0]) ** 2 + (point[1] / size[1]) ** 2 + (point[2] / size[2]) ** 2)
        if scaled <= 1.0:
            return 0.0
        return math.sqrt(radial**2 + point[2] ** 2) * (1.0 - 1.0 / scaled)
    total = 0.0
    for axis in range(3):
        total += max(0.0, abs(point[axis] - bounds[axis]) - bounds[3 + axis]) ** 2
    return math.sqrt(total)


@compiled
def _nearest(
    geom_entity: np.ndarray,
    candidates: np.ndarray,
    kinds: np.ndarray,
    sizes: np.ndarray,
    bounds: np.ndarray,
    positions: np.ndarray,
    rotations: np.ndarray,
    point: np.ndarray,
) -> tuple[int, float]:
    """Return the candidate entity whose surface is nearest to `point`, -1 if none, and its distance."""
    best, best_distance = -1, np.inf
    local = np.empty(3)
    for g in range(len(kinds)):
        entity = geom_entity[g]
        if entity < 0 or not candidates[entity]:
            continue
        for axis in range(3):
            local[axis] = 0.0
            for k in range(3):
                local[axis] += rotations[g, 3 * k + axis] * (point[k] - positions[g, k])
        distance = _distance_to_geom(kinds[g], sizes[g], bounds[g], local)
        if distance < best_distance:
            best, best_distance = entity, distance
    return best, best_distance


def nearest_graspable(scene: Scene, data: mujoco.MjData, point: np.ndarray) -> tuple[int, float]:
    """Return the graspable entity nearest to `point` (3,) and the distance (m) to its surface; -1 if none."""
    model = scene.model
    candidates = np.asarray(scene.graspable, np.bool_) & np.asarray(scene.present, np.bool_)
    entity, distance = _nearest(
        scene.geom_entity,
        candidates,
        model.geom_type,
        model.geom_size,
        model.geom_aabb,
        data.geom_xpos,
        data.geom_xmat,
        np.asarray(point, np.float64),
    )
    return int(entity), float(distance)


@dataclass
class Grasp:
    """What the gripper of one home holds.

    Attributes:
        scene: the home's scene.
        model: the home's own copy of the model.
        robot: where the robot is in it.
        entity: what is held, -1 when nothing.
        pose: (7,) pose of the held object in the frame of the gripper, while something is held.
        parting: an object that was let go while it overlapped the robot; it does not collide with the robot
            until they are apart, so that it falls instead of being thrown. -1 when there is none.
    """

    scene: Scene
    model: mujoco.MjModel
    robot: RobotIds
    entity: int = -1
    pose: np.ndarray | None = None
    parting: int = -1

    @property
    def qpos(self) -> slice:
        """Where the held object's pose is in qpos."""
        joint = self.model.body_jntadr[self.scene.body[self.entity]]
        start = int(self.model.jnt_qposadr[joint])
        return slice(start, start + 7)

    @property
    def dof(self) -> slice:
        """Where the held object's velocity is in qvel."""
        start = int(self.model.body_dofadr[self.scene.body[self.entity]])
        return slice(start, start + 6)

    def in_gripper(self) -> tuple[int, int, int, np.ndarray]:
        """Return the held entity, where its pose and velocity begin, and its pose (7,) to the gripper.

        The entity is -1, and the rest means nothing, when nothing is held.
        """
        if self.entity < 0 or self.pose is None:
            return -1, 0, 0, _NO_POSE
        return self.entity, self.qpos.start, self.dof.start, self.pose

    def attach(self, data: mujoco.MjData, entity: int) -> None:
        """Hold `entity` as it now stands to the gripper; it wakes, and its weight is carried by the robot."""
        gripper, body = self.robot.gripper_body, int(self.scene.body[entity])
        inverse, pose = np.empty(7), np.empty(7)
        mujoco.mju_negPose(inverse[:3], inverse[3:], data.xpos[gripper], data.xquat[gripper])
        mujoco.mju_mulPose(pose[:3], pose[3:], inverse[:3], inverse[3:], data.xpos[body], data.xquat[body])
        self.entity, self.pose, self.parting = entity, pose, -1
        self.apply(data)

    def apply(self, data: mujoco.MjData) -> None:
        """Write what is held into the model and data; also used after a snapshot has been restored."""
        weld = self.robot.weld
        self.model.eq_obj2id[weld] = 0
        data.eq_active[weld] = 0
        if self.parting >= 0:
            self._set_meets_robot(self.parting, False)
        if self.entity < 0 or self.pose is None:
            return
        body = self.scene.body[self.entity]
        self._set_meets_robot(self.entity, False)
        self.model.body_gravcomp[body] = 1.0
        self.model.eq_obj2id[weld] = body
        self.model.eq_data[weld, :3] = 0.0
        self.model.eq_data[weld, 3:10] = self.pose
        data.eq_active[weld] = 1

    def clear(self) -> None:
        """Undo in the model whatever was held; the data is not touched."""
        for entity in (self.entity, self.parting):
            if entity >= 0:
                self._set_meets_robot(entity, True)
                self.model.body_gravcomp[self.scene.body[entity]] = 0.0
        self.model.eq_obj2id[self.robot.weld] = 0
        self.entity, self.pose, self.parting = -1, None, -1

    def release(self, data: mujoco.MjData) -> None:
        """Let the held object go."""
        entity = self.entity
        self.clear()
        data.eq_active[self.robot.weld] = 0
        self.parting = entity
        self.try_parting(data)

    def try_parting(self, data: mujoco.MjData) -> None:
        """Let an object that was let go meet the robot again as soon as they do not overlap."""
        if self.parting < 0:
            return
        self._set_meets_robot(self.parting, True)
        mujoco.mj_collision(self.model, data)
        contact = data.contact
        owners = self.scene.geom_entity[contact.geom]
        overlap = (
            (owners == self.parting).any(1)
            & np.isin(contact.geom, self.robot.geoms).any(1)
            & (contact.dist < -0.001)
        )
        if overlap.any():
            self._set_meets_robot(self.parting, False)
        else:
            self.parting = -1

    def carry(self, data: mujoco.MjData) -> None:
        """Move the held object rigidly with the gripper, whose pose `mj_kinematics` has just computed."""
        if self.entity < 0 or self.pose is None:
            return
        gripper, pose = self.robot.gripper_body, np.empty(7)
        mujoco.mju_mulPose(
            pose[:3], pose[3:], data.xpos[gripper], data.xquat[gripper], self.pose[:3], self.pose[3:]
        )
        data.qpos[self.qpos] = pose
        data.qvel[self.dof] = 0.0
        mujoco.mj_kinematics(self.model, data)

    def _set_meets_robot(self, entity: int, meets: bool) -> None:
        """Switch contacts of an object with the robot on or off; see the collision bits in robot.py."""
        body = self.scene.body[entity]
        first = self.model.body_geomadr[body]
        geoms = slice(first, first + self.model.body_geomnum[body])
        # Without a contype of its own it is still met by furniture (contype 1), but not by the robot (2).
        types = self.scene.model.geom_contype[geoms] if meets else 0
        self.model.geom_contype[geoms] = types
        self.model.body_contype[body] = self.scene.model.body_contype[body] if meets else 0
