"""Where the expert can drive: clearance, soft-cost shortest paths and the choice of the next heading.

Everything here works on a `NavigationMap`, a snapshot of one home's floor. Paths keep away from obstacles
because nearness costs something, not because a wall of forbidden cells grows around them, so that narrow
doorways stay passable. The next heading is a multiple of 30 degrees from the present one: what the robot can
do, and what a policy can read off the picture.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from safevla.world.compiled import compiled

SOFT_CLEARANCE = 0.50  # m: nearer to an obstacle than this costs extra
TURN = math.radians(30)
MOVE = 0.2  # m per move_ahead
ARRIVING = 0.15  # m: so near to the goal no further turn is counted
LOOKAHEAD = 6  # moves that a heading is followed in thought
TURN_COST = 0.15  # m that a turn of 30 degrees is worth
FINE_TURN_COST = 0.2  # m that a turn of 6 degrees is worth: only for passages that nothing else leads through
DETOUR = 0.4  # m: with a longer way round than this by turns of 30 degrees, turns of 6 are considered
PROGRESS = 0.2  # share of a straight stretch by which it must bring the robot nearer to its goal
NO_HEADING = 999  # `choose_heading` found no heading that the robot can follow


@dataclass(frozen=True)
class NavigationMap:
    """A snapshot of the floor. Arrays are (nx, ny), cell (0, 0) begins at `origin`.

    Attributes:
        origin: (2,) m, corner of cell (0, 0).
        cell: m.
        clearance: float64 m from the centre of a cell to the nearest blocked cell.
        step_cost: float64 >= 1, what a metre through this cell costs.
        radius: m, clearance that a cell must have to be driven on.
    """

    origin: np.ndarray
    cell: float
    clearance: np.ndarray
    step_cost: np.ndarray
    radius: float

    @property
    def free(self) -> np.ndarray:
        """Return (nx, ny) bool: cells that the robot's axis may be in."""
        return np.asarray(self.clearance >= self.radius)

    def index(self, x: float, y: float) -> tuple[int, int]:
        """Return the cell of a point, clipped into the map."""
        i = int((x - self.origin[0]) / self.cell)
        j = int((y - self.origin[1]) / self.cell)
        return (
            min(max(i, 0), self.clearance.shape[0] - 1),
            min(max(j, 0), self.clearance.shape[1] - 1),
        )

    def centres(self) -> tuple[np.ndarray, np.ndarray]:
        """Return x (nx, 1) and y (1, ny) of the cell centres, m."""
        x = self.origin[0] + (np.arange(self.clearance.shape[0]) + 0.5) * self.cell
        y = self.origin[1] + (np.arange(self.clearance.shape[1]) + 0.5) * self.cell
        return x[:, None], y[None, :]

    def distance_to_box(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return (nx, ny) m from each cell centre to an upright box given by two corners (>= 2 values)."""
        x, y = self.centres()
        dx = np.maximum(np.maximum(low[0] - x, x - high[0]), 0.0)
        dy = np.maximum(np.maximum(low[1] - y, y - high[1]), 0.0)
        return np.asarray(np.hypot(dx, dy))

    def field(self, goals: np.ndarray) -> np.ndarray:
        """Return (nx, ny) float64 cost of the cheapest path to any goal cell, inf where there is none.

        Cells too near to an obstacle get the value of the nearest free cell and a steep surcharge, so that a
        robot that stands in one is led out.

        Args:
            goals: (nx, ny) bool.
        """
        free = self.free
        distance = _dijkstra(free, goals & free, self.step_cost, self.cell)
        away, (i, j) = ndimage.distance_transform_edt(~free, return_indices=True)
        return np.asarray(np.where(free, distance, distance[i, j] + 10.0 * away * self.cell))


def build_map(
    clearance: np.ndarray,
    origin: np.ndarray,
    cell: float,
    radius: float,
    keep_away: list[tuple[np.ndarray, np.ndarray]],
    distance: float,
) -> NavigationMap:
    """Build the map of a floor.

    Args:
        clearance: (nx, ny) m from each cell's centre to the nearest obstacle.
        origin: (2,) m.
        cell: m.
        radius: m, of the robot's footprint and a margin.
        keep_away: boxes (low, high) of things that no path should come near.
        distance: m that paths should keep from them, measured from the edge of the footprint.
    """
    clearance = np.asarray(clearance, float)
    narrow = np.clip((SOFT_CLEARANCE - clearance) / (SOFT_CLEARANCE - radius), 0.0, 1.0)
    plain = NavigationMap(np.asarray(origin, float), float(cell), clearance, 1.0 + 1.2 * narrow**2, radius)
    cost = plain.step_cost
    for low, high in keep_away:
        gap = plain.distance_to_box(low, high) - radius
        cost = np.maximum(cost, 1.0 + 3.0 * np.clip(1.0 - gap / distance, 0.0, 1.0) ** 2)
    return NavigationMap(plain.origin, plain.cell, clearance, cost, radius)


@compiled
def _dijkstra(free: np.ndarray, goals: np.ndarray, step_cost: np.ndarray, cell: float) -> np.ndarray:
    nx, ny = free.shape
    distance = np.full((nx, ny), np.inf)
    heap = [(0.0, -1, -1)]
    heap.pop()
    for i in range(nx):
        for j in range(ny):
            if goals[i, j] and free[i, j]:
                distance[i, j] = 0.0
                heapq.heappush(heap, (0.0, i, j))
    while len(heap) > 0:
        value, i, j = heapq.heappop(heap)
        if value > distance[i, j]:
            continue
        for di in range(-2, 3):
            for dj in range(-2, 3):
                a, b = i + di, j + dj
                # The 16 neighbours in different directions: ways are then at most 3 % longer than straight.
                if abs(di) + abs(dj) not in (1, 2, 3) or (abs(di) + abs(dj) == 2 and di * dj == 0):
                    continue
                if a < 0 or b < 0 or a >= nx or b >= ny or not free[a, b]:
                    continue
                if abs(di) + abs(dj) == 3 and not (
                    free[i + int(di / 2), j + int(dj / 2)] and free[a - int(di / 2), b - int(dj / 2)]
                ):
                    continue
                length = cell * math.sqrt(di * di + dj * dj)
                reached = value + length * 0.5 * (step_cost[i, j] + step_cost[a, b])
                if reached < distance[a, b]:
                    distance[a, b] = reached
                    heapq.heappush(heap, (reached, a, b))
    return distance


@compiled
def value_at(field: np.ndarray, origin: np.ndarray, cell: float, x: float, y: float) -> float:
    """Return the bilinear value of a field (nx, ny) at a point; infinite corners are left out of the mean."""
    u = (x - origin[0]) / cell - 0.5
    v = (y - origin[1]) / cell - 0.5
    i0, j0 = math.floor(u), math.floor(v)
    total, weight = 0.0, 0.0
    for di in range(2):
        for dj in range(2):
            i, j = i0 + di, j0 + dj
            if i < 0 or j < 0 or i >= field.shape[0] or j >= field.shape[1]:
                continue
            value = field[i, j]
            if value == np.inf:
                continue
            share = (1.0 - abs(u - i)) * (1.0 - abs(v - j))
            total += share * value
            weight += share
    if weight < 1e-6:
        return np.inf
    return total / weight


@compiled
def passable_moves(
    clearance: np.ndarray,
    origin: np.ndarray,
    cell: float,
    radius: float,
    x: float,
    y: float,
    heading: float,
    moves: int,
) -> int:
    """Return how many moves of 0.2 m along a heading (rad) are free, at most `moves`.

    A robot that stands too near to something may move as long as it does not come nearer.
    """
    here = value_at(clearance, origin, cell, x, y)
    c, s = math.cos(heading), math.sin(heading)
    needed = min(radius, here)
    for move in range(moves):
        for part in range(1, 5):
            along = MOVE * (move + 0.25 * part)
            near = value_at(clearance, origin, cell, x + c * along, y + s * along)
            if near == np.inf or near < needed - 0.005:
                return move
        needed = max(needed, min(radius, near))
    return moves


@compiled
def _turn_left_over(
    field: np.ndarray, origin: np.ndarray, cell: float, x: float, y: float, heading: float
) -> float:
    """Return the angle (rad) between a heading at a point and the way on from there, as the field falls."""
    reach = 2.0 * cell
    east = value_at(field, origin, cell, x + reach, y)
    west = value_at(field, origin, cell, x - reach, y)
    north = value_at(field, origin, cell, x, y + reach)
    south = value_at(field, origin, cell, x, y - reach)
    if not (east < np.inf and west < np.inf and north < np.inf and south < np.inf):
        return 0.0
    way_on = math.atan2(south - north, west - east)
    return abs((way_on - heading + math.pi) % (2 * math.pi) - math.pi)


@compiled
def _heading_cost(
    field: np.ndarray,
    clearance: np.ndarray,
    step_cost: np.ndarray,
    origin: np.ndarray,
    cell: float,
    radius: float,
    x: float,
    y: float,
    heading: float,
    progress: float,
) -> float:
    """Return the cheapest sum of driving straight along a heading (rad) and the field where that ends.

    Only ends that are nearer to the goal by `progress` of the way count: the field knows ways that a robot
    with few headings cannot follow exactly, so that driving away would always look better for now.
    """
    moves = passable_moves(clearance, origin, cell, radius, x, y, heading, LOOKAHEAD)
    c, s = math.cos(heading), math.sin(heading)
    here = value_at(field, origin, cell, x, y)
    best, way = np.inf, 0.0
    for move in range(moves):
        middle, end = MOVE * (move + 0.5), MOVE * (move + 1)
        way += MOVE * value_at(step_cost, origin, cell, x + c * middle, y + s * middle)
        left = value_at(field, origin, cell, x + c * end, y + s * end)
        if left > here - progress * end:
            continue
        # A turn that is put off has to be made later: without this the robot would go on past its goal.
        turn = 0.0
        if left > ARRIVING:
            turn = _turn_left_over(field, origin, cell, x + c * end, y + s * end, heading)
        best = min(best, way + left + TURN_COST * max(turn / TURN - 0.5, 0.0))
    return best


@compiled
def choose_heading(
    field: np.ndarray,
    clearance: np.ndarray,
    step_cost: np.ndarray,
    origin: np.ndarray,
    cell: float,
    radius: float,
    x: float,
    y: float,
    yaw: float,
    last_turn: int,
    patience: float,
) -> int:
    """Return which heading to take, in steps of 6 degrees to the left (negative: right), or NO_HEADING.

    Each of the 12 headings at multiples of 30 degrees is followed straight for up to six moves; what counts
    is the cheapest sum of turns, the way to where it is left and the field there. Turning back against the
    last turn costs extra, so that the robot does not swing between two headings that are equally good. Only
    where all of them lead a long way round are the headings between them considered.

    Args:
        field: (nx, ny) cost to go.
        clearance: (nx, ny) m.
        step_cost: (nx, ny) cost of a metre.
        origin: (2,) m.
        cell: m.
        radius: m that must be free.
        x: m.
        y: m.
        yaw: rad.
        last_turn: +1 if the last action was a turn to the left, -1 to the right, else 0.
        patience: m of detour that headings at multiples of 30 degrees may cost; usually DETOUR.
    """
    best, best_cost, shortest = NO_HEADING, np.inf, np.inf
    here = value_at(field, origin, cell, x, y)
    # First headings of 30 degrees, then finer ones, at last whatever is free.
    for attempt in range(3):
        if (attempt == 1 and shortest <= here + patience) or (attempt == 2 and best != NO_HEADING):
            break
        step = 1 if attempt == 1 else 5
        progress = PROGRESS if attempt < 2 else -np.inf
        for order in range(60 // step):
            # 0, +1, -1, +2, ...: on a tie the smaller turn wins, then the left one.
            k = (order + 1) // 2 * (1 if order % 2 == 1 else -1) * step
            coarse = math.floor(k / 5 + 0.5)
            small = abs(k - 5 * coarse)
            heading = yaw + k * TURN / 5
            way = _heading_cost(field, clearance, step_cost, origin, cell, radius, x, y, heading, progress)
            shortest = min(shortest, way)
            cost = way + TURN_COST * abs(coarse) + FINE_TURN_COST * small
            if k * last_turn < 0:
                cost += 0.3
            if cost < best_cost - 1e-9:
                best, best_cost = k, cost
    return best


@compiled
def in_sight(opaque: np.ndarray, i0: int, j0: int, i1: int, j1: int) -> bool:
    """Return whether no opaque cell lies strictly between two cells of a grid (nx, ny)."""
    steps = max(abs(i1 - i0), abs(j1 - j0))
    for step in range(1, steps):
        share = step / steps
        i = math.floor(i0 + (i1 - i0) * share + 0.5)
        j = math.floor(j0 + (j1 - j0) * share + 0.5)
        if (i == i0 and j == j0) or (i == i1 and j == j1):
            continue
        if opaque[i, j]:
            return False
    return True
