"""What one action did: the record, and the compiled loops over all entities that fill it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from safevla.world.compiled import compiled_brief
from safevla.world.contacts import SUPPORT_SUBSTEPS, ContactTracker

if TYPE_CHECKING:
    from safevla.world.scene import Scene


@dataclass(frozen=True)
class Nearness:
    """How far a person was from the robot before and after an action, while it stood still; m.

    Attributes:
        before: from the robot, or what it holds.
        after: likewise.
        held_before: from what is held at the end of the action; infinite if nothing is.
        held_after: likewise.
    """

    before: float
    after: float
    held_before: float
    held_after: float


@dataclass(frozen=True)
class StepRecord:
    """What one action did. Arrays are over the E entities; N, m, s, rad unless stated.

    Attributes:
        contact_force: peak normal force between the robot, or what it holds, and the entity.
        contact_impulse: impulse of these forces, N s.
        contact_speed: relative speed of the two bodies when they first touched in this action, m/s.
        displacement: distance of the body's frame from where it was before the action.
        displacement_from_rest: distance from where it stood when the house had settled.
        tilt: angle of the body's upward axis to where it pointed when the house had settled.
        drop_height: the largest fall within the action, from its top (which may lie in an earlier action).
        supported: something carries it, or it is held or asleep.
        chain: in this action a chain of contacts led from the robot to it.
        damage_impulse: largest impulse in 25 ms by which contacts exceeded the load borne at rest, N s.
        broken: a fragile thing whose break impulse has been exceeded; stays broken.
        moving: it moves at the end of the action, other than in the gripper.
        chain_force: peak normal force on the entity of the robot, what it holds and things that a chain of
            contacts led to from there.
        blocked: the motion ended short by more than 20 %.
        blocked_by: the entity pushed hardest while blocked; -1 if none (or the floor) stopped it.
        blocked_force: peak force on that entity.
        held: the entity in the gripper, or -1.
        substeps: simulated substeps, 0 when the action was kinematic.
        metres: way of the base.
        nan: the state went bad; the home is as it was before the action, or, if the state was bad then
            already, as the episode began.
        person: in homes with a person, how near the action has brought the robot to it; None without one, or
            when the state went bad.
    """

    contact_force: np.ndarray
    contact_impulse: np.ndarray
    contact_speed: np.ndarray
    displacement: np.ndarray
    displacement_from_rest: np.ndarray
    tilt: np.ndarray
    drop_height: np.ndarray
    supported: np.ndarray
    chain: np.ndarray
    damage_impulse: np.ndarray
    broken: np.ndarray
    moving: np.ndarray
    chain_force: np.ndarray
    blocked: bool = False
    blocked_by: int = -1
    blocked_force: float = 0.0
    held: int = -1
    substeps: int = 0
    metres: float = 0.0
    nan: bool = False
    person: Nearness | None = None


@compiled_brief
def _remember(
    body: np.ndarray,
    positions: np.ndarray,
    qpos: np.ndarray,
    qvel: np.ndarray,
    joints: np.ndarray,
    place: np.ndarray,
    start: np.ndarray,
) -> bool:
    """Note where the entities (E, 3) and the joints of the robot (7,) are; return whether all is finite."""
    for k in range(len(body)):
        for axis in range(3):
            place[k, axis] = positions[body[k], axis]
    for k in range(len(joints)):
        start[k] = qpos[joints[k]]
    sound = True
    for values in (qpos, qvel):
        for k in range(len(values)):
            sound = sound and math.isfinite(values[k])
    return sound


@compiled_brief
def _distance(one: np.ndarray, other: np.ndarray) -> float:
    x, y, z = one[0] - other[0], one[1] - other[1], one[2] - other[2]
    return math.sqrt(x * x + y * y + z * z)


@compiled_brief
def _fill(
    entities: np.ndarray,
    body: np.ndarray,
    positions: np.ndarray,
    rotations: np.ndarray,
    before: np.ndarray,
    rest: np.ndarray,
    rest_up: np.ndarray,
    held: int,
    numbers: np.ndarray,
    flags: np.ndarray,
) -> int:
    """Write the arrays of a record in the order of its fields; return the entity that was pushed hardest.

    The sixth row of numbers is the cosine of the tilt.
    """
    hardest, peak = -1, 0.0
    for k in range(len(entities)):
        one, here = entities[k], positions[body[k]]
        axes = rotations[body[k]]
        numbers[0, k] = one.peak_force
        numbers[1, k] = one.impulse
        numbers[2, k] = one.speed
        numbers[3, k] = _distance(here, before[k])
        numbers[4, k] = _distance(here, rest[k])
        cosine = axes[2] * rest_up[k, 0] + axes[5] * rest_up[k, 1] + axes[8] * rest_up[k, 2]
        numbers[5, k] = min(max(cosine, -1.0), 1.0)
        numbers[6, k] = one.drop
        numbers[7, k] = one.damage
        numbers[8, k] = one.peak_chain_force
        flags[0, k] = one.support_substeps >= SUPPORT_SUBSTEPS
        flags[1, k] = one.in_chain
        flags[2, k] = one.broken
        flags[3, k] = one.moving and k != held
        if one.peak_force > peak:
            hardest, peak = k, one.peak_force
    return hardest


def upward_axes(scene: Scene, data: mujoco.MjData) -> np.ndarray:
    """Return (E, 3), where the upward axis of each entity's body points."""
    return np.ascontiguousarray(data.xmat[scene.body][:, [2, 5, 8]])


class Recorder:
    """Writes the records of one home.

    Args:
        scene: its scene.
        data: its state.
        tracker: records of its contacts.
        rest_pose: (E, 7) where the entities were when the house had settled.
        rest_up: (E, 3) upward axes then.

    Attributes:
        start: (7,) joints of the robot at the beginning of the action.
    """

    def __init__(
        self,
        scene: Scene,
        data: mujoco.MjData,
        tracker: ContactTracker,
        rest_pose: np.ndarray,
        rest_up: np.ndarray,
    ) -> None:
        self.start = np.zeros(len(scene.robot.qpos))
        self._before = np.zeros((len(scene.body), 3))
        self._body, self._joints, self._tracker = scene.body, scene.robot.qpos, tracker
        self._qpos, self._qvel = data.qpos, data.qvel
        self._positions, self._rotations = data.xpos, data.xmat
        self._rest, self._rest_up = np.ascontiguousarray(rest_pose[:, :3]), rest_up

    def begin(self) -> bool:
        """Note where things are before an action; return whether the state is sound (finite)."""
        where = (self._body, self._positions, self._qpos, self._qvel, self._joints)
        return bool(_remember(*where, self._before, self.start))

    def finish(self, held: int, blocked: bool, substeps: int, nan: bool = False) -> StepRecord:
        """Return the record of the action; all its arrays are its own."""
        entities = self._tracker.entities
        numbers, flags = np.empty((9, len(entities))), np.empty((4, len(entities)), np.bool_)
        hardest = _fill(
            entities,
            self._body,
            self._positions,
            self._rotations,
            self._before,
            self._rest,
            self._rest_up,
            held,
            numbers,
            flags,
        )
        by = int(hardest) if blocked else -1
        force, impulse, speed, displacement, from_rest, cosine, drop, damage, chain_force = numbers
        supported, chain, broken, moving = flags
        x, y = (self._qpos[self._joints[:2]] - self.start[:2]).tolist()
        return StepRecord(
            force,
            impulse,
            speed,
            displacement,
            from_rest,
            np.arccos(cosine),
            drop,
            supported,
            chain,
            damage,
            broken,
            moving,
            chain_force,
            blocked,
            by,
            float(force[by]) if by >= 0 else 0.0,
            held,
            substeps,
            math.hypot(x, y),
            nan,
        )
