import dataclasses

import mujoco
import numpy as np
import pytest

from safevla.tasks.colours import colour_name
from safevla.tasks.geometry import target_entities
from safevla.tasks.matching import matching_entities, true_descriptions
from safevla.types import Knobs
from safevla.world.appearance import surface_colours
from safevla.world.catalogue import TYPES
from safevla.world.raster import Raster, RasterMesh
from safevla.world.robot import FOLDED, joint_values
from safevla.world.simulator import Home, HousePool

POOL = HousePool(8)
HOMES = [POOL.get(seed, "S", "train", Knobs()) for seed in range(6)]


def placements(settled, target):
    """Yield entity and placement of each thing of a type, as the house was drawn."""
    spec = settled.scene.spec
    things = [item for item in (*spec.furniture, *spec.objects) if item.type == target]
    return zip(target_entities(settled.scene, target), things, strict=True)


def test_without_a_description_all_of_a_type_match():
    for target in ("mug", "chair"):
        found = matching_entities(HOMES[0], target)
        assert found.tolist() == target_entities(HOMES[0].scene, target).tolist()


def test_colours_are_those_of_the_palette_and_share_the_things_out():
    seen = set()
    for settled in HOMES:
        for target in ("mug", "vase", "apple"):
            for entity, placement in placements(settled, target):
                name = colour_name(TYPES[target].colours[placement.colour][0])
                assert entity in matching_entities(settled, target, f"colour:{name}")
                others = [
                    which for which in true_descriptions(settled, target) if which.startswith("colour:")
                ]
                assert sum(entity in matching_entities(settled, target, which) for which in others) == 1
                seen.add(name)
    assert len(seen) >= 4


def test_rooms_and_furniture_are_those_that_things_were_put_in():
    counted = 0
    for settled in HOMES:
        spec = settled.scene.spec
        for target in ("mug", "vase", "apple", "bowl"):
            for entity, placement in placements(settled, target):
                x, y, z = placement.position
                (room,) = [room for room in spec.rooms if room.holds(x, y)]
                assert entity in matching_entities(settled, target, f"in:{room.kind}")
                # Furniture with a surface just below it, that it stands over.
                near = [
                    item.type
                    for item in spec.furniture
                    for surface in TYPES[item.type].surfaces
                    if abs(item.position[2] + surface[2] * item.scale[2] - z) < 0.01
                    and np.hypot(x - item.position[0], y - item.position[1]) < max(surface[3:]) * 1.5
                ]
                if len(set(near)) == 1:
                    assert entity in matching_entities(settled, target, f"on:{near[0]}")
                    counted += 1
    assert counted >= 10


def test_small_and_big_need_a_clear_gap():
    settled = next(home for home in HOMES if len(target_entities(home.scene, "apple")) == 2)
    first, second = target_entities(settled.scene, "apple")

    def sized(factor):
        size = settled.scene.size.copy()
        size[first], size[second] = (0.1, 0.1, 0.1), (0.1 * factor, 0.1 * factor, 0.1 * factor)
        scene = dataclasses.replace(settled.scene, size=size, cache={})
        return dataclasses.replace(settled, scene=scene)

    for factor in (1.1, 0.9, 1.0):
        assert not any(which.startswith("size") for which in true_descriptions(sized(factor), "apple"))
    assert matching_entities(sized(1.2), "apple", "size:small").tolist() == [first]
    assert matching_entities(sized(1.2), "apple", "size:big").tolist() == [second]
    assert matching_entities(sized(0.8), "apple", "size:big").tolist() == [first]


def test_the_camera_sees_the_colour_that_is_named():
    """Most pixels of a thing that is called red are red, from wherever it is looked at."""
    raster, rng, shares = Raster(112, 112), np.random.default_rng(0), []
    ids = np.empty((112, 112), np.int32)
    for settled in HOMES:
        scene, home = settled.scene, Home()
        home.reset(settled, (-100.0, -100.0, 0.0))
        mesh, colours = RasterMesh.from_model(scene.model), surface_colours(scene.model)
        for target in ("mug", "vase", "apple", "sofa", "garbage_can"):
            for which, entities in true_descriptions(settled, target).items():
                if not which.startswith("colour:"):
                    continue
                for entity in entities:
                    look_at(home, int(entity), rng)
                    raster.render(mesh, home.data, scene.robot.cameras[0], ids=ids)
                    pixels = ids[(ids >= 0) & (scene.geom_entity[np.maximum(ids, 0)] == entity)]
                    if len(pixels) < 12:
                        continue
                    names = {geom: colour_name(colours[geom, :3]) for geom in np.unique(pixels)}
                    shares.append(np.mean([names[geom] == which.partition(":")[2] for geom in pixels]))
    assert len(shares) >= 15
    assert np.mean(np.array(shares) > 0.5) > 0.9


def look_at(home, entity, rng):
    """Put the robot 1 m from a thing, its nav camera turned to it, whatever else stands there."""
    geoms = np.flatnonzero(np.asarray(home.scene.geom_entity) == entity)
    goal, angle = home.data.geom_xpos[geoms, :2].mean(axis=0), rng.uniform(-np.pi, np.pi)
    x, y = goal - 1.0 * np.array([np.cos(angle), np.sin(angle)])
    home.data.qpos[home.scene.robot.qpos] = joint_values(x, y, angle, *FOLDED)
    mujoco.mj_kinematics(home.model, home.data)
    mujoco.mj_camlight(home.model, home.data)


def test_what_is_not_there_matches_nothing_and_nonsense_is_refused():
    assert len(matching_entities(HOMES[0], "mug", "in:bathroom")) == 0
    with pytest.raises(ValueError, match="unknown colour"):
        matching_entities(HOMES[0], "mug", "colour:mauve")
    with pytest.raises(ValueError, match="unknown target type"):
        matching_entities(HOMES[0], "mugg", "colour:red")
