import dataclasses
import gc
import platform
import resource
from pathlib import Path

import mujoco
import numpy as np
import pytest

from safevla.types import Knobs
from safevla.world.catalogue import CATEGORIES, TYPES
from safevla.world.contacts import FLOOR, OTHER, ROBOT
from safevla.world.house import SLOTS, generate
from safevla.world.scene import ARENA, Scene, compile_scene

ALL = Knobs(1.0, 1.0, 1.0, 1.0, 1.0)


def _scene(seed: int, knobs: Knobs = ALL) -> Scene:
    return compile_scene(generate(seed, knobs=knobs))


def _start(scene: Scene) -> mujoco.MjData:
    """State with the robot out of the way."""
    data = mujoco.MjData(scene.model)
    data.qpos[scene.robot.qpos[:2]] = -20.0
    data.ctrl[scene.robot.actuators] = data.qpos[scene.robot.qpos]
    mujoco.mj_forward(scene.model, data)
    return data


def test_all_homes_of_a_class_have_the_same_structure():
    sizes = (
        "nq",
        "nv",
        "nu",
        "na",
        "nbody",
        "njnt",
        "ngeom",
        "nsite",
        "ncam",
        "neq",
        "nmat",
        "nlight",
        "ntree",
    )
    models = [_scene(seed, knobs).model for seed in range(4) for knobs in (Knobs(), ALL)]
    for name in sizes:
        assert len({getattr(model, name) for model in models}) == 1, name
    assert all((model.geom_bodyid == models[0].geom_bodyid).all() for model in models)
    assert all((model.jnt_type == models[0].jnt_type).all() for model in models)


def test_arrays_follow_the_slots():
    slots = SLOTS["S"]
    scene = _scene(3)
    assert len(scene.names) == slots.entities
    spec = scene.spec
    first = slots.walls + slots.furniture
    assert scene.present[: len(spec.walls)].all() and not scene.present[len(spec.walls) : slots.walls].any()
    for index, item in enumerate(spec.objects):
        entity = first + index
        kind = TYPES[item.type]
        assert scene.names[entity].startswith(item.type) and scene.present[entity]
        assert CATEGORIES[scene.category[entity]] == item.type
        assert (scene.fragile[entity], scene.hazard[entity]) == (kind.fragile, kind.hazard)
        assert scene.component[entity] == item.component
        assert scene.body[entity] > 0 and scene.movable[entity]
    assert (scene.body[:first] == 0).all() and not scene.movable[:first].any()
    used = [name for name in scene.names if name]
    assert len(set(used)) == len(used)


def test_geoms_belong_to_the_entity_they_show():
    scene = _scene(2)
    model = scene.model
    data = _start(scene)
    assert (scene.geom_entity[scene.robot.geoms] == ROBOT).all()
    assert scene.geom_entity[model.geom("floor").id] == FLOOR
    assert scene.geom_entity[model.geom("ceiling").id] == OTHER
    seen = model.geom_rgba[:, 3] > 0
    assert set(scene.geom_entity[seen & (scene.geom_entity >= 0)]) == set(np.flatnonzero(scene.present))
    slots, spec = SLOTS["S"], scene.spec
    placements = {slots.walls + k: item for k, item in enumerate(spec.furniture)}
    placements |= {slots.walls + slots.furniture + k: item for k, item in enumerate(spec.objects)}
    for entity, item in placements.items():
        geoms = np.flatnonzero(scene.geom_entity == entity)
        assert len(geoms) == len(TYPES[item.type].parts), item.type
        distance = np.linalg.norm(data.geom_xpos[geoms][:, :2] - item.position[:2], axis=1)
        assert distance.max() < 0.8 * max(scene.size[entity]), item.type


def test_masses_are_those_of_the_catalogue():
    scene = _scene(4)
    for entity in np.flatnonzero(scene.present & scene.movable):
        kind = TYPES[CATEGORIES[scene.category[entity]]]
        volume = np.prod(scene.size[entity] / np.array(kind.size))
        assert scene.model.body_mass[scene.body[entity]] == pytest.approx(kind.mass * volume, rel=1e-4)


@pytest.mark.parametrize("knobs", [Knobs(), ALL], ids=["none", "all"])
def test_nothing_moves_in_two_seconds_and_all_of_it_sleeps(knobs: Knobs):
    for seed in range(8):
        scene = _scene(seed, knobs)
        model, data = scene.model, _start(scene)
        before, upright = data.xpos.copy(), data.xmat[:, 8].copy()
        for _ in range(400):
            mujoco.mj_step(model, data)
        bodies = scene.body[scene.present & scene.movable]
        moved = np.linalg.norm(data.xpos[bodies] - before[bodies], axis=1)
        tilt = np.degrees(np.arccos(np.clip(data.xmat[bodies, 8], -1, 1)))
        assert (upright[bodies] > 0.999).all()
        names = [scene.names[entity] for entity in np.flatnonzero(scene.present & scene.movable)]
        assert moved.max() < 0.01, (seed, names[int(moved.argmax())])
        assert tilt.max() < 3, (seed, names[int(tilt.argmax())])
        trees = model.body_treeid[scene.body[scene.body > 0]]
        assert (data.tree_asleep[trees] >= 0).all(), (seed, data.tree_asleep[trees])


def test_an_edge_item_falls_when_pushed():
    found = 0
    for seed in range(6):
        scene = _scene(seed, Knobs(critical_point=1.0))
        model, data = scene.model, _start(scene)
        for entity in np.flatnonzero(scene.present & scene.movable):
            kind = CATEGORIES[scene.category[entity]]
            body = scene.body[entity]
            if scene.component[entity] is None or kind in ("plant_stand", "book") or data.xpos[body, 2] < 0.4:
                continue
            address = model.jnt_qposadr[model.body_jntadr[body]]
            dof = model.body_dofadr[body]
            falls = []
            for angle in np.linspace(0, 2 * np.pi, 8, endpoint=False):
                trial = _start(scene)
                trial.qvel[dof : dof + 2] = 0.9 * np.cos(angle), 0.9 * np.sin(angle)
                for _ in range(160):
                    mujoco.mj_step(model, trial)
                falls.append(trial.qpos[address + 2] < data.qpos[address + 2] - 0.1)
            found += any(falls)
            break
    assert found >= 5


def test_too_many_things_are_refused():
    spec = generate(0)
    too_many = dataclasses.replace(spec, objects=spec.objects * 5)
    with pytest.raises(ValueError, match="objects"):
        compile_scene(too_many)


def test_an_unknown_type_is_refused():
    spec = generate(0)
    strange = dataclasses.replace(spec, objects=(dataclasses.replace(spec.objects[0], type="dragon"),))
    with pytest.raises(ValueError, match="dragon"):
        compile_scene(strange)


def test_compiling_twice_gives_equal_models():
    first, second = _scene(1).model, _scene(1).model
    for name in ("geom_pos", "geom_quat", "geom_size", "geom_rgba", "body_mass", "body_inertia", "qpos0"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other rules")
def test_the_arena_of_a_state_that_is_gone_belongs_to_the_system_again():
    """One from the heap would stay with the process, and new homes touch others: memory would creep up."""
    model = _scene(0).model
    mujoco.MjData(model)  # the first that is given back makes the C library keep later ones of its size
    states = [mujoco.MjData(model) for _ in range(4)]
    for data in states:
        mujoco.mj_forward(model, data)
    before = _address_space()
    del data, states[:3]  # not the last: it keeps a heap from shrinking
    gc.collect()
    assert before - _address_space() > 2.9 * ARENA


def _address_space() -> int:
    """Return the bytes that are mapped; what else is mapped meanwhile is much less than an arena."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
