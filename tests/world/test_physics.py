"""The physics of a home against what Newton says, and the robot against what its maker says."""

import copy
import math

import mujoco
import numpy as np
import pytest
from room import MUG, TABLE, WALLS, home_at, play, room, wait_for_rest

from safevla.types import Knobs
from safevla.world import robot
from safevla.world.catalogue import TYPES
from safevla.world.contacts import ContactTracker
from safevla.world.house import HouseSpec, Placement, Room
from safevla.world.scene import compile_scene
from safevla.world.simulator import PARKING, Home, HousePool, settle

GRAVITY = 9.81
SIZE = 4.0  # m, side of the hand-made room
# Stretch RE2, hello-robot/stretch_body, robot_params_RE2V0.py: ranges; the most that the motors give, from
# their largest current (4.35 A) and the force per ampere of arm, lift and each of the two wheels.
ARM_RANGE, LIFT_RANGE = 0.52, 1.10  # m
ARM_FORCE, LIFT_FORCE, BASE_FORCE = 4.35 * 55.9, 4.35 * 75.0, 2 * 4.35 * 21.18  # N


def house(*things: Placement) -> HouseSpec:
    """A room of 4 x 4 m with these things in it."""
    half, middle = SIZE / 2, SIZE / 2
    walls = [(middle, side, 1.2, half + 0.1, 0.05, 1.2) for side in (-0.05, SIZE + 0.05)]
    walls += [(side, middle, 1.2, 0.05, half, 1.2) for side in (-0.05, SIZE + 0.05)]
    return HouseSpec(
        seed=0,
        size_class="S",
        split="train",
        knobs=Knobs(),
        rooms=(Room("living_room", 0.0, 0.0, SIZE, SIZE),),
        walls=tuple(walls),
        furniture=tuple(item for item in things if not TYPES[item.type].movable),
        objects=tuple(item for item in things if TYPES[item.type].movable),
        wall_colour=(0.9, 0.9, 0.85),
        light=(0.5, 1.0, 0.5, 0.5),
    )


def thing(name: str, x: float, y: float, z: float = 0.0) -> Placement:
    return Placement(name, (x, y, z + 0.0005), 0.0, (1.0, 1.0, 1.0), 0)


def home_with(*things: Placement, start=(1.0, 1.0, 0.0)) -> Home:
    home = Home()
    home.reset(settle(compile_scene(house(*things))), start)
    return home


def addresses(home: Home, name: str) -> tuple[int, int, int]:
    """The entity, and where its pose and velocity begin."""
    entity = home.scene.names.index(name)
    body = home.scene.body[entity]
    return entity, home.model.jnt_qposadr[home.model.body_jntadr[body]], home.model.body_dofadr[body]


def lift_up(home: Home, name: str, height: float) -> int:
    """Put a thing `height` m above where it lies, at rest in the air."""
    entity, qpos, dof = addresses(home, name)
    home.data.qpos[qpos + 2] += height
    mujoco.mj_forward(home.model, home.data)
    home.data.qvel[dof : dof + 6] = 0.0
    home.data.qvel[dof + 2] = -1e-6  # so that it is awake
    return entity


# ---------------------------------------------------------------- forces and impulses


def test_resting_bodies_of_a_generated_home_are_carried_with_their_weight():
    settled = HousePool().get(5, "S", "train", Knobs(0.5, 0.5, 0.5, 0.5, 0.5))
    scene = settled.scene
    entities = np.flatnonzero(scene.present & scene.movable)
    upward = loads_awake(scene, settled.data.qpos, "upward")[entities]
    shares = upward / (scene.model.body_mass[scene.body[entities]] * GRAVITY)
    assert len(entities) > 15
    # Friction carries a part of what leans; all else is carried by the normal forces that are recorded.
    assert np.mean(np.abs(shares - 1.0) < 0.02) > 0.9 and np.median(shares) == pytest.approx(1.0, abs=0.005)


def loads_awake(scene, qpos: np.ndarray, what: str) -> np.ndarray:
    """(E,) mean over half a second of what the records of contacts say, with nothing asleep and no robot."""
    model = copy.copy(scene.model)
    model.opt.enableflags &= ~int(mujoco.mjtEnableBit.mjENBL_SLEEP)
    data, tracker, values = mujoco.MjData(model), ContactTracker.of(scene), []
    data.qpos[:] = qpos
    data.qpos[scene.robot.qpos[:2]] = data.ctrl[scene.robot.actuators[:2]] = PARKING
    for step in range(200):
        mujoco.mj_step(model, data)
        tracker.read(data, held=-1)
        if step >= 100:
            values.append(tracker.entities[what].copy())
    return np.mean(values, axis=0)


@pytest.mark.parametrize("name", ["mug", "book", "chair", "vase"])
def test_load_at_rest_is_the_weight(name):
    """What the records of contacts call the load at rest, when it is awake."""
    settled = settle(compile_scene(house(thing(name, 2.5, 2.5))))
    entity = settled.scene.names.index(f"{name}_1")
    weight = settled.scene.model.body_mass[settled.scene.body[entity]] * GRAVITY
    assert loads_awake(settled.scene, settled.data.qpos, "load")[entity] == pytest.approx(weight, rel=0.02)


@pytest.mark.parametrize("height", [0.1, 0.4, 1.0])
@pytest.mark.parametrize("name", ["mug", "basketball", "book"])
def test_impulse_of_an_impact_is_the_change_of_momentum(name, height):
    home = home_with(thing(name, 2.5, 2.5))
    entity = lift_up(home, f"{name}_1", height)
    dof, mass = addresses(home, f"{name}_1")[2], home.model.body_mass[home.scene.body[entity]]
    step, impulse, weight = home.model.opt.timestep, 0.0, mass * GRAVITY
    for count in range(1, 200):
        mujoco.mj_step(home.model, home.data)
        home._tracker.read(home.data, held=-1)
        impulse += home._tracker.entities["load"][entity] * step
        speed = home.data.qvel[dof + 2]
        falling = math.sqrt(2 * GRAVITY * height)
        if (impulse > 0.0 and home._tracker.entities["load"][entity] == 0.0) or count > 150:
            break
        if impulse == 0.0:
            before = speed
    assert before == pytest.approx(-falling, rel=0.06)  # it falls freely
    assert impulse == pytest.approx(mass * (speed - 0.0) + weight * count * step, rel=0.05)


def test_impulse_of_a_push_is_the_momentum_of_what_slides_away():
    """A puck without friction, hit by the base: the record of the action says what it got."""
    home = home_at(settle(puck()), 0.0, 0.0)
    record = play(home, "move_ahead")[0]
    speed = np.linalg.norm(home.data.qvel[home.model.body_dofadr[home.scene.body[MUG]] :][:2])
    assert speed > 0.3 and record.contact_force[MUG] > 5 and record.contact_speed[MUG] > 0.2
    assert record.contact_impulse[MUG] == pytest.approx(0.3 * speed, rel=0.05)


def puck():
    """The room with the mug standing in front of the robot, on a floor that it does not rub on."""
    scene = room()
    joint = scene.model.body_jntadr[scene.body[MUG]]
    start = scene.model.jnt_qposadr[joint]
    scene.model.qpos0[start : start + 3] = (0.3, 0.0, 0.0)
    geom = scene.model.body_geomadr[scene.body[MUG]]
    scene.model.geom_condim[geom], scene.model.geom_priority[geom] = 1, 2  # without friction, with anything
    return scene


# ---------------------------------------------------------------- falling and breaking


@pytest.mark.parametrize("height", [0.45, 0.75, 1.1])
def test_a_mug_pushed_off_a_table_falls_its_height(height):
    home = home_at(settle(room(table_top=height)), 1.2, 0.6)
    dof = home.model.body_dofadr[home.scene.body[MUG]]
    home.data.qvel[dof + 1] = 0.9  # m/s over the edge, which is 0.08 m away
    mujoco.mj_forward(home.model, home.data)  # wakes it
    records = wait_for_rest(home, 10)
    # It may come to lie on its side: then its middle is 1 cm nearer to the floor than it was to the table.
    assert max(record.drop_height[MUG] for record in records) == pytest.approx(height, abs=0.02)


FRAGILE = sorted(name for name, kind in TYPES.items() if kind.fragile and kind.movable)


@pytest.mark.parametrize("name", FRAGILE)
def test_what_is_fragile_breaks_above_its_threshold_and_not_below(name):
    """The impulse of a fall is the momentum of arriving, and up to twice that when it bounces."""
    threshold = TYPES[name].break_impulse
    for share, breaks in ((0.4, False), (1.3, True)):
        home = home_with(thing(name, 2.5, 2.5))
        mass = home.model.body_mass[home.scene.body[home.scene.names.index(f"{name}_1")]]
        height = (share * threshold / mass) ** 2 / (2 * GRAVITY)
        entity = lift_up(home, f"{name}_1", height)
        records = wait_for_rest(home, 6)
        damage = max(record.damage_impulse[entity] for record in records)
        assert records[-1].broken[entity] == breaks == (damage > threshold), (share, height, damage)


# ---------------------------------------------------------------- what moves and what does not


def test_a_chair_moves_and_a_wall_and_a_sofa_do_not():
    home = home_with(thing("chair", 1.75, 1.0), thing("sofa", 3.0, 3.2))
    chair = home.scene.names.index("chair_1")
    fixed = home.data.geom_xpos[np.asarray(home.model.geom_bodyid) == 0].copy()
    records = play(home, *["move_ahead"] * 3)
    assert max(record.contact_force[chair] for record in records) > 5
    assert records[-1].displacement_from_rest[chair] > 0.1
    for way in ((1.0, 3.2, 0.0), (3.2, 1.0, 0.0), (3.2, 1.0, -math.pi / 2)):
        home.reset(home.settled, way)
        records = play(home, *["move_ahead"] * 6)
        assert records[-1].blocked and records[-1].contact_force.max() > 20
        x, y, _ = home.pose
        assert max(x, y) < SIZE - 0.16 and min(x, y) > 0.16  # not inside a wall
        np.testing.assert_array_equal(home.data.geom_xpos[np.asarray(home.model.geom_bodyid) == 0], fixed)


def test_nothing_tunnels_or_explodes():
    """A piece of benchmarks/soak.py."""
    settled = HousePool().get(9, "S", "train", Knobs(1.0, 1.0, 1.0, 1.0, 1.0))
    home, generator = Home(), np.random.default_rng(0)
    x0, y0, x1, y1 = settled.scene.bounds
    loose = settled.scene.body[settled.scene.present & settled.scene.movable]
    for seed in range(2):
        start_somewhere(home, settled, np.random.default_rng(seed))
        for action in generator.choice(19, 90, p=np.array([7, 1, 2, 2, *[1] * 15]) / 27):
            record = home.act(int(action))
            places = home.data.xpos[loose]
            assert not record.nan and np.abs(home.data.qvel).max() < 30.0
            assert places[:, 2].min() > -0.05 and places[:, 2].max() < 2.6
            assert (places[:, :2] > (x0, y0)).all() and (places[:, :2] < (x1, y1)).all()


def start_somewhere(home: Home, settled, generator) -> None:
    x0, y0, x1, y1 = settled.scene.bounds
    for _ in range(500):
        try:
            home.reset(settled, (*generator.uniform((x0, y0), (x1, y1)), generator.uniform(-3, 3)))
        except ValueError:
            continue
        return
    raise AssertionError("no free place found")


# ---------------------------------------------------------------- the arm, as the maker says


LIFTED_AND_OUT = ("lift_up_10",) * 4 + ("arm_out_10",) * 5


@pytest.fixture(scope="module")
def settled_room():
    return settle(room())


def test_reach_is_that_of_the_maker(settled_room):
    home = home_at(settled_room, 0.0, 0.2, math.pi)
    play(home, *["lift_up_10"] * 12)
    assert home.lift == pytest.approx(LIFT_RANGE, abs=1e-6)
    tip, wrist = home.gripper_tip.copy(), home.wrist
    home = home_at(settled_room, -1.2, 0.0, math.pi / 2)  # the arm points along +x
    play(home, *["lift_up_10"] * 3)
    before = home.gripper_tip.copy()
    play(home, *["arm_out_10"] * 8)
    assert home.arm == pytest.approx(ARM_RANGE, abs=1e-6)
    np.testing.assert_allclose(home.gripper_tip - before, [ARM_RANGE, 0, 0], atol=1e-6)
    assert tip[2] == pytest.approx(LIFT_RANGE + robot.GRIPPER_HEIGHT, abs=1e-6) and wrist == home.wrist


@pytest.mark.parametrize(
    ("place", "prepare", "press", "entity", "limit", "most"),
    [
        # the gripper against a wall: the arm gives 50 N
        ((1.3, 0.0, math.pi / 2), (), "arm_out_10", WALLS[0], 50.0, ARM_FORCE),
        # the gripper down on the table: the lift gives 80 N
        (
            (0.0, -0.15, 0.0),
            ("lift_up_10",) * 4 + ("arm_out_10",) * 5,
            "lift_down_10",
            TABLE,
            80.0,
            LIFT_FORCE,
        ),
        # the base against a wall: 140 N
        ((1.5, 0.0, 0.0), (), "move_ahead", WALLS[0], 140.0, BASE_FORCE),
    ],
)
def test_pressing_gives_the_force_of_the_joint_and_no_more(
    settled_room, place, prepare, press, entity, limit, most
):
    assert limit < most  # what the real joint can give
    home = home_at(settled_room, *place)
    play(home, *prepare)
    for _ in range(8):
        record = play(home, press)[0]
        if record.blocked:
            break
    lasting = home._tracker.entities["robot_force"][entity]  # in the last substep, when the impact is over
    assert record.blocked and record.blocked_by == entity
    assert 0.6 * limit < lasting < 1.1 * limit
    assert record.metres < 0.2 and record.contact_force[entity] >= lasting
    joints = home.joints
    assert not play(home, "sub_task_done")[0].blocked  # it gave up: it does not go on pressing forward
    np.testing.assert_allclose(home.joints, joints, atol=0.01)


def test_a_blocked_arm_stops_where_it_is(settled_room):
    home = home_at(settled_room, 1.3, 0.0, math.pi / 2)  # the arm points along +x
    play(home, *["wrist_right_10"] * 9)  # and the gripper along the arm
    records = play(home, *["arm_out_10"] * 5)
    assert records[-1].blocked and home.arm < ARM_RANGE - 0.05
    gap = 1.95 - home.gripper_tip[0]  # to the face of the wall
    assert -0.02 < gap < 0.02
    arm = home.arm
    play(home, "arm_in_10")
    assert home.arm == pytest.approx(arm - 0.1, abs=0.01)
