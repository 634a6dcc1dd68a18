"""The default renderer: pictures, depth and instance ids of a home on the CPU, without OpenGL.

`RasterMesh` is what is drawn (shared by threads), `Raster` draws it (one per thread).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import mujoco
import numpy as np

from safevla.world import raster_kernels, raster_shading
from safevla.world.appearance import PLAIN, Appearance, painted
from safevla.world.lighting import Lighting
from safevla.world.pictures import check_pictures, check_size
from safevla.world.raster_mesh import RasterMesh

__all__ = ["Lighting", "Raster", "RasterMesh"]


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
        self._nearness = np.zeros((self.height, self.width), np.float32)
        self._seen = np.zeros((self.height, self.width), np.int32)
        self._rows = np.zeros((2, self.height), np.int32)
        self._polygon = np.zeros((2, 8), np.float64)
        self._camera = np.zeros(12, np.float64)
        self._grow(0, 0)

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
        if not 0.0 < fovy < 180.0:
            raise ValueError(f"field of view {fovy} is not possible; give degrees between 0 and 180")
        check_pictures(self.height, self.width, rgb, depth, ids)
        camera = self._camera
        camera[:9] = np.asarray(rotation, np.float64).reshape(3, 3).T.ravel()
        camera[6:9] *= -1.0
        camera[9:] = position
        focal = 0.5 * self.height / math.tan(math.radians(fovy) / 2.0)
        self._grow(len(mesh.slots), len(mesh.vertices))
        if hidden is None:
            hidden = self._nothing_hidden
        frames, visible, size = self._frames, self._visible, (self.width, self.height)
        count = raster_kernels.place_slots(
            mesh.slots, hidden, data.geom_xpos, data.geom_xmat, camera, *size, focal, frames, visible
        )
        scratch = (self._points, self._rows, self._polygon, self._nearness, self._seen)
        raster_kernels.draw_slots(
            mesh.slots, mesh.faces, mesh.vertices, frames, visible, count, focal, *scratch
        )
        if ids is not None:
            raster_shading.write_ids(mesh.slots, mesh.faces, self._seen, ids)
        if depth is not None:
            raster_shading.write_depth(self._nearness, depth)
        if rgb is not None:
            light = _light_vector(lighting or self.lighting or mesh.lighting, camera)
            raster_shading.shade(
                mesh.slots, mesh.faces, frames, camera, light, focal, self._nearness, self._seen, rgb
            )

    def _grow(self, slots: int, vertices: int) -> None:
        """Make the scratch memory large enough for a mesh."""
        if slots >= len(getattr(self, "_visible", ())):
            self._frames = np.zeros((slots + 1, 12), np.float64)
            self._visible = np.zeros(slots + 1, np.int32)
            self._nothing_hidden = np.zeros(slots + 1, np.bool_)
        if vertices >= len(getattr(self, "_points", ())):
            self._points = np.zeros((vertices + 1, 3), np.float64)


def _light_vector(lighting: Lighting, camera: np.ndarray) -> np.ndarray:
    """Return the (15,) vector that `raster_shading.shade` reads."""
    direction = np.asarray(lighting.direction, np.float64)
    view = camera[:9].reshape(3, 3) @ (direction / math.sqrt(float(direction @ direction)))
    halfway = view - (0.0, 0.0, 1.0)
    halfway /= math.sqrt(float(halfway @ halfway)) + 1e-12
    strengths = (lighting.directional, lighting.head, lighting.ambient)
    return np.array([*view, *strengths, *lighting.tint, *lighting.background, *halfway], np.float64)
