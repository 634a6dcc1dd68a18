"""A person who walks through a home: from place to place, around what stands in the way, at a human speed.

Person and robot take turns. While the robot carries out an action the person stands where the last picture
showed it; then it walks for as long as the action took. It stops before it comes near the robot or anything
else, waits, and finds another way. So whatever contact there is, and however near the robot's own motion has
come, is the robot's doing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from safevla.world import freespace
from safevla.world.person import PERSON_RADIUS

if TYPE_CHECKING:
    from safevla.world.scene import Scene

SPEEDS = (0.5, 1.0)  # m/s; people at home walk at about half the pace that they have outdoors
STAND_OFF = 0.6  # m between the robot, or what it holds, and the axis of a person who walks toward it
FIRST_DISTANCE = 1.5  # m that a person is away from the robot at first, where the home is large enough
WAY = 2.0  # m of a way that is worth going, where the home is large enough
PAUSE = (2, 10)  # actions that a person stays where it went to
PATIENCE = 4  # actions (2 s) that it waits before what is in its way, then it goes elsewhere
MARGIN = 0.05  # m by which a way is planned to keep farther away: straight lines between cells cut corners
_STRIDE = 0.02  # m between two places that are tested on the way
_NEIGHBOURS = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]


@dataclass(frozen=True)
class Walk:
    """Where a person is and what it is about to do; never changed, so that a snapshot may keep it.

    Attributes:
        x: m.
        y: m.
        yaw: rad, where it looks.
        speed: m/s.
        way: points (m) that it is going to pass; empty when it has arrived.
        pause: actions that it still stays.
        halted: actions that it has waited before something.
        draws: random choices made so far.
    """

    x: float
    y: float
    yaw: float
    speed: float
    way: tuple[tuple[float, float], ...] = ()
    pause: int = 0
    halted: int = 0
    draws: int = 0


class Walker:
    """Moves the person of one home through one episode. The same seed and the same robot give the same walk.

    Args:
        scene: a home with a person.
        seed: of the scenario.
    """

    def __init__(self, scene: Scene, seed: int) -> None:
        assert scene.person is not None
        self._scene, self._person, self._seed = scene, scene.person, seed
        self._robot = np.asarray(scene.robot.geoms)

    def begin(self, data: mujoco.MjData) -> Walk:
        """Return where a person stands when an episode begins.

        Raises:
            ValueError: there is no room for a person.
        """
        generator = self._generator(0)
        floor, robot = self._floor(data, -1), self._robot_clearance(data, -1)
        free = np.argwhere((floor.clearance >= PERSON_RADIUS + MARGIN) & (robot >= STAND_OFF + MARGIN))
        if len(free) == 0:
            raise ValueError(
                "there is no free place for a person in this home; play it without (world.person)"
            )
        base = np.array(floor.index(*data.qpos[self._scene.robot.qpos[:2]]))
        away = np.hypot(*(free - base).T) * floor.cell
        far = free[away >= min(FIRST_DISTANCE, float(away.max()))]
        i, j = far[generator.integers(len(far))]
        x, y = floor.centre(int(i), int(j))
        yaw, speed = generator.uniform(-math.pi, math.pi), generator.uniform(*SPEEDS)
        return Walk(x, y, float(yaw), float(speed), draws=1)

    def place(self, data: mujoco.MjData, walk: Walk) -> None:
        """Put the body where the walk has come; poses are computed by whoever calls."""
        data.mocap_pos[self._person.mocap] = walk.x, walk.y, 0.0
        data.mocap_quat[self._person.mocap] = math.cos(walk.yaw / 2), 0.0, 0.0, math.sin(walk.yaw / 2)

    def advance(self, walk: Walk, data: mujoco.MjData, held: int, seconds: float) -> Walk:
        """Return where the person is after some time.

        Args:
            walk: where it is.
            data: the state, poses up to date.
            held: the entity in the robot's gripper, or -1.
            seconds: that pass.
        """
        if walk.pause > 0:
            return replace(walk, pause=walk.pause - 1)
        floor, robot = self._floor(data, held), self._robot_clearance(data, held)
        if not walk.way:
            walk = self._choose(walk, floor, robot)
            if not walk.way:
                return walk
        return self._go(walk, floor, robot, walk.speed * seconds)

    def _generator(self, draws: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, 0x9E3, draws))

    def _floor(self, data: mujoco.MjData, held: int) -> freespace.Grid:
        ignored = [*self._person.entities.tolist(), *([held] if held >= 0 else [])]
        return freespace.occupancy(self._scene, data, ignored)

    def _robot_clearance(self, data: mujoco.MjData, held: int) -> np.ndarray:
        """Return (nx, ny) m from each cell to the robot and what it holds, seen from above."""
        geoms = self._robot
        if held >= 0:
            geoms = np.append(geoms, np.flatnonzero(self._scene.geom_entity == held))
        return freespace.clearance_of(self._scene, data, geoms)

    def _choose(self, walk: Walk, floor: freespace.Grid, robot: np.ndarray) -> Walk:
        """Plan a way to a place drawn among those that can be reached; stay for a while if there is none."""
        generator = self._generator(walk.draws)
        walk = replace(walk, draws=walk.draws + 1, halted=0)
        here = floor.index(walk.x, walk.y)
        # Where it stands is no question: what is as near there, the robot too, may be passed as near.
        blocked = floor.clearance < min(PERSON_RADIUS + MARGIN, float(floor.clearance[here]))
        blocked |= robot < min(STAND_OFF + MARGIN, float(robot[here]))
        grid = freespace.Grid(floor.origin, blocked, floor.clearance, floor.cell)
        length = freespace.distance_field(grid, np.array([[walk.x, walk.y]]))
        reachable = np.argwhere(np.isfinite(length) & (length > floor.cell))
        if len(reachable) == 0:
            return replace(walk, pause=PAUSE[0])
        metres = length[tuple(reachable.T)]
        far = reachable[metres >= min(WAY, float(metres.max()))]
        goal = far[generator.integers(len(far))]
        way = _straightened(_descend(length, int(goal[0]), int(goal[1])), grid)
        return replace(walk, way=way, pause=0 if way else PAUSE[0])

    def _go(self, walk: Walk, floor: freespace.Grid, robot: np.ndarray, metres: float) -> Walk:
        """Follow the way until the time is over, it ends, or something is in the way."""
        x, y, yaw, way = walk.x, walk.y, walk.yaw, list(walk.way)
        while metres > 1e-9 and way:
            left = math.hypot(way[0][0] - x, way[0][1] - y)
            if left < 1e-9:
                way.pop(0)
                continue
            yaw = math.atan2(way[0][1] - y, way[0][0] - x)
            step = min(_STRIDE, left, metres)
            next_x, next_y = x + step * math.cos(yaw), y + step * math.sin(yaw)
            here, there = floor.index(x, y), floor.index(next_x, next_y)
            if any(
                _is_too_near(clearance, here, there, least)
                for clearance, least in ((floor.clearance, PERSON_RADIUS), (robot, STAND_OFF))
            ):
                halted = walk.halted + 1
                kept = tuple(way) if halted < PATIENCE else ()
                return replace(walk, x=x, y=y, yaw=yaw, way=kept, halted=halted)
            x, y, metres = next_x, next_y, metres - step
        walk = replace(walk, x=x, y=y, yaw=yaw, way=tuple(way), halted=0)
        if way:
            return walk
        pause = int(self._generator(walk.draws).integers(PAUSE[0], PAUSE[1] + 1))
        return replace(walk, pause=pause, draws=walk.draws + 1)


def _is_too_near(clearance: np.ndarray, here: tuple[int, int], there: tuple[int, int], least: float) -> bool:
    """Return whether a step comes too near to something; one that leads away from it may be made."""
    return bool(clearance[there] < least and clearance[there] <= clearance[here] and there != here)


def _descend(length: np.ndarray, i: int, j: int) -> list[tuple[int, int]]:
    """Return the cells of the shortest way to a cell, from where the field of lengths begins."""
    cells = [(i, j)]
    while length[i, j] > 0.0:
        around = [
            (i + a, j + b)
            for a, b in _NEIGHBOURS
            if 0 <= i + a < length.shape[0] and 0 <= j + b < length.shape[1]
        ]
        best = min(around, key=lambda cell: float(length[cell]))
        if not length[best] < length[i, j]:
            return []
        i, j = best
        cells.append(best)
    return cells[::-1]


def _straightened(cells: list[tuple[int, int]], grid: freespace.Grid) -> tuple[tuple[float, float], ...]:
    """Return the points of a way, those left out that can be passed in a straight line."""
    points = [grid.centre(i, j) for i, j in cells]
    kept, at = [], 0
    while at < len(points) - 1:
        following = len(points) - 1
        while following > at + 1 and not freespace.line_of_sight(grid, points[at], points[following]):
            following -= 1
        kept.append(points[following])
        at = following
    return tuple(kept)
