"""Graphics drivers: the thread that owns them, the device that is chosen, and whether one starts at all.

A driver can fail by ending the process, so it is tried in another process first. What a driver makes may only
be touched by the thread that made it, so one thread makes, uses and frees everything.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from safevla.world.renderers import REMEDIES

PROBE_SECONDS = 60.0  # a driver that has not drawn a picture by then hangs
GL_BACKENDS = ("egl", "osmesa")
_CUDA_DEVICE_OF_EGL = 0x323A  # EGL_CUDA_DEVICE_NV


class RendererUnavailable(ValueError):
    """A renderer does not start on this machine; the message says why and what to do."""


class GraphicsThread:
    """A thread that makes, uses and frees what belongs to a graphics driver.

    It ends after the main thread does, having called what was given to `at_end`, last in first out.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Callable, tuple, Future | None]] = queue.SimpleQueue()
        self._endings: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._lock = threading.Lock()

    def call(self, function: Callable, *arguments: Any) -> Any:
        """Call a function on the thread and return, or raise, what it does."""
        if self._thread is not None and self._process != os.getpid():
            raise RendererUnavailable(
                "this process was forked from one that has started a graphics driver; "
                "start workers with the method 'spawn', as safevla does"
            )
        with self._lock:
            if self._thread is None:
                self._process = os.getpid()
                self._thread = threading.Thread(target=self._run, name="graphics", daemon=False)
                self._thread.start()
        future: Future = Future()
        self._jobs.put((function, arguments, future))
        return future.result()

    def later(self, function: Callable, *arguments: Any) -> None:
        """Call a function on the thread some time; safe in a finalizer."""
        self._jobs.put((function, arguments, None))

    def at_end(self, function: Callable[[], None]) -> None:
        """Call a function on the thread when the program ends."""
        self._endings.append(function)

    def _run(self) -> None:
        while True:
            try:
                function, arguments, future = self._jobs.get(timeout=0.2)
            except queue.Empty:
                if threading.main_thread().is_alive():
                    continue
                break
            try:
                result = function(*arguments)
            except BaseException as error:
                traceback.clear_frames(error.__traceback__)  # else it keeps what only this thread may free
                if future is not None:
                    future.set_exception(error)
            else:
                if future is not None:
                    future.set_result(result)
        for ending in reversed(self._endings):
            ending()


GRAPHICS = GraphicsThread()


def cuda_device_in_use() -> int | None:
    """Return the number of the CUDA device that PyTorch computes on, counted without CUDA_VISIBLE_DEVICES.

    None where PyTorch uses none, or where the environment names devices by other than numbers.
    """
    torch = sys.modules.get("torch")
    current = None
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        current = int(torch.cuda.current_device())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return current
    numbers = visible.split(",")
    index = current or 0
    return int(numbers[index]) if index < len(numbers) and numbers[index].strip().isdigit() else None


def matching_device(cuda: int | None, devices: Sequence[int | None]) -> int | None:
    """Return which EGL device draws on a CUDA device, given the CUDA number of each; None if none does."""
    return devices.index(cuda) if cuda is not None and cuda in devices else None


def choose_egl_device() -> None:
    """Let MuJoCo draw on the CUDA device in use. MUJOCO_EGL_DEVICE_ID wins; without CUDA nothing changes."""
    if "MUJOCO_EGL_DEVICE_ID" in os.environ:
        return
    cuda = cuda_device_in_use()
    if cuda is None:
        return
    device = matching_device(cuda, _cuda_devices_of_egl())
    if device is not None:
        os.environ["MUJOCO_EGL_DEVICE_ID"] = str(device)


def _cuda_devices_of_egl() -> list[int | None]:
    """Return the number of the CUDA device behind each EGL device, None for one without CUDA."""
    import ctypes

    from mujoco.egl import egl_ext as egl

    address = egl.eglGetProcAddress("eglQueryDeviceAttribEXT")
    if not address:
        return []
    prototype = ctypes.CFUNCTYPE(
        ctypes.c_uint, ctypes.c_void_p, ctypes.c_int32, ctypes.POINTER(ctypes.c_ssize_t)
    )
    query = prototype(ctypes.cast(address, ctypes.c_void_p).value or 0)
    numbers: list[int | None] = []
    for device in egl.eglQueryDevicesEXT():
        value = ctypes.c_ssize_t(-1)
        found = query(ctypes.cast(device, ctypes.c_void_p), _CUDA_DEVICE_OF_EGL, ctypes.byref(value))
        numbers.append(int(value.value) if found and value.value >= 0 else None)
    return numbers


# ---------------------------------------------------------------------- does it start


@dataclass(frozen=True)
class Probe:
    """Whether a renderer draws here: its backend and driver, or why it does not."""

    works: bool
    backend: str
    text: str


@functools.cache
def probe(name: str) -> Probe:
    """Try the renderer `gl` or `filament` in another process, so that no driver takes this one down."""
    if name == "filament":
        return _try("filament", "")
    if importlib.util.find_spec("OpenGL") is None:
        return Probe(False, "", "PyOpenGL is not installed; pip install PyOpenGL")
    asked = os.environ.get("MUJOCO_GL", "").lower().strip()
    backends = (asked,) if asked in (*GL_BACKENDS, "glfw") else GL_BACKENDS
    reasons = []
    for backend in backends:
        result = _try("gl", backend)
        if result.works:
            return result
        reasons.append(f"{backend}: {result.text}")
    return Probe(False, "", "; ".join(reasons))


def require(name: str) -> Probe:
    """Return the probe of a renderer that works; one that does not raises RendererUnavailable."""
    result = probe(name)
    if not result.works:
        raise RendererUnavailable(
            f"the renderer '{name}' does not start here ({result.text}); {REMEDIES[name]}"
        )
    return result


def _try(name: str, backend: str) -> Probe:
    environment = dict(os.environ)
    if backend:
        environment["MUJOCO_GL"] = backend
        environment.pop("PYOPENGL_PLATFORM", None)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "safevla.world.graphics", name, backend],
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Probe(False, backend, f"no picture after {PROBE_SECONDS:.0f} s")
    lines = [line.strip() for line in result.stdout.splitlines() if line.startswith("DRAWN ")]
    if lines:
        return Probe(True, backend, lines[-1].removeprefix("DRAWN "))
    return Probe(False, backend, _reason(result))


def _reason(result: subprocess.CompletedProcess[str]) -> str:
    """Return the line that says most about why a process drew nothing."""
    lines = [line.strip() for line in (result.stdout + "\n" + result.stderr).splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("FAILED ", "reason:")) or "ailed" in line]
    text = telling[0].removeprefix("FAILED ") if telling else (lines[-1] if lines else "no message")
    ended = (
        f", the driver ended the process with status {result.returncode}" if result.returncode != 3 else ""
    )
    return text[:200] + ended


_PROBE_MODEL = """
<mujoco><worldbody><light pos="0 0 3" dir="0 0 -1" type="directional"/><camera pos="0 0 3"/>
<geom size=".8" rgba="1 0 0 1"/></worldbody></mujoco>
"""


def _main(name: str, backend: str) -> int:
    """Draw one picture and say by which driver; a wrong picture is a failure."""
    import mujoco
    import numpy as np

    from safevla.world.renderers import RENDERERS

    module, _, kind = RENDERERS[name].partition(":")
    try:
        model = mujoco.MjModel.from_xml_string(_PROBE_MODEL)
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        renderer = getattr(importlib.import_module(module), kind)(48, 64, backend=backend or "probed")
        rgb = np.zeros((48, 64, 3), np.uint8)
        depth, ids = np.zeros((48, 64), np.float32), np.zeros((48, 64), np.int32)
        renderer.render(renderer.prepare(model), data, 0, rgb=rgb, depth=depth, ids=ids)
    except RendererUnavailable as error:
        print(f"FAILED {str(error).partition('; ')[0]}")
        return 3
    except Exception as error:
        print(f"FAILED {type(error).__name__}: {' '.join(str(error).split())}")
        return 3
    red, green, _ = rgb[24, 32].astype(int)
    if red < 60 or green > red / 2 or ids[24, 32] != 0 or abs(depth[24, 32] - 2.2) > 0.05:
        print(f"FAILED its picture is wrong: {rgb[24, 32]}, geom {ids[24, 32]}, depth {depth[24, 32]:.3f} m")
        return 3
    print(f"DRAWN {renderer.driver}")
    return 0


if __name__ == "__main__":
    # through the import, so that there is one graphics thread and one set of classes
    sys.exit(importlib.import_module("safevla.world.graphics")._main(sys.argv[1], sys.argv[2]))
