"""From where a thing can be seen well enough to end a search."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import mujoco
import numpy as np
from scipy import ndimage

from safevla.tasks.planner import NavigationMap

if TYPE_CHECKING:
    from safevla.world.simulator import Home

CAMERA_HEIGHT = 1.37  # m
STEEPEST = math.radians(50.0)  # below the horizon: what lies further down leaves the nav picture
SPACING = 2  # cells between places that are tried


def sight_goals(
    home: Home, floor: NavigationMap, entity: int, box: np.ndarray, distance: float
) -> np.ndarray:
    """Return (nx, ny) bool: free cells near a thing from which the nav camera, turned to it, sees it.

    Args:
        home: as it is now.
        floor: map of the home.
        entity: the thing.
        box: (2, 3) m, its box in world axes.
        distance: m, how near (seen from above, to the box).
    """
    near = floor.free & (floor.distance_to_box(box[0], box[1]) <= distance)
    point = 0.5 * (box[0] + box[1])
    static = int(home.scene.body[entity]) == 0
    # Just above a fixed thing, so that it does not hide itself; inside a movable one, which rays leave out.
    point[2] = box[1, 2] + 0.02 if static else box[1, 2] - 0.2 * (box[1, 2] - box[0, 2])
    point[2] = min(point[2], CAMERA_HEIGHT - 0.1)
    x, y = floor.centres()
    level = np.hypot(x - point[0], y - point[1])
    near &= level * math.tan(STEEPEST) >= CAMERA_HEIGHT - point[2]
    thin = np.zeros_like(near)
    thin[::SPACING, ::SPACING] = True
    cells = np.argwhere(near & thin)
    if len(cells) == 0:
        return near & False
    rays = np.empty((len(cells), 3))
    rays[:, :2] = floor.origin + (cells + 0.5) * floor.cell - point[:2]
    rays[:, 2] = CAMERA_HEIGHT - point[2]
    hit = np.full(len(cells), -1, np.int32)
    length = np.zeros(len(cells))
    exclude = -1 if static else int(home.scene.body[entity])
    mujoco.mj_multiRay(
        home.model, home.data, point, rays.ravel(), None, True, exclude, hit, length, None, len(cells), 10.0
    )
    seen = (length < 0.0) | (length >= 1.0) | np.isin(hit, home.scene.robot.geoms)
    goals = np.zeros_like(near)
    goals[tuple(cells[seen].T)] = True
    return np.asarray(ndimage.binary_dilation(goals, np.ones((3, 3), bool)) & near)
