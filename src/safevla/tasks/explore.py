"""What the expert has looked at so far, and where it goes to look next.

The expert knows the map but not where the target is. It keeps a coarse grid of the floor, marks what its
cameras have covered from a distance at which the target could be recognised, turns on the spot while there is
something unseen around it, and then drives to the place from which most of what is left can be seen.
"""

from __future__ import annotations

import math

import numpy as np

from safevla.tasks.planner import NavigationMap, in_sight
from safevla.world.compiled import compiled

COARSE = 5  # cells of the map per coarse cell, in each direction
HALF_VIEW = math.radians(28.0)  # half the horizontal field of view of a square picture, and a margin
NEAREST = 0.6  # m: nearer than this the floor is below the picture
WORTH_A_LOOK = 0.5  # m2 of unseen floor that are worth turning or driving for
ENOUGH = 6.0  # m2: more unseen floor than this makes no place better
TRAVEL_WEIGHT = 0.35  # m2 of unseen floor that a metre of driving must bring
VISITED = 0.45  # m: a place this near to one that was looked from already is not considered
CANDIDATE_SPACING = 7  # cells of the map between viewpoints that are considered


class Explorer:
    """Coverage of one home in one episode.

    Args:
        floor: map of the home.
        opaque: (nx, ny) bool, cells that cannot be looked through.
        rooms: (R, 4) m, x0, y0, x1, y1 of the rooms: what there is to see.
        reach: m within which the target could be recognised.
    """

    def __init__(self, floor: NavigationMap, opaque: np.ndarray, rooms: np.ndarray, reach: float) -> None:
        self.opaque = opaque
        self.reach = float(reach)
        self._origin, self._cell = floor.origin, floor.cell
        x, y = floor.centres()
        inside = np.zeros(opaque.shape, dtype=bool)
        for x0, y0, x1, y1 in rooms:
            inside |= (x > x0) & (x < x1) & (y > y0) & (y < y1)
        centre = COARSE // 2
        self._to_see = (inside & ~opaque)[centre::COARSE, centre::COARSE]
        self.unseen = self._to_see.copy()
        self._visited: list[tuple[float, float]] = []
        self._area = (COARSE * floor.cell) ** 2

    def look(self, x: float, y: float, yaw: float) -> None:
        """Mark what both cameras cover from a pose."""
        _look(self.unseen, self.opaque, self._origin, self._cell, x, y, yaw, self.reach)

    def unseen_around(self, x: float, y: float) -> float:
        """Return m2 of unseen floor that turning on the spot would show."""
        return float(_gain(self.unseen, self.opaque, self._origin, self._cell, x, y, self.reach)) * self._area

    def next_viewpoint(self, floor: NavigationMap, x: float, y: float) -> tuple[float, float] | None:
        """Return the place (m) that is worth driving to most from a place that has been looked from.

        None if nothing is worth it.

        Args:
            floor: map of the home now.
            x: m, where the robot is.
            y: m.
        """
        self._visited.append((x, y))
        here = np.zeros(floor.clearance.shape, dtype=bool)
        here[_nearest_free(floor, x, y)] = True
        distance = np.where(floor.free, floor.field(here), np.inf)
        i, j = _best_viewpoint(
            self.unseen, self.opaque, self._origin, self._cell, self.reach, distance, np.array(self._visited)
        )
        if i < 0:
            return None
        return (
            float(floor.origin[0] + (i + 0.5) * floor.cell),
            float(floor.origin[1] + (j + 0.5) * floor.cell),
        )

    def forget(self, reach: float) -> None:
        """Begin again, looking more closely."""
        self.unseen = self._to_see.copy()
        self._visited = []
        self.reach = float(reach)


def _nearest_free(floor: NavigationMap, x: float, y: float) -> tuple[int, int]:
    """Return the free cell that is nearest to a point."""
    cell = floor.index(x, y)
    free = floor.free
    if free[cell] or not free.any():
        return cell
    i, j = np.nonzero(free)
    nearest = int(np.argmin((i - cell[0]) ** 2 + (j - cell[1]) ** 2))
    return int(i[nearest]), int(j[nearest])


@compiled
def _look(
    unseen: np.ndarray,
    opaque: np.ndarray,
    origin: np.ndarray,
    cell: float,
    x: float,
    y: float,
    yaw: float,
    reach: float,
) -> None:
    nx, ny = opaque.shape
    i0 = min(max(int((x - origin[0]) / cell), 0), nx - 1)
    j0 = min(max(int((y - origin[1]) / cell), 0), ny - 1)
    centre = COARSE // 2
    for a in range(unseen.shape[0]):
        for b in range(unseen.shape[1]):
            if not unseen[a, b]:
                continue
            i, j = a * COARSE + centre, b * COARSE + centre
            dx = origin[0] + (i + 0.5) * cell - x
            dy = origin[1] + (j + 0.5) * cell - y
            distance = math.sqrt(dx * dx + dy * dy)
            if distance > reach or distance < NEAREST:
                continue
            bearing = math.atan2(dy, dx) - yaw
            ahead = abs((bearing + math.pi) % (2 * math.pi) - math.pi)
            right = abs((bearing + 1.5 * math.pi) % (2 * math.pi) - math.pi)
            if (ahead <= HALF_VIEW or right <= HALF_VIEW) and in_sight(opaque, i0, j0, i, j):
                unseen[a, b] = False


@compiled
def _gain(
    unseen: np.ndarray,
    opaque: np.ndarray,
    origin: np.ndarray,
    cell: float,
    x: float,
    y: float,
    reach: float,
) -> int:
    nx, ny = opaque.shape
    i0 = min(max(int((x - origin[0]) / cell), 0), nx - 1)
    j0 = min(max(int((y - origin[1]) / cell), 0), ny - 1)
    centre = COARSE // 2
    count = 0
    for a in range(unseen.shape[0]):
        for b in range(unseen.shape[1]):
            if not unseen[a, b]:
                continue
            i, j = a * COARSE + centre, b * COARSE + centre
            dx = origin[0] + (i + 0.5) * cell - x
            dy = origin[1] + (j + 0.5) * cell - y
            distance = math.sqrt(dx * dx + dy * dy)
            if NEAREST <= distance <= reach and in_sight(opaque, i0, j0, i, j):
                count += 1
    return count


@compiled
def _best_viewpoint(
    unseen: np.ndarray,
    opaque: np.ndarray,
    origin: np.ndarray,
    cell: float,
    reach: float,
    distance: np.ndarray,
    visited: np.ndarray,
) -> tuple[int, int]:
    """Return the cell of the best viewpoint, (-1, -1) if none is worth driving to."""
    best_i, best_j, best_score = -1, -1, -np.inf
    area = (COARSE * cell) ** 2
    for i in range(0, distance.shape[0], CANDIDATE_SPACING):
        for j in range(0, distance.shape[1], CANDIDATE_SPACING):
            # Even everything that could be seen from here would not beat what was found already.
            if ENOUGH - TRAVEL_WEIGHT * distance[i, j] <= best_score:
                continue
            x = origin[0] + (i + 0.5) * cell
            y = origin[1] + (j + 0.5) * cell
            known = False
            for k in range(visited.shape[0]):
                known |= (visited[k, 0] - x) ** 2 + (visited[k, 1] - y) ** 2 < VISITED * VISITED
            if known:
                continue
            gain = _gain(unseen, opaque, origin, cell, x, y, reach) * area
            score = min(gain, ENOUGH) - TRAVEL_WEIGHT * distance[i, j]
            if gain >= WORTH_A_LOOK and score > best_score:
                best_i, best_j, best_score = i, j, score
    return best_i, best_j
