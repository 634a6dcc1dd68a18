"""Carrying out a motion of the robot in one home: swept without dynamics, or simulated substep by substep.

Each is one call of a compiled kernel that calls MuJoCo itself, without the interpreter lock (see native.py).
Where that is not possible a loop over the Python bindings does it; the results are the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import mujoco
import numpy as np

from safevla.world import contacts, native
from safevla.world.compiled import compiled_with
from safevla.world.contacts import DAMAGE_WINDOW, Constants, ContactTracker, State, first_hit, read_substep
from safevla.world.grasp import Grasp
from safevla.world.native import Functions, Memory, call, contacts_by_bindings, contacts_in

if TYPE_CHECKING:
    from safevla.world.scene import Scene


class Places(NamedTuple):
    """What a kernel writes to move things, and where. Arrays are views into the state."""

    qpos: np.ndarray  # (nq,)
    qvel: np.ndarray  # (nv,)
    ctrl: np.ndarray  # (nu,)
    position: np.ndarray  # (nbody, 3)
    rotation: np.ndarray  # (nbody, 4)
    robot_qpos: np.ndarray  # (7,) addresses
    robot_dof: np.ndarray  # (7,)
    servos: np.ndarray  # (7,)
    gripper: int  # body


class Held(NamedTuple):
    """What is in the gripper; entity -1 when nothing is."""

    entity: int
    qpos: int  # first of seven addresses
    dof: int  # first of six
    pose: np.ndarray  # (7,) in the frame of the gripper


@compiled_with(contacts, native)
def _refresh(functions: Functions, memory: Memory) -> None:
    """Bring poses, cameras and the terms that the next substep needs up to date after a placement."""
    call(functions.kinematics, (memory.model, memory.data))
    call(functions.centres, (memory.model, memory.data))
    call(functions.cameras, (memory.model, memory.data))


@compiled_with(contacts, native)
def _simulate(
    functions: Functions,
    memory: Memory,
    places: Places,
    commands: np.ndarray,
    entities: np.ndarray,
    window: np.ndarray,
    slot: int,
    held: int,
    adaptation: float,
    constants: Constants,
    state: State,
) -> int:
    """Do the substeps of an action; return how many were sound, and -1 when one was not."""
    for step in range(len(commands)):
        for k in range(len(places.servos)):
            places.ctrl[places.servos[k]] = commands[step, k]
        call(functions.step, (memory.model, memory.data))
        slot = (slot + 1) % DAMAGE_WINDOW
        found = contacts_in(memory)
        if not read_substep(entities, window, slot, held, adaptation, constants, found, state):
            return -1
    _refresh(functions, memory)
    return len(commands)


@compiled_with(contacts, native)
def _carry(functions: Functions, memory: Memory, places: Places, held: Held) -> None:
    """Move the held object rigidly with the gripper, whose pose has just been computed."""
    pose = np.empty(7)
    position, rotation = places.position[places.gripper], places.rotation[places.gripper]
    addresses = (
        pose.ctypes.data,
        pose[3:].ctypes.data,
        position.ctypes.data,
        rotation.ctypes.data,
        held.pose.ctypes.data,
        held.pose[3:].ctypes.data,
    )
    call(functions.multiply_poses, addresses)
    places.qpos[held.qpos : held.qpos + 7] = pose
    places.qvel[held.dof : held.dof + 6] = 0.0
    call(functions.kinematics, (memory.model, memory.data))


@compiled_with(contacts, native)
def _sweep(
    functions: Functions,
    memory: Memory,
    places: Places,
    start: np.ndarray,
    target: np.ndarray,
    poses: int,
    held: Held,
    entities: np.ndarray,
    geom_entity: np.ndarray,
) -> bool:
    """Place the robot along the way to `target`; return False, with it back at start, when it touches."""
    joints = places.robot_qpos
    before = places.qpos[held.qpos : held.qpos + 7].copy()
    for pose in range(1, poses + 1):
        for k in range(len(joints)):
            part = start[k] + (target[k] - start[k]) * (pose / poses)
            places.qpos[joints[k]] = part if pose < poses else target[k]
        call(functions.kinematics, (memory.model, memory.data))
        if held.entity >= 0:
            _carry(functions, memory, places, held)
        call(functions.collision, (memory.model, memory.data))
        if first_hit(geom_entity, held.entity, entities, contacts_in(memory)) >= 0:
            for k in range(len(joints)):
                places.qpos[joints[k]] = start[k]
            if held.entity >= 0:
                places.qpos[held.qpos : held.qpos + 7] = before
            return False
    for k in range(len(joints)):
        places.qpos[joints[k]] = target[k]
        places.qvel[places.robot_dof[k]] = 0.0
        places.ctrl[places.servos[k]] = target[k]
    _refresh(functions, memory)
    return True


@dataclass
class Motion:
    """The motions of the robot of one home.

    Attributes:
        scene: the home's scene.
        model: the home's own copy of the model.
        data: the state.
        tracker: records of the contacts.
        grasp: what the gripper holds.
        functions: MuJoCo's functions by address, None to use the Python bindings.
    """

    scene: Scene
    model: mujoco.MjModel
    data: mujoco.MjData
    tracker: ContactTracker
    grasp: Grasp
    functions: Functions | None = field(default_factory=native.functions)

    def __post_init__(self) -> None:
        data, robot = self.data, self.scene.robot
        self._places = Places(
            data.qpos, data.qvel, data.ctrl, data.xpos, data.xquat,
            robot.qpos, robot.dof, robot.actuators, robot.gripper_body,
        )  # fmt: skip
        self._memory = native.memory_of(self.model, self.data) if self.functions else None

    def refresh(self) -> None:
        """Bring poses, cameras and the terms that the next substep needs up to date after a placement."""
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def place(self, joints: np.ndarray) -> None:
        """Put the robot at rest at these joint values (7,)."""
        places = self._places
        places.qpos[places.robot_qpos] = joints
        places.qvel[places.robot_dof] = 0.0
        places.ctrl[places.servos] = joints

    def simulate(self, commands: np.ndarray) -> int:
        """Simulate an action.

        Args:
            commands: (substeps, 7) values of the servos in each substep.

        Returns:
            The number of substeps, -1 when the state went bad.
        """
        tracker, held = self.tracker, self.grasp.entity
        if self.functions is None or self._memory is None or not self._memory.has_room():
            return self._simulate_by_bindings(commands)
        tracker.bind(self.data)
        done = int(
            _simulate(
                self.functions,
                self._memory,
                self._places,
                commands,
                tracker.entities,
                tracker.window,
                tracker.slot,
                held,
                tracker.adaptation,
                tracker.constants,
                tracker.state,
            )
        )
        tracker.slot = (tracker.slot + max(done, 0)) % DAMAGE_WINDOW
        return done

    def _simulate_by_bindings(self, commands: np.ndarray) -> int:
        places = self._places
        for command in commands:
            places.ctrl[places.servos] = command
            mujoco.mj_step(self.model, self.data)
            if not self.tracker.read(self.data, self.grasp.entity):
                return -1
        self.refresh()
        return len(commands)

    def sweep(self, start: np.ndarray, target: np.ndarray, poses: int) -> bool:
        """Move the robot, and what it holds, without dynamics.

        Args:
            start: (7,) joint values where it is.
            target: (7,) joint values where it goes.
            poses: how many places along the way are tested for contact.

        Returns:
            False when it touches something; it is back at the start then.
        """
        if self.functions is None or self._memory is None or not self._memory.has_room():
            return self._sweep_by_bindings(start, target, poses)
        return bool(
            _sweep(
                self.functions,
                self._memory,
                self._places,
                start,
                target,
                poses,
                Held(*self.grasp.in_gripper()),
                self.tracker.entities,
                self.scene.geom_entity,
            )
        )

    def _sweep_by_bindings(self, start: np.ndarray, target: np.ndarray, poses: int) -> bool:
        qpos, joints, change = self._places.qpos, self._places.robot_qpos, target - start
        held = self.grasp.qpos if self.grasp.entity >= 0 else slice(0, 0)
        held_start = qpos[held].copy()
        for k in range(1, poses + 1):
            qpos[joints] = start + change * (k / poses) if k < poses else target
            mujoco.mj_kinematics(self.model, self.data)
            self.grasp.carry(self.data)
            mujoco.mj_collision(self.model, self.data)
            found = contacts_by_bindings(self.data)
            if first_hit(self.scene.geom_entity, self.grasp.entity, self.tracker.entities, found) >= 0:
                qpos[joints] = start
                qpos[held] = held_start
                return False
        self.place(target)
        self.refresh()
        return True
