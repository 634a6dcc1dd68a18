"""Where the robot can be: occupancy of a home on a 5 cm grid, with exact distances to what stands in it.

A grid stores for every cell centre the distance to the nearest obstacle (exact for the convex outline of each
geom seen from above, up to `CLEARANCE_CAP`). So inflating by any radius is one comparison, without the error
that adding up cells makes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from safevla.world.freespace_kernels import (
    CELL,
    CLEARANCE_CAP,
    cut_out,
    dijkstra,
    geoms_near,
    segment_is_free,
    stamp_geoms,
)
from safevla.world.freespace_kernels import local_areas as _local_areas
from safevla.world.robot import FOOTPRINT_RADIUS

if TYPE_CHECKING:
    from safevla.world.scene import Scene


@dataclass(frozen=True)
class Grid:
    """A map of square cells; cell (i, j) has its centre at origin + (i + 0.5, j + 0.5) * cell.

    Attributes:
        origin: (2,) float64, corner of cell (0, 0), m.
        blocked: (nx, ny) bool.
        clearance: (nx, ny) float32, m from the cell's centre to the nearest obstacle, 0 inside one, at most
            CLEARANCE_CAP; for an inflated grid what is left after the radius is taken off.
        cell: m.
    """

    origin: np.ndarray
    blocked: np.ndarray
    clearance: np.ndarray
    cell: float = CELL

    def index(self, x: float, y: float) -> tuple[int, int]:
        """Return the cell that holds the point; points outside give the nearest cell."""
        return _cell_of(self.origin, self.blocked.shape, self.cell, x, y)

    def centre(self, i: int, j: int) -> tuple[float, float]:
        """Return x, y (m) of the middle of a cell."""
        return float(self.origin[0] + (i + 0.5) * self.cell), float(self.origin[1] + (j + 0.5) * self.cell)

    def is_free(self, x: float, y: float) -> bool:
        """Return whether the cell that holds the point is not blocked; False outside the grid."""
        i = math.floor((x - self.origin[0]) / self.cell)
        j = math.floor((y - self.origin[1]) / self.cell)
        inside = 0 <= i < self.blocked.shape[0] and 0 <= j < self.blocked.shape[1]
        return inside and not bool(self.blocked[i, j])


@dataclass(frozen=True)
class Patch:
    """A square piece of the map of a home, around a place.

    Attributes:
        clearance: (S, S) float32 as in Grid, S odd; the place is in the cell in the middle. 0 outside the
            rooms.
        corner: which cell of the map cell (0, 0) is; negative where the piece begins outside.
        origin: (2,) float64, corner of cell (0, 0) of the map, m.
        cell: m.
    """

    clearance: np.ndarray
    corner: tuple[int, int]
    origin: np.ndarray
    cell: float = CELL


def _cell_of(origin: np.ndarray, shape: tuple[int, ...], cell: float, x: float, y: float) -> tuple[int, int]:
    i, j = math.floor((x - origin[0]) / cell), math.floor((y - origin[1]) / cell)
    return min(max(i, 0), shape[0] - 1), min(max(j, 0), shape[1] - 1)


def empty_clearance(bounds: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the origin (2,) and a clearance array without obstacles for bounds x0, y0, x1, y1 (m)."""
    x0, y0, x1, y1 = bounds
    shape = (math.ceil((x1 - x0) / CELL - 1e-6), math.ceil((y1 - y0) / CELL - 1e-6))
    return np.array([x0, y0]), np.full(shape, CLEARANCE_CAP, np.float32)


def _solid_geoms(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Return the geoms of fixed and of movable entities that something can touch, cached on the scene."""
    cached = scene.cache.get("solid_geoms")
    if cached is None:
        model = scene.model
        solid = (model.geom_contype | model.geom_conaffinity) != 0
        solid &= (scene.geom_entity >= 0) & (model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE)
        fixed = model.geom_bodyid == 0
        cached = (np.flatnonzero(solid & fixed), np.flatnonzero(solid & ~fixed))
        scene.cache["solid_geoms"] = cached
    return cached


def _stamp(
    clearance: np.ndarray,
    origin: np.ndarray,
    geoms: np.ndarray,
    scene: Scene,
    data: mujoco.MjData,
    corner: tuple[int, int] = (0, 0),
    reach: float = CLEARANCE_CAP,
) -> None:
    model = scene.model
    shapes, sizes, places = model.geom_type, model.geom_size, data.geom_xpos
    if model.nmesh:  # a mesh counts as its box (it collides as its convex hull)
        meshes = shapes == int(mujoco.mjtGeom.mjGEOM_MESH)
        boxes = model.geom_aabb
        shapes = np.where(meshes, np.int32(mujoco.mjtGeom.mjGEOM_BOX), shapes)
        sizes = np.where(meshes[:, None], boxes[:, 3:], sizes)
        shifts = np.einsum("gij,gj->gi", data.geom_xmat.reshape(-1, 3, 3), boxes[:, :3])
        places = np.where(meshes[:, None], places + shifts, places)
    where = (float(origin[0]), float(origin[1]), *corner, reach)
    stamp_geoms(clearance, *where, geoms, shapes, sizes, places, data.geom_xmat)


def _map_of_fixed(scene: Scene, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray]:
    """Return origin and clearance of the home without what can move, cached on the scene."""
    if "static_clearance" not in scene.cache:
        origin, clearance = empty_clearance(scene.bounds)
        _stamp(clearance, origin, _solid_geoms(scene)[0], scene, data)
        scene.cache["static_clearance"] = (origin, clearance)
    cached: tuple[np.ndarray, np.ndarray] = scene.cache["static_clearance"]
    return cached


def occupancy(scene: Scene, data: mujoco.MjData, ignore: Iterable[int] = ()) -> Grid:
    """Map what stands between 3 cm and 1.45 m above the floor, movable things where they are now.

    Args:
        scene: the home; the map of what cannot move is computed once and kept on it.
        data: with positions of geoms up to date.
        ignore: entities to leave out, such as the one that is held.

    Returns:
        The grid without inflation: blocked where a cell is touched by an obstacle, or is outside the rooms.
    """
    fixed, movable = _solid_geoms(scene)
    ignored = list(ignore)
    if ignored and np.isin(scene.geom_entity[fixed], ignored).any():
        origin, clearance = empty_clearance(scene.bounds)
        _stamp(clearance, origin, fixed[~np.isin(scene.geom_entity[fixed], ignored)], scene, data)
    else:
        origin, clearance = _map_of_fixed(scene, data)
        clearance = clearance.copy()
    if ignored:
        movable = movable[~np.isin(scene.geom_entity[movable], ignored)]
    _stamp(clearance, origin, movable, scene, data)
    return Grid(origin, clearance <= CELL / 2, clearance)


def patch(
    scene: Scene,
    data: mujoco.MjData,
    x: float,
    y: float,
    wanted: np.ndarray,
    reach: float,
    ignored: np.ndarray,
) -> Patch:
    """Map what stands around a place: what `occupancy` has there, in a fraction of the time.

    Args:
        scene: the home.
        data: with positions of geoms up to date.
        x: the place, m; outside the map the nearest cell is meant.
        y: likewise.
        wanted: (S, S) bool, S odd, of which cells the clearance is asked for; it is 0 in the others.
        reach: m, at most CLEARANCE_CAP, beyond which distances are not told apart.
        ignored: (E,) bool, movable entities to leave out.
    """
    origin, clearance = _map_of_fixed(scene, data)
    i, j = _cell_of(origin, clearance.shape, CELL, x, y)
    span = len(wanted) // 2
    corner = (i - span, j - span)
    piece = cut_out(clearance, *corner, reach, wanted)
    middle = float(origin[0] + (i + 0.5) * CELL), float(origin[1] + (j + 0.5) * CELL)
    distance = math.sqrt(2.0) * (span + 1) * CELL + reach
    movable = _solid_geoms(scene)[1]
    radii, places = scene.model.geom_rbound, data.geom_xpos
    near = geoms_near(movable, scene.geom_entity, ignored, places, radii, *middle, distance)
    _stamp(piece, origin, near, scene, data, corner, reach)
    return Patch(piece, corner, origin)


def clearance_of(scene: Scene, data: mujoco.MjData, geoms: np.ndarray) -> np.ndarray:
    """Return (nx, ny) float32, m from the middle of each cell to some geoms, at most CLEARANCE_CAP."""
    origin, clearance = empty_clearance(scene.bounds)
    _stamp(clearance, origin, geoms, scene, data)
    return clearance


def inflate(grid: Grid, radius: float) -> Grid:
    """Return the grid of the places where the centre of a disc of `radius` (m) may be.

    Raises:
        ValueError: the radius is negative, or larger than the distances that a grid knows.
    """
    if not 0.0 <= radius <= CLEARANCE_CAP:
        raise ValueError(f"radius is {radius} m, expected 0 to {CLEARANCE_CAP}")
    left = np.maximum(grid.clearance - np.float32(radius), np.float32(0.0))
    return Grid(grid.origin, grid.clearance < radius, left, grid.cell)


def distance_field(
    grid: Grid, goals: np.ndarray, clearance_cost: float = 0.0, comfort: float = 0.3
) -> np.ndarray:
    """Return the length of the shortest way from every cell to the nearest goal, around what is blocked.

    Args:
        grid: inflated by the robot's radius.
        goals: (M, 2) points (m), or (nx, ny) bool; goals in blocked cells are ignored.
        clearance_cost: extra length per metre travelled right beside an obstacle, falling to 0 at `comfort`.
        comfort: m of clearance in `grid` from which on a cell costs nothing extra.

    Returns:
        (nx, ny) float32, m; inf where no goal can be reached.
    """
    goals = np.asarray(goals)
    if goals.dtype == np.bool_:
        if goals.shape != grid.blocked.shape:
            raise ValueError(
                f"goals have shape {goals.shape}, expected that of the grid {grid.blocked.shape}"
            )
        cells = np.argwhere(goals)
    else:
        cells = np.array([grid.index(float(x), float(y)) for x, y in goals.reshape(-1, 2)], np.int64).reshape(
            -1, 2
        )
    return dijkstra(grid.blocked, grid.clearance, cells, float(clearance_cost), float(comfort))


def local_areas(
    grid: Grid, xy: tuple[float, float] | np.ndarray, radius: float = 1.0, footprint: float = FOOTPRINT_RADIUS
) -> tuple[float, float]:
    """Measure how hemmed in a robot at `xy` (m) is.

    Args:
        grid: from `occupancy`, not inflated.
        xy: centre of the robot's base, m.
        radius: m around the robot that is looked at.
        footprint: radius of the robot, m.

    Returns:
        Area (m2) of the disc that the robot can get to without leaving the disc, and of the rest of it.
    """
    i, j = grid.index(float(xy[0]), float(xy[1]))
    reached, total = _local_areas(grid.clearance, i, j, radius, footprint, 3 * CELL)
    return reached * CELL * CELL, (total - reached) * CELL * CELL


def line_of_sight(grid: Grid, start: tuple[float, float], end: tuple[float, float]) -> bool:
    """Return whether the straight segment between two points (m) crosses no blocked cell of the grid."""
    a, b = (float(start[k] - grid.origin[k]) / grid.cell for k in (0, 1))
    c, d = (float(end[k] - grid.origin[k]) / grid.cell for k in (0, 1))
    return bool(segment_is_free(grid.blocked, a, b, c, d))
