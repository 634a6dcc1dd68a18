"""Compiled loops of `freespace` on (nx, ny) arrays of cells: outlines, flood fills, shortest ways."""

from __future__ import annotations

import math

import numpy as np

from safevla.world.compiled import compiled

CELL = 0.05  # m
CLEARANCE_CAP = 0.8  # m; distances beyond are not told apart
LOWEST, HIGHEST = 0.03, 1.45  # m; what lies wholly below or above cannot touch the robot's body
_ROUND = 16  # corners of the polygon that stands for a circle, drawn around it so that nothing is cut off


@compiled
def stamp_box(
    clearance: np.ndarray,
    x0: float,
    y0: float,
    x: float,
    y: float,
    half_x: float,
    half_y: float,
    yaw: float,
) -> None:
    """Lower `clearance` (nx, ny) to the distance from a rotated rectangle; x0, y0 is the grid's origin."""
    cosine, sine = math.cos(yaw), math.sin(yaw)
    reach_x = abs(cosine) * half_x + abs(sine) * half_y + CLEARANCE_CAP
    reach_y = abs(sine) * half_x + abs(cosine) * half_y + CLEARANCE_CAP
    first_i = max(0, int((x - reach_x - x0) / CELL))
    last_i = min(clearance.shape[0] - 1, int((x + reach_x - x0) / CELL))
    first_j = max(0, int((y - reach_y - y0) / CELL))
    last_j = min(clearance.shape[1] - 1, int((y + reach_y - y0) / CELL))
    for i in range(first_i, last_i + 1):
        across = x0 + (i + 0.5) * CELL - x
        for j in range(first_j, last_j + 1):
            along = y0 + (j + 0.5) * CELL - y
            u = abs(cosine * across + sine * along) - half_x
            v = abs(cosine * along - sine * across) - half_y
            u, v = max(u, 0.0), max(v, 0.0)
            distance = math.sqrt(u * u + v * v)
            if distance < clearance[i, j]:
                clearance[i, j] = distance


@compiled
def _stamp_polygon(
    clearance: np.ndarray,
    x0: float,
    y0: float,
    corner_i: int,
    corner_j: int,
    reach: float,
    points: np.ndarray,
    count: int,
) -> None:
    """Lower `clearance` to the distance from a convex polygon of `count` counter-clockwise points."""
    low_x, high_x, low_y, high_y = np.inf, -np.inf, np.inf, -np.inf
    for k in range(count):
        low_x, high_x = min(low_x, points[k, 0]), max(high_x, points[k, 0])
        low_y, high_y = min(low_y, points[k, 1]), max(high_y, points[k, 1])
    first_i = max(0, int((low_x - reach - x0) / CELL) - corner_i)
    last_i = min(clearance.shape[0], int((high_x + reach - x0) / CELL) - corner_i + 1)
    first_j = max(0, int((low_y - reach - y0) / CELL) - corner_j)
    last_j = min(clearance.shape[1], int((high_y + reach - y0) / CELL) - corner_j + 1)
    for i in range(first_i, last_i):
        x = x0 + (corner_i + i + 0.5) * CELL
        for j in range(first_j, last_j):
            y = y0 + (corner_j + j + 0.5) * CELL
            current = clearance[i, j]
            apart_x = max(0.0, low_x - x, x - high_x)
            apart_y = max(0.0, low_y - y, y - high_y)
            if apart_x * apart_x + apart_y * apart_y >= current * current:
                continue
            nearest, inside = np.inf, True
            for k in range(count):
                a_x, a_y = points[k, 0], points[k, 1]
                following = k + 1 if k + 1 < count else 0
                edge_x, edge_y = points[following, 0] - a_x, points[following, 1] - a_y
                to_x, to_y = x - a_x, y - a_y
                if edge_x * to_y - edge_y * to_x < 0.0:
                    inside = False
                square = edge_x * edge_x + edge_y * edge_y
                share = 0.0
                if square > 0.0:
                    share = min(1.0, max(0.0, (edge_x * to_x + edge_y * to_y) / square))
                off_x, off_y = to_x - share * edge_x, to_y - share * edge_y
                nearest = min(nearest, off_x * off_x + off_y * off_y)
            distance = 0.0 if inside else math.sqrt(nearest)
            if distance < current:
                clearance[i, j] = distance


@compiled
def _cross(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    turn: float = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return turn


@compiled
def _convex_hull(points: np.ndarray, count: int, hull: np.ndarray) -> int:
    """Write the counter-clockwise convex hull of the first `count` points; return its size."""
    for a in range(1, count):  # insertion sort by x, then y
        x, y = points[a, 0], points[a, 1]
        b = a - 1
        while b >= 0 and (points[b, 0] > x or (points[b, 0] == x and points[b, 1] > y)):
            points[b + 1] = points[b]
            b -= 1
        points[b + 1, 0], points[b + 1, 1] = x, y
    size = 0
    for k in range(count):
        while size >= 2 and _cross(hull[size - 2], hull[size - 1], points[k]) <= 0.0:
            size -= 1
        hull[size] = points[k]
        size += 1
    lower = size + 1
    for k in range(count - 2, -1, -1):
        while size >= lower and _cross(hull[size - 2], hull[size - 1], points[k]) <= 0.0:
            size -= 1
        hull[size] = points[k]
        size += 1
    return max(1, size - 1)


@compiled
def _outline(shape: int, size: np.ndarray, place: np.ndarray, turn: np.ndarray, points: np.ndarray) -> int:
    """Write points whose hull is the geom seen from above; return how many. Shapes are mjtGeom numbers."""
    if shape == 6:  # box
        for k in range(8):
            a = size[0] if k & 1 else -size[0]
            b = size[1] if k & 2 else -size[1]
            c = size[2] if k & 4 else -size[2]
            points[k, 0] = place[0] + turn[0] * a + turn[1] * b + turn[2] * c
            points[k, 1] = place[1] + turn[3] * a + turn[4] * b + turn[5] * c
        return 8
    outward = 1.0 / math.cos(math.pi / _ROUND)
    lower_a, lower_b, lower_c = 1.0, 0.0, 1.0
    if shape == 4:
        across, mixed, along = 0.0, 0.0, 0.0
        for k in range(3):
            across += (turn[k] * size[k]) ** 2
            mixed += turn[k] * turn[3 + k] * size[k] * size[k]
            along += (turn[3 + k] * size[k]) ** 2
        lower_a = math.sqrt(across)
        lower_b = mixed / lower_a
        lower_c = math.sqrt(max(0.0, along - lower_b * lower_b))
    count = 0
    ends = 2 if shape == 3 or shape == 5 else 1
    for end in range(ends):
        shift = 0.0
        if ends == 2:
            shift = size[1] if end else -size[1]
        for k in range(_ROUND):
            angle = 2.0 * math.pi * k / _ROUND
            c, s = outward * math.cos(angle), outward * math.sin(angle)
            if shape == 5:  # cylinder: its two rims
                dx = size[0] * (turn[0] * c + turn[1] * s)
                dy = size[0] * (turn[3] * c + turn[4] * s)
            elif (
                shape == 4
            ):  # ellipsoid: seen from above it is the image of a circle under a triangular matrix
                dx = lower_a * c
                dy = lower_b * c + lower_c * s
            else:  # sphere and capsule
                dx, dy = size[0] * c, size[0] * s
            points[count, 0] = place[0] + turn[2] * shift + dx
            points[count, 1] = place[1] + turn[5] * shift + dy
            count += 1
    return count


@compiled
def _half_height(shape: int, size: np.ndarray, turn: np.ndarray) -> float:
    """Return how far a geom reaches above and below its centre (m)."""
    a, b, c = abs(turn[6]), abs(turn[7]), abs(turn[8])
    height: float = size[0]
    if shape == 6:
        height = a * size[0] + b * size[1] + c * size[2]
    elif shape == 5:
        height = c * size[1] + math.sqrt(max(0.0, 1.0 - c * c)) * size[0]
    elif shape == 3:
        height = size[0] + c * size[1]
    elif shape == 4:
        height = math.sqrt((a * size[0]) ** 2 + (b * size[1]) ** 2 + (c * size[2]) ** 2)
    return height


@compiled
def stamp_geoms(
    clearance: np.ndarray,
    x0: float,
    y0: float,
    corner_i: int,
    corner_j: int,
    reach: float,
    geoms: np.ndarray,
    shapes: np.ndarray,
    sizes: np.ndarray,
    places: np.ndarray,
    turns: np.ndarray,
) -> None:
    """Lower `clearance` to the distance from geoms that are at the height of the robot's body.

    Args:
        clearance: (nx, ny) float32, m, of a grid or of a piece of it.
        x0: origin of the grid, m.
        y0: likewise.
        corner_i: which cell of the grid cell (0, 0) of `clearance` is.
        corner_j: likewise.
        reach: m from a geom in which cells are lowered; nothing above it may stand in `clearance`.
        geoms: the geoms.
        shapes: (ngeom,) as in MuJoCo's model.
        sizes: (ngeom, 3) likewise.
        places: (ngeom, 3) as in MuJoCo's data.
        turns: (ngeom, 9) likewise.
    """
    points, hull = np.empty((2 * _ROUND, 2)), np.empty((2 * _ROUND + 2, 2))
    for geom in geoms:
        place, turn, size = places[geom], turns[geom], sizes[geom]
        height = _half_height(shapes[geom], size, turn)
        if place[2] + height < LOWEST or place[2] - height > HIGHEST:
            continue
        count = _outline(shapes[geom], size, place, turn, points)
        corners = _convex_hull(points, count, hull)
        _stamp_polygon(clearance, x0, y0, corner_i, corner_j, reach, hull, corners)


@compiled
def cut_out(
    clearance: np.ndarray, corner_i: int, corner_j: int, reach: float, wanted: np.ndarray
) -> np.ndarray:
    """Return (S, S) float32, the cells from a corner on, at most `reach`; 0 outside, and where not wanted."""
    nx, ny = clearance.shape
    piece = np.zeros(wanted.shape, np.float32)
    for a in range(wanted.shape[0]):
        for b in range(wanted.shape[1]):
            i, j = corner_i + a, corner_j + b
            if wanted[a, b] and 0 <= i < nx and 0 <= j < ny:
                piece[a, b] = min(clearance[i, j], np.float32(reach))
    return piece


@compiled
def geoms_near(
    geoms: np.ndarray,
    owners: np.ndarray,
    ignored: np.ndarray,
    places: np.ndarray,
    radii: np.ndarray,
    x: float,
    y: float,
    distance: float,
) -> np.ndarray:
    """Return those of some geoms that come within a distance (m) of a place, and are not ignored.

    Args:
        geoms: (G,) the geoms.
        owners: (ngeom,) entity of each.
        ignored: (E,) bool, entities to leave out.
        places: (ngeom, 3) where they are, m.
        radii: (ngeom,) how far each reaches, m.
        x: the place, m.
        y: likewise.
        distance: m.
    """
    found, count = np.empty(len(geoms), np.int64), 0
    for geom in geoms:
        across, along = places[geom, 0] - x, places[geom, 1] - y
        reach = distance + radii[geom]
        if not ignored[owners[geom]] and across * across + along * along < reach * reach:
            found[count] = geom
            count += 1
    return found[:count]


@compiled
def flood(blocked: np.ndarray, i: int, j: int) -> np.ndarray:
    """Return (nx, ny) bool: cells that steps to four neighbours reach from (i, j); none if it is blocked."""
    nx, ny = blocked.shape
    reached = np.zeros((nx, ny), np.bool_)
    if blocked[i, j]:
        return reached
    stack = np.empty(nx * ny, np.int32)
    stack[0], size = i * ny + j, 1
    reached[i, j] = True
    while size > 0:
        size -= 1
        a, b = stack[size] // ny, stack[size] % ny
        for k in range(4):
            c = a + (k == 0) - (k == 1)
            d = b + (k == 2) - (k == 3)
            if 0 <= c < nx and 0 <= d < ny and not blocked[c, d] and not reached[c, d]:
                reached[c, d] = True
                stack[size] = c * ny + d
                size += 1
    return reached


@compiled
def _heap_push(costs: np.ndarray, cells: np.ndarray, size: int, cost: float, cell: int) -> int:
    k = size
    while k > 0:
        parent = (k - 1) >> 1
        if costs[parent] < cost or (costs[parent] == cost and cells[parent] <= cell):
            break
        costs[k], cells[k] = costs[parent], cells[parent]
        k = parent
    costs[k], cells[k] = cost, cell
    return size + 1


@compiled
def _heap_pop(costs: np.ndarray, cells: np.ndarray, size: int) -> int:
    """Move the last entry to the root (which the caller has read) and restore order; return the new size."""
    size -= 1
    cost, cell = costs[size], cells[size]
    k = 0
    while True:
        child = 2 * k + 1
        if child >= size:
            break
        other = child + 1
        if other < size and (
            costs[other] < costs[child] or (costs[other] == costs[child] and cells[other] < cells[child])
        ):
            child = other
        if cost < costs[child] or (cost == costs[child] and cell <= cells[child]):
            break
        costs[k], cells[k] = costs[child], cells[child]
        k = child
    costs[k], cells[k] = cost, cell
    return size


@compiled
def dijkstra(
    blocked: np.ndarray, clearance: np.ndarray, goals: np.ndarray, weight: float, comfort: float
) -> np.ndarray:
    """Return (nx, ny) float32 lengths (m) of shortest ways to `goals` (M, 2) cells; see `distance_field`."""
    nx, ny = blocked.shape
    distance = np.full((nx, ny), np.float32(np.inf), np.float32)
    capacity = 9 * nx * ny + len(goals) + 1
    costs, cells = np.empty(capacity, np.float64), np.empty(capacity, np.int64)
    size = 0
    for k in range(len(goals)):
        i, j = goals[k, 0], goals[k, 1]
        if not blocked[i, j] and distance[i, j] > 0.0:
            distance[i, j] = 0.0
            size = _heap_push(costs, cells, size, 0.0, i * ny + j)
    while size > 0:
        cost, cell = costs[0], cells[0]
        size = _heap_pop(costs, cells, size)
        a, b = cell // ny, cell % ny
        if np.float32(cost) > distance[a, b]:
            continue
        for step_i in range(-1, 2):
            for step_j in range(-1, 2):
                c, d = a + step_i, b + step_j
                if not (0 <= c < nx and 0 <= d < ny) or blocked[c, d] or (step_i == 0 and step_j == 0):
                    continue
                diagonal = step_i != 0 and step_j != 0
                if diagonal and (blocked[a, d] or blocked[c, b]):
                    continue  # do not cut a blocked corner
                near = 1.0 - min(1.0, clearance[c, d] / comfort)
                length = CELL * (1.4142135623730951 if diagonal else 1.0) * (1.0 + weight * near)
                total = np.float32(cost + length)
                if total < distance[c, d]:
                    distance[c, d] = total
                    size = _heap_push(costs, cells, size, np.float64(total), c * ny + d)
    return distance


@compiled
def descend(field: np.ndarray, i: int, j: int) -> np.ndarray:
    """Return the cells (k, 2) from (i, j) to the zero of a field (nx, ny), each the lowest next to the last.

    Only (i, j) itself if the zero cannot be reached from there, or is there.
    """
    nx, ny = field.shape
    cells = np.empty((nx * ny + 1, 2), np.int64)
    cells[0, 0], cells[0, 1], count = i, j, 1
    while np.isfinite(field[i, j]) and field[i, j] > 0:
        a, b = max(0, i - 1), max(0, j - 1)
        for c in range(max(0, i - 1), min(nx, i + 2)):
            for d in range(max(0, j - 1), min(ny, j + 2)):
                if field[c, d] < field[a, b]:
                    a, b = c, d
        if field[a, b] >= field[i, j]:
            break
        i, j = a, b
        cells[count, 0], cells[count, 1] = i, j
        count += 1
    return cells[:count].copy()


@compiled
def local_areas(
    clearance: np.ndarray, i: int, j: int, radius: float, footprint: float, slack: float
) -> tuple[int, int]:
    """Count the cells of a disc around (i, j) that the robot gets to without leaving it, and all of them.

    Cells within `slack` (m) of the middle count as free though an obstacle is near: the robot stands there.
    """
    nx, ny = clearance.shape
    span = int(radius / CELL)
    side = 2 * span + 1
    state = np.zeros((side, side), np.uint8)  # 1: free, 2: reached
    total, reached = 0, 0
    stack = np.empty(side * side, np.int32)
    size = 0
    for a in range(side):
        for b in range(side):
            u, v = a - span, b - span
            square = (u * u + v * v) * CELL * CELL
            if square > radius * radius:
                continue
            total += 1
            c, d = i + u, j + v
            if not (0 <= c < nx and 0 <= d < ny):
                continue
            free = clearance[c, d] >= footprint
            # Where the robot stands is free, though it may be pressed against something.
            near = square <= slack * slack and clearance[c, d] > 0.0
            if free or near:
                state[a, b] = 1
                if u == 0 and v == 0:
                    state[a, b] = 2
                    stack[size] = a * side + b
                    size += 1
    while size > 0:
        size -= 1
        a, b = stack[size] // side, stack[size] % side
        reached += 1
        for k in range(4):
            c = a + (k == 0) - (k == 1)
            d = b + (k == 2) - (k == 3)
            if 0 <= c < side and 0 <= d < side and state[c, d] == 1:
                state[c, d] = 2
                stack[size] = c * side + d
                size += 1
    return reached, total


@compiled
def segment_is_free(blocked: np.ndarray, a: float, b: float, c: float, d: float) -> bool:
    """Return whether the segment from (a, b) to (c, d), in units of cells, stays in free cells."""
    steps = int(2.0 * max(abs(c - a), abs(d - b))) + 1
    for k in range(steps + 1):
        share = k / steps
        i, j = math.floor(a + share * (c - a)), math.floor(b + share * (d - b))
        if not (0 <= i < blocked.shape[0] and 0 <= j < blocked.shape[1]) or blocked[i, j]:
            return False
    return True
