"""The renderer `gl`: MuJoCo's own OpenGL pictures, with shadows, on a graphics card or in software."""

from __future__ import annotations

import importlib
import weakref
from typing import Any

import mujoco
import numpy as np

from safevla.world.appearance import PLAIN, Appearance, lit, painted
from safevla.world.graphics import GRAPHICS, RendererUnavailable, choose_egl_device, require
from safevla.world.pictures import check_pictures, check_size
from safevla.world.renderers import REMEDIES

_GEOM = int(mujoco.mjtObj.mjOBJ_GEOM)
_MAX_GEOMS = 10_000
_ROOM_FOR_PICTURES = 512  # pixels: the smallest off-screen buffer
# What is on the graphics card, by the number of its owner: a context of OpenGL, and MuJoCo's context in it.
# Each has one of its own, since MuJoCo's contexts disturb each other's shadows when they share one.
# Used by the graphics thread alone.
_kept: dict[int, tuple[Any, mujoco.MjrContext | None]] = {}
_DRIVER_QUESTION = 0  # number of the context that only says which driver it is


def _start(backend: str) -> str:
    """Start OpenGL in this process, if it has not been, and return the name of its driver."""
    if not _kept:
        if backend == "egl":
            choose_egl_device()
        GRAPHICS.at_end(_stop)
        _kept[_DRIVER_QUESTION] = (_new_context(backend), None)
    from OpenGL import GL

    _kept[_DRIVER_QUESTION][0].make_current()
    name = GL.glGetString(GL.GL_RENDERER)
    return name.decode() if name else "unknown driver"


def _new_context(backend: str) -> Any:
    context = importlib.import_module(f"mujoco.{backend}").GLContext(64, 64)
    context.make_current()
    return context


def _stop() -> None:
    for number in sorted(_kept, reverse=True):
        _free(number)


def _free(number: int) -> None:
    opengl, mujocos = _kept.pop(number, (None, None))
    if mujocos is not None:
        opengl.make_current()
        mujocos.free()
    if opengl is not None:
        opengl.free()


class GlScene:
    """A model on the graphics card. Made and used by the graphics thread; freed with its last owner."""

    _count = 0

    def __init__(
        self, model: mujoco.MjModel, appearance: Appearance, height: int, width: int, backend: str
    ) -> None:
        self.model = lit(painted(model, appearance), appearance)
        self.model.vis.global_.offheight = max(height, _ROOM_FOR_PICTURES)
        self.model.vis.global_.offwidth = max(width, _ROOM_FOR_PICTURES)
        GlScene._count += 1
        self.number = GlScene._count
        self.scene, self.context = GRAPHICS.call(self._upload, backend)
        weakref.finalize(self, GRAPHICS.later, _free, self.number)

    def make_current(self) -> None:
        """Let what is drawn now be drawn with this scene's context."""
        _kept[self.number][0].make_current()

    def _upload(self, backend: str) -> tuple[mujoco.MjvScene, mujoco.MjrContext]:
        opengl = _new_context(backend)
        scene = mujoco.MjvScene(self.model, _MAX_GEOMS)
        context = mujoco.MjrContext(self.model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
        context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        _kept[self.number] = (opengl, context)
        return scene, context


class GlRenderer:
    """Draws pictures of one size with OpenGL.

    Args:
        height: picture height, pixels.
        width: picture width, pixels.
        backend: "egl", "osmesa" or "glfw"; default, the one that was found to work.

    Raises:
        RendererUnavailable: OpenGL does not start here; the message says why and what to do.
    """

    def __init__(self, height: int, width: int, backend: str = "") -> None:
        check_size(height, width)
        self.height, self.width = int(height), int(width)
        self._backend = backend or require("gl").backend
        try:
            self.driver: str = GRAPHICS.call(_start, self._backend) + f" through {self._backend.upper()}"
        except Exception as error:  # bindings raise errors of many kinds
            raise RendererUnavailable(f"OpenGL does not start: {error}; {REMEDIES['gl']}") from error
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = int(mujoco.mjtCamera.mjCAMERA_FIXED)
        self._rgb = np.zeros((self.height, self.width, 3), np.uint8)
        self._depth = np.zeros((self.height, self.width), np.float32)

    def prepare(self, model: mujoco.MjModel, appearance: Appearance = PLAIN) -> GlScene:
        """Upload a model."""
        return GlScene(model, appearance, self.height, self.width, self._backend)

    def render(
        self,
        mesh: GlScene,
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
        mesh: GlScene,
        data: mujoco.MjData,
        camera_id: int,
        rgb: np.ndarray | None,
        depth: np.ndarray | None,
        ids: np.ndarray | None,
    ) -> None:
        mesh.make_current()
        scene, everything = mesh.scene, mujoco.mjtCatBit.mjCAT_ALL.value
        rectangle = mujoco.MjrRect(0, 0, self.width, self.height)
        self._camera.fixedcamid = camera_id
        mujoco.mjv_updateScene(mesh.model, data, self._option, None, self._camera, everything, scene)
        if rgb is not None:
            mujoco.mjr_render(rectangle, scene, mesh.context)
            mujoco.mjr_readPixels(self._rgb, None, rectangle, mesh.context)
            rgb[:] = self._rgb[::-1]
        if depth is None and ids is None:
            return
        flags = scene.flags.copy()
        scene.flags[int(mujoco.mjtRndFlag.mjRND_SEGMENT)] = True
        scene.flags[int(mujoco.mjtRndFlag.mjRND_IDCOLOR)] = True
        mujoco.mjr_render(rectangle, scene, mesh.context)
        mujoco.mjr_readPixels(self._rgb, self._depth, rectangle, mesh.context)
        np.copyto(scene.flags, flags)
        number = self._rgb[::-1].astype(np.int32) @ np.array([1, 256, 65536], np.int32)
        if ids is not None:
            ids[:] = _geoms_by_number(scene)[number]
        if depth is not None:
            depth[:] = np.where(number > 0, _metres(self._depth[::-1], mesh.model), 0.0)


def _geoms_by_number(scene: mujoco.MjvScene) -> np.ndarray:
    """Return the geom of each number that a segmentation shows; -1 for what is no geom of the model."""
    geoms = np.full(scene.ngeom + 1, -1, np.int32)
    for shown in scene.geoms[: scene.ngeom]:
        if shown.segid >= 0 and shown.objtype == _GEOM:
            geoms[shown.segid + 1] = shown.objid
    return geoms


def _metres(values: np.ndarray, model: mujoco.MjModel) -> np.ndarray:
    """Turn values of a reversed depth buffer (1 at the near plane, 0 at the far one) into metres."""
    near = model.vis.map.znear * model.stat.extent
    far = model.vis.map.zfar * model.stat.extent
    metres: np.ndarray = near * far / (near + values.astype(np.float64) * (far - near))
    return metres
