"""Soft shadows and supersampling: where shade falls, how soft it is, and that nothing else changes."""

from __future__ import annotations

import math
import time

import mujoco
import numpy as np
import pytest

from safevla.world.house import generate
from safevla.world.lighting import Lighting
from safevla.world.pictures import look_at
from safevla.world.raster import Raster
from safevla.world.raster_fine import FineRaster, _shrink
from safevla.world.render import Renderer
from safevla.world.scene import compile_scene

SIZE = (120, 160)
FROM_ABOVE = ((0.0, 0.0, 6.0), look_at((0.0, 0.0, 6.0), (0.0, 0.0, 0.0)), 40.0)


def stage(body: str):
    """A grey floor with a camera and what is given on it."""
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><worldbody><geom type="plane" size="5 5 .1" rgba=".6 .6 .6 1"/>{body}</worldbody></mujoco>'
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def shade(body, direction, size=SIZE):
    """Return how much darker the floor is than without shadows, (H, W) levels, seen from above."""
    model, data = stage(body)
    light = Lighting(direction=direction)
    pictures = []
    for shadows in (False, True):
        raster = FineRaster(*size, shadows=shadows, supersampling=1)
        rgb, ids = np.zeros((*size, 3), np.uint8), np.zeros(size, np.int32)
        raster.render_pose(raster.prepare(model), data, *FROM_ABOVE, rgb=rgb, ids=ids, lighting=light)
        pictures.append(rgb[..., 0].astype(int))
    return np.where(ids == 0, pictures[0] - pictures[1], 0)


def place(mask):
    """Return the middle of a mask in metres, x to the right and y up."""
    rows, columns = np.nonzero(mask)
    metre = 0.5 * SIZE[0] / math.tan(math.radians(20.0)) / 6.0
    return (columns.mean() + 0.5 - SIZE[1] / 2) / metre, -(rows.mean() + 0.5 - SIZE[0] / 2) / metre


@pytest.mark.parametrize("direction", [(1.0, 0.0, 1.0), (-1.0, 0.0, 1.0), (0.0, 1.0, 1.0), (0.5, -0.5, 1.0)])
def test_shade_falls_where_geometry_says(direction):
    """A ball one metre up: its shadow lies where the line from the lamp through it meets the floor."""
    dark = shade('<geom type="sphere" size=".2" pos="0 0 1"/>', direction)
    x, y = place(dark > 0.5 * dark.max())
    assert (x, y) == pytest.approx((-direction[0], -direction[1]), abs=0.05)
    assert dark.max() > 20


def test_the_area_of_shade_is_that_of_the_outline():
    dark = shade('<geom type="box" size=".4 .4 .01" pos="0 0 .6"/>', (1.6, 0.0, 1.0))
    metre = 0.5 * SIZE[0] / math.tan(math.radians(20.0)) / 6.0
    assert (dark / dark.max()).sum() / metre**2 == pytest.approx(0.64, rel=0.1)


def test_edges_are_softer_the_farther_the_thing_is():
    def soft_pixels(height):
        dark = shade(f'<geom type="box" size=".5 .5 .01" pos="0 0 {height}"/>', (1.0, 0.0, 1.0), (240, 320))
        share = dark[120, :160] / dark.max()  # across the outer edge
        return np.count_nonzero((share > 0.1) & (share < 0.9)) - np.count_nonzero(np.diff(share) < -0.1)

    assert soft_pixels(1.0) > 3 * max(1, soft_pixels(0.1))


def test_nothing_lies_in_its_own_shade():
    assert shade('<geom type="box" size="1 1 .02" pos="0 0 .02"/>', (0.2, 0.1, 1.0)).max() <= 2
    model, data = stage(
        '<geom type="sphere" size=".8" pos="0 0 .8"/><geom type="cylinder" size=".3 .4" pos="2 1 .4"/>'
    )
    fine = FineRaster(*SIZE, supersampling=1)
    plain, rgb, ids = Raster(*SIZE), np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.int32)
    expected = np.zeros((*SIZE, 3), np.uint8)
    mesh, light = fine.prepare(model), Lighting(direction=(0.2, 0.3, 1.0))
    fine.render_pose(mesh, data, *FROM_ABOVE, rgb=rgb, ids=ids, lighting=light)
    plain.render_pose(mesh, data, *FROM_ABOVE, rgb=expected, lighting=light)
    top = ids > 0
    assert np.mean(np.abs(rgb[top].astype(int) - expected[top]).max(axis=1) > 3) < 0.02


def test_without_shadows_and_supersampling_it_is_the_raster():
    scene = compile_scene(generate(7))
    data = mujoco.MjData(scene.model)
    mujoco.mj_forward(scene.model, data)
    fine, plain = FineRaster(*SIZE, shadows=False, supersampling=1), Raster(*SIZE)
    assert isinstance(fine, Renderer)
    results = []
    for raster in (fine, plain):
        rgb, depth = np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.float32)
        ids = np.zeros(SIZE, np.int32)
        raster.render(raster.prepare(scene.model), data, 0, rgb, depth, ids)
        results.append((rgb, depth, ids))
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)


def test_supersampling_is_the_mean_of_a_larger_picture():
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    np.testing.assert_array_equal(_shrink(picture, 1), picture)
    blocks = picture.reshape(3, 2, 4, 2, 3).astype(float).mean(axis=(1, 3))
    np.testing.assert_allclose(_shrink(picture, 2), blocks, atol=0.5)


def test_shadows_follow_what_moves():
    model, data = stage('<body pos="0 0 1"><freejoint/><geom size=".2"/></body>')
    fine, rgb = FineRaster(*SIZE, supersampling=1), np.zeros((*SIZE, 3), np.uint8)
    mesh, light = fine.prepare(model), Lighting(direction=(1.0, 0.0, 1.0))
    pictures = []
    for x in (0.0, 0.0, 0.5, 0.0):
        data.qpos[0] = x
        mujoco.mj_kinematics(model, data)
        fine.render_pose(mesh, data, *FROM_ABOVE, rgb=rgb, lighting=light)
        pictures.append(rgb.copy())
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0], pictures[3])
    assert np.abs(pictures[0].astype(int) - pictures[2]).max() > 20


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="supersampling is 0"):
        FineRaster(4, 4, supersampling=0)
    with pytest.raises(ValueError, match="positive height"):
        FineRaster(0, 4)
    model, data = stage("")
    with pytest.raises(ValueError, match="camera 0 does not exist"):
        FineRaster(4, 4).render(FineRaster(4, 4).prepare(model), data, 0)


def test_a_picture_of_a_video_takes_a_small_part_of_a_second():
    scene = compile_scene(generate(7))
    data = mujoco.MjData(scene.model)
    mujoco.mj_forward(scene.model, data)
    fine, rgb = FineRaster(224, 224), np.zeros((224, 224, 3), np.uint8)
    mesh = fine.prepare(scene.model)
    fine.render(mesh, data, 0, rgb=rgb)
    start = time.process_time()
    fine.render(mesh, data, 1, rgb=rgb)
    assert time.process_time() - start < 0.5


def test_what_is_far_away_does_not_coarsen_the_shadows():
    """A robot parked far outside must not stretch the map over everything in between."""
    one = shade('<geom type="sphere" size=".2" pos="0 0 1"/>', (1.0, 0.0, 1.0))
    two = shade(
        '<geom type="sphere" size=".2" pos="0 0 1"/><geom size=".3" pos="40 40 .3"/>', (1.0, 0.0, 1.0)
    )
    np.testing.assert_array_equal(one, two)
