"""Homes of class S in one layout for `mujoco.batch`: alike to MuJoCo, and the same homes."""

import mujoco
import numpy as np
import pytest
from mujoco import batch

from safevla.tasks.sampling import load_scenarios
from safevla.types import Knobs
from safevla.world.house import SPLITS, generate
from safevla.world.scene import compile_scene
from safevla.world.simulator import Home, settle

MOTIONS = (0, 0, 0, 2, 4, 6, 10, 11)  # ahead above all, turns, arm and lift
ALL = Knobs(1.0, 1.0, 1.0, 1.0, 1.0)


def _homes(count: int):
    return [generate(seed, "S", SPLITS[seed % 3], ALL if seed % 2 else Knobs()) for seed in range(count)]


def test_mujoco_steps_64_homes_of_class_s_as_one_batch():
    models = [compile_scene(spec, uniform=True).model for spec in _homes(64)]
    simulations = batch.Batch(models[0], len(models), 1, persistent=True)
    simulations.set_models(models)
    simulations.reset()
    simulations.step(nstep=4)
    for index in (0, 1, 63):
        data = mujoco.MjData(models[index])
        for _ in range(4):
            mujoco.mj_step(models[index], data)
        np.testing.assert_array_equal(simulations.bind("qpos")[index], data.qpos)
    assert np.abs(models[0].geom_pos - models[1].geom_pos).max() > 1.0  # they are different homes


def test_without_it_their_layouts_differ():
    models = [compile_scene(spec).model for spec in _homes(2)]
    simulations = batch.Batch(models[0], 2, 1, persistent=True)
    with pytest.raises(mujoco.FatalError, match="layout"):
        simulations.set_models(models)


@pytest.mark.parametrize("number", [2, 12])
def test_what_happens_in_a_home_is_the_same_to_the_bit(number: int):
    """Random motions that push things; parked things are left out, their middles differ by millimetres."""
    scenario = load_scenarios("Fetch-val")[number]
    spec = generate(scenario.house_seed, "S", scenario.split, scenario.knobs)
    homes = [Home(), Home()]
    for home, uniform in zip(homes, (False, True), strict=True):
        home.reset(settle(compile_scene(spec, uniform=uniform)), scenario.start)
    scene, first = homes[0].scene, homes[0].data.xpos.copy()
    things = scene.body[scene.present & scene.movable]
    kept = np.concatenate([scene.robot.bodies, things])
    for action in np.random.default_rng(number).choice(MOTIONS, 200).tolist():
        records = [home.act(action) for home in homes]
        for name in ("xpos", "xquat", "cvel"):
            np.testing.assert_array_equal(*(getattr(home.data, name)[kept] for home in homes))
        for name in ("contact_force", "damage_impulse", "supported", "broken"):
            np.testing.assert_array_equal(*(getattr(record, name) for record in records))
    assert np.abs(homes[0].data.xpos - first)[things].max() > 0.01  # the robot did push something
