"""The renderer `filament`: MuJoCo's physically based pictures, with soft light and shadows, by Vulkan.

Two pictures of one moment differ a little, at edges by some tens of grey levels: Filament dithers. Depth and
ids do not.
"""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import mujoco
import numpy as np

from safevla.world.appearance import PLAIN, Appearance, lit, painted
from safevla.world.graphics import GRAPHICS, RendererUnavailable, require
from safevla.world.pictures import check_pictures, check_size
from safevla.world.renderers import REMEDIES

_HIDDEN_GROUP = 5  # a geom group that is never shown
_context: Any = None  # of Filament, one in a process; made by the graphics thread


def _start() -> None:
    """Make the Filament context of this process."""
    global _context
    if _context is not None:
        return
    from mujoco import mjrf
    from mujoco.experimental.studio import window  # noqa: F401  its import makes Filament find its materials

    _context = mjrf.Context(mjrf.ContextConfig(graphics_api=mjrf.GraphicsApi.GRAPHICS_API_VULKAN))
    GRAPHICS.at_end(_stop)


def _stop() -> None:
    global _context
    _forget()
    _context = None


# What Filament has of the scene that was drawn last. When it has two different models it draws neither
# (mujoco 3.17 raises "unknown exception"), so that a picture of another model begins with an upload (20 ms).
_loaded: dict[str, Any] = {}


def _forget(number: int | None = None) -> None:
    """Free the scene that is loaded; if a number is given, only the scene of that number."""
    if number is None or _loaded.get("number") == number:
        for name in list(reversed(_loaded)):
            del _loaded[name]


class FilamentScene:
    """A model that Filament draws, in the colours and light of an appearance."""

    _count = 0

    def __init__(self, model: mujoco.MjModel, appearance: Appearance) -> None:
        # Filament answers weakly to the strength of lights, so brightness and tint are laid on the picture.
        light = replace(appearance, brightness=1.0, tint=PLAIN.tint)
        self.model = lit(painted(model, appearance), light)
        self.filter = appearance.brightness * np.asarray(appearance.tint)
        self.model.geom_group[self.model.geom_rgba[:, 3] == 0.0] = _HIDDEN_GROUP
        FilamentScene._count += 1
        self.number = FilamentScene._count
        weakref.finalize(self, GRAPHICS.later, _forget, self.number)

    def load(self) -> dict[str, Any]:
        """Return what Filament has of this scene, uploaded if it is not the one that was drawn last."""
        from mujoco import mjrf

        if _loaded.get("number") != self.number:
            _forget()
            resources = mjrf.ModelResources(_context, self.model)
            scene = _context.create_scene(mjrf.SceneParams())
            scene.configure_from_model(self.model)
            lights = mjrf.ModelLights(scene, resources)
            things = mjrf.ModelRenderables(scene, resources)
            things.set_options(mujoco.MjvOption())
            _loaded.update(resources=resources, scene=scene, lights=lights, things=things, number=self.number)
        return _loaded


class FilamentRenderer:
    """Draws pictures of one size with Filament.

    Args:
        height: picture height, pixels.
        width: picture width, pixels.
        backend: anything but "" skips the trial in another process.

    Raises:
        RendererUnavailable: Filament does not start here; the message says why and what to do.
    """

    driver = "Filament through Vulkan"

    def __init__(self, height: int, width: int, backend: str = "") -> None:
        check_size(height, width)
        self.height, self.width = int(height), int(width)
        if not backend:
            require("filament")
        try:
            GRAPHICS.call(_start)
        except Exception as error:  # bindings raise errors of many kinds
            raise RendererUnavailable(f"Filament does not start: {error}; {REMEDIES['filament']}") from error

    def prepare(self, model: mujoco.MjModel, appearance: Appearance = PLAIN) -> FilamentScene:
        """Return what `render` needs of a model."""
        return FilamentScene(model, appearance)

    def render(
        self,
        mesh: FilamentScene,
        data: mujoco.MjData,
        camera_id: int,
        rgb: np.ndarray | None = None,
        depth: np.ndarray | None = None,
        ids: np.ndarray | None = None,
    ) -> None:
        """Draw what a camera of the model sees, into the arrays that are given; as `Raster.render`."""
        if not 0 <= camera_id < mesh.model.ncam:
            raise ValueError(f"camera {camera_id} does not exist; the model has {mesh.model.ncam} cameras")
        check_pictures(self.height, self.width, rgb, depth, ids)
        GRAPHICS.call(self._draw, mesh, data, camera_id, rgb, depth, ids)

    def _draw(
        self,
        mesh: FilamentScene,
        data: mujoco.MjData,
        camera_id: int,
        rgb: np.ndarray | None,
        depth: np.ndarray | None,
        ids: np.ndarray | None,
    ) -> None:
        from mujoco import mjrf

        kept = mesh.load()
        kept["lights"].update(data)
        kept["things"].update(data)
        camera = _camera(mesh.model, data, camera_id)
        modes, formats = mjrf.DrawMode, mjrf.PixelFormat
        if rgb is not None:
            self._read(kept, camera, modes.DRAW_MODE_DEFAULT, formats.PIXEL_FORMAT_RGB8, rgb)
            if not np.all(mesh.filter == 1.0):
                rgb[:] = np.minimum(rgb * mesh.filter, 255.0)
        if ids is not None:
            colours = np.zeros((self.height, self.width, 3), np.uint8)
            mode = modes.DRAW_MODE_SEGMENTATION_BY_ID
            self._read(kept, camera, mode, formats.PIXEL_FORMAT_RGB8, colours)
            ids[:] = colours.astype(np.int32) @ np.array([1, 256, 65536], np.int32) - 1
        if depth is not None:
            self._read(kept, camera, modes.DRAW_MODE_DEPTH, formats.PIXEL_FORMAT_R32F, depth)
            with np.errstate(divide="ignore"):  # it is near plane / metres, 0 where nothing is seen
                depth[:] = np.where(depth > 0.0, camera.frustum_near / depth, 0.0)

    def _read(
        self, kept: dict[str, Any], camera: Any, mode: Any, pixel_format: Any, picture: np.ndarray
    ) -> None:
        """Draw one kind of picture into an array."""
        from mujoco import mjrf

        key = f"target of {int(pixel_format)}, {self.height} x {self.width}"
        if key not in kept:
            kept[key] = _context.create_render_target(mjrf.RenderTargetConfig(color_format=pixel_format))
            kept[key].resize(self.width, self.height)
        target = kept[key]
        request = mjrf.RenderRequest()
        request.scene, request.target, request.camera = kept["scene"], target, camera
        request.draw_mode = mode
        request.viewport.left, request.viewport.bottom = 0, 0
        request.viewport.width, request.viewport.height = self.width, self.height
        request.post_processing = mode == mjrf.DrawMode.DRAW_MODE_DEFAULT
        reading = mjrf.ReadRequest(target=target)
        buffer = np.ascontiguousarray(picture)
        reading.set_buffer(buffer)
        _context.wait_for_frame(_context.render([request], [reading]))
        if buffer is not picture:
            picture[:] = buffer


def _camera(model: mujoco.MjModel, data: mujoco.MjData, camera_id: int) -> Any:
    """Return a camera of the model as Filament takes it."""
    from mujoco import mjrf

    camera = mujoco.MjvCamera()
    camera.type, camera.fixedcamid = int(mujoco.mjtCamera.mjCAMERA_FIXED), camera_id
    seen = mujoco.mjv_camera2GLCamera(model, data, camera)
    return mjrf.Camera(
        pos=seen.pos,
        forward=seen.forward,
        up=seen.up,
        frustum_bottom=seen.frustum_bottom,
        frustum_top=seen.frustum_top,
        frustum_near=seen.frustum_near,
        frustum_far=seen.frustum_far,
    )
