"""From where the arm can take an object: free tubes around it, base poses, heights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from safevla.tasks.planner import NavigationMap
from safevla.world.robot import ARM_RANGE, GRIPPER_HEIGHT, LIFT_RANGE, REACH, TIP_LENGTH

if TYPE_CHECKING:
    from safevla.world.simulator import Home

DIRECTIONS = 36  # directions around an object that are tried
WRIST_READY = math.radians(10)  # the wrist is unfolded this far: eight steps from folded
TIP_X = -0.05 + TIP_LENGTH * math.sin(WRIST_READY)  # m: where the tip is then along the base's x axis
TIP_OUT = REACH + TIP_LENGTH * math.cos(WRIST_READY)  # m from the base's axis to the tip, arm in
NEAREST_BASE = 0.03  # m of extension that a grasp should need at least
REACH_MARGIN = 0.03  # m of extension that is kept in reserve
HALF_WIDTH = 0.06  # m: half the width of the tube that the arm needs
# Lowest and highest point of gripper and arm, relative to the tip.
BELOW_TIP, ABOVE_TIP = -0.02, 0.14
FINGER_CLEARANCE = 0.035  # m that the tip keeps from what the object stands on
TIP_HEIGHTS = (GRIPPER_HEIGHT + LIFT_RANGE[0], GRIPPER_HEIGHT + LIFT_RANGE[1])
_MESH = int(mujoco.mjtGeom.mjGEOM_MESH)
BAND = 0.045  # m above and below the middle of an object at which it can be taken as well


@dataclass(frozen=True)
class GraspPlan:
    """How one object can be taken.

    Attributes:
        entity: the object.
        centre: (2,) m, x and y of the middle of its box.
        tip_heights: lowest and highest m above the floor at which the tip may arrive.
        surface: (DIRECTIONS,) m from the centre to the object's side in each direction, at that height.
        clear: (DIRECTIONS,) m from the centre to the first thing in the arm's way in each direction.
        over: whether the tip passes above the object and must stop over its middle.
    """

    entity: int
    centre: np.ndarray
    tip_heights: tuple[float, float]
    surface: np.ndarray
    clear: np.ndarray
    over: bool

    def direction(self, x: float, y: float) -> int:
        """Return the index of the direction in which a point lies as seen from the object."""
        angle = math.atan2(y - self.centre[1], x - self.centre[0])
        return round(angle / (2 * math.pi) * DIRECTIONS) % DIRECTIONS

    def extension(self, x: float, y: float) -> float:
        """Return how far the arm has to be out (m) when the base is at a point and the arm is in line."""
        distance = math.hypot(x - self.centre[0], y - self.centre[1])
        along = math.sqrt(max(distance**2 - TIP_X**2, 0.0))
        stop = 0.0 if self.over else self.surface[self.direction(x, y)] + 0.01
        return along - stop - TIP_OUT

    def heading(self, x: float, y: float) -> float:
        """Return the yaw (rad) that puts the arm in line with the object when the base is at a point."""
        dx, dy = self.centre[0] - x, self.centre[1] - y
        along = math.sqrt(max(dx * dx + dy * dy - TIP_X**2, 0.0))
        return math.atan2(dy, dx) - math.atan2(-along, TIP_X)

    def fits(self, x: float, y: float, slack: float = 0.0) -> bool:
        """Return whether the arm reaches the object from a point without hitting anything.

        Args:
            x: m, base.
            y: m, base.
            slack: m that the limits are widened by, for a robot that has begun already.
        """
        extension = self.extension(x, y)
        if not NEAREST_BASE - slack <= extension <= ARM_RANGE[1] - REACH_MARGIN + slack:
            return False
        distance = math.hypot(x - self.centre[0], y - self.centre[1])
        return bool(self.clear[self.direction(x, y)] >= distance - 0.15 - slack)

    def is_clear(self, home: Home, x: float, y: float) -> bool:
        """Return whether nothing is in the arm's way on the very line from a point to the object."""
        dx, dy = x - self.centre[0], y - self.centre[1]
        distance = math.hypot(dx, dy)
        c, s = np.array([dx / distance]), np.array([dy / distance])
        free = _clear_distance(home, self.entity, self.centre, self.tip_heights, c, s)
        return bool(free[0] >= distance - 0.15)

    def goals(self, floor: NavigationMap) -> np.ndarray:
        """Return (nx, ny) bool: cells from which `fits` holds, with neighbouring directions clear as well."""
        x, y = floor.centres()
        dx, dy = x - self.centre[0], y - self.centre[1]
        distance = np.hypot(dx, dy)
        direction = np.rint(np.arctan2(dy, dx) / (2 * math.pi) * DIRECTIONS).astype(int) % DIRECTIONS
        narrow = np.minimum(np.minimum(np.roll(self.clear, 1), np.roll(self.clear, -1)), self.clear)
        along = np.sqrt(np.maximum(distance**2 - TIP_X**2, 0.0))
        stop = 0.0 if self.over else self.surface[direction] + 0.01
        extension = along - stop - TIP_OUT
        reaches = (extension >= NEAREST_BASE + 0.02) & (extension <= ARM_RANGE[1] - REACH_MARGIN - 0.02)
        return np.asarray(reaches & (narrow[direction] >= distance - 0.15) & floor.free)


def plan_grasp(home: Home, entity: int, box: np.ndarray) -> GraspPlan | None:
    """Find out from which directions an object can be taken; None if it is too low, too high or enclosed.

    Args:
        home: as it is now.
        entity: the object.
        box: (2, 3) m, its box in world axes.
    """
    low, high = box
    angles = np.arange(DIRECTIONS) * 2 * math.pi / DIRECTIONS
    c, s = np.cos(angles), np.sin(angles)
    centre = 0.5 * (low + high)[:2]
    height, surface = 0.0, np.full(DIRECTIONS, -np.inf)
    lowest = low[2] + FINGER_CLEARANCE
    for candidate in (max(0.5 * (low[2] + high[2]), lowest), lowest):
        candidate = max(candidate, TIP_HEIGHTS[0])
        sides = _surface_distance(home, entity, centre, min(candidate, high[2] - 0.005), c, s)
        # Half way up by default; near the ground where that stands out more (an open laptop).
        if sides.mean() > surface.mean() + 0.01:
            height, surface = candidate, sides
    if not TIP_HEIGHTS[0] <= height <= min(TIP_HEIGHTS[1], high[2] + 0.04):
        return None
    over = height > high[2] - 0.01
    if over:
        band = (height, max(height, float(high[2]) + 0.02))
    else:
        band = (max(height - BAND, lowest - 0.005), min(height + BAND, float(high[2]) - 0.005))
    band = (max(band[0], TIP_HEIGHTS[0]), max(band))
    clear = _clear_distance(home, entity, centre, band, c, s)
    plan = GraspPlan(entity, centre, band, surface, clear, over)
    return plan if (clear > surface + TIP_OUT - 0.12).any() else None


def _surface_distance(
    home: Home, entity: int, centre: np.ndarray, height: float, c: np.ndarray, s: np.ndarray
) -> np.ndarray:
    """Return (DIRECTIONS,) m from the middle at which a hand that comes in at a height meets the object.

    Negative where it meets it only beyond the middle; -0.2 where it does not meet it at all.
    """
    model, data = home.model, home.data
    geoms = np.flatnonzero(home.scene.geom_entity == entity)
    result = np.full(DIRECTIONS, -0.2)
    for k in range(DIRECTIONS):
        start = np.array([centre[0] + c[k], centre[1] + s[k], height])
        inward = np.array([-c[k], -s[k], 0.0])
        for geom in geoms:
            kind = int(model.geom_type[geom])
            if kind == _MESH:
                distance = mujoco.mj_rayMesh(model, data, geom, start, inward, None)
            else:
                pose = (data.geom_xpos[geom], data.geom_xmat[geom], model.geom_size[geom])
                distance = mujoco.mju_rayGeom(*pose, start, inward, kind, None)
            if distance >= 0.0:
                result[k] = max(result[k], 1.0 - distance)
    return result


def _clear_distance(
    home: Home,
    entity: int,
    centre: np.ndarray,
    band: tuple[float, float],
    c: np.ndarray,
    s: np.ndarray,
) -> np.ndarray:
    """Return (D,) m that the arm's tube is free of anything but the object and the robot.

    Directions are given by their cosines and sines, (D,) each.
    """
    nearest = np.full(len(c), np.inf)
    heights = np.linspace(band[0] + BELOW_TIP, band[1] + ABOVE_TIP, 4)
    body = int(home.scene.body[entity])
    robot = set(home.scene.robot.geoms.tolist())
    longest = TIP_OUT + ARM_RANGE[1] + 0.3
    geom, distance = np.full(1, -1, np.int32), 0.0
    for k in range(len(c)):
        ray = np.array([c[k], s[k], 0.0])
        for height in heights:
            for aside in (-HALF_WIDTH, 0.0, HALF_WIDTH):
                start = np.array([centre[0] - s[k] * aside, centre[1] + c[k] * aside, height])
                distance = mujoco.mj_ray(home.model, home.data, start, ray, None, True, body, geom)
                if 0.0 <= distance < min(longest, nearest[k]) and int(geom[0]) not in robot:
                    nearest[k] = distance
    return nearest
