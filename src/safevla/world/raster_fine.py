"""The raster's pictures with soft shadows and smooth edges, for figures and videos: nicer, and slower.

A shadow map is a picture from the lamp, drawn by the same rasteriser from so far away that its rays are as
good as parallel. A point is in shade as far as what the lamp sees around it is nearer to the lamp than its
own surface; the farther the thing that casts the shadow, the softer its edge. Walls cast no shadow: the lamp
of a home stands for light through windows and from ceilings, and a wall would keep it from half a room.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import mujoco
import numpy as np

from safevla.world.appearance import PLAIN, Appearance
from safevla.world.compiled import compiled
from safevla.world.lighting import Lighting
from safevla.world.pictures import check_pictures, check_size, look_at
from safevla.world.raster import Raster, RasterMesh
from safevla.world.raster_mesh import WALL

MAP_SIZE = 2048  # pixels along each side of the shadow map
LAMP_DISTANCE = 80.0  # m from the middle of the home; larger is more parallel, and less exact
AROUND = 15.0  # m around the camera, seen from above, in which things cast shadows
SHARED = 0.5  # m within which two cameras share a shadow map
BIAS = 0.012  # m by which something must be nearer to the lamp to cast a shadow
LAMP_SIZE = 0.07  # metres of soft edge for each metre between what casts a shadow and what bears it
SEARCH = 0.05  # m around a point in which things that cast a shadow on it are looked for
CURVED = 0.3  # by how much more for each metre beside the point, since surfaces are not all flat
STEEPEST = 4.0  # slope of a surface toward the lamp's rays from which it is not followed
SHARPEST, SOFTEST = 0.008, 0.09  # m: limits of the soft edge


class FineRaster:
    """Draws pictures as `Raster` does, with soft shadows and supersampling; same protocol.

    Args:
        height: picture height, pixels.
        width: picture width, pixels.
        lighting: used where none is given; default, that of the model.
        shadows: whether the lamp casts shadows.
        supersampling: every pixel is the mean of this many squared.
    """

    def __init__(
        self,
        height: int,
        width: int,
        lighting: Lighting | None = None,
        shadows: bool = True,
        supersampling: int = 2,
    ) -> None:
        check_size(height, width)
        if supersampling < 1:
            raise ValueError(f"supersampling is {supersampling}, expected 1 or more")
        self.height, self.width, self.lighting = int(height), int(width), lighting
        self.shadows, self.supersampling = shadows, int(supersampling)
        self._plain = Raster(self.height, self.width)
        size = (self.height * self.supersampling, self.width * self.supersampling)
        self._large = Raster(*size)
        self._bright, self._dark = np.zeros((*size, 3), np.uint8), np.zeros((*size, 3), np.uint8)
        self._depth = np.zeros(size, np.float32)
        self._map: _ShadowMap | None = None

    def prepare(self, model: mujoco.MjModel, appearance: Appearance = PLAIN) -> RasterMesh:
        """Return what `render` needs of a model; the result may be shared by threads."""
        return self._plain.prepare(model, appearance)

    def render(
        self,
        mesh: RasterMesh,
        data: mujoco.MjData,
        camera_id: int,
        rgb: np.ndarray | None = None,
        depth: np.ndarray | None = None,
        ids: np.ndarray | None = None,
        lighting: Lighting | None = None,
    ) -> None:
        """Draw what a camera of the model sees; as `Raster.render`."""
        if not 0 <= camera_id < len(mesh.fovy):
            raise ValueError(f"camera {camera_id} does not exist; the model has {len(mesh.fovy)} cameras")
        pose = (data.cam_xpos[camera_id], data.cam_xmat[camera_id], float(mesh.fovy[camera_id]))
        self.render_pose(mesh, data, *pose, rgb, depth, ids, lighting)

    def render_pose(
        self,
        mesh: RasterMesh,
        data: mujoco.MjData,
        position: Sequence[float] | np.ndarray,
        rotation: np.ndarray,
        fovy: float,
        rgb: np.ndarray | None = None,
        depth: np.ndarray | None = None,
        ids: np.ndarray | None = None,
        lighting: Lighting | None = None,
        hidden: np.ndarray | None = None,
    ) -> None:
        """Draw what a camera anywhere sees; as `Raster.render_pose`. Depth and ids are those of `Raster`."""
        check_pictures(self.height, self.width, rgb, depth, ids)
        if depth is not None or ids is not None:
            self._plain.render_pose(mesh, data, position, rotation, fovy, None, depth, ids, hidden=hidden)
        if rgb is None:
            return
        light = lighting or self.lighting or mesh.lighting
        view = (mesh, data, position, rotation, fovy)
        self._large.render_pose(*view, self._bright, self._depth, None, light, hidden)
        if self.shadows and light.directional > 0.0:
            shade = replace(light, directional=0.0)
            self._large.render_pose(*view, self._dark, None, None, shade, hidden)
            if self._map is None or not self._map.fits(mesh, data, light, position):
                self._map = _ShadowMap(mesh, data, light, position, self._map)
            camera = np.concatenate(
                [np.asarray(rotation, np.float64).ravel(), np.asarray(position, np.float64)]
            )
            focal = 0.5 * self._large.height / math.tan(math.radians(fovy) / 2.0)
            lay_shadows(
                self._bright, self._dark, self._depth, camera, focal,
                self._map.depth, self._map.camera, self._map.focal,
            )  # fmt: skip
        rgb[:] = _shrink(self._bright, self.supersampling)


def _shrink(picture: np.ndarray, factor: int) -> np.ndarray:
    """Return the mean of every block of factor x factor pixels, (H, W, 3) uint8."""
    total = np.zeros((picture.shape[0] // factor, picture.shape[1] // factor, 3), np.uint32)
    for row in range(factor):
        for column in range(factor):
            total += picture[row::factor, column::factor]
    shrunk: np.ndarray = ((total + factor * factor // 2) // (factor * factor)).astype(np.uint8)
    return shrunk


class _ShadowMap:
    """What the lamp sees of a home at one moment."""

    def __init__(
        self,
        mesh: RasterMesh,
        data: mujoco.MjData,
        light: Lighting,
        eye: Sequence[float] | np.ndarray,
        former: _ShadowMap | None,
    ) -> None:
        self._mesh, self._direction = mesh, light.direction
        self._eye = np.array(eye[:2], np.float64)
        self._places, self._turns = data.geom_xpos.copy(), data.geom_xmat.copy()
        self._raster: Raster = former._raster if former else Raster(MAP_SIZE, MAP_SIZE)
        empty = np.zeros((0, 0), np.float32) if former else np.zeros((MAP_SIZE, MAP_SIZE), np.float32)
        self.depth: np.ndarray = former.depth if former else empty
        walls = np.asarray(mesh.slots["texture"] == WALL) | mesh.ceiling
        radii = np.asarray(mesh.slots["radius"], np.float64)
        low, high = _extent(data.geom_xpos[mesh.slots["geom"]], radii, self._eye)
        middle, radius = 0.5 * (low + high), max(0.5 * float(np.linalg.norm(high - low)), 0.5)
        direction = np.asarray(light.direction, np.float64)
        place = middle + LAMP_DISTANCE * direction / np.linalg.norm(direction)
        turn = look_at(place, middle)
        fovy = math.degrees(2.0 * math.atan(radius / LAMP_DISTANCE))
        self._raster.render_pose(mesh, data, place, turn, fovy, depth=self.depth, hidden=walls)
        self.camera = np.concatenate([turn.ravel(), place])
        self.focal = 0.5 * MAP_SIZE / math.tan(math.radians(fovy) / 2.0)

    def fits(
        self, mesh: RasterMesh, data: mujoco.MjData, light: Lighting, eye: Sequence[float] | np.ndarray
    ) -> bool:
        """Return whether it is of this home as it is now, so that cameras beside each other share it."""
        return (
            mesh is self._mesh
            and light.direction == self._direction
            and bool(np.linalg.norm(self._eye - eye[:2]) < SHARED)
            and np.array_equal(data.geom_xpos, self._places)
            and np.array_equal(data.geom_xmat, self._turns)
        )


def _extent(centres: np.ndarray, radii: np.ndarray, eye: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest corner (m) of what is drawn around a camera, without endless floors."""
    near = (radii < 20.0) & (np.linalg.norm(centres[:, :2] - eye, axis=1) < AROUND)
    if not near.any():
        return np.full(3, -1.0), np.full(3, 1.0)
    return centres[near].min(axis=0), centres[near].max(axis=0)


@compiled
def lay_shadows(
    bright: np.ndarray,
    dark: np.ndarray,
    depth: np.ndarray,
    camera: np.ndarray,
    focal: float,
    lamp_depth: np.ndarray,
    lamp: np.ndarray,
    lamp_focal: float,
) -> None:
    """Mix each pixel of `bright` with `dark` as far as it lies in the shade.

    Args:
        bright: (H, W, 3) uint8, lit by the lamp; overwritten with the result.
        dark: (H, W, 3) uint8, without the lamp.
        depth: (H, W) float32 m, 0 where nothing is seen.
        camera: (12,) rotation (columns right, up, backward), row by row, then position.
        focal: focal length of the camera, pixels.
        lamp_depth: (M, M) float32 m, what the lamp sees, 0 for nothing.
        lamp: (12,) as `camera`.
        lamp_focal: focal length of the lamp's picture, pixels.
    """
    height, width = depth.shape
    point, beside, below = np.empty(3), np.empty(3), np.empty(3)
    for row in range(height):
        for column in range(width):
            facing = False  # what is turned away from the lamp looks the same without it
            for channel in range(3):
                facing |= bright[row, column, channel] != dark[row, column, channel]
            if not facing or depth[row, column] <= 0.0:
                continue
            _place(depth, row, column, camera, focal, lamp, point)
            _place(depth, row, _neighbour(depth, row, column, 0, 1), camera, focal, lamp, beside)
            _place(depth, _neighbour(depth, row, column, 1, 0), column, camera, focal, lamp, below)
            right, up = _slopes(point, beside, below)
            scale = lamp_focal / point[2]
            across = 0.5 * lamp_depth.shape[1] + scale * point[0]
            down = 0.5 * lamp_depth.shape[0] - scale * point[1]
            lit = _lit(lamp_depth, across, down, point[2], scale, right, up)
            if lit < 1.0:
                for channel in range(3):
                    low = float(dark[row, column, channel])
                    value = low + lit * (bright[row, column, channel] - low)
                    bright[row, column, channel] = int(value + 0.5)


@compiled
def _place(
    depth: np.ndarray,
    row: int,
    column: int,
    camera: np.ndarray,
    focal: float,
    lamp: np.ndarray,
    point: np.ndarray,
) -> None:
    """Write where a pixel is as the lamp sees it: to the right, up, and away from it (m)."""
    z = depth[row, column]
    right = z * (column + 0.5 - 0.5 * depth.shape[1]) / focal
    up = z * (0.5 * depth.shape[0] - row - 0.5) / focal
    x = camera[9] + camera[0] * right + camera[1] * up - camera[2] * z - lamp[9]
    y = camera[10] + camera[3] * right + camera[4] * up - camera[5] * z - lamp[10]
    w = camera[11] + camera[6] * right + camera[7] * up - camera[8] * z - lamp[11]
    point[0] = lamp[0] * x + lamp[3] * y + lamp[6] * w
    point[1] = lamp[1] * x + lamp[4] * y + lamp[7] * w
    point[2] = -(lamp[2] * x + lamp[5] * y + lamp[8] * w)


@compiled
def _neighbour(depth: np.ndarray, row: int, column: int, down: int, across: int) -> int:
    """Return the row (or column) of the neighbour of a pixel that is more likely on its surface."""
    z, height, width = depth[row, column], depth.shape[0], depth.shape[1]
    own = row if down else column
    after = depth[row + down, column + across] if row + down < height and column + across < width else 0.0
    before = depth[row - down, column - across] if row >= down and column >= across else 0.0
    return (
        own + 1 if after > 0.0 and (before <= 0.0 or abs(after - z) <= abs(before - z)) else max(own - 1, 0)
    )


@compiled
def _slopes(point: np.ndarray, beside: np.ndarray, below: np.ndarray) -> tuple[float, float]:
    """Return by how much a surface goes away from the lamp for each metre to the right and up."""
    a0, a1, a2 = beside[0] - point[0], beside[1] - point[1], beside[2] - point[2]
    b0, b1, b2 = below[0] - point[0], below[1] - point[1], below[2] - point[2]
    area = a0 * b1 - a1 * b0
    if abs(area) < 1e-12:
        return 0.0, 0.0
    right = (a2 * b1 - a1 * b2) / area
    up = (a0 * b2 - a2 * b0) / area
    return min(max(right, -STEEPEST), STEEPEST), min(max(up, -STEEPEST), STEEPEST)


@compiled
def _lit(
    lamp_depth: np.ndarray, across: float, down: float, away: float, scale: float, right: float, up: float
) -> float:
    """Return the share of the lamp that a point sees.

    Args:
        lamp_depth: (M, M) float32 m.
        across: column of the point in the lamp's picture.
        down: row of it.
        away: m from the lamp.
        scale: pixels of the lamp's picture for a metre there.
        right: slope of the surface, see `_slopes`.
        up: likewise.
    """
    blockers, nearer = 0, 0.0
    metres = 0.5 * SEARCH
    for i in range(-2, 3):
        for j in range(-2 + (i & 1), 3, 2):  # every other point, as the black fields of a chessboard
            seen = _depth_at(lamp_depth, across + i * metres * scale, down + j * metres * scale)
            gap = away + metres * (i * right - j * up) - seen
            if seen > 0.0 and gap > BIAS + CURVED * metres * (abs(i) + abs(j)):
                blockers += 1
                nearer += gap
    if blockers == 0:
        return 1.0
    metres = min(max(LAMP_SIZE * nearer / blockers, SHARPEST), SOFTEST) / 3.0
    shaded = 0.0
    for i in range(-3, 4):
        for j in range(-3, 4):
            seen = _depth_at(lamp_depth, across + i * metres * scale, down + j * metres * scale)
            gap = away + metres * (i * right - j * up) - seen
            if seen > 0.0 and gap > BIAS + CURVED * metres * (abs(i) + abs(j)):
                shaded += 1.0
    return 1.0 - shaded / 49.0


@compiled
def _depth_at(lamp_depth: np.ndarray, across: float, down: float) -> float:
    """Return the depth in the lamp's picture at a point, 0 outside it."""
    column, row = math.floor(across), math.floor(down)
    if row < 0 or column < 0 or row >= lamp_depth.shape[0] or column >= lamp_depth.shape[1]:
        return 0.0
    depth: float = lamp_depth[row, column]
    return depth
