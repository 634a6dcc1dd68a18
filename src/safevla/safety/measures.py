"""Signals that are measured in a home only when its specification names them: they take time.

    measurer = Measurer(scene, named)             # at reset; names that are measured otherwise are left alone
    values = measurer.measure(record, home)       # every step; a float or bool, or an array (E,)

docs/specification.md lists them with their units; `vocabulary` declares them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from safevla.safety import signal_kernels
from safevla.world import freespace
from safevla.world.catalogue import CATEGORIES, TYPES
from safevla.world.freespace_kernels import CELL, CLEARANCE_CAP
from safevla.world.person import REGIONS
from safevla.world.robot import FOOTPRINT_RADIUS, tip_position
from safevla.world.simulator import ACTION_SECONDS

if TYPE_CHECKING:
    from safevla.world.records import StepRecord
    from safevla.world.scene import Scene
    from safevla.world.simulator import Home

WIDTH_REACH = 1.0  # m to either side of the robot: a passage is at most twice as wide
NOBODY = 1000.0  # m, the distance to a person where there is none
DOOR_BOTTOM = 1.0  # m: a wall that begins above this height is the lintel of a doorway


# Where and how a passage is measured: across the robot, from its rear to its front, up to 20 degrees aslant.
# So a doorway that is passed at an angle counts, and the wall ahead of a robot beside another does not.
_ALONG = np.linspace(-FOOTPRINT_RADIUS, FOOTPRINT_RADIUS, 11)
_SLANTS = np.radians(np.array([-20.0, -10.0, 0.0, 10.0, 20.0]))
# The cells in which that is, and one more.
_BESIDE = np.ones((2 * math.ceil((WIDTH_REACH + FOOTPRINT_RADIUS) / CELL) + 3,) * 2, dtype=bool)


class Measurer:
    """Measures the named signals of one home.

    Args:
        scene: the home.
        named: names of signals; those that are not measured on demand are left out.
    """

    def __init__(self, scene: Scene, named: Iterable[str]) -> None:
        self.scene = scene
        self._wanted = {name: MEASURES[name] for name in named if name in MEASURES}

    def measure(self, record: StepRecord, home: Home) -> dict[str, Any]:
        """Return the values of the step that `record` is about, after it."""
        return {name: function(self.scene, record, home) for name, function in self._wanted.items()}


def surroundings(scene: Scene, home: Home, held: int, wanted: np.ndarray, reach: float) -> freespace.Patch:
    """Return what stands around the robot, without what it holds and what lies on it.

    Args:
        scene: the home.
        home: its state.
        held: the entity in the gripper, or -1.
        wanted: (S, S) bool, of which cells around the robot's the clearance is asked for.
        reach: m, beyond which clearances are not told apart.
    """
    x, y, _ = home.pose
    # What has its middle inside the footprint lies on the robot or is swept along: it does not hem it in.
    away = np.hypot(*(home.data.xpos[scene.body, :2] - (x, y)).T)
    ignored = scene.movable & (away < FOOTPRINT_RADIUS)
    if held >= 0:
        ignored[held] = True
    return freespace.patch(scene, home.data, x, y, wanted, reach, ignored)


def doorways(scene: Scene) -> np.ndarray:
    """Return (D, 4) x0, y0, x1, y1 (m): the floor below the lintels of a generated home's doorways."""
    found = [
        (x - half_x, y - half_y, x + half_x, y + half_y)
        for x, y, z, half_x, half_y, half_z in scene.spec.walls
        if z - half_z > DOOR_BOTTOM
    ]
    return np.array(found).reshape(-1, 4)


def passage_width(scene: Scene, home: Home, held: int) -> float:
    """Return the free space (m) across the robot, which holds an entity or nothing (-1)."""
    # A ray ends in a free cell beside a blocked one, whose clearance is below two cells. Only where a home
    # has no walls may the map end in the open.
    reach = 2.0 * CELL if scene.spec.walls else CLEARANCE_CAP
    around = surroundings(scene, home, held, _BESIDE, reach)
    x, y, yaw = home.pose
    heading, across = np.array([math.cos(yaw), math.sin(yaw)]), yaw + math.pi / 2 + _SLANTS
    points = np.array([x, y]) - around.origin + _ALONG[:, None] * heading
    directions = np.stack([np.cos(across), np.sin(across)], axis=1)
    grid = (around.clearance, *around.corner, around.cell)
    return float(signal_kernels.free_width(*grid, points, directions, WIDTH_REACH))


def _passage_width(scene: Scene, record: StepRecord, home: Home) -> float:
    return passage_width(scene, home, record.held)


def _in_doorway(scene: Scene, record: StepRecord, home: Home) -> bool:
    place = np.array(home.pose[:2])
    doors = scene.cache.setdefault("doorways", doorways(scene))
    beside = np.maximum(np.maximum(doors[:, :2] - place, place - doors[:, 2:]), 0.0)
    return bool((np.hypot(beside[:, 0], beside[:, 1]) < FOOTPRINT_RADIUS).any())


def _base_speed(scene: Scene, record: StepRecord, home: Home) -> float:
    return record.metres / ACTION_SECONDS


def _gripper_speed(scene: Scene, record: StepRecord, home: Home) -> float:
    way = tip_position(home.joints) - tip_position(home.joints_before)
    return float(np.linalg.norm(way)) / ACTION_SECONDS


def _person(scene: Scene, record: StepRecord, home: Home) -> np.ndarray:
    person = np.zeros(len(scene.names), dtype=bool)
    if scene.person is not None:
        person[scene.person.entities] = True
    return person


def _limits(kind: str, scene: Scene, record: StepRecord, home: Home) -> np.ndarray:
    """Return (E,) N, what ISO/TS 15066 permits on each entity that is part of a person; 0 on others."""
    limits = np.zeros(len(scene.names))
    if scene.person is not None:
        limits[scene.person.entities] = [getattr(region, kind) for region in REGIONS]
    return limits


def _person_distance(scene: Scene, record: StepRecord, home: Home) -> float:
    return NOBODY if record.person is None else min(record.person.after, NOBODY)


def _approach_speed(scene: Scene, record: StepRecord, home: Home) -> float:
    if record.person is None:
        return 0.0
    return max(0.0, record.person.before - record.person.after) / ACTION_SECONDS


def _held_distance(scene: Scene, record: StepRecord, home: Home) -> float:
    return NOBODY if record.person is None else min(record.person.held_after, NOBODY)


def _held_approach_speed(scene: Scene, record: StepRecord, home: Home) -> float:
    if record.person is None or record.held < 0:
        return 0.0
    return max(0.0, record.person.held_before - record.person.held_after) / ACTION_SECONDS


def _chain_force(scene: Scene, record: StepRecord, home: Home) -> np.ndarray:
    return record.chain_force


def _tilt_from_rest(scene: Scene, record: StepRecord, home: Home) -> np.ndarray:
    return record.tilt


def _spillable(scene: Scene, record: StepRecord, home: Home) -> np.ndarray:
    return scene.spillable


def _furniture(scene: Scene, record: StepRecord, home: Home) -> np.ndarray:
    return np.asarray(scene.present & (scene.category >= 0) & _is_furniture()[scene.category])


@functools.cache
def _is_furniture() -> np.ndarray:
    """Return (categories,) bool."""
    return np.array([TYPES[name].kind == "furniture" for name in CATEGORIES])


MEASURES: dict[str, Callable[[Scene, StepRecord, Home], Any]] = {
    "approach_speed": _approach_speed,
    "base_speed": _base_speed,
    "chain_force": _chain_force,
    "furniture": _furniture,
    "gripper_speed": _gripper_speed,
    "held_approach_speed": _held_approach_speed,
    "held_distance": _held_distance,
    "impact_limit": functools.partial(_limits, "transient"),
    "in_doorway": _in_doorway,
    "passage_width": _passage_width,
    "person": _person,
    "person_distance": _person_distance,
    "press_limit": functools.partial(_limits, "quasi_static"),
    "spillable": _spillable,
    "tilt_from_rest": _tilt_from_rest,
}
