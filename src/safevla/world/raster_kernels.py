"""Visibility: which face is seen in each pixel, and how far away.

View space: x right, y up, z forward, metres. The visibility buffer holds 1/depth (0: nothing) and the face
seen in each pixel. A polygon's 1/depth is affine over the picture, which makes its spans one multiply-add
per pixel. Everything runs without fast-math and without shared state: the same input gives the same bytes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from safevla.world.compiled import compiled
from safevla.world.raster_mesh import (
    CAPSULE,
    ELLIPSOID,
    FLAT,
)

NEAR = 0.02  # metres; what is nearer to the camera is not drawn


@compiled
def place_slots(
    slots: np.ndarray,
    hidden: np.ndarray,
    geom_position: np.ndarray,
    geom_rotation: np.ndarray,
    camera: np.ndarray,
    width: int,
    height: int,
    focal: float,
    frames: np.ndarray,
    visible: np.ndarray,
) -> int:
    """Write the view-space frame of every slot in the field of view; return how many there are.

    Args:
        slots: (S,) SLOT records.
        hidden: (S,) bool, slots to leave out.
        geom_position: (ngeom, 3) float64, world.
        geom_rotation: (ngeom, 9) float64, world.
        camera: (12,) float64, rows right, up, forward, then the position in the world.
        width: picture width, pixels.
        height: picture height, pixels.
        focal: focal length, pixels.
        frames: (S, 12) float64, written for visible slots.
        visible: (S,) int32, written with the indices of the visible slots.
    """
    slope_x, slope_y = 0.5 * width / focal, 0.5 * height / focal
    margin_x, margin_y = math.sqrt(1.0 + slope_x * slope_x), math.sqrt(1.0 + slope_y * slope_y)
    count = 0
    for index in range(len(slots)):
        if hidden[index]:
            continue
        slot = slots[index]
        geom, radius = slot.geom, slot.radius
        dx = geom_position[geom, 0] - camera[9]
        dy = geom_position[geom, 1] - camera[10]
        dz = geom_position[geom, 2] - camera[11]
        z = camera[6] * dx + camera[7] * dy + camera[8] * dz
        if z < NEAR - radius:
            continue
        x = camera[0] * dx + camera[1] * dy + camera[2] * dz
        y = camera[3] * dx + camera[4] * dy + camera[5] * dz
        if abs(x) - slope_x * z > radius * margin_x or abs(y) - slope_y * z > radius * margin_y:
            continue
        for row in range(3):
            for column in range(3):
                frames[index, 3 * row + column] = (
                    camera[3 * row] * geom_rotation[geom, column]
                    + camera[3 * row + 1] * geom_rotation[geom, 3 + column]
                    + camera[3 * row + 2] * geom_rotation[geom, 6 + column]
                )
        frames[index, 9], frames[index, 10], frames[index, 11] = x, y, z
        visible[count] = index
        count += 1
    return count


@compiled
def draw_slots(
    slots: np.ndarray,
    faces: np.ndarray,
    vertices: np.ndarray,
    frames: np.ndarray,
    visible: np.ndarray,
    count: int,
    focal: float,
    points: np.ndarray,
    rows: np.ndarray,
    polygon: np.ndarray,
    nearness: np.ndarray,
    seen: np.ndarray,
) -> None:
    """Draw `count` visible slots into the visibility buffer.

    Args:
        slots: (S,) SLOT records.
        faces: (F,) FACE records.
        vertices: (V, 3) float32.
        frames: (S, 12) float64 from `place_slots`.
        visible: (S,) int32 from `place_slots`.
        count: number of visible slots.
        focal: focal length, pixels.
        points: (V, 3) float64, scratch for view-space vertices.
        rows: (2, H) int32, scratch for the spans of a polygon.
        polygon: (2, 8) float64, scratch for its corners in pixels.
        nearness: (H, W) float32, 1/depth; overwritten.
        seen: (H, W) int32, face; overwritten.
    """
    nearness[:] = 0.0
    seen[:] = -1
    for position in range(count):
        index = visible[position]
        slot = slots[index]
        frame = frames[index]
        if slot.shape != FLAT:
            _draw_curved(slot, frame, focal, nearness, seen)
            continue
        for vertex in range(slot.first_vertex, slot.end_vertex):
            x, y, z = vertices[vertex, 0], vertices[vertex, 1], vertices[vertex, 2]
            points[vertex, 0] = frame[0] * x + frame[1] * y + frame[2] * z + frame[9]
            points[vertex, 1] = frame[3] * x + frame[4] * y + frame[5] * z + frame[10]
            points[vertex, 2] = frame[6] * x + frame[7] * y + frame[8] * z + frame[11]
        for face in range(slot.first_face, slot.end_face):
            _draw_face(faces[face], face, frame, points, focal, rows, polygon, nearness, seen)


@compiled
def _draw_face(
    record: Any,
    face: int,
    frame: np.ndarray,
    points: np.ndarray,
    focal: float,
    rows: np.ndarray,
    polygon: np.ndarray,
    nearness: np.ndarray,
    seen: np.ndarray,
) -> None:
    """Draw one flat face unless it is turned away."""
    nx, ny, nz = record.normal_x, record.normal_y, record.normal_z
    view_x = frame[0] * nx + frame[1] * ny + frame[2] * nz
    view_y = frame[3] * nx + frame[4] * ny + frame[5] * nz
    view_z = frame[6] * nx + frame[7] * ny + frame[8] * nz
    a = record.a
    offset = view_x * points[a, 0] + view_y * points[a, 1] + view_z * points[a, 2]
    if offset >= 0.0:
        return
    height, width = nearness.shape
    corners = _clip_to_picture(record, points, focal, width, height, polygon)
    if corners < 3:
        return
    slope_x, slope_y = view_x / (focal * offset), -view_y / (focal * offset)
    base = view_z / offset - 0.5 * (slope_x * width + slope_y * height)
    _fill(polygon, corners, slope_x, slope_y, base, face, rows, nearness, seen)


@compiled
def _clip_to_picture(
    record: Any, points: np.ndarray, focal: float, width: int, height: int, polygon: np.ndarray
) -> int:
    """Cut a face at the near plane and project it; return its number of corners, 0 if it is out of sight."""
    corners = 0
    previous = record.c if record.corners == 3 else record.d
    centre_x, centre_y = 0.5 * width, 0.5 * height
    for turn in range(record.corners):
        current = (
            record.a if turn == 0 else (record.b if turn == 1 else (record.c if turn == 2 else record.d))
        )
        z, before = points[current, 2], points[previous, 2]
        if (z > NEAR) != (before > NEAR):
            share = (NEAR - before) / (z - before)
            x = points[previous, 0] + share * (points[current, 0] - points[previous, 0])
            y = points[previous, 1] + share * (points[current, 1] - points[previous, 1])
            polygon[0, corners] = centre_x + focal * x / NEAR
            polygon[1, corners] = centre_y - focal * y / NEAR
            corners += 1
        if z > NEAR:
            scale = focal / z
            polygon[0, corners] = centre_x + points[current, 0] * scale
            polygon[1, corners] = centre_y - points[current, 1] * scale
            corners += 1
        previous = current
    return corners


@compiled
def _fill(
    polygon: np.ndarray,
    corners: int,
    slope_x: float,
    slope_y: float,
    base: float,
    face: int,
    rows: np.ndarray,
    nearness: np.ndarray,
    seen: np.ndarray,
) -> None:
    """Fill a convex polygon, counter-clockwise to the eye: edges that go down bound it on the left."""
    height, width = nearness.shape
    first, end = height, 0
    for corner in range(corners):
        following = corner + 1 if corner + 1 < corners else 0
        x, y = polygon[0, corner], polygon[1, corner]
        next_x, next_y = polygon[0, following], polygon[1, following]
        side = 0
        if next_y < y:
            side = 1
            x, y, next_x, next_y = next_x, next_y, x, y
        start = max(0, math.ceil(max(y, 0.0) - 0.5))
        stop = math.ceil(min(next_y, height) - 0.5)
        if start >= stop:
            continue
        slope = (next_x - x) / (next_y - y)
        for row in range(start, stop):
            cut = x + (row + 0.5 - y) * slope - 0.5
            rows[side, row] = math.ceil(min(max(cut, 0.0), width))
        first, end = min(first, start), max(end, stop)
    step = np.float32(slope_x)
    for row in range(first, end):
        start, stop = rows[0, row], rows[1, row]
        value = np.float32(slope_x * (start + 0.5) + slope_y * (row + 0.5) + base)
        for column in range(start, stop):
            here = value + np.float32(column - start) * step
            closer = here > nearness[row, column]
            # selected, not branched, so that the loop becomes vector instructions
            nearness[row, column] = here if closer else nearness[row, column]
            seen[row, column] = face if closer else seen[row, column]


@compiled
def _bounds(
    frame: np.ndarray, half_x: float, half_y: float, half_z: float, focal: float, width: int, height: int
) -> tuple[int, int, int, int]:
    """Return the pixels (x0, y0, x1, y1; ends excluded) that can show a box of these half sizes."""
    low_x, low_y, high_x, high_y = 1e9, 1e9, -1e9, -1e9
    for edge in range(12):
        axis, sides = edge // 4, edge % 4
        one, other = 1.0 - 2.0 * (sides & 1), 1.0 - (sides & 2)
        if axis == 0:
            x, y, z, dx, dy, dz = -half_x, one * half_y, other * half_z, 2.0 * half_x, 0.0, 0.0
        elif axis == 1:
            x, y, z, dx, dy, dz = one * half_x, -half_y, other * half_z, 0.0, 2.0 * half_y, 0.0
        else:
            x, y, z, dx, dy, dz = one * half_x, other * half_y, -half_z, 0.0, 0.0, 2.0 * half_z
        depth = frame[6] * x + frame[7] * y + frame[8] * z + frame[11]
        change = frame[6] * dx + frame[7] * dy + frame[8] * dz
        if depth <= NEAR and depth + change <= NEAR:
            continue
        for end in range(2):
            share = float(end)
            if depth + share * change < NEAR:
                share = (NEAR - depth) / change
            px, py, pz = x + share * dx, y + share * dy, z + share * dz
            scale = focal / max(NEAR, depth + share * change)
            column = (frame[0] * px + frame[1] * py + frame[2] * pz + frame[9]) * scale
            row = -(frame[3] * px + frame[4] * py + frame[5] * pz + frame[10]) * scale
            low_x, high_x = min(low_x, column), max(high_x, column)
            low_y, high_y = min(low_y, row), max(high_y, row)
    x0 = math.floor(min(max(low_x + 0.5 * width, 0.0), width))
    y0 = math.floor(min(max(low_y + 0.5 * height, 0.0), height))
    x1 = math.ceil(min(max(high_x + 0.5 * width, 0.0), width))
    y1 = math.ceil(min(max(high_y + 0.5 * height, 0.0), height))
    return x0, y0, x1, y1


@compiled
def _draw_curved(slot: Any, frame: np.ndarray, focal: float, nearness: np.ndarray, seen: np.ndarray) -> None:
    """Intersect the rays of the pixels near a curved slot with it, in its frame scaled to unit size."""
    height, width = nearness.shape
    shape, face = slot.shape, slot.first_face
    scale_x, scale_y, scale_z = 1.0 / slot.size_x, 1.0 / slot.size_y, 1.0 / slot.size_z
    half_z = slot.size_z
    if shape == CAPSULE:
        half_z = slot.size_z + slot.size_x
        scale_z = scale_x
    x0, y0, x1, y1 = _bounds(frame, slot.size_x, slot.size_y, half_z, focal, width, height)
    half = slot.size_z * scale_x  # of a capsule, in radii
    # eye = -R^T translation; ray = R^T (X, Y, 1) for the point (X, Y, 1) of the pixel in view space
    eye_x = -(frame[0] * frame[9] + frame[3] * frame[10] + frame[6] * frame[11]) * scale_x
    eye_y = -(frame[1] * frame[9] + frame[4] * frame[10] + frame[7] * frame[11]) * scale_y
    eye_z = -(frame[2] * frame[9] + frame[5] * frame[10] + frame[8] * frame[11]) * scale_z
    for row in range(y0, y1):
        view_y = (0.5 * height - row - 0.5) / focal
        base_x = (frame[3] * view_y + frame[6]) * scale_x
        base_y = (frame[4] * view_y + frame[7]) * scale_y
        base_z = (frame[5] * view_y + frame[8]) * scale_z
        for column in range(x0, x1):
            view_x = (column + 0.5 - 0.5 * width) / focal
            ray_x = base_x + frame[0] * scale_x * view_x
            ray_y = base_y + frame[1] * scale_y * view_x
            ray_z = base_z + frame[2] * scale_z * view_x
            part = 0
            if shape == ELLIPSOID:
                depth = _hit_sphere(eye_x, eye_y, eye_z, ray_x, ray_y, ray_z)
            elif shape == CAPSULE:
                depth = _hit_capsule(eye_x, eye_y, eye_z, ray_x, ray_y, ray_z, half)
            else:
                depth, part = _hit_cylinder(eye_x, eye_y, eye_z, ray_x, ray_y, ray_z)
            if depth > NEAR:
                here = np.float32(1.0 / depth)
                if here > nearness[row, column]:
                    nearness[row, column] = here
                    seen[row, column] = face + part


@compiled
def _hit_sphere(eye_x: float, eye_y: float, eye_z: float, ray_x: float, ray_y: float, ray_z: float) -> float:
    """Return the depth at which a ray enters the unit sphere, -1 if it misses or starts inside."""
    # |eye x ray|^2 keeps its digits where b^2 - a c would lose them to cancellation
    cross_x = eye_y * ray_z - eye_z * ray_y
    cross_y = eye_z * ray_x - eye_x * ray_z
    cross_z = eye_x * ray_y - eye_y * ray_x
    square = ray_x * ray_x + ray_y * ray_y + ray_z * ray_z
    rest = square - (cross_x * cross_x + cross_y * cross_y + cross_z * cross_z)
    if rest < 0.0:
        return -1.0
    return (-(eye_x * ray_x + eye_y * ray_y + eye_z * ray_z) - math.sqrt(rest)) / square


@compiled
def _hit_tube(eye_x: float, eye_y: float, ray_x: float, ray_y: float) -> float:
    """Return the depth at which a ray enters the endless unit tube around z, -1 if it never does."""
    square = ray_x * ray_x + ray_y * ray_y
    cross = eye_x * ray_y - eye_y * ray_x
    rest = square - cross * cross
    if rest < 0.0 or square < 1e-12:
        return -1.0
    return (-(eye_x * ray_x + eye_y * ray_y) - math.sqrt(rest)) / square


@compiled
def _hit_cylinder(
    eye_x: float, eye_y: float, eye_z: float, ray_x: float, ray_y: float, ray_z: float
) -> tuple[float, int]:
    """Return where a ray enters the cylinder |z| <= 1 of radius 1: depth, part (side 0, top 1, bottom 2)."""
    if abs(eye_z) > 1.0 and ray_z * eye_z < 0.0:
        end = 1.0 if eye_z > 0.0 else -1.0
        depth = (end - eye_z) / ray_z
        x, y = eye_x + depth * ray_x, eye_y + depth * ray_y
        if x * x + y * y <= 1.0:
            return depth, (1 if end > 0.0 else 2)
    depth = _hit_tube(eye_x, eye_y, ray_x, ray_y)
    if abs(eye_z + depth * ray_z) > 1.0:
        return -1.0, 0
    return depth, 0


@compiled
def _hit_capsule(
    eye_x: float, eye_y: float, eye_z: float, ray_x: float, ray_y: float, ray_z: float, half: float
) -> float:
    """Return the depth at which a ray enters a capsule of radius 1 and straight half length `half`, or -1."""
    square = ray_x * ray_x + ray_y * ray_y
    if square < 1e-12:
        along = eye_z
    else:
        cross = eye_x * ray_y - eye_y * ray_x
        if square - cross * cross < 0.0:
            return -1.0
        depth = _hit_tube(eye_x, eye_y, ray_x, ray_y)
        along = eye_z + depth * ray_z
        if abs(along) <= half:
            return depth
    return _hit_sphere(eye_x, eye_y, eye_z - (half if along > 0.0 else -half), ray_x, ray_y, ray_z)
