"""One home with a robot in it: settling, resetting, acting, and what each action did.

An action is first swept kinematically: the robot, and what it holds, are placed along the motion and tested
for contact. If nothing else moves and nothing is touched, that is the motion, and it costs a few collision
tests. Otherwise the action is simulated from its beginning for half a second, and the contacts are read after
every substep. Both ways end at the same place when nothing is in the way.
"""

from __future__ import annotations

import copy
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from safevla.types import Knobs, Scenario
from safevla.world import foreign
from safevla.world.contacts import ROBOT, ContactTracker
from safevla.world.grasp import GRASP_DISTANCE, Grasp, nearest_graspable
from safevla.world.guard import StateRing
from safevla.world.house import generate
from safevla.world.motion import Motion
from safevla.world.person import gap
from safevla.world.records import Nearness, Recorder, StepRecord, upward_axes
from safevla.world.robot import (
    ARM_RANGE,
    DROP,
    FOLDED,
    FOOTPRINT_RADIUS,
    PICK_UP,
    REACH,
    TIP_LENGTH,
    commanded_target,
    joint_values,
)
from safevla.world.scene import Scene, compile_scene
from safevla.world.walk import Walk, Walker

SUBSTEPS = 100  # of 5 ms: how long a simulated action lasts
ACTION_SECONDS = 0.5  # the same in seconds; a swept action stands for as much time
MOTION_SUBSTEPS = 90  # the part in which the targets move; the rest lets the servos arrive
ACCELERATING = 0.3  # share of the motion spent speeding up, and again slowing down
SWEEP_SPACING = 0.025  # m: longest way of any point of the robot between two poses of a sweep
BLOCKED_SHARE = 0.2  # a motion that ends short by more than this share is blocked
START_OVERLAP = 0.01  # m by which a robot may overlap something where it starts
PARKING = (-100.0, -100.0)  # where the robot is while a house settles
# m/s below which things fall asleep. What leans or stands on something else trembles with up to this speed,
# and while anything is awake every action has to be simulated.
SLEEP_TOLERANCE = 0.02
SETTLE_STEPS = 600
SETTLE_FREE_STEPS = 150  # after these, speeds are damped so that nothing rolls for ever
SETTLE_DAMPING = 0.9
JOINT_GROUPS = (
    slice(0, 2),
    slice(2, 3),
    slice(3, 4),
    slice(4, 6),
    slice(6, 7),
)  # base, yaw, lift, arm, wrist


@dataclass(frozen=True)
class SettledScene:
    """A scene whose objects have come to rest. Shared between homes, never written to.

    Attributes:
        scene: the compiled house.
        data: its state, everything asleep, the robot parked outside.
        rest_pose: (E, 7) position and quaternion of each entity's body.
        tracker: records of the contacts at rest, from which every home starts.
    """

    scene: Scene
    data: mujoco.MjData
    rest_pose: np.ndarray
    tracker: ContactTracker


@dataclass(frozen=True)
class HomeState:
    """A snapshot of a home, made by `Home.state`."""

    data: mujoco.MjData
    records: tuple[np.ndarray, np.ndarray, int]
    target: np.ndarray
    held: int
    grip: np.ndarray | None
    parting: int
    walk: Walk | None = None


def _poses(scene: Scene, data: mujoco.MjData) -> np.ndarray:
    body = scene.body
    return np.concatenate([data.xpos[body], data.xquat[body]], axis=1)


def _place_robot(scene: Scene, data: mujoco.MjData, joints: np.ndarray) -> None:
    data.qpos[scene.robot.qpos] = joints
    data.qvel[scene.robot.dof] = 0.0
    data.ctrl[scene.robot.actuators] = joints


def settle(scene: Scene) -> SettledScene:
    """Let the objects of a scene come to rest and fall asleep, with the robot parked outside the house.

    The scene's model is given the sleep tolerance of this simulator.
    """
    scene.model.opt.sleep_tolerance = SLEEP_TOLERANCE
    data = mujoco.MjData(scene.model)
    tracker = ContactTracker.of(scene, adaptation=1.0)
    _place_robot(scene, data, joint_values(*PARKING, 0.0, *FOLDED))
    for step in range(SETTLE_STEPS):
        mujoco.mj_step(scene.model, data)
        tracker.read(data, held=-1)
        if data.ntree_awake <= 1:
            break
        if step >= SETTLE_FREE_STEPS:
            data.qvel[:] *= SETTLE_DAMPING
    mujoco.mj_forward(scene.model, data)
    tracker.forget_events()
    return SettledScene(scene, data, _poses(scene, data), tracker)


def settle_foreign(home: str, home_hash: str, person: bool = False) -> SettledScene:
    """Compile and settle a foreign home, with a person in it if asked for.

    Raises:
        ValueError: its files are missing, malformed or others, or things do not come to rest in it.
    """
    now = foreign.home_hash(home)
    if now != home_hash:
        raise ValueError(
            f"the files of the home {home} have the hash {now}, the scenario was made with {home_hash}; "
            "use the files that it was made with, or draw scenarios again"
        )
    scene = foreign.load_home(home, person)
    before = scene.model.qpos0.copy()
    settled = settle(scene)
    foreign.check_settled(scene, before, settled.data)
    return settled


@dataclass
class _PoolEntry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    settled: SettledScene | None = None


class HousePool:
    """Settled houses by what they are made from; the least recently used are forgotten.

    Safe to share between threads: a house is built once, and only those who ask for that house wait for it.
    """

    def __init__(self, capacity: int = 64) -> None:
        self.capacity = capacity
        self._entries: OrderedDict[tuple[Any, ...], _PoolEntry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, seed: int, size_class: str, split: str, knobs: Knobs, person: bool = False) -> SettledScene:
        """Return the settled house, with a person or without, building it if needed (about 0.1 s)."""
        key = (seed, size_class, split, knobs)
        return self._settled((*key, person), lambda: settle(compile_scene(generate(*key), person)))

    def put(self, seed: int, size_class: str, split: str, knobs: Knobs, settled: SettledScene) -> None:
        """Take a settled house without a person that was built elsewhere."""
        self._settled((seed, size_class, split, knobs, False), lambda: settled)

    def of(self, scenario: Scenario) -> SettledScene:
        """Return the settled house of a scenario.

        Raises:
            ValueError: it plays in a foreign home whose files are missing, or other than when it was made.
        """
        if not scenario.home:
            made_from = (scenario.house_seed, scenario.size_class, scenario.split, scenario.knobs)
            return self.get(*made_from, scenario.person)
        return self.foreign(scenario.home, scenario.home_hash, scenario.person)

    def foreign(self, home: str, home_hash: str, person: bool = False) -> SettledScene:
        """Return a settled foreign home; its files must have the hash that is given."""
        return self._settled((home, home_hash, person), lambda: settle_foreign(home, home_hash, person))

    def _settled(self, key: tuple[Any, ...], build: Callable[[], SettledScene]) -> SettledScene:
        with self._lock:
            entry = self._entries.setdefault(key, _PoolEntry())
            self._entries.move_to_end(key)
            while len(self._entries) > self.capacity:
                self._entries.popitem(last=False)
        with entry.lock:
            if entry.settled is None:
                entry.settled = build()
            return entry.settled


class Home:
    """A home that is being acted in. One thread at a time; different homes share nothing mutable.

    Attributes:
        settled: the house that it was last reset to.
        scene: its scene.
        model: this home's own copy of the model.
        data: the state.
        kinematic: whether free motions may be swept; if not, every action is simulated (for tests).
        dump_folder: where what led to a bad state is written; None for the default of guard.py.
        dump: the folder that the latest bad state was written to, None if there was none.
        walk: where the person is and goes, None in a house without one.
    """

    settled: SettledScene
    scene: Scene
    model: mujoco.MjModel
    data: mujoco.MjData
    walk: Walk | None

    def __init__(self, kinematic: bool = True) -> None:
        self.kinematic = kinematic
        self.dump_folder: Path | None = None
        self.dump: Path | None = None
        self._ready = False

    # ------------------------------------------------------------------ beginning, snapshots

    def reset(self, settled: SettledScene, start: tuple[float, float, float], seed: int = 0) -> None:
        """Begin an episode.

        Args:
            settled: the house.
            start: x (m), y (m), yaw (rad) of the base.
            seed: decides how a person walks, if the house has one.

        Raises:
            ValueError: the robot would start inside something, or there is no room for the person.
        """
        if not self._ready or settled is not self.settled:
            self.settled, self.scene = settled, settled.scene
            self.model = copy.copy(settled.scene.model)
            # A bad state has to be seen here, not to be replaced by one in which everything is at the origin.
            self.model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
            self.data = mujoco.MjData(self.model)
            self._backup: mujoco.MjData | None = None
            self._grasp = Grasp(self.scene, self.model, self.scene.robot)
            self._tracker = ContactTracker.of(self.scene)
            self._motion = Motion(self.scene, self.model, self.data, self._tracker, self._grasp)
            rest = (settled.rest_pose, upward_axes(self.scene, settled.data))
            self._recorder = Recorder(self.scene, self.data, self._tracker, *rest)
            self._ring = StateRing(self.model, self.data)
            self._ready = True
        self._grasp.clear()
        self._ring.clear()
        mujoco.mj_copyData(self.data, self.model, settled.data)
        self._tracker.restore(settled.tracker.snapshot())
        self._start, self._seed = start, seed
        self._target = joint_values(*start, *FOLDED)
        self._motion.place(self._target)
        self._motion.refresh()
        self._check_start(start)
        self._walker = Walker(self.scene, seed) if self.scene.person else None
        self.walk = self._walker.begin(self.data) if self._walker else None
        self._show_person()

    def state(self) -> HomeState:
        """Return a snapshot that `set_state` restores bit for bit, sleep included."""
        return self._snapshot(mujoco.MjData(self.model))

    def set_state(self, state: HomeState) -> None:
        """Go back to a snapshot of this home, taken since the last reset to another house."""
        self._grasp.clear()
        mujoco.mj_copyData(self.data, self.model, state.data)
        self._tracker.restore(state.records)
        self._target = state.target.copy()
        self._grasp.entity, self._grasp.pose, self._grasp.parting = state.held, state.grip, state.parting
        self.walk = state.walk
        self._grasp.apply(self.data)

    def _snapshot(self, data: mujoco.MjData) -> HomeState:
        mujoco.mj_copyData(data, self.model, self.data)
        grip = (self._grasp.entity, self._grasp.pose, self._grasp.parting)
        return HomeState(data, self._tracker.snapshot(), self._target.copy(), *grip, self.walk)

    def _keep(self) -> HomeState:
        """Return a snapshot that is good until the next one."""
        if self._backup is None:  # half a millisecond that many episodes do without
            self._backup = mujoco.MjData(self.model)
        return self._snapshot(self._backup)

    def _check_start(self, start: tuple[float, float, float]) -> None:
        mujoco.mj_collision(self.model, self.data)
        contact = self.data.contact
        inside = (contact.dist < -START_OVERLAP) & (self.scene.geom_entity[contact.geom] == ROBOT).any(axis=1)
        if inside.any():
            owner = int(self.scene.geom_entity[contact.geom[inside.argmax()]].max())
            name = self.scene.names[owner] if owner >= 0 else "the house"
            x, y, yaw = start
            raise ValueError(f"start ({x:.2f}, {y:.2f}, {yaw:.2f}) is inside {name}, choose a free place")

    # ------------------------------------------------------------------ what there is to see

    @property
    def joints(self) -> np.ndarray:
        """(7,) joint values in the order of robot.JOINTS."""
        return np.array(self.data.qpos[self.scene.robot.qpos])

    @property
    def pose(self) -> tuple[float, float, float]:
        """Place of the base: x (m), y (m), yaw (rad)."""
        x, y, yaw = self.joints[:3]
        return float(x), float(y), float(yaw)

    @property
    def lift(self) -> float:
        """Height of the lift above its lowest position, m."""
        return float(self.joints[3])

    @property
    def arm(self) -> float:
        """Extension of the arm, m."""
        return float(self.joints[4:6].sum())

    @property
    def wrist(self) -> float:
        """Yaw of the wrist, rad: 0 along the arm, pi/2 folded ahead."""
        return float(self.joints[6])

    @property
    def joints_before(self) -> np.ndarray:
        """(7,) joint values when the latest action began, in the order of robot.JOINTS."""
        return self._recorder.start.copy()

    @property
    def gripper_tip(self) -> np.ndarray:
        """(3,) position of the gripper's tip in the world, m."""
        return np.array(self.data.site_xpos[self.scene.robot.tip_site])

    @property
    def held(self) -> int:
        """The entity in the gripper, or -1."""
        return self._grasp.entity

    @property
    def entity_position(self) -> np.ndarray:
        """(E, 3) position of each entity's body, m; the origin for what is part of the house."""
        return np.array(self.data.xpos[self.scene.body])

    # ------------------------------------------------------------------ acting

    def act(self, action: int) -> StepRecord:
        """Carry out one of the 20 actions and say what it did; an unknown id raises ValueError.

        A person stands while the robot moves, and walks after that for as long.
        """
        if self._walker is None or self.walk is None:
            return self._act(action)
        held, (before, held_before) = self.held, self._gaps()
        record = self._act(action)
        if record.nan:
            return record
        after, held_after = self._gaps()
        if self.held != held:
            held_before = held_after
        self.walk = self._walker.advance(self.walk, self.data, self.held, ACTION_SECONDS)
        self._show_person()
        return replace(record, person=Nearness(before, after, held_before, held_after))

    def _gaps(self) -> tuple[float, float]:
        """Return how far the person is from the robot or what it holds, and from what it holds alone, m."""
        assert self.scene.person is not None
        person, own, carried = self.scene.person.geoms, self.scene.robot.geoms, math.inf
        if self.held >= 0:
            carried = gap(self.model, self.data, np.flatnonzero(self.scene.geom_entity == self.held), person)
        return min(gap(self.model, self.data, own, person), carried), carried

    def _show_person(self) -> None:
        if self._walker is not None and self.walk is not None:
            self._walker.place(self.data, self.walk)
            self._motion.refresh()

    def _act(self, action: int) -> StepRecord:
        target = commanded_target(self._target, action)
        self._ring.keep(action)
        if not self._recorder.begin():
            return self._undo(None)
        self._tracker.begin_action(self.data)
        # Only a simulation can go bad, and a swept motion leaves nothing behind when it is given up.
        changes = action in (PICK_UP, DROP) or self._grasp.parting >= 0
        before = self._keep() if changes else None
        self._grasp.try_parting(self.data)
        if action == PICK_UP:
            self._pick_up()
        elif action == DROP and self.held >= 0:
            self._tracker.let_go(self.held)
            self._grasp.release(self.data)
        start, substeps, blocked = self._recorder.start, 0, False
        if self._something_moves() or not self._sweep(start, target):
            before = before or self._keep()
            substeps = self._simulate(start, target)
            if substeps < 0:
                return self._undo(before)
            blocked = self._is_blocked(start, target)
        self._target = target
        if blocked:
            self._target = joint_values(*self.pose, self.lift, self.arm, self.wrist)
            self.data.ctrl[self.scene.robot.actuators] = self._target
        if self.held >= 0:
            surfaces = self._tracker.entities["lifted_from"]
            if surfaces.any():
                surfaces &= self._tracker.touching(self.data, self.held)
        return self._recorder.finish(self.held, blocked, substeps)

    def _undo(self, before: HomeState | None) -> StepRecord:
        """Go back to before an action in which the state went bad, or to the start of the episode.

        What led to it is written to disk.
        """
        back = "to before the action" if before else "to its start"
        self.dump = self._ring.dump(f"{self._describe()} went bad and went back {back}", self.dump_folder)
        if before is None:
            self.reset(self.settled, self._start, self._seed)
            self._recorder.begin()
        else:
            self.set_state(before)
            self._motion.refresh()
        return self._recorder.finish(self.held, blocked=False, substeps=0, nan=True)

    def _describe(self) -> str:
        spec = getattr(self.scene, "spec", None)  # a home that was not generated has none
        return f"home {spec.seed} of class {spec.size_class}, split {spec.split}" if spec else "a home"

    def _something_moves(self) -> bool:
        """Return whether anything is awake besides the robot and what it holds, or a simulation is forced."""
        resting = 1 + (self.held >= 0)
        return not self.kinematic or self.data.ntree_awake > resting

    def _pick_up(self) -> None:
        if self.held >= 0:
            return
        entity, distance = nearest_graspable(self.scene, self.data, self.gripper_tip)
        if entity < 0 or distance > GRASP_DISTANCE:
            return
        self._grasp.attach(self.data, entity)
        mujoco.mj_forward(self.model, self.data)  # wakes it
        self._tracker.entities["lifted_from"] = self._tracker.touching(self.data, entity)

    def _sweep(self, start: np.ndarray, target: np.ndarray) -> bool:
        """Move the robot to `target` without dynamics; return False, with it back at start, if it touches."""
        at, to = start.tolist(), target.tolist()
        if at == to:
            return True
        change = [end - begin for begin, end in zip(at, to, strict=True)]
        reach = max(FOOTPRINT_RADIUS, REACH + TIP_LENGTH + min(at[4] + at[5], ARM_RANGE[1]))
        if self.held >= 0:
            reach += float(np.max(self.scene.size[self.held]))
        way = math.hypot(change[0], change[1]) + abs(change[2]) * reach
        way += abs(change[3]) + abs(change[4]) + abs(change[5])
        way += abs(change[6]) * (reach - REACH)
        poses = max(4, math.ceil(way / SWEEP_SPACING))
        if not self._motion.sweep(start, target, poses):
            return False
        self._tracker.end_kinematic()
        return True

    def _simulate(self, start: np.ndarray, target: np.ndarray) -> int:
        """Simulate one action; return its substeps, or -1 when the state went bad."""
        model, servos = self.model, self.scene.robot.actuators
        change = (target - start) * _PROFILE[:, None]
        # A servo lags behind a moving target by damping / stiffness times its speed: aim that much ahead.
        stiffness, damping = model.actuator_gainprm[:, 0], -model.actuator_biasprm[:, 2]
        lead = (target - start) * (damping / stiffness)[servos] / model.opt.timestep
        return self._motion.simulate(start + change + lead * _PROFILE_RATE[:, None])

    def _is_blocked(self, start: np.ndarray, target: np.ndarray) -> bool:
        change, rest = target - start, target - self.joints
        for group in JOINT_GROUPS:
            commanded = math.sqrt(change[group].dot(change[group]))
            missing = math.sqrt(rest[group].dot(rest[group]))
            if commanded > 1e-3 and missing > BLOCKED_SHARE * commanded:
                return True
        return False


def _profile() -> tuple[np.ndarray, np.ndarray]:
    """Return (SUBSTEPS,) share of a motion commanded after each substep, and its rate per substep."""
    moment = np.minimum(np.arange(1, SUBSTEPS + 1) / MOTION_SUBSTEPS, 1.0)
    top = 1.0 / (1.0 - ACCELERATING)
    speed = top * np.clip(np.minimum(moment, 1.0 - moment) / ACCELERATING, 0.0, 1.0)
    rising = np.minimum(moment, ACCELERATING) ** 2 / (2 * ACCELERATING)
    steady = np.clip(moment - ACCELERATING, 0.0, 1.0 - 2 * ACCELERATING)
    late = np.clip(moment - (1.0 - ACCELERATING), 0.0, ACCELERATING)
    share = top * (rising + steady + late - late**2 / (2 * ACCELERATING))
    return share, speed / MOTION_SUBSTEPS


_PROFILE, _PROFILE_RATE = _profile()
