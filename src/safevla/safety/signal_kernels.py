"""The loops of signals.py over pixels, entities and cells of the floor."""

from __future__ import annotations

import math

import numpy as np

from safevla.world.compiled import compiled_brief


@compiled_brief
def count_pixels(ids: np.ndarray, geom_entity: np.ndarray, counts: np.ndarray) -> None:
    """Add to counts (cameras, E) the pixels of each entity in ids (cameras, pixels): geom id or -1."""
    for camera in range(len(ids)):
        row = ids[camera]
        first, last = 0, -1
        for k in range(len(row) + 1):  # neighbours mostly show the same
            geom = row[k] if k < len(row) else -2
            if geom != last:
                if last >= 0 and geom_entity[last] >= 0:
                    counts[camera, geom_entity[last]] += k - first
                first, last = k, geom


@compiled_brief
def follow(
    step: int,
    pixels: np.ndarray,
    enough: int,
    never: int,
    force: np.ndarray,
    damage: np.ndarray,
    last_visible: np.ndarray,
    episode: np.ndarray,
    peak: np.ndarray,
    visible: np.ndarray,
    last_seen: np.ndarray,
    before: np.ndarray,
) -> None:
    """Bring what is remembered of each entity up to date, and write what it was before this step.

    Args:
        step: index of the step.
        pixels: (cameras, E) of each entity in the pictures after the step.
        enough: pixels in one picture that make an entity visible.
        never: `last_seen` of what has not been visible yet.
        force: (E,) peak contact force of the step, N.
        damage: (E,) damage impulse of the step, N s.
        last_visible: (E,) step in which it was last visible; brought up to date.
        episode: (E,) peak force of the contact that lasts, N, 0 without contact; brought up to date.
        peak: (E,) largest damage impulse so far, N s; brought up to date.
        visible: (E,) written: visible after the step.
        last_seen: (E,) written: steps since it was last visible before the step.
        before: (E,) written: `episode` before the step.
    """
    for k in range(len(force)):
        seen = False
        for camera in range(len(pixels)):
            seen = seen or pixels[camera, k] >= enough
        visible[k] = seen
        last_seen[k] = min(step - last_visible[k], never)
        if seen:
            last_visible[k] = step
        before[k] = episode[k]
        episode[k] = max(episode[k], force[k]) if force[k] > 0.0 else 0.0
        peak[k] = max(peak[k], damage[k])


@compiled_brief
def nearest_box(
    point: np.ndarray,
    entities: np.ndarray,
    body: np.ndarray,
    positions: np.ndarray,
    rotations: np.ndarray,
    centre: np.ndarray,
    half: np.ndarray,
    within: float,
) -> int:
    """Return the entity whose box is nearest to a point (3,), -1 if none is within so many metres.

    Args:
        point: in the world, m.
        entities: the candidates.
        body: (E,) body of each entity.
        positions: (nbody, 3) of bodies.
        rotations: (nbody, 9) of bodies.
        centre: (E, 3) of the boxes, in the frame of the body.
        half: (E, 3) half of their sides.
        within: m.
    """
    best, best_distance = -1, within
    for entity in entities:
        place, turn = positions[body[entity]], rotations[body[entity]]
        total = 0.0
        for axis in range(3):
            local = 0.0
            for k in range(3):
                local += turn[3 * k + axis] * (point[k] - place[k])
            beyond = max(0.0, abs(local - centre[entity, axis]) - half[entity, axis])
            total += beyond * beyond
        distance = math.sqrt(total)
        if distance <= best_distance:
            best, best_distance = entity, distance
    return best


@compiled_brief
def cells_reached(free: np.ndarray, distance: np.ndarray, step_back: float) -> int:
    """Count the cells that steps to four neighbours reach from the free cell nearest to the middle.

    Args:
        free: (S, S) bool.
        distance: (S, S) m from the middle.
        step_back: no cell is reached when the nearest is farther than this, m.
    """
    side = len(free)
    start, nearest = -1, step_back
    for cell in range(side * side):
        if free[cell // side, cell % side] and (
            distance[cell // side, cell % side] < nearest
            or (start < 0 and distance[cell // side, cell % side] <= nearest)
        ):
            start, nearest = cell, distance[cell // side, cell % side]
    if start < 0:
        return 0
    reached = np.zeros((side, side), np.bool_)
    reached[start // side, start % side] = True
    stack = np.empty(side * side, np.int32)
    stack[0], size, count = start, 1, 0
    while size > 0:
        size -= 1
        count += 1
        a, b = stack[size] // side, stack[size] % side
        for k in range(4):
            c = a + (k == 0) - (k == 1)
            d = b + (k == 2) - (k == 3)
            if 0 <= c < side and 0 <= d < side and free[c, d] and not reached[c, d]:
                reached[c, d] = True
                stack[size] = c * side + d
                size += 1
    return count


@compiled_brief
def free_width(
    clearance: np.ndarray,
    corner_i: int,
    corner_j: int,
    cell: float,
    points: np.ndarray,
    directions: np.ndarray,
    reach: float,
) -> float:
    """Return the least width (m) of the free space through some points, each in some directions.

    The way to the first obstacle is added to that in the opposite direction; either counts `reach` at most.
    From the last free cell on, its clearance is taken for the rest of the way: exact in front of a wall.

    Args:
        clearance: (nx, ny) m from the middle of each cell to the nearest obstacle; outside all is blocked.
        corner_i: which cell of the map cell (0, 0) is.
        corner_j: likewise.
        cell: side of a cell, m.
        points: (P, 2) m from the corner of cell (0, 0) of the map; those in blocked cells are left out.
        directions: (D, 2) unit vectors.
        reach: m.
    """
    nx, ny = clearance.shape
    narrowest = 2.0 * reach
    for p in range(len(points)):
        x, y = points[p, 0], points[p, 1]
        i, j = math.floor(x / cell) - corner_i, math.floor(y / cell) - corner_j
        if i < 0 or j < 0 or i >= nx or j >= ny or clearance[i, j] <= cell / 2:
            continue  # what stands before the robot says nothing about what is beside it
        for k in range(len(directions)):
            width = 0.0
            for side in (-1.0, 1.0):
                along_x, along_y = side * directions[k, 0], side * directions[k, 1]
                way, length = 0.0, 0.0
                while way < reach:
                    i = math.floor((x + along_x * way) / cell) - corner_i
                    j = math.floor((y + along_y * way) / cell) - corner_j
                    if i < 0 or j < 0 or i >= nx or j >= ny or clearance[i, j] <= cell / 2:
                        break
                    to_x = (corner_i + i + 0.5) * cell - x
                    ahead = along_x * to_x + along_y * ((corner_j + j + 0.5) * cell - y)
                    length = ahead + clearance[i, j]
                    way += cell / 4.0
                width += reach if way >= reach else min(max(length, 0.0), reach)
            narrowest = min(narrowest, width)
    return narrowest
