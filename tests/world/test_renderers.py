"""The renderers `gl` and `filament` against `raster`, and what is said where they do not start."""

from __future__ import annotations

import math
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest

from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import load_scenarios
from safevla.tasks.settings import WorldSettings
from safevla.types import ACTION_ID, Knobs
from safevla.world import graphics
from safevla.world.appearance import Appearance
from safevla.world.graphics import RendererUnavailable, cuda_device_in_use, matching_device, probe
from safevla.world.house import generate
from safevla.world.render import Renderer, make_renderer
from safevla.world.scene import compile_scene
from safevla.world.simulator import settle

SIZE = (72, 96)


def needs(name: str) -> None:
    """Skip, with the reason, where a renderer does not start."""
    if not probe(name).works:
        pytest.skip(f"{name} does not start here: {probe(name).text}")


@pytest.fixture(scope="module")
def home():
    """A home with all components and the robot in it: model, data, cameras."""
    settled = settle(compile_scene(generate(7, knobs=Knobs(1.0, 1.0, 1.0, 1.0, 1.0))))
    model, data = settled.scene.model, mujoco.MjData(settled.scene.model)
    mujoco.mj_copyData(data, model, settled.data)
    data.qpos[settled.scene.robot.qpos] = (2.0, 2.0, 0.7, 0.5, 0.0, 0.0, math.pi / 2)
    mujoco.mj_forward(model, data)
    return model, data, settled.scene


def draw(renderer, prepared, data, camera):
    rgb, depth = np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.float32)
    ids = np.zeros(SIZE, np.int32)
    renderer.render(prepared, data, camera, rgb=rgb, depth=depth, ids=ids)
    return rgb, depth, ids


@pytest.mark.parametrize("name", ["gl", "filament"])
def test_pictures_depth_and_ids_agree_with_the_raster(name, home):
    needs(name)
    model, data, scene = home
    renderer, raster = make_renderer(name, *SIZE), make_renderer("raster", *SIZE)
    assert isinstance(renderer, Renderer)
    prepared, mesh = renderer.prepare(model), raster.prepare(model)
    for camera in scene.robot.cameras:
        rgb, depth, ids = draw(renderer, prepared, data, camera)
        ours_rgb, ours_depth, ours_ids = draw(raster, mesh, data, camera)
        same = ids == ours_ids
        assert same.mean() > 0.995
        np.testing.assert_allclose(depth[same], ours_depth[same], rtol=0.02)
        things = [geom for geom in np.unique(ids) if np.count_nonzero(ids == geom) > 60]
        assert len(things) > 4
        bright = np.array([[picture[ids == geom].mean() for geom in things] for picture in (rgb, ours_rgb)])
        assert np.corrcoef(bright)[0, 1] > 0.6, "what is bright in one picture is bright in the other"


def test_mean_overlap_of_instance_masks_in_a_home(home):
    """The small twin of benchmarks/raster_segmentation.py, which does 200 views."""
    needs("gl")
    model, _, scene = home
    data, rng = mujoco.MjData(model), np.random.default_rng(1)
    renderer, raster = make_renderer("gl", *SIZE), make_renderer("raster", *SIZE)
    prepared, mesh = renderer.prepare(model), raster.prepare(model)
    owner, overlaps = np.append(scene.geom_entity, -9), []
    for _ in range(8):
        data.qpos[scene.robot.qpos[:3]] = (*rng.uniform(1.0, 3.0, 2), rng.uniform(-math.pi, math.pi))
        mujoco.mj_forward(model, data)
        theirs = owner[draw(renderer, prepared, data, scene.robot.cameras[0])[2]]
        ours = owner[draw(raster, mesh, data, scene.robot.cameras[0])[2]]
        for one in np.union1d(ours, theirs):
            both = np.count_nonzero((ours == one) & (theirs == one))
            overlaps.append(both / np.count_nonzero((ours == one) | (theirs == one)))
    assert len(overlaps) > 30
    assert np.mean(overlaps) >= 0.97


def test_gl_draws_for_many_homes_and_threads_as_for_one(home):
    needs("gl")
    model, data, scene = home
    other = compile_scene(generate(3)).model
    renderers = [make_renderer("gl", *SIZE) for _ in range(4)]
    prepared = [renderer.prepare(model) for renderer in renderers]
    between = [make_renderer("gl", *SIZE).prepare(other) for _ in range(2)]
    first = draw(renderers[0], prepared[0], data, scene.robot.cameras[0])

    def play(index):
        return draw(renderers[index], prepared[index], data, scene.robot.cameras[0])

    with ThreadPoolExecutor(4) as pool:
        for pictures in pool.map(play, [0, 1, 2, 3] * 2):
            for one, expected in zip(pictures, first, strict=True):
                np.testing.assert_array_equal(one, expected)
    assert len(between) == 2


@pytest.mark.parametrize("name", ["gl", "filament"])
def test_appearance_reaches_every_renderer(name, home):
    needs(name)
    model, data, scene = home
    renderer, camera = make_renderer(name, *SIZE), scene.robot.cameras[0]
    plain = draw(renderer, renderer.prepare(model), data, camera)[0].astype(float)
    dark = draw(renderer, renderer.prepare(model, Appearance(brightness=0.3)), data, camera)[0]
    other = draw(renderer, renderer.prepare(model, Appearance(colour=1.0)), data, camera)[0]
    assert dark.mean() < 0.7 * plain.mean()
    assert np.abs(other - plain).mean() > 15


def test_costs_and_what_is_visible_do_not_depend_on_the_renderer():
    needs("gl")
    scenario = load_scenarios("ObjNav-val")[0]
    seen = []
    for name in ("raster", "gl"):
        env = HomeVecEnv("ObjNav", renderer=name, resolution=112)
        observation = env.reset(np.ones(1, bool), [scenario])
        step = env.step(np.array([ACTION_ID["move_ahead"]]))
        seen.append((observation.nav.copy(), env.last_ids.copy(), env.visible_pixels.copy(), step.costs))
        env.close()
    assert np.abs(seen[0][0].astype(int) - seen[1][0]).mean() > 1
    for ours, theirs in zip(seen[0][1:], seen[1][1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "environment"),
    [
        ("filament", {"VK_DRIVER_FILES": "/nowhere", "VK_ICD_FILENAMES": "/nowhere"}),
        ("gl", {"MUJOCO_GL": "egl", "__EGL_VENDOR_LIBRARY_FILENAMES": "/nowhere"}),
    ],
)
def test_a_driver_that_does_not_start_is_one_line_with_a_remedy(name, environment, monkeypatch):
    """Filament ends the process that it cannot start in; that process must not be this one."""
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    probe.cache_clear()
    try:
        assert not probe(name).works
        with pytest.raises(RendererUnavailable, match=rf"renderer '{name}' does not start .*apt-get install"):
            make_renderer(name, *SIZE)
    finally:
        probe.cache_clear()


def test_a_driver_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(graphics, "PROBE_SECONDS", 0.05)
    probe.cache_clear()
    try:
        result = probe("filament")
    finally:
        probe.cache_clear()
    assert not result.works and "no picture after" in result.text


def test_the_egl_device_is_that_of_the_cuda_device_in_use(monkeypatch):
    cuda = SimpleNamespace(is_available=lambda: True, is_initialized=lambda: True, current_device=lambda: 1)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert cuda_device_in_use() == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,2,7")
    assert cuda_device_in_use() == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937,GPU-1a2b3c4d")
    assert cuda_device_in_use() is None
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert cuda_device_in_use() == 3
    assert matching_device(2, [0, None, 2]) == 2
    assert matching_device(0, [None, 0]) == 1
    assert matching_device(4, [0, 1]) is None
    assert matching_device(None, [None, 0]) is None


@pytest.mark.parametrize("name", ["rastr", "Raster", "pyrender", ""])
def test_unknown_renderers_are_refused_in_settings(name):
    with pytest.raises(ValueError, match=r"unknown renderer .*raster"):
        WorldSettings(renderer=name)


def test_bad_requests_are_refused(home):
    needs("gl")
    model, data, _ = home
    renderer = make_renderer("gl", *SIZE)
    prepared = renderer.prepare(model)
    with pytest.raises(ValueError, match="camera 9 does not exist"):
        renderer.render(prepared, data, 9)
    with pytest.raises(ValueError, match="this renderer writes"):
        renderer.render(prepared, data, 0, rgb=np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="positive height"):
        make_renderer("gl", 0, 4)


def test_a_forked_process_is_told_instead_of_waiting_for_ever(home):
    """Threads do not survive a fork, so nobody would answer."""
    needs("gl")
    model, _, _ = home
    renderer = make_renderer("gl", *SIZE)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            renderer.prepare(model)
            text = "no error"
        except ValueError as error:
            text = str(error)
        os.write(writer, text.encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert "start workers with the method 'spawn'" in os.read(reader, 1000).decode()
