"""The maps of labels are what is counted by hand in ids and depth, and belong to their observation."""

import copy

import numpy as np
import pytest

from safevla.tasks.env import HomeVecEnv
from safevla.tasks.expert import Expert
from safevla.tasks.sampling import load_scenarios
from safevla.types import ACTION_ID, CHANNELS
from safevla.world.catalogue import CATEGORIES, TYPES, Hazard
from safevla.world.raster import Raster, RasterMesh
from safevla.world.simulator import HousePool

POOL = HousePool(8)
LEFT = ACTION_ID["turn_left_30"]


@pytest.fixture(scope="module")
def scenarios():
    return [load_scenarios(f"{task}-val")[7] for task in ("ObjNav", "PickUp")]


def make(**settings):
    return HomeVecEnv(("ObjNav", "PickUp"), 2, pool=POOL, **settings)


def blocks(seen, size):
    """Sum up (H, W) in blocks of size x size."""
    rows, columns = (side // size for side in seen.shape)
    return seen.reshape(rows, size, columns, size).sum((1, 3))


def by_hand(home, scenario, ids, depth):
    """Return (10, H/8, W/8) of one picture, from what the catalogue says of each thing in it."""
    scene = home.scene
    kinds = [TYPES[CATEGORIES[category]] if category >= 0 else None for category in scene.category]
    names = {
        geom: None if scene.geom_entity[geom] < 0 else kinds[scene.geom_entity[geom]]
        for geom in range(scene.model.ngeom)
    }
    bodies = [scene.model.body(body).name for body in scene.model.geom_bodyid]

    def where(asked):
        table = np.array([*map(asked, range(scene.model.ngeom)), False])  # the last for nothing at all
        return table[ids]

    cells = blocks(where(lambda geom: names[geom] is TYPES[scenario.target]), 4) >= 2
    metres = np.where(ids >= 0, np.clip(depth, 0.1, 12.0), 12.0)
    return np.stack(
        [
            *(cells[row::2, column::2] for row in (0, 1) for column in (0, 1)),
            blocks(np.log(metres)[::2, ::2], 4) / 16 / 2,
            blocks(where(lambda geom: scene.geom_entity[geom] == -1), 8) / 64,
            blocks(where(lambda geom: bool(names[geom] and names[geom].fragile)), 8) >= 3,
            blocks(where(lambda geom: bool(names[geom] and names[geom].hazard != Hazard.NONE)), 8) >= 3,
            blocks(where(lambda geom: bool(names[geom] and names[geom].movable)), 8) >= 3,
            blocks(where(lambda geom: bodies[geom] == "gripper"), 8) >= 3,
        ]
    )


def drive(env, scenarios):
    """Yield the observations of two episodes of the expert."""
    observation = env.reset(np.ones(2, bool), scenarios)
    experts = [Expert(home, scenario) for home, scenario in zip(env.homes, scenarios, strict=True)]
    playing = np.ones(2, bool)
    while playing.any():
        yield observation
        pixels = env.visible_pixels
        actions = np.array([expert.act(seen) for expert, seen in zip(experts, pixels, strict=True)])
        step = env.step(actions, playing)
        playing &= ~(step.terminated | step.truncated)
        observation = step.observation


@pytest.mark.parametrize(("size", "scale"), [(112, 1), ((64, 96), 1), (224, 2)])
def test_maps_are_what_is_counted_by_hand(scenarios, size, scale):
    env = make(resolution=size, labels=scale, depth=size == 112)
    height, width = env.resolution
    rasters = Raster(height, width)
    found = np.zeros((2, CHANNELS), bool)
    for observation in drive(env, scenarios):
        assert observation.maps.shape == (2, 2, CHANNELS, height // (8 * scale), width // (8 * scale))
        assert observation.maps.dtype == np.float16
        for index, home in enumerate(env.homes):
            for camera in range(2):
                if size == 112:
                    ids, depth = env.last_ids[index, camera], env.depth[index, camera]
                else:
                    ids, depth = np.empty((height, width), np.int32), np.empty((height, width), np.float32)
                    mesh = RasterMesh.from_model(home.scene.model)
                    rasters.render(mesh, home.data, home.scene.robot.cameras[camera], depth=depth, ids=ids)
                truth = by_hand(home, scenarios[index], ids[::scale, ::scale], depth[::scale, ::scale])
                np.testing.assert_allclose(observation.maps[index, camera], truth, atol=2e-3)
                found[camera] |= truth.any((1, 2))
    assert found[:, [0, 4, 5, 6, 8]].all() and found[1, 9], "too little was seen for a test"


def test_what_was_handed_out_never_changes(scenarios):
    env = make(labels=True, num_threads=2)
    first = env.reset(np.ones(2, bool), scenarios)
    before = copy.deepcopy(first.maps)
    second = env.step(np.array([LEFT, LEFT]), np.array([True, False])).observation
    np.testing.assert_array_equal(first.maps, before)
    assert (second.maps[0] != before[0]).any()
    np.testing.assert_array_equal(second.maps[1], before[1])
    third = env.reset(np.array([True, False]), scenarios[:1])
    np.testing.assert_array_equal(third.maps, before)


def test_labels_change_nothing_else(scenarios):
    told, plain = (next(drive(make(labels=labels), scenarios)) for labels in (True, False))
    assert plain.maps is None
    for name in ("nav", "manip", "holding", "joints"):
        np.testing.assert_array_equal(getattr(told, name), getattr(plain, name))
    with pytest.raises(ValueError, match="multiples of 8 pixels, not 100 x 100"):
        make(resolution=100, labels=True)
