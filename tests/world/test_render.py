"""Renderers by name and free cameras."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import mujoco
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import scenes

from safevla.types import Knobs
from safevla.world.raster import Raster, RasterMesh
from safevla.world.render import Renderer, look_at, make_renderer, render_free, render_top, render_two
from safevla.world.simulator import HousePool


def test_the_default_renderer_is_built_by_name():
    renderer = make_renderer("raster", 24, 32)
    assert isinstance(renderer, Renderer)
    model, data = scenes.shapes(2)
    rgb = np.zeros((24, 32, 3), np.uint8)
    renderer.render(renderer.prepare(model), data, 0, rgb=rgb)
    assert len(np.unique(rgb)) > 5


@pytest.mark.parametrize("name", ["rastr", "Raster", "pyrender", ""])
def test_unknown_renderers_are_refused_with_the_nearest_name(name):
    with pytest.raises(ValueError, match=r"no renderer .*raster"):
        make_renderer(name, 24, 32)


@pytest.mark.parametrize("target", [(1.0, 2.0, 0.5), (0.0, 0.0, -3.0), (0.0, 0.0, 5.0), (-2.0, 0.1, 0.0)])
def test_look_at_is_a_rotation_toward_the_target(target):
    rotation = look_at((0.0, 0.0, 1.0), target)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    ahead = np.subtract(target, (0.0, 0.0, 1.0))
    np.testing.assert_allclose(-rotation[:, 2], ahead / np.linalg.norm(ahead), atol=1e-12)
    assert rotation[2, 1] >= -1e-12


def test_look_at_needs_two_points():
    with pytest.raises(ValueError, match="move one"):
        look_at((1.0, 1.0, 1.0), (1.0, 1.0, 1.0))


def test_the_ceiling_can_be_taken_off():
    model, data = scenes.shapes(1)
    mesh = RasterMesh.from_model(model)
    closed = render_free(mesh, data, (0, 0, 7), (0, 0, 0), 30, 40, 40)
    opened = render_free(mesh, data, (0, 0, 7), (0, 0, 0), 30, 40, 40, hide_ceiling=True)
    assert len(np.unique(closed.reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(opened.reshape(-1, 3), axis=0)) > 5


def test_the_view_from_above_holds_the_whole_home_upright():
    model, data = scenes.shapes(0)
    scene = SimpleNamespace(model=model, bounds=(-3.1, -3.1, 3.1, 3.1))
    east = int(np.flatnonzero(model.geom_pos[:, 0] == 3.05)[0])
    north = int(np.flatnonzero(model.geom_pos[:, 1] == 3.05)[0])
    model.geom_rgba[east] = (1.0, 0.0, 0.0, 1.0)
    model.geom_rgba[north] = (0.0, 0.0, 1.0, 1.0)
    picture = render_top(scene, data, 100, 100).astype(int)
    red = np.argwhere(picture[..., 0] - picture[..., 1] > 100)
    blue = np.argwhere(picture[..., 2] - picture[..., 1] > 100)
    assert len(red) > 50 and len(blue) > 50
    assert red[:, 1].min() > 80 and red[:, 1].max() < 99, "large x is on the right, and inside of the picture"
    assert blue[:, 0].min() > 0 and blue[:, 0].max() < 20, "large y is at the top, and inside of the picture"
    wide = render_top(scene, data, 60, 180)
    assert wide.shape == (60, 180, 3)


class OneByOne:
    """A renderer that draws one picture a call."""

    def __init__(self, height, width):
        self.height, self.width, self._raster = height, width, Raster(height, width)

    def prepare(self, model, appearance=None):
        return self._raster.prepare(model)

    def render(self, mesh, data, camera_id, rgb=None, depth=None, ids=None):
        self._raster.render(mesh, data, camera_id, rgb=rgb, depth=depth, ids=ids)


def test_two_pictures_in_one_go_are_those_drawn_one_by_one():
    settled = HousePool().get(3, "S", "train", Knobs())
    scene, pictures = settled.scene, []
    data = mujoco.MjData(scene.model)
    mujoco.mj_copyData(data, scene.model, settled.data)
    x0, y0, x1, y1 = scene.bounds
    data.qpos[scene.robot.qpos[:2]] = (x0 + x1) / 2, (y0 + y1) / 2
    mujoco.mj_forward(scene.model, data)
    for renderer in (Raster(48, 64), OneByOne(48, 64)):
        rgb = (np.zeros((48, 64, 3), np.uint8), np.zeros((48, 64, 3), np.uint8))
        depth, ids = np.zeros((2, 48, 64), np.float32), np.zeros((2, 48, 64), np.int32)
        mesh = renderer.prepare(scene.model)
        render_two(renderer, mesh, data, scene.robot.cameras, rgb, depth, ids)
        only_ids = np.zeros_like(ids)
        render_two(renderer, mesh, data, scene.robot.cameras, ids=only_ids)
        np.testing.assert_array_equal(only_ids, ids)
        pictures.append((*rgb, depth, ids))
    for one, other in zip(*pictures, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(np.unique(pictures[0][3])) > 5 and not np.array_equal(*pictures[0][:2])


def test_two_pictures_have_to_have_the_right_size():
    model, data = scenes.shapes(2)
    renderer, wrong = Raster(48, 64), np.zeros((2, 32, 32), np.int32)
    with pytest.raises(ValueError, match="this renderer writes"):
        renderer.render_two(renderer.prepare(model), data, (0, 0), ids=wrong)
