"""The default renderer: pictures, depth and instance ids of a home on the CPU, without OpenGL.

`RasterMesh` is what is drawn (shared by threads), `Raster` draws it (one per thread).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import mujoco
import numpy as np

from safevla.world import raster_kernels, raster_shading
from safevla.world.appearance import PLAIN, Appearance, painted
from safevla.world.compiled import compiled_with
from safevla.world.lighting import Lighting
from safevla.world.pictures import check_pictures, check_size
from safevla.world.raster_mesh import RasterMesh

__all__ = ["Lighting", "Raster", "RasterMesh"]


class _Shapes(NamedTuple):
    """What is drawn, and where it is."""

    slots: np.ndarray
    faces: np.ndarray
    vertices: np.ndarray
    hidden: np.ndarray  # (S,) bool
    positions: np.ndarray  # (ngeom, 3)
    rotations: np.ndarray  # (ngeom, 9)


class _View(NamedTuple):
    """From where, and in what light."""

    camera: np.ndarray  # (12,)
    light: np.ndarray  # (15,)
    focal: float  # pixels


class _Scratch(NamedTuple):
    """Memory of one raster, as `raster_kernels` describes it."""

    frames: np.ndarray
    visible: np.ndarray
    points: np.ndarray
    rows: np.ndarray
    polygon: np.ndarray
    nearness: np.ndarray
    seen: np.ndarray


_NO_LIGHT = np.zeros(15)
_FORWARD = np.array([0.0, 0.0, 1.0])
_NO_IDS, _NO_DEPTH = np.zeros((2, 0, 0), np.int32), np.zeros((2, 0, 0), np.float32)
_NO_COLOUR = np.zeros((0, 0, 3), np.uint8)


@compiled_with(raster_kernels, raster_shading)
def _draw(
    shapes: _Shapes, view: _View, scratch: _Scratch, ids: np.ndarray, depth: np.ndarray, rgb: np.ndarray
) -> None:
    """Draw one picture; empty arrays are not written."""
    slots, faces, camera, focal = shapes.slots, shapes.faces, view.camera, view.focal
    frames, visible, nearness, seen = scratch.frames, scratch.visible, scratch.nearness, scratch.seen
    height, width = nearness.shape
    count = raster_kernels.place_slots(
        slots,
        shapes.hidden,
        shapes.positions,
        shapes.rotations,
        camera,
        width,
        height,
        focal,
        frames,
        visible,
    )
    raster_kernels.draw_slots(
        slots,
        faces,
        shapes.vertices,
        frames,
        visible,
        count,
        focal,
        scratch.points,
        scratch.rows,
        scratch.polygon,
        nearness,
        seen,
    )
    if len(ids) > 0:
        raster_shading.write_ids(slots, faces, seen, ids)
    if len(depth) > 0:
        raster_shading.write_depth(nearness, depth)
    if len(rgb) > 0:
        raster_shading.shade(slots, faces, frames, camera, view.light, focal, nearness, seen, rgb)


@compiled_with(raster_kernels, raster_shading)
def _draw_two(
    shapes: _Shapes,
    first: _View,
    second: _View,
    scratch: _Scratch,
    ids: np.ndarray,
    depth: np.ndarray,
    first_rgb: np.ndarray,
    second_rgb: np.ndarray,
) -> None:
    """Draw two pictures; empty arrays are not written."""
    _draw(shapes, first, scratch, ids[0], depth[0], first_rgb)
    _draw(shapes, second, scratch, ids[1], depth[1], second_rgb)


class Raster:
    """Draws pictures of one size. Owns its scratch memory: use one per thread.

    Args:
        height: picture height, pixels.
        width: picture width, pixels.
        lighting: used where `render` is given none; default, that of the model.
    """

    def __init__(self, height: int, width: int, lighting: Lighting | None = None) -> None:
        check_size(height, width)
        self.height, self.width, self.lighting = int(height), int(width), lighting
        self._nothing_hidden = np.zeros(1, np.bool_)
        self._cameras = np.zeros((2, 12), np.float64)
        self._scratch = _Scratch(
            frames=np.zeros((1, 12)),
            visible=np.zeros(1, np.int32),
            points=np.zeros((1, 3)),
            rows=np.zeros((2, self.height), np.int32),
            polygon=np.zeros((2, 8)),
            nearness=np.zeros((self.height, self.width), np.float32),
            seen=np.zeros((self.height, self.width), np.int32),
        )

    def prepare(self, model: mujoco.MjModel, appearance: Appearance = PLAIN) -> RasterMesh:
        """Return what `render` needs of a model; the result may be shared by threads."""
        mesh = RasterMesh.from_model(painted(model, appearance))
        return replace(mesh, lighting=appearance.light(mesh.lighting))

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
        """Draw what a camera of the model sees, into the arrays that are given.

        Args:
            mesh: of the model that `data` belongs to.
            data: with positions of geoms and cameras up to date.
            camera_id: camera of the model.
            rgb: (H, W, 3) uint8.
            depth: (H, W) float32, metres along the optical axis, 0 where nothing is seen.
            ids: (H, W) int32, geom id, -1 where nothing is seen.
            lighting: instead of the one given at construction or in the model.

        Raises:
            ValueError: an array has the wrong shape or dtype, or there is no such camera.
        """
        if not 0 <= camera_id < len(mesh.fovy):
            raise ValueError(f"camera {camera_id} does not exist; the model has {len(mesh.fovy)} cameras")
        position, rotation = data.cam_xpos[camera_id], data.cam_xmat[camera_id]
        self.render_pose(
            mesh, data, position, rotation, float(mesh.fovy[camera_id]), rgb, depth, ids, lighting
        )

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
        """Draw what a camera anywhere sees; arguments as in `render`.

        Args:
            mesh: of the model that `data` belongs to.
            data: with positions of geoms up to date.
            position: (3,) of the camera, world, metres.
            rotation: (9,) or (3, 3), columns right, up, backward, as in `MjData.cam_xmat`.
            fovy: vertical field of view, degrees.
            rgb: (H, W, 3) uint8.
            depth: (H, W) float32.
            ids: (H, W) int32.
            lighting: instead of the one given at construction or in the model.
            hidden: (S,) bool, slots of the mesh to leave out.
        """
        check_pictures(self.height, self.width, rgb, depth, ids)
        self._grow(len(mesh.slots), len(mesh.vertices))
        light = None if rgb is None else lighting or self.lighting or mesh.lighting
        _draw(
            self._shapes(mesh, data, hidden),
            self._view(0, position, rotation, fovy, light),
            self._scratch,
            _NO_IDS[0] if ids is None else ids,
            _NO_DEPTH[0] if depth is None else depth,
            _NO_COLOUR if rgb is None else rgb,
        )

    def render_two(
        self,
        mesh: RasterMesh,
        data: mujoco.MjData,
        cameras: tuple[int, int],
        rgb: tuple[np.ndarray, np.ndarray] | None = None,
        depth: np.ndarray | None = None,
        ids: np.ndarray | None = None,
    ) -> None:
        """Draw what two cameras of the model see, in one call of compiled code.

        Args:
            mesh: of the model that `data` belongs to.
            data: with positions of geoms and cameras up to date.
            cameras: of the model.
            rgb: (H, W, 3) uint8 of each.
            depth: (2, H, W) float32.
            ids: (2, H, W) int32.
        """
        for view in range(2):
            parts = (None if part is None else part[view] for part in (rgb, depth, ids))
            check_pictures(self.height, self.width, *parts)
        self._grow(len(mesh.slots), len(mesh.vertices))
        light = None if rgb is None else self.lighting or mesh.lighting
        views = [
            self._view(k, data.cam_xpos[camera], data.cam_xmat[camera], float(mesh.fovy[camera]), light)
            for k, camera in enumerate(cameras)
        ]
        _draw_two(
            self._shapes(mesh, data, None),
            views[0],
            views[1],
            self._scratch,
            _NO_IDS if ids is None else ids,
            _NO_DEPTH if depth is None else depth,
            _NO_COLOUR if rgb is None else rgb[0],
            _NO_COLOUR if rgb is None else rgb[1],
        )

    def _shapes(self, mesh: RasterMesh, data: mujoco.MjData, hidden: np.ndarray | None) -> _Shapes:
        left_out = self._nothing_hidden if hidden is None else hidden
        return _Shapes(mesh.slots, mesh.faces, mesh.vertices, left_out, data.geom_xpos, data.geom_xmat)

    def _view(
        self,
        number: int,
        position: Sequence[float] | np.ndarray,
        rotation: np.ndarray,
        fovy: float,
        lighting: Lighting | None,
    ) -> _View:
        """Return a view for the kernel, in the scratch memory of this number."""
        if not 0.0 < fovy < 180.0:
            raise ValueError(f"field of view {fovy} is not possible; give degrees between 0 and 180")
        camera = self._cameras[number]
        camera[:9] = np.asarray(rotation, np.float64).reshape(3, 3).T.ravel()
        camera[6:9] *= -1.0
        camera[9:] = position
        focal = 0.5 * self.height / math.tan(math.radians(fovy) / 2.0)
        return _View(camera, _NO_LIGHT if lighting is None else _light_vector(lighting, camera), focal)

    def _grow(self, slots: int, vertices: int) -> None:
        """Make the scratch memory large enough for a mesh."""
        if slots < len(self._nothing_hidden) and vertices < len(self._scratch.points):
            return
        self._nothing_hidden = np.zeros(slots + 1, np.bool_)
        frames, visible, points = (
            np.zeros((slots + 1, 12)),
            np.zeros(slots + 1, np.int32),
            np.zeros((vertices + 1, 3)),
        )
        self._scratch = self._scratch._replace(frames=frames, visible=visible, points=points)


def _light_vector(lighting: Lighting, camera: np.ndarray) -> np.ndarray:
    """Return the (15,) vector that `raster_shading.shade` reads."""
    light = lighting.vector.copy()
    view = camera[:9].reshape(3, 3) @ light[:3]
    halfway = view - _FORWARD
    halfway /= math.sqrt(float(halfway @ halfway)) + 1e-12
    light[:3], light[12:] = view, halfway
    return light
