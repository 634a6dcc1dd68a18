"""Renderers by name, and pictures from cameras that no robot carries (map views, figures)."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import mujoco
import numpy as np

from safevla.config import nearest
from safevla.world.appearance import PLAIN, Appearance
from safevla.world.lighting import Lighting
from safevla.world.pictures import look_at
from safevla.world.raster import Raster, RasterMesh
from safevla.world.raster_fine import FineRaster
from safevla.world.renderers import RENDERERS

if TYPE_CHECKING:
    from safevla.world.scene import Scene


@runtime_checkable
class Renderer(Protocol):
    """Draws what a camera of a model sees. One instance per thread; prepared models may be shared.

    Attributes:
        height: picture height H, pixels.
        width: picture width W, pixels.
    """

    height: int
    width: int

    def prepare(self, model: mujoco.MjModel, appearance: Appearance = PLAIN) -> Any:
        """Return what `render` needs of a model that looks like this; it is only read afterwards."""

    def render(
        self,
        mesh: Any,
        data: mujoco.MjData,
        camera_id: int,
        rgb: np.ndarray | None = None,
        depth: np.ndarray | None = None,
        ids: np.ndarray | None = None,
    ) -> None:
        """Fill the arrays that are given: rgb (H, W, 3) uint8, depth (H, W) float32 m, ids (H, W) int32."""


def make_renderer(name: str, height: int, width: int, **options: Any) -> Renderer:
    """Build the renderer called `name`.

    Raises:
        ValueError: there is no such renderer, or it does not start here; the message says what to do.
    """
    if name not in RENDERERS:
        raise ValueError(f"there is no renderer {name!r}{nearest(name, RENDERERS)}")
    module, _, kind = RENDERERS[name].partition(":")
    renderer: Renderer = getattr(importlib.import_module(module), kind)(height, width, **options)
    return renderer


def render_two(
    renderer: Renderer,
    mesh: Any,
    data: mujoco.MjData,
    cameras: tuple[int, int],
    rgb: tuple[np.ndarray, np.ndarray] | None = None,
    depth: np.ndarray | None = None,
    ids: np.ndarray | None = None,
) -> None:
    """Draw what two cameras see, in one go if possible: `rgb` an array each, `depth` and `ids` (2, H, W)."""
    if isinstance(renderer, Raster):
        renderer.render_two(mesh, data, cameras, rgb, depth, ids)
        return
    for view, camera in enumerate(cameras):
        colour, far, who = (None if part is None else part[view] for part in (rgb, depth, ids))
        renderer.render(mesh, data, camera, rgb=colour, depth=far, ids=who)


def render_free(
    mesh: RasterMesh,
    data: mujoco.MjData,
    position: Sequence[float] | np.ndarray,
    target: Sequence[float] | np.ndarray,
    fovy: float = 59.0,
    height: int = 336,
    width: int = 448,
    *,
    hide_ceiling: bool = False,
    lighting: Lighting | None = None,
    fine: bool = False,
) -> np.ndarray:
    """Draw what a camera at `position` (m) that looks at `target` (m) sees.

    Args:
        mesh: of the model that `data` belongs to.
        data: with positions of geoms up to date.
        position: (3,) world, metres.
        target: (3,) world, metres.
        fovy: vertical field of view, degrees.
        height: picture height, pixels.
        width: picture width, pixels.
        hide_ceiling: leave out geoms whose name starts with "ceiling".
        lighting: default, that of the model.
        fine: with soft shadows and smooth edges, see `raster_fine`.

    Returns:
        (height, width, 3) uint8.
    """
    rgb = np.zeros((height, width, 3), np.uint8)
    hidden = mesh.ceiling if hide_ceiling else None
    rotation = look_at(position, target)
    raster = FineRaster(height, width) if fine else Raster(height, width)
    raster.render_pose(mesh, data, position, rotation, fovy, rgb=rgb, lighting=lighting, hidden=hidden)
    return rgb


def render_top(
    scene: Scene,
    data: mujoco.MjData,
    height: int = 448,
    width: int = 448,
    *,
    mesh: RasterMesh | None = None,
    fovy: float = 40.0,
    fine: bool = False,
) -> np.ndarray:
    """Draw a home from above with its ceiling taken off, all of it in the picture; x to the right, y up.

    Args:
        scene: the compiled home; its `bounds` (x0, y0, x1, y1; metres) are what is shown.
        data: with positions of geoms up to date.
        height: picture height, pixels.
        width: picture width, pixels.
        mesh: of the scene's model, if it is at hand.
        fovy: vertical field of view, degrees; the smaller, the more the view is like a plan.
        fine: with soft shadows and smooth edges, see `raster_fine`.

    Returns:
        (height, width, 3) uint8.
    """
    x0, y0, x1, y1 = scene.bounds
    half = 0.5 * max(y1 - y0, (x1 - x0) * height / width) + 0.25
    wall_top = 2.5  # the picture plane that must hold the home is at the top of its walls
    above = wall_top + half / math.tan(math.radians(fovy) / 2.0)
    centre = (0.5 * (x0 + x1), 0.5 * (y0 + y1))
    if mesh is None:
        mesh = RasterMesh.from_model(scene.model)
    position, target = (*centre, above), (*centre, 0.0)
    return render_free(mesh, data, position, target, fovy, height, width, hide_ceiling=True, fine=fine)
