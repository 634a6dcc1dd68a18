"""Homes that were not generated: two scenes of different structure, one clear error for every bad file."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import mujoco
import numpy as np
import pytest

from safevla.config import ConfigError
from safevla.types import ACTION_ID, Knobs
from safevla.world.catalogue import CATEGORIES, Hazard
from safevla.world.contacts import FLOOR, ROBOT
from safevla.world.foreign import describe, home_hash, load_home, scene_file
from safevla.world.foreign_files import FOLDERS_VARIABLE
from safevla.world.freespace import inflate, occupancy
from safevla.world.house import SLOTS, generate
from safevla.world.raster import Raster
from safevla.world.robot import actuator_xml, equality_xml, robot_xml
from safevla.world.scene import compile_scene, scene_xml
from safevla.world.simulator import Home, HousePool, settle, settle_foreign

HOMES = Path(__file__).parents[1] / "homes"
FLAT, STUDIO = HOMES / "flat", HOMES / "studio.xml"
VASE = "obja_9f8e7d6c5b4a39281706f5e4d3c2b1a0_1_0_2"


@pytest.fixture(scope="module")
def settled():
    return {path: settle_foreign(str(path), home_hash(path)) for path in (FLAT, STUDIO)}


@pytest.fixture
def copy(tmp_path):
    """Return a function that copies the scenes and returns where the copy of one is."""
    shutil.copytree(HOMES, tmp_path / "homes")
    return tmp_path / "homes"


def entity(scene, name):
    return scene.names.index(name)


def test_types_movability_and_attributes_are_found(settled):
    flat, studio = settled[FLAT].scene, settled[STUDIO].scene
    types = {
        name: CATEGORIES[number] if number >= 0 else None
        for name, number in zip(flat.names, flat.category, strict=True)
    }
    assert types == {
        "walls": None, "DiningTable_1": "dining_table", "Sofa_1": "sofa", "bed": "bed",
        "pillow": "pillow", "heater": "space_heater",
        "Mug_1": "mug", "Vase_a": "vase", "blade": "knife", "Apple_1": "apple", "Basketball_1": "basketball",
    }  # fmt: skip
    assert [name for name, moves in zip(flat.names, flat.movable, strict=True) if moves] == flat.names[6:]
    assert flat.hazard[entity(flat, "blade")] == Hazard.SHARP
    assert flat.break_impulse[entity(flat, "Vase_a")] == 0.25
    assert [room.kind for room in flat.spec.rooms] == ["living_room", "bedroom"]
    assert flat.bounds == (-4.0, -3.0, 4.0, 3.0)
    vase = entity(studio, VASE)
    assert CATEGORIES[studio.category[vase]] == "vase" and studio.fragile[vase] and studio.graspable[vase]
    assert not studio.movable[entity(studio, "fridge_7d1e_1_0_1")]
    assert "fridge_7d1e_1_0_1_door" not in studio.names, "a door belongs to what it hangs on"


def test_what_was_guessed_is_said(settled):
    lines = {line.split()[0]: line for line in describe(settled[FLAT].scene).splitlines()}
    assert "knife" in lines["blade"] and "of the sidecar" in lines["blade"]
    assert "guessed from the name" in lines["Mug_1"] and "graspable" in lines["Mug_1"]
    assert "no type" in lines["walls"]
    assert "guessed from the metadata" in describe(settled[STUDIO].scene)


def test_masses_angles_and_places_are_those_of_the_scene(settled):
    """The oracle is the scene as MuJoCo compiles it without us."""
    alone = mujoco.MjModel.from_xml_path(str(FLAT / "scene.xml"))
    data = mujoco.MjData(alone)
    mujoco.mj_forward(alone, data)
    scene = load_home(FLAT)
    ours = mujoco.MjData(scene.model)
    mujoco.mj_forward(scene.model, ours)
    for name in ("Mug_1", "blade", "Apple_1"):
        body, own = scene.body[entity(scene, name)], alone.body(name).id
        np.testing.assert_allclose(ours.xpos[body], data.xpos[own], atol=1e-9)
        np.testing.assert_allclose(ours.xmat[body], data.xmat[own], atol=1e-9)
        assert scene.model.body_mass[body] == pytest.approx(alone.body_mass[own])
        np.testing.assert_allclose(scene.model.body_inertia[body], alone.body_inertia[own])
    sofa = ours.geom_xpos[scene.geom_entity == entity(scene, "Sofa_1")]
    expected = data.geom_xpos[alone.geom_bodyid == alone.body("Sofa_1").id]
    np.testing.assert_allclose(sofa, expected, atol=1e-9)


def test_inertia_obeys_the_compiler_of_the_scene(tmp_path):
    """Visual and collision geom weigh one kilogram each; the scene says that only group 3 counts."""
    (tmp_path / "home.xml").write_text(
        '<mujoco><compiler inertiagrouprange="3 5"/><worldbody><geom type="plane" size="2 2 .1"/>'
        '<body name="mug" pos="0 0 .06"><freejoint/><geom size=".05" mass="1" contype="0" conaffinity="0"/>'
        '<geom size=".05" mass="1" group="3"/></body></worldbody></mujoco>'
    )
    scene = load_home(tmp_path)
    assert scene.model.body_mass[scene.body[entity(scene, "mug")]] == pytest.approx(1.0)
    robot = compile_scene(generate(0))
    bodies = zip(scene.robot.bodies, robot.robot.bodies, strict=True)
    for own, usual in bodies:
        assert scene.model.body_mass[own] == robot.model.body_mass[usual]


def test_the_robot_is_the_same_as_in_generated_homes(settled):
    usual = compile_scene(generate(0))
    for one in settled.values():
        model, robot = one.scene.model, one.scene.robot
        for name in (
            "geom_size",
            "geom_pos",
            "geom_quat",
            "geom_contype",
            "geom_conaffinity",
            "geom_friction",
        ):
            theirs = getattr(usual.model, name)[usual.robot.geoms]
            np.testing.assert_array_equal(getattr(model, name)[robot.geoms], theirs)
        for name in ("timestep", "integrator", "cone", "impratio", "enableflags", "disableflags"):
            assert getattr(model.opt, name) == getattr(usual.model.opt, name)
        assert (one.scene.geom_entity[robot.geoms] == ROBOT).all()
        np.testing.assert_array_equal(model.cam_fovy[list(robot.cameras)], 59.0)


def test_floors_lie_at_height_0_and_carry_things(settled):
    for path, one in settled.items():
        scene, data = one.scene, one.data
        low = data.geom_xpos[scene.geom_entity >= 0][:, 2].min()
        assert -0.01 < low < 0.3, path
        assert (scene.geom_entity == FLOOR).sum() >= 2
        assert data.ntree_awake <= 1, "everything sleeps"
    ball = entity(settled[FLAT].scene, "Basketball_1")
    assert settled[FLAT].rest_pose[ball, 2] == pytest.approx(0.12, abs=0.005)
    can = entity(settled[STUDIO].scene, "garbagecan_55aa_1_0_3")
    assert settled[STUDIO].rest_pose[can, 2] == pytest.approx(0.2, abs=0.005)


def test_doors_stay_as_they_are_and_only_objects_move(settled):
    model = settled[STUDIO].scene.model
    kinds = {int(kind) for kind in model.jnt_type}
    free = int(mujoco.mjtJoint.mjJNT_FREE)
    assert sum(int(kind == free) for kind in model.jnt_type) == int(settled[STUDIO].scene.movable.sum())
    assert model.njnt == int(settled[STUDIO].scene.movable.sum()) + 7
    assert free in kinds and model.nu == 7 and model.nkey == 0


def test_both_rooms_can_be_driven_to_and_meshes_stand_in_the_way(settled):
    flat = settled[FLAT]
    grid = inflate(occupancy(flat.scene, flat.data), 0.27)
    from scipy import ndimage

    labels, _ = ndimage.label(~grid.blocked)
    assert labels[grid.index(-2.0, 0.0)] == labels[grid.index(2.0, 0.0)] > 0
    studio = settled[STUDIO]
    grid = occupancy(studio.scene, studio.data)
    assert not grid.is_free(1.9, 1.6) and not grid.is_free(1.35, 1.6), "all of the table's top"
    assert grid.is_free(1.2, 1.6)
    assert not grid.is_free(2.4, -1.9), "the can"


def test_pictures_show_what_is_meant_to_be_seen(settled):
    scene, data = settled[STUDIO].scene, settled[STUDIO].data
    raster = Raster(60, 80)
    mesh = raster.prepare(scene.model)
    shown = scene.model.geom_group[mesh.slots["geom"]]
    assert set(shown.tolist()) <= {0, 1, 2}, "colliders of group 4 and the ceiling are not drawn"
    ids = np.zeros((60, 80), np.int32)
    raster.render_pose(mesh, data, (0.9, 0.6, 1.4), look(np.array([1.0, 0.8, -0.6])), 59.0, ids=ids)
    seen = set(scene.geom_entity[ids[ids >= 0]].tolist())
    assert {entity(scene, VASE), entity(scene, "wall_1_2")} <= seen


def look(direction):
    from safevla.world.render import look_at

    return look_at((0.0, 0.0, 0.0), direction)


def test_the_robot_acts_and_bumps_are_recorded(settled):
    home = Home()
    home.reset(settled[FLAT], (-3.0, 1.2, math.pi))
    record = home.act(ACTION_ID["move_ahead"])
    record = home.act(ACTION_ID["move_ahead"])
    heater = entity(home.scene, "heater")
    assert record.contact_force[heater] > 5.0 and record.blocked and record.blocked_by == heater
    with pytest.raises(ValueError, match="inside DiningTable_1"):
        home.reset(settled[FLAT], (2.95, 2.55, 0.0))


def test_visible_groups_remove_and_solid(copy):
    path = copy / "flat" / "scene.toml"
    path.write_text('visible_groups = [2]\nremove = ["Sofa*", "heater"]\n[things.pillow]\nsolid = true\n')
    scene = load_home(copy / "flat")
    assert not {"Sofa_1", "heater"} & set(scene.names)
    pillow = scene.geom_entity == entity(scene, "pillow")
    assert (scene.model.geom_contype[pillow] == 1).all()
    assert not (scene.model.geom_group[scene.geom_entity >= 0] < 3).any(), "all geoms are of group 0"


def test_fixed_things_stay(copy):
    (copy / "flat" / "scene.toml").write_text("[things.Basketball_1]\nfixed = true\n")
    scene = load_home(copy / "flat")
    index = entity(scene, "Basketball_1")
    assert not scene.movable[index] and scene.body[index] == 0 and not scene.graspable[index]


def test_the_floor_can_be_told(copy):
    (copy / "flat" / "scene.toml").write_text("floor = -0.5\n")
    scene = load_home(copy / "flat")
    data = mujoco.MjData(scene.model)
    mujoco.mj_forward(scene.model, data)
    assert data.xpos[scene.body[entity(scene, "Basketball_1")], 2] == pytest.approx(0.622)


def test_the_hash_follows_every_file_and_no_path(copy):
    first = home_hash(copy / "flat")
    assert first == home_hash(FLAT) == home_hash(FLAT / "scene.xml")
    for name in ("scene.xml", "furniture.xml", "scene.toml"):
        path = copy / "flat" / name
        text = path.read_text()
        path.write_text(text.replace("0.3", "0.31", 1) if name != "scene.toml" else text + "\n")
        assert home_hash(copy / "flat") != first
        path.write_text(text)
    first = home_hash(copy / "studio.xml")
    for name in ("studio_metadata.json", "studio_assets/prism.obj"):
        path = copy / name
        text = path.read_text()
        path.write_text(text + "\n")
        assert home_hash(copy / "studio.xml") != first
        path.write_text(text)
    assert home_hash(copy / "studio.xml") == first


def test_scenes_are_found_in_the_folders_of_the_environment(copy, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="there is no scene flat; give the path"):
        scene_file("flat")
    monkeypatch.setenv(FOLDERS_VARIABLE, f"{tmp_path / 'nowhere'}:{copy}")
    assert scene_file("flat") == copy / "flat" / "scene.xml"


def test_a_home_with_other_files_than_the_scenario_was_made_with_is_refused(copy):
    pool = HousePool()
    name = home_hash(copy / "flat")
    assert pool.foreign(str(copy / "flat"), name) is pool.foreign(str(copy / "flat"), name)
    (copy / "flat" / "scene.toml").write_text("")
    with pytest.raises(ValueError, match=f"was made with {name}; use the files"):
        HousePool().foreign(str(copy / "flat"), name)


def test_what_falls_out_of_a_home_is_named(tmp_path):
    (tmp_path / "home.xml").write_text(
        '<mujoco><worldbody><geom type="plane" size="2 2 .1"/><geom name="shelf" type="box" size=".2 .2 .1"'
        ' pos="0 0 3"/><body name="mug" pos="0 0 3.2"><freejoint/><geom size=".05"/></body>'
        '<body name="cup" pos="1 0 3.2"><freejoint/><geom size=".05"/></body></worldbody></mujoco>'
    )
    with pytest.raises(ConfigError, match=r"'cup' moved by 3\.\d m .*fixed = true"):
        settle_foreign(str(tmp_path), home_hash(tmp_path))


GOOD = '<geom type="plane" size="2 2 .1"/><geom name="shelf" type="box" size=".2 .2 .5" pos="1 0 .5"/>'


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no .xml file; name the MJCF file"),
        ({"a.xml": "", "b.xml": ""}, "holds 2 .xml files; name the MJCF file"),
        ({"scene.xml": "<mujoco>"}, "is not XML .*; give a file in MuJoCo's format"),
        ({"scene.xml": "<mujocoinclude/>"}, "is a part of a scene .*; name the file that includes it"),
        ({"scene.xml": "<urdf/>"}, "is no scene that MuJoCo can read"),
        (
            {"scene.xml": "<mujoco><worldbody><geom sizes='1'/></worldbody></mujoco>"},
            "is no scene that MuJoCo",
        ),
        ({"scene.xml": "<mujoco><include file='room.xml'/></mujoco>"}, "refers to room.xml, not found"),
        (
            {
                "scene.xml": "<mujoco><asset><mesh name='a' file='a.obj'/></asset><worldbody>"
                "<geom type='mesh' mesh='a'/></worldbody></mujoco>"
            },
            "refers to a.obj, not found",
        ),
        (
            {"scene.xml": "<mujoco><worldbody><geom type='plane' size='1 1 1'/></worldbody></mujoco>"},
            "nothing but",
        ),
        (
            {"scene.xml": f"<mujoco><worldbody>{GOOD}</worldbody></mujoco>", "scene.toml": "[things.bed]\n"},
            "no body or geom of the world 'bed'; valid: shelf",
        ),
        (
            {"scene.xml": f"<mujoco><worldbody>{GOOD}</worldbody></mujoco>", "scene_metadata.json": "[]"},
            "has no table 'objects'",
        ),
        (
            {
                "scene.xml": "<mujoco><asset><hfield name='h' nrow='2' ncol='2' size='1 1 1 .1'/></asset>"
                f"<worldbody>{GOOD}<geom name='hill' type='hfield' hfield='h'/></worldbody></mujoco>"
            },
            "'hill' has a height field",
        ),
    ],
)
def test_every_bad_file_is_one_line_that_says_what_to_do(tmp_path, files, message):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_home(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_scene_is_one_line():
    with pytest.raises(ConfigError, match=r"there is no scene nowhere.xml; give the path"):
        load_home("nowhere.xml")


@pytest.mark.parametrize("seed", [3, 7])
def test_a_generated_home_as_a_foreign_one_is_the_same_home(tmp_path, seed):
    """The oracle is our own generator: its MJCF without the robot, loaded as if it came from elsewhere."""
    spec = generate(seed, knobs=Knobs(1.0, 1.0, 1.0, 1.0, 1.0))
    own = settle(compile_scene(spec))
    text = scene_xml(spec)
    for part in (robot_xml(), actuator_xml(), equality_xml()):
        assert part in text
        text = text.replace(part, "")
    (tmp_path / "scene.xml").write_text(text)
    things = "".join(f'[things.object_{k}]\ntype = "{item.type}"\n' for k, item in enumerate(spec.objects))
    parked = [f"object_{k}" for k in range(len(spec.objects), SLOTS["S"].objects)]
    (tmp_path / "scene.toml").write_text(f"remove = {parked}\nbounds = {list(own.scene.bounds)}\n{things}")
    settled = settle_foreign(str(tmp_path), home_hash(tmp_path))
    foreign = settled.scene
    for k in range(len(spec.objects)):
        ours, theirs = SLOTS["S"].walls + SLOTS["S"].furniture + k, entity(foreign, f"object_{k}")
        for name in ("category", "hazard", "break_impulse", "fragile", "graspable", "spillable", "movable"):
            assert getattr(foreign, name)[theirs] == getattr(own.scene, name)[ours]
        np.testing.assert_allclose(settled.rest_pose[theirs], own.rest_pose[ours], atol=1e-3)
    grids = occupancy(own.scene, own.data), occupancy(foreign, settled.data)
    np.testing.assert_array_equal(grids[0].blocked, grids[1].blocked)
    np.testing.assert_allclose(grids[0].clearance, grids[1].clearance, atol=1e-3)


@pytest.mark.parametrize("path", [FLAT, STUDIO], ids=["flat", "studio"])
def test_nothing_explodes_in_many_random_actions(settled, path):
    home, rng = Home(), np.random.default_rng(2)
    grid = inflate(occupancy(settled[path].scene, settled[path].data), 0.27)
    free = np.argwhere(~grid.blocked)
    for _ in range(6):
        x, y = grid.centre(*free[rng.integers(len(free))])
        home.reset(settled[path], (x, y, rng.uniform(-math.pi, math.pi)))
        for action in rng.integers(0, 18, 50):
            record = home.act(int(action))
            assert not record.nan
            assert np.abs(home.entity_position).max() < 10.0


def test_an_object_of_several_bodies_is_one(tmp_path):
    """A laptop whose lid hangs on a hinge: one body with both masses, as MuJoCo adds them up."""
    text = """<mujoco><worldbody><geom type="plane" size="2 2 .1"/>
    <body name="laptop" pos="0 0 .02" euler="0 0 40">
      <freejoint/>
      <geom type="box" size=".15 .1 .01" mass="1.5"/>
      <body name="lid" pos="0 .1 .02" euler="-60 0 0">
        <joint type="hinge" axis="1 0 0" range="-90 0"/>
        <geom type="box" size=".15 .005 .1" pos="0 0 .1" mass=".5"/>
      </body>
    </body></worldbody></mujoco>"""
    (tmp_path / "home.xml").write_text(text)
    scene = load_home(tmp_path)
    laptop = entity(scene, "laptop")
    body = scene.body[laptop]
    geoms = scene.geom_entity == laptop
    assert scene.names == ["laptop"] and geoms.sum() == 2 and (scene.model.geom_bodyid[geoms] == body).all()
    assert scene.model.body_mass[body] == pytest.approx(2.0)
    alone = mujoco.MjModel.from_xml_string(text)
    data, ours = mujoco.MjData(alone), mujoco.MjData(scene.model)
    mujoco.mj_forward(alone, data)
    mujoco.mj_forward(scene.model, ours)
    np.testing.assert_allclose(ours.subtree_com[body], data.subtree_com[alone.body("laptop").id], atol=1e-9)
    (tmp_path / "home.toml").write_text('[things.lid]\ntype = "book"\n')
    with pytest.raises(ConfigError, match="'lid', a part of the object 'laptop'"):
        load_home(tmp_path)
    np.testing.assert_allclose(ours.geom_xpos[geoms], data.geom_xpos[1:], atol=1e-9)
