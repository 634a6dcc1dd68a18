"""Colour for the pixels that `raster_kernels` found, and the depth and ids to go with it.

Textures are functions of the point in the frame of its geom, so that they stay on what moves. Detail finer
than a pixel fades out, so that small pictures do not flicker.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from safevla.world.compiled import compiled
from safevla.world.raster_mesh import (
    CARPET,
    CHECKS,
    CYLINDER,
    ELLIPSOID,
    FABRIC,
    FLAT,
    FOLIAGE,
    PLAIN,
    STRIPES,
    TILE,
    WALL,
    WICKER,
    WOOD,
)


@compiled
def write_depth(nearness: np.ndarray, depth: np.ndarray) -> None:
    """Turn 1/depth into depth in metres along the optical axis; 0 where nothing is seen."""
    height, width = nearness.shape
    for row in range(height):
        for column in range(width):
            value = nearness[row, column]
            depth[row, column] = np.float32(1.0) / value if value > 0.0 else np.float32(0.0)


@compiled
def write_ids(slots: np.ndarray, faces: np.ndarray, seen: np.ndarray, ids: np.ndarray) -> None:
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


@compiled
def shade(
    slots: np.ndarray,
    faces: np.ndarray,
    frames: np.ndarray,
    camera: np.ndarray,
    light: np.ndarray,
    focal: float,
    nearness: np.ndarray,
    seen: np.ndarray,
    rgb: np.ndarray,
) -> None:
    """Colour every pixel of the visibility buffer.

    Args:
        slots: (S,) SLOT records.
        faces: (F,) FACE records.
        frames: (S, 12) float64 from `place_slots`.
        camera: (12,) float64 as in `place_slots`.
        light: (15,) float64: direction to the light in view space, strength of directional, head and ambient
            light, tint (3), background (3, 0 to 255), direction halfway between the light and the eye.
        focal: focal length, pixels.
        nearness: (H, W) float32.
        seen: (H, W) int32.
        rgb: (H, W, 3) uint8, written.
    """
    height, width = seen.shape
    last = -1
    pixel = 1.0 / focal  # size of a pixel at depth 1
    centre_x, centre_y = 0.5 * width - 0.5, 0.5 * height - 0.5
    for row in range(height):
        view_y = (centre_y - row) * pixel
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
                shape, texture = record.shape, slot.texture
                red, green, blue = slot.red * light[6], slot.green * light[7], slot.blue * light[8]
                gloss = slot.gloss
                glow = 255.0 * _light(record.normal_x, record.normal_y, record.normal_z, gloss, frame, light)
            bright = glow
            if texture != PLAIN or shape != FLAT:
                depth = np.float64(np.float32(1.0) / nearness[row, column])
                view_x = (column - centre_x) * pixel
                if texture == WALL and shape == FLAT:
                    above = camera[11] + depth * (view_x * camera[2] + view_y * camera[5] + camera[8])
                    bright *= _wall(above)
                else:
                    # the point seen, from view space into the slot's own frame
                    x, y, z = view_x * depth - frame[9], view_y * depth - frame[10], depth - frame[11]
                    local_x = frame[0] * x + frame[3] * y + frame[6] * z
                    local_y = frame[1] * x + frame[4] * y + frame[7] * z
                    local_z = frame[2] * x + frame[5] * y + frame[8] * z
                    if shape != FLAT:
                        bright = 255.0 * _light_curved(shape, slot, local_x, local_y, local_z, frame, light)
                    if texture != PLAIN and texture != WALL:
                        bright *= _pattern(texture, record, local_x, local_y, local_z, depth * pixel)
            rgb[row, column, 0] = int(min(255.0, red * bright + 0.5))
            rgb[row, column, 1] = int(min(255.0, green * bright + 0.5))
            rgb[row, column, 2] = int(min(255.0, blue * bright + 0.5))


@compiled
def _light(
    normal_x: float, normal_y: float, normal_z: float, gloss: float, frame: np.ndarray, light: np.ndarray
) -> float:
    """Return the brightness of a surface with this normal (unit length, frame of the slot)."""
    x = frame[0] * normal_x + frame[1] * normal_y + frame[2] * normal_z
    y = frame[3] * normal_x + frame[4] * normal_y + frame[5] * normal_z
    z = frame[6] * normal_x + frame[7] * normal_y + frame[8] * normal_z
    direct = max(0.0, x * light[0] + y * light[1] + z * light[2])
    shine = max(0.0, x * light[12] + y * light[13] + z * light[14])
    for _ in range(4):
        shine *= shine
    bright: float = light[5] + light[3] * (direct + gloss * shine) + light[4] * abs(z)
    return bright


@compiled
def _light_curved(
    shape: int, slot: Any, x: float, y: float, z: float, frame: np.ndarray, light: np.ndarray
) -> float:
    """Return the brightness at a point of a curved surface."""
    if shape == ELLIPSOID:
        x /= slot.size_x * slot.size_x
        y /= slot.size_y * slot.size_y
        z /= slot.size_z * slot.size_z
    elif shape == CYLINDER:
        z = 0.0
    else:
        z -= min(max(z, -slot.size_z), slot.size_z)
    scale = 1.0 / (math.sqrt(x * x + y * y + z * z) + 1e-12)
    return _light(scale * x, scale * y, scale * z, slot.gloss, frame, light)


@compiled
def _noise(first: int, second: int) -> float:
    """Return a fixed pseudo-random number in [0, 1) for a cell of an integer grid."""
    mixed = (first * 374761393 + second * 668265263) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((mixed ^ (mixed >> 16)) & 0xFFFF) / 65536.0


@compiled
def _wall(above: float) -> float:
    """Return the factor for a wall at this height (m): a skirting board, then darker toward the floor."""
    if above < 0.08:
        return 1.12 if above < 0.07 else 0.8
    return 0.9 + 0.1 * min(1.0, above)


@compiled
def _pattern(texture: int, record: Any, x: float, y: float, z: float, pixel: float) -> float:
    """Return the factor that a texture puts on the brightness of a point.

    Args:
        texture: one of the texture constants but PLAIN and WALL.
        record: FACE record; its normal says along which axes the texture runs.
        x: of the point in the frame of its geom, metres.
        y: likewise.
        z: likewise.
        pixel: size of a pixel at this point, metres; detail finer than that fades out.
    """
    if abs(record.normal_z) > 0.7:
        u, v = x, y
    elif abs(record.normal_x) > 0.7:
        u, v = y, z
    else:
        u, v = x, z
    if texture == FOLIAGE:
        u, v = u + 0.6 * y, v + 0.4 * y  # leaves, also on round bushes
        return 0.8 + 0.4 * _noise(math.floor(u * 40.0), math.floor(v * 40.0)) * min(1.0, 0.02 / pixel)
    if texture == WOOD:
        board = math.floor(v * 8.0)
        tone = 0.88 + 0.12 * _noise(board, math.floor((u + 0.37 * (board & 3)) * 1.1))
        grain = _noise(math.floor(v * 80.0), math.floor(u * 7.0)) - 0.5
        return tone + 0.06 * grain * min(1.0, 0.006 / pixel)
    if texture == TILE:
        column, row = math.floor(u * 4.0), math.floor(v * 4.0)
        if u * 4.0 - column < 0.05 or v * 4.0 - row < 0.05:
            return 1.0 - 0.25 * min(1.0, 0.012 / pixel)
        return 0.96 + 0.04 * _noise(column, row)
    if texture >= WICKER:
        return _weave(texture, u, v, pixel)
    cells = 50.0 if texture == FABRIC else 28.0  # threads per metre
    fine = _noise(math.floor(u * cells), math.floor(v * cells)) - 0.5
    factor = 0.97 + 0.09 * fine * min(1.0, 1.0 / (cells * pixel))
    if texture == CARPET:
        factor += 0.03 * (_noise(math.floor(u * 6.0), math.floor(v * 6.0)) - 0.5)
    return factor


@compiled
def _weave(texture: int, u: float, v: float, pixel: float) -> float:
    """Return the factor of the textures that only larger homes have, at u, v (m) along the surface."""
    if texture == STRIPES:
        return 0.84 + 0.16 * (1.0 if math.floor(u * 11.0) & 1 else -1.0) * min(1.0, 0.04 / pixel)
    if texture == CHECKS:
        dark = (math.floor(u * 8.0) & 1) + (math.floor(v * 8.0) & 1) - 1.0
        return 0.84 + 0.16 * dark * min(1.0, 0.05 / pixel)
    if texture == WICKER:
        column, row = math.floor(u * 22.0), math.floor(v * 22.0)
        across = u * 22.0 - column if (column + row) & 1 else v * 22.0 - row
        return 0.82 + (0.18 - 0.5 * abs(across - 0.5)) * min(1.0, 0.02 / pixel)
    # Marble: thin veins where a bent coordinate passes a whole number.
    bent = u * 2.3 + v * 1.6 + 0.25 * abs((u * 5.0 - 3.0 * v) % 2.0 - 1.0)
    vein = abs((bent * 2.0) % 1.0 - 0.5)
    return 0.98 - 0.2 * max(0.0, 1.0 - vein * 14.0) * min(1.0, 0.02 / pixel)
