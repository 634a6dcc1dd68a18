"""Colours, materials and light of a home, changed without compiling it again."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest

from safevla.world.appearance import PLAIN, Appearance, lit, painted, surface_colours
from safevla.world.house import generate
from safevla.world.raster import Raster
from safevla.world.scene import compile_scene

SIZE = (60, 80)


@pytest.fixture(scope="module")
def home():
    scene = compile_scene(generate(7))
    data = mujoco.MjData(scene.model)
    data.qpos[scene.robot.qpos] = (2.0, 2.0, 0.7, 0.5, 0.0, 0.0, math.pi / 2)
    mujoco.mj_forward(scene.model, data)
    return scene, data


def picture(home, appearance):
    scene, data = home
    raster, rgb, ids = Raster(*SIZE), np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE, np.int32)
    raster.render(raster.prepare(scene.model, appearance), data, scene.robot.cameras[0], rgb=rgb, ids=ids)
    return rgb, ids


def test_the_plain_appearance_changes_no_byte_and_copies_no_model(home):
    scene, data = home
    raster, rgb = Raster(*SIZE), np.zeros((*SIZE, 3), np.uint8)
    raster.render(raster.prepare(scene.model), data, scene.robot.cameras[0], rgb=rgb)
    np.testing.assert_array_equal(picture(home, PLAIN)[0], rgb)
    assert painted(scene.model, PLAIN) is scene.model
    assert Appearance(seed=9) != PLAIN
    np.testing.assert_array_equal(picture(home, Appearance(seed=9))[0], rgb)


def test_painting_leaves_the_model_its_physics_and_the_robot_alone(home):
    scene, _ = home
    before = scene.model.geom_rgba.copy()
    result = painted(scene.model, Appearance(seed=1, colour=1.0, material=1.0))
    np.testing.assert_array_equal(scene.model.geom_rgba, before)
    for name in ("geom_size", "geom_pos", "geom_friction", "geom_contype", "body_mass", "dof_damping"):
        np.testing.assert_array_equal(getattr(result, name), getattr(scene.model, name))
    robot = scene.robot.geoms
    np.testing.assert_array_equal(result.geom_rgba[robot], scene.model.geom_rgba[robot])
    np.testing.assert_array_equal(result.geom_rgba[:, 3], surface_colours(scene.model)[:, 3])
    assert np.any(result.geom_matid != scene.model.geom_matid)
    outside = np.ones(scene.model.ngeom, bool)
    outside[robot] = False
    seen = outside & (scene.model.geom_rgba[:, 3] > 0)
    assert np.mean(np.any(result.geom_rgba[seen] != scene.model.geom_rgba[seen], axis=1)) > 0.9


def test_what_has_one_colour_keeps_one_colour_and_seeds_differ(home):
    scene, _ = home
    model = scene.model
    first = painted(model, Appearance(seed=1, colour=1.0))
    again = painted(model, Appearance(seed=1, colour=1.0))
    other = painted(model, Appearance(seed=2, colour=1.0))
    np.testing.assert_array_equal(first.geom_rgba, again.geom_rgba)
    assert np.any(first.geom_rgba != other.geom_rgba)
    walls = np.flatnonzero(scene.geom_entity < 8)
    walls = walls[(scene.geom_entity[walls] >= 0)]
    assert len(np.unique(first.geom_rgba[walls], axis=0)) == 1


def test_half_the_strength_goes_half_the_way(home):
    model = home[0].model
    own = surface_colours(model)
    half = painted(model, Appearance(seed=3, colour=0.5)).geom_rgba
    whole = painted(model, Appearance(seed=3, colour=1.0)).geom_rgba
    np.testing.assert_allclose(half - own, (whole - own) / 2, atol=1e-6)


def test_light_changes_brightness_tint_and_shade_as_it_says(home):
    plain, ids = picture(home, PLAIN)
    seen = ids >= 0
    dark, _ = picture(home, Appearance(brightness=0.5))
    np.testing.assert_allclose(dark[seen].astype(float), plain[seen] / 2, atol=1.0)
    warm, _ = picture(home, Appearance(tint=(1.0, 1.0, 0.5)))
    np.testing.assert_array_equal(warm[seen][:, 0], plain[seen][:, 0])
    np.testing.assert_allclose(warm[seen][:, 2].astype(float), plain[seen][:, 2] / 2, atol=1.0)
    turned, _ = picture(home, Appearance(turn=math.pi))
    assert np.any(turned != plain)
    whole, _ = picture(home, Appearance(turn=2 * math.pi))
    assert np.abs(whole.astype(int) - plain).max() <= 1
    assert picture(home, Appearance(ambient=0.5))[0][seen].mean() < 0.85 * plain[seen].mean()


def test_lights_of_the_model_follow_the_same_rules(home):
    model = home[0].model
    result = lit(model, Appearance(brightness=0.5, tint=(1.0, 0.5, 0.25), turn=math.pi / 2))
    np.testing.assert_allclose(result.light_diffuse, model.light_diffuse * [0.5, 0.25, 0.125], rtol=1e-6)
    np.testing.assert_allclose(result.vis.headlight.ambient, model.vis.headlight.ambient * [0.5, 0.25, 0.125])
    x, y, z = model.light_dir[0]
    np.testing.assert_allclose(result.light_dir[0], (-y, x, z), atol=1e-9)
    assert model.vis.headlight.ambient[0] == pytest.approx(2 * result.vis.headlight.ambient[0])


@pytest.mark.parametrize(
    "fault",
    [{"colour": 1.5}, {"material": -0.1}, {"brightness": -1.0}, {"tint": (1.0, -1.0, 1.0)}, {"seed": -1}],
)
def test_impossible_appearances_are_refused(fault):
    with pytest.raises(ValueError, match="appearance: "):
        Appearance(**fault)
