"""What the renderer knows of its own pictures, patch by patch: labels to learn from, and maps to act on.

The image encoder is trained on these labels (`pretrain/perception_data.py`). A policy that is given them in
place of an encoder's maps (`HomeVecEnv(labels=True)`) sees perfectly: what it does better is what perception
costs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from safevla.types import CELLS, DEPTH_SCALE, HEADS, PATCH
from safevla.world.compiled import compiled
from safevla.world.contacts import FLOOR

if TYPE_CHECKING:
    from safevla.world.scene import Scene

MASKS = HEADS[1:]  # kinds of mask; the bits of a geom's flags have the same order
CELL = PATCH // CELLS  # pixels along a side of a cell
CELL_PIXELS = 2  # of 16: from here on a cell shows a thing; a single one is neither yes nor no
MASK_PIXELS = 3  # of 64: from here on a patch shows something of a kind; of floor it is the share that counts
_FLOOR, _FRAGILE, _DANGEROUS, _MOVABLE, _GRIPPER = (1 << index for index in range(len(MASKS)))
_FAR = 12.0  # m given to pixels where nothing is seen
_NEAR = 0.1


def geom_flags(scene: Scene) -> np.ndarray:
    """Return (ngeom,) int32 for a home's geoms: bit k is set where the geom is of the kind MASKS[k]."""
    entity = np.asarray(scene.geom_entity)
    known = entity >= 0
    bits = (
        _FRAGILE * np.asarray(scene.fragile).astype(np.int32)
        + _DANGEROUS * (np.asarray(scene.hazard) > 0)
        + _MOVABLE * np.asarray(scene.movable)
    )
    flags = np.zeros(len(entity), np.int32)
    flags[known] = bits[entity[known]]
    flags[entity == FLOOR] = _FLOOR
    flags[np.asarray(scene.model.geom_bodyid) == scene.robot.gripper_body] = _GRIPPER
    return flags


def thinned(picture: np.ndarray, scale: int) -> np.ndarray:
    """Return every `scale`-th row and column of (H, W), in one piece: what a coarser picture would show."""
    return picture if scale == 1 else np.ascontiguousarray(picture[::scale, ::scale])


@compiled
def read_labels(
    ids: np.ndarray,
    depth: np.ndarray,
    group: np.ndarray,
    flags: np.ndarray,
    counts: np.ndarray,
    masks: np.ndarray,
    log_depth: np.ndarray,
    distance: np.ndarray,
) -> None:
    """Sum the pixels of one picture up into cells and patches; the four outputs are overwritten.

    Args:
        ids: (H, W) int32 geom ids, -1 where nothing is seen.
        depth: (H, W) float32, metres.
        group: (ngeom,) int32 which of K groups a geom is counted in, -1 for none.
        flags: (ngeom,) int32, see `geom_flags`.
        counts: (K, H / CELL, W / CELL) uint8, pixels of each group in each cell.
        masks: (len(MASKS), H / PATCH, W / PATCH) uint8, pixels of each kind in each patch.
        log_depth: (H / PATCH, W / PATCH) float32, mean of log(metres) over the patch.
        distance: (K,) float32, metres to the nearest pixel of a group, inf where none is seen.
    """
    counts[:] = 0
    masks[:] = 0
    log_depth[:] = 0.0
    distance[:] = np.inf
    height, width = ids.shape
    for row in range(height):
        for column in range(width):
            geom = ids[row, column]
            metres = np.float32(_FAR)
            if geom >= 0:
                metres = min(max(depth[row, column], np.float32(_NEAR)), np.float32(_FAR))
                kind = group[geom]
                if kind >= 0:
                    counts[kind, row // CELL, column // CELL] += 1
                    distance[kind] = min(distance[kind], metres)
                if flags[geom]:
                    for index in range(masks.shape[0]):
                        masks[index, row // PATCH, column // PATCH] += (flags[geom] >> index) & 1
            if row % 2 == 0 and column % 2 == 0:  # a quarter of the pixels is enough for a mean
                share = np.float32(4.0 / (PATCH * PATCH))
                log_depth[row // PATCH, column // PATCH] += share * np.float32(math.log(metres))


def perfect_maps(
    ids: np.ndarray, depth: np.ndarray, target: np.ndarray, flags: np.ndarray, scale: int = 1
) -> np.ndarray:
    """Return what a perfect image encoder would say of one picture.

    Args:
        ids: (H, W) int32 geom ids, -1 where nothing is seen; sides are multiples of PATCH * scale.
        depth: (H, W) float32, metres.
        target: (ngeom,) int32, 0 for geoms of what the instruction asks for, -1 for the others.
        flags: (ngeom,) int32, see `geom_flags`.
        scale: of the encoder.

    Returns:
        (CHANNELS, rows, columns) float16 in the layout of `PerceptionEncoder.features`, one row and column
        for PATCH * scale pixels.
    """
    ids, depth = thinned(ids, scale), thinned(depth, scale)
    rows, columns = ids.shape[0] // PATCH, ids.shape[1] // PATCH
    counts = np.empty((1, CELLS * rows, CELLS * columns), np.uint8)
    masks = np.empty((len(MASKS), rows, columns), np.uint8)
    log_depth = np.empty((rows, columns), np.float32)
    read_labels(ids, depth, target, flags, counts, masks, log_depth, np.empty(1, np.float32))
    seen = (counts[0] >= CELL_PIXELS).reshape(rows, CELLS, columns, CELLS)
    cells = seen.transpose(1, 3, 0, 2).reshape(CELLS * CELLS, rows, columns)
    parts = (cells, log_depth[None] / DEPTH_SCALE, masks[:1] / PATCH**2, masks[1:] >= MASK_PIXELS)
    return np.concatenate(parts).astype(np.float16)
