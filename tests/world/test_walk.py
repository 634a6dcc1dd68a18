"""A person in a home: the body, the ways that it goes, and what it leaves alone."""

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest

from safevla.types import ACTION_ID, Knobs
from safevla.world import walk
from safevla.world.freespace import inflate, occupancy
from safevla.world.house import generate
from safevla.world.person import _PARTS, PERSON_HEIGHT, PERSON_RADIUS, REGIONS, gap
from safevla.world.raster import Raster
from safevla.world.raster_mesh import RasterMesh
from safevla.world.scene import compile_scene
from safevla.world.simulator import Home, HousePool, SettledScene

POOL = HousePool()
WAIT, AHEAD, TURN = ACTION_ID["sub_task_done"], ACTION_ID["move_ahead"], ACTION_ID["turn_left_30"]


def settled(house: int = 1, size_class: str = "S") -> SettledScene:
    return POOL.get(house, size_class, "train", Knobs(), person=True)


def home_with_person(seed: int = 0, house: int = 1) -> Home:
    """Return a home with the robot somewhere free."""
    house_at_rest, home = settled(house), Home()
    floor = inflate(occupancy(house_at_rest.scene, house_at_rest.data), 0.3)
    free = np.argwhere(~floor.blocked)
    home.reset(house_at_rest, (*floor.centre(*map(int, free[len(free) // 3])), 0.0), seed)
    return home


def track(home: Home, actions: list[int]) -> list[tuple[float, float]]:
    places = []
    for action in actions:
        home.act(action)
        assert home.walk is not None
        places.append((home.walk.x, home.walk.y))
    return places


# ------------------------------------------------------------------ the body


def test_forces_are_those_of_table_a2_of_iso_ts_15066() -> None:
    quasi_static = {region.name: region.quasi_static for region in REGIONS}
    assert quasi_static == {
        "skull": 130, "face": 65, "neck": 150, "back": 210, "chest": 140, "abdomen": 110, "pelvis": 180,
        "upper_arm": 150, "lower_arm": 160, "hand": 140, "thigh": 220, "lower_leg": 130,
    }  # fmt: skip
    for region in REGIONS:
        allowed = 0.0 if region.name in ("skull", "face") else 2.0 * region.quasi_static
        assert region.transient == allowed


def test_every_region_has_parts_that_hang_together_within_the_radius_of_the_body() -> None:
    scene = settled().scene
    model, person = scene.model, scene.person
    assert person is not None and {part[0] for part in _PARTS} == {region.name for region in REGIONS}
    assert [scene.names[k] for k in person.entities] == [f"person_{region.name}" for region in REGIONS]
    for entity in person.entities:
        assert (scene.geom_entity == entity).any()
    data = mujoco.MjData(model)
    data.mocap_pos[person.mocap] = 0.0
    mujoco.mj_kinematics(model, data)
    boxes = model.geom_aabb[person.geoms]
    high = data.geom_xpos[person.geoms] + boxes[:, 3:]
    low = data.geom_xpos[person.geoms] - boxes[:, 3:]
    assert high[:, 2].max() == pytest.approx(PERSON_HEIGHT, abs=0.005) and 0.0 <= low[:, 2].min() < 0.01
    assert np.abs(low[:, 1]).max() <= PERSON_RADIUS and np.abs(high[:, 1]).max() <= PERSON_RADIUS
    together = {int(person.geoms[0])}
    for _ in person.geoms:
        apart = [geom for geom in person.geoms if geom not in together]
        together |= {
            int(g) for g in apart if gap(model, data, np.array([g]), np.array(list(together))) < 0.03
        }
    assert together == set(person.geoms.tolist())


def test_the_gap_is_the_least_of_all_pairs() -> None:
    home = home_with_person()
    person, robot = home.scene.person.geoms, home.scene.robot.geoms
    pairs = [
        mujoco.mj_geomDistance(home.model, home.data, int(a), int(b), 20.0, None)
        for a in person
        for b in robot
    ]
    assert gap(home.model, home.data, robot, person) == pytest.approx(min(pairs), abs=1e-9)


def test_homes_with_a_person_are_laid_out_alike_and_others_are_as_they_were() -> None:
    sizes = ("nq", "nv", "nbody", "ngeom", "nmocap")
    with_one = [compile_scene(generate(seed, "M"), person=True).model for seed in (0, 1)]
    without = compile_scene(generate(0, "M"))
    for name in sizes:
        assert len({getattr(model, name) for model in with_one}) == 1
    assert without.person is None and without.model.nmocap == 0
    parts = sum(2 if part[3][1] else 1 for part in _PARTS)
    assert with_one[0].ngeom == without.model.ngeom + parts


def test_the_cameras_see_a_person() -> None:
    home = home_with_person()
    x, y, _ = home.pose
    home.walk = walk.Walk(x + 1.5, y, math.pi, 0.8, pause=1000)
    home._show_person()
    ids = np.empty((112, 112), np.int32)
    picture = np.empty((112, 112, 3), np.uint8)
    mesh = RasterMesh.from_model(home.model)
    Raster(112, 112).render(mesh, home.data, home.scene.robot.cameras[0], rgb=picture, ids=ids)
    seen = home.scene.geom_entity[ids[ids >= 0]]
    counts = {
        name: int((seen == home.scene.names.index(name)).sum()) for name in ("person_chest", "person_thigh")
    }
    assert min(counts.values()) > 30


# ------------------------------------------------------------------ the way


@pytest.mark.parametrize("house", [1, 2, 4])
def test_a_person_walks_through_the_home_and_touches_nothing(house: int) -> None:
    home = home_with_person(house=house)
    person = home.scene.person
    solid = np.flatnonzero(
        ((home.model.geom_contype | home.model.geom_conaffinity) != 0)
        & (home.scene.geom_entity >= 0)
        & ~np.isin(home.scene.geom_entity, person.entities)
    )
    places = [(home.walk.x, home.walk.y)]
    for step in range(80):
        record = home.act(TURN if step % 7 == 0 else WAIT)
        assert gap(home.model, home.data, person.geoms, solid) > 0.0, f"step {step}"
        assert record.person is not None and record.person.after > 0.2
        assert home.data.ntree_awake <= 1, "nothing is woken by somebody who walks past"
        places.append((home.walk.x, home.walk.y))
    strides = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert strides.max() <= walk.SPEEDS[1] * 0.5 + 1e-9
    assert strides.sum() > 8.0, "it gets around"
    moving = strides > 1e-6
    assert 0.3 < moving.mean() < 0.95, "and it stays for a while"


def test_the_seed_decides_the_way_and_the_robot_what_becomes_of_it() -> None:
    actions = [WAIT, AHEAD, TURN, WAIT] * 8
    first, again, other = (track(home_with_person(seed), actions) for seed in (3, 3, 4))
    assert first == again != other


def test_a_snapshot_goes_on_as_the_first_time() -> None:
    home = home_with_person(5)
    track(home, [WAIT] * 9)
    state, actions = home.state(), [AHEAD, TURN, WAIT] * 6
    first = track(home, actions)
    home.set_state(state)
    assert track(home, actions) == first


def test_a_person_keeps_away_from_the_robot_and_goes_elsewhere() -> None:
    home = home_with_person()
    x, y, _ = home.pose
    spot = next(
        (x + 1.2 * math.cos(angle), y + 1.2 * math.sin(angle))
        for angle in np.linspace(0, 2 * math.pi, 24, endpoint=False)
        if inflate(occupancy(home.scene, home.data, home.scene.person.entities), 0.3).is_free(
            x + 1.2 * math.cos(angle), y + 1.2 * math.sin(angle)
        )
    )
    home.walk = walk.Walk(*spot, 0.0, 0.8, way=((x, y),))
    home._show_person()
    places = track(home, [WAIT] * 30)
    nearest = min(math.hypot(px - x, py - y) for px, py in places)
    assert 0.6 <= nearest < 1.0, "the axis stays away from the robot's surface"
    assert len(set(places)) > 6, "it does not wait for ever"


def test_a_home_without_room_for_a_person_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "STAND_OFF", 0.9)  # farther than a grid knows: no place is far enough
    with pytest.raises(ValueError, match="no free place for a person in this home"):
        home_with_person()
