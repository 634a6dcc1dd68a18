"""The compiled loops of the rasteriser: visibility first, then colour for the pixels that won.

View space: x right, y up, z forward, metres. The visibility buffer holds 1/depth (0: nothing) and the face
seen in each pixel. A polygon's 1/depth is affine over the picture, which makes its spans one multiply-add
per pixel. Everything runs without fast-math and without shared state: the same input gives the same bytes.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from safevla.world.raster_mesh import (
    CAPSULE,
    CARPET,
    CYLINDER,
    ELLIPSOID,
    FABRIC,
    FLAT,
    PLAIN,
    TILE,
    WALL,
    WOOD,
)

NEAR = 0.02  # metres; what is nearer to the camera is not drawn
_FRAME = 12  # numbers per frame: rotation from the geom to view space, row by row, then translation


@njit(nogil=True, cache=True)
def place_slots(slots, hidden, geom_position, geom_rotation, camera, width, height, focal, frames, visible):
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


@njit(nogil=True, cache=True)
def draw_slots(slots, faces, vertices, frames, visible, count, focal, points, rows, polygon, nearness, seen):
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


@njit(nogil=True, cache=True)
def _draw_face(record, face, frame, points, focal, rows, polygon, nearness, seen):
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


@njit(nogil=True, cache=True)
def _clip_to_picture(record, points, focal, width, height, polygon):
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


@njit(nogil=True, cache=True)
def _fill(polygon, corners, slope_x, slope_y, base, face, rows, nearness, seen):
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
        start = max(0, int(math.ceil(max(y, 0.0) - 0.5)))
        stop = int(math.ceil(min(next_y, height) - 0.5))
        if start >= stop:
            continue
        slope = (next_x - x) / (next_y - y)
        for row in range(start, stop):
            cut = x + (row + 0.5 - y) * slope - 0.5
            rows[side, row] = int(math.ceil(min(max(cut, 0.0), width)))
        first, end = min(first, start), max(end, stop)
    step = np.float32(slope_x)
    for row in range(first, end):
        start, stop = rows[0, row], rows[1, row]
        value = np.float32(slope_x * (start + 0.5) + slope_y * (row + 0.5) + base)
        for column in range(start, stop):
            here = value + np.float32(column - start) * step
            if here > nearness[row, column]:
                nearness[row, column] = here
                seen[row, column] = face


@njit(nogil=True, cache=True)
def _bounds(frame, half_x, half_y, half_z, focal, width, height):
    """Return the rectangle of pixels (x0, y0, x1, y1; ends excluded) that can show a box of these half sizes."""
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
    x0 = int(math.floor(min(max(low_x + 0.5 * width, 0.0), width)))
    y0 = int(math.floor(min(max(low_y + 0.5 * height, 0.0), height)))
    x1 = int(math.ceil(min(max(high_x + 0.5 * width, 0.0), width)))
    y1 = int(math.ceil(min(max(high_y + 0.5 * height, 0.0), height)))
    return x0, y0, x1, y1


@njit(nogil=True, cache=True)
def _draw_curved(slot, frame, focal, nearness, seen):
    """Intersect the ray of every pixel near a curved slot with it, in the slot's own frame scaled to unit size."""
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


@njit(nogil=True, cache=True)
def _hit_sphere(eye_x, eye_y, eye_z, ray_x, ray_y, ray_z):
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


@njit(nogil=True, cache=True)
def _hit_tube(eye_x, eye_y, ray_x, ray_y):
    """Return the depth at which a ray enters the endless unit tube around z, -1 if it never does."""
    square = ray_x * ray_x + ray_y * ray_y
    cross = eye_x * ray_y - eye_y * ray_x
    rest = square - cross * cross
    if rest < 0.0 or square < 1e-12:
        return -1.0
    return (-(eye_x * ray_x + eye_y * ray_y) - math.sqrt(rest)) / square


@njit(nogil=True, cache=True)
def _hit_cylinder(eye_x, eye_y, eye_z, ray_x, ray_y, ray_z):
    """Return the depth of the entry into the cylinder |z| <= 1 of radius 1 and its part: side 0, top 1, bottom 2."""
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


@njit(nogil=True, cache=True)
def _hit_capsule(eye_x, eye_y, eye_z, ray_x, ray_y, ray_z, half):
    """Return the depth at which a ray enters a capsule of radius 1 and straight half length `half`, else -1."""
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


@njit(nogil=True, cache=True)
def write_depth(nearness, depth):
    """Turn 1/depth into depth in metres along the optical axis; 0 where nothing is seen."""
    height, width = nearness.shape
    for row in range(height):
        for column in range(width):
            value = nearness[row, column]
            depth[row, column] = np.float32(1.0) / value if value > 0.0 else np.float32(0.0)


@njit(nogil=True, cache=True)
def write_ids(slots, faces, seen, ids):
    """Turn faces into geom ids; -1 where nothing is seen."""
    height, width = seen.shape
    last, geom = -1, -1
    for row in range(height):
        for column in range(width):
            face = seen[row, column]
            if face != last:
                last = face
                geom = slots[faces[face].slot].geom if face >= 0 else -1
            ids[row, column] = geom


@njit(nogil=True, cache=True)
def shade(slots, faces, frames, camera, light, focal, nearness, seen, rgb):
    """Colour every pixel of the visibility buffer.

    Args:
        slots: (S,) SLOT records.
        faces: (F,) FACE records.
        frames: (S, 12) float64 from `place_slots`.
        camera: (12,) float64 as in `place_slots`.
        light: (12,) float64: direction to the light in view space, strength of directional, head and ambient
            light, tint (3), background (3, 0 to 255).
        focal: focal length, pixels.
        nearness: (H, W) float32.
        seen: (H, W) int32.
        rgb: (H, W, 3) uint8, written.
    """
    height, width = seen.shape
    last = -1
    slot, record, frame = slots[0], faces[0], frames[0]
    red = green = blue = np.float64(0.0)
    for row in range(height):
        view_y = (0.5 * height - row - 0.5) / focal
        for column in range(width):
            face = seen[row, column]
            if face < 0:
                rgb[row, column, 0], rgb[row, column, 1], rgb[row, column, 2] = light[9], light[10], light[11]
                continue
            if face != last:
                last = face
                record = faces[face]
                slot = slots[record.slot]
                frame = frames[record.slot]
                red, green, blue = slot.red * light[6], slot.green * light[7], slot.blue * light[8]
                glow = 255.0 * _light(record.normal_x, record.normal_y, record.normal_z, frame, light)
            bright = glow
            if slot.texture != PLAIN or record.shape != FLAT:
                depth = 1.0 / nearness[row, column]
                view_x = (column + 0.5 - 0.5 * width) / focal
                # the point seen, from view space into the slot's own frame
                x, y, z = view_x * depth - frame[9], view_y * depth - frame[10], depth - frame[11]
                local_x = frame[0] * x + frame[3] * y + frame[6] * z
                local_y = frame[1] * x + frame[4] * y + frame[7] * z
                local_z = frame[2] * x + frame[5] * y + frame[8] * z
                if record.shape != FLAT:
                    bright = 255.0 * _light_curved(
                        record.shape, slot, local_x, local_y, local_z, frame, light
                    )
                if slot.texture != PLAIN:
                    above = camera[11] + depth * (view_x * camera[2] + view_y * camera[5] + camera[8])
                    bright *= _texture(slot.texture, record, local_x, local_y, local_z, above, depth / focal)
            rgb[row, column, 0] = int(min(255.0, red * bright + 0.5))
            rgb[row, column, 1] = int(min(255.0, green * bright + 0.5))
            rgb[row, column, 2] = int(min(255.0, blue * bright + 0.5))


@njit(nogil=True, cache=True)
def _light(normal_x, normal_y, normal_z, frame, light):
    """Return the brightness of a surface with this normal (unit length, frame of the slot)."""
    x = frame[0] * normal_x + frame[1] * normal_y + frame[2] * normal_z
    y = frame[3] * normal_x + frame[4] * normal_y + frame[5] * normal_z
    z = frame[6] * normal_x + frame[7] * normal_y + frame[8] * normal_z
    direct = max(0.0, x * light[0] + y * light[1] + z * light[2])
    return light[5] + light[3] * direct + light[4] * abs(z)


@njit(nogil=True, cache=True)
def _light_curved(shape, slot, x, y, z, frame, light):
    """Return the brightness at a point of a curved surface."""
    if shape == ELLIPSOID:
        x, y, z = (
            x / (slot.size_x * slot.size_x),
            y / (slot.size_y * slot.size_y),
            z / (slot.size_z * slot.size_z),
        )
    elif shape == CYLINDER:
        z = 0.0
    else:
        z -= min(max(z, -slot.size_z), slot.size_z)
    length = math.sqrt(x * x + y * y + z * z) + 1e-12
    return _light(x / length, y / length, z / length, frame, light)


@njit(nogil=True, cache=True)
def _noise(first, second):
    """Return a fixed pseudo-random number in [0, 1) for a cell of an integer grid."""
    mixed = (first * 374761393 + second * 668265263) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((mixed ^ (mixed >> 16)) & 0xFFFF) / 65536.0


@njit(nogil=True, cache=True)
def _texture(texture, record, x, y, z, above, pixel):
    """Return the factor that a texture puts on the brightness of a point.

    Args:
        texture: one of the texture constants.
        record: FACE record; its normal says along which axes the texture runs.
        x: in the frame of the slot, metres.
        y: likewise.
        z: likewise.
        above: height over the floor, metres.
        pixel: size of a pixel at this point, metres; detail finer than that fades out.
    """
    if texture == WALL:
        if above < 0.08:
            return 1.12 if above < 0.07 else 0.8
        return 0.9 + 0.1 * min(1.0, above)
    if abs(record.normal_z) > 0.7:
        u, v = x, y
    elif abs(record.normal_x) > 0.7:
        u, v = y, z
    else:
        u, v = x, z
    if texture == WOOD:
        board = int(math.floor(v / 0.12))
        shift = u + 0.37 * (board % 5)
        tone = 0.88 + 0.12 * _noise(board, int(math.floor(shift / 0.9)))
        fade = min(1.0, 0.006 / pixel)
        return tone + 0.06 * fade * (_noise(int(math.floor(v / 0.012)), int(math.floor(u / 0.15))) - 0.5)
    if texture == TILE:
        column, row = int(math.floor(u / 0.3)), int(math.floor(v / 0.3))
        joint = u - 0.3 * column < 0.012 or v - 0.3 * row < 0.012
        if joint:
            return 1.0 - 0.25 * min(1.0, 0.012 / pixel)
        return 0.96 + 0.04 * _noise(column, row)
    size = 0.02 if texture == FABRIC else 0.035
    fade = min(1.0, size / pixel)
    fine = _noise(int(math.floor(u / size)), int(math.floor(v / size))) - 0.5
    coarse = _noise(int(math.floor(u / 0.16)), int(math.floor(v / 0.16))) - 0.5
    return 0.97 + 0.09 * fade * fine + (0.03 * coarse if texture == CARPET else 0.0)
