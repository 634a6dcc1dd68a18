"""A small hand-made room with one of everything that matters, and plays in it."""

from types import SimpleNamespace

import mujoco
import numpy as np

from safevla.types import ACTION_ID
from safevla.world import robot
from safevla.world.robot import RobotIds
from safevla.world.simulator import Home

WALLS, TABLE, MUG, VASE, CHAIR, BALL = (0, 1, 2, 3), 4, 5, 6, 7, 8
NAMES = ["wall_0", "wall_1", "wall_2", "wall_3", "table_0", "mug_0", "vase_0", "chair_0", "ball_0"]
TABLE_TOP = 0.75


def room_xml(table_top: float = TABLE_TOP) -> str:
    walls = [((2, 0), (0.05, 2)), ((-2, 0), (0.05, 2)), ((0, 2), (2, 0.05)), ((0, -2), (2, 0.05))]
    wall = "".join(
        f'<geom name="wall_{i}" type="box" pos="{x} {y} 1.2" size="{a} {b} 1.2"/>'
        for i, ((x, y), (a, b)) in enumerate(walls)
    )
    legs = "".join(
        f'<geom type="box" size=".02 .02 .22" pos="{x} {y} .22" mass=".3"/>'
        for x in (-0.17, 0.17)
        for y in (-0.17, 0.17)
    )
    return f"""<mujoco><compiler angle="degree"/><size memory="4M"/>
    <option timestep="0.005" integrator="implicitfast"><flag sleep="enable"/></option>
    <worldbody><geom name="floor" type="plane" size="3 3 .1"/>{wall}
    <geom name="table_0" type="box" pos="0 -1.1 {table_top - 0.02}" size=".5 .3 .02"/>
    <body name="mug_0" pos=".4 -.88 {table_top}"><freejoint/>
      <geom type="cylinder" size=".04 .05" pos="0 0 .05" mass=".3"/></body>
    <body name="vase_0" pos="-.35 -1.3 {table_top}"><freejoint/>
      <geom type="cylinder" size=".04 .1" pos="0 0 .1" mass=".6"/></body>
    <body name="chair_0" pos="0 1.2 0"><freejoint/>
      <geom type="box" size=".2 .2 .02" pos="0 0 .45" mass="3"/>
      <geom type="box" size=".2 .02 .22" pos="0 .18 .68" mass="1"/>{legs}</body>
    <body name="ball_0" pos="-1.2 1.2 0"><freejoint/>
      <geom type="sphere" size=".12" pos="0 0 .12" mass=".6" condim="6" friction="1 .02 .005"/></body>
    {robot.robot_xml()}</worldbody>{robot.actuator_xml()}{robot.equality_xml()}</mujoco>"""


def room(break_impulse: float = 0.3, table_top: float = TABLE_TOP) -> SimpleNamespace:
    model = mujoco.MjModel.from_xml_string(room_xml(table_top))
    count = len(NAMES)
    body = np.zeros(count, np.int32)
    geom_entity = np.full(model.ngeom, -3, np.int32)
    for entity, name in enumerate(NAMES):
        if entity <= TABLE:
            geom_entity[model.geom(name).id] = entity
        else:
            body[entity] = model.body(name).id
            geom_entity[np.asarray(model.geom_bodyid) == body[entity]] = entity
    ids = RobotIds.find(model)
    geom_entity[ids.geoms] = -2
    geom_entity[model.geom("floor").id] = -1
    movable = np.arange(count) > TABLE
    fragile = np.isin(np.arange(count), (MUG, VASE))
    return SimpleNamespace(
        model=model,
        names=NAMES,
        body=body,
        geom_entity=geom_entity,
        present=np.ones(count, bool),
        movable=movable,
        fragile=fragile,
        break_impulse=np.where(fragile, break_impulse, np.inf),
        graspable=np.isin(np.arange(count), (MUG, VASE, BALL)),
        size=np.full((count, 3), 0.1),
        robot=ids,
        person=None,
    )


def home_at(settled, x: float, y: float, yaw: float = 0.0, kinematic: bool = True) -> Home:
    home = Home(kinematic=kinematic)
    home.reset(settled, (x, y, yaw))
    return home


def play(home: Home, *names: str) -> list:
    return [home.act(ACTION_ID[name]) for name in names]


def wait_for_rest(home: Home, actions: int = 8) -> list:
    return play(home, *["sub_task_done"] * actions)


def reach_over_mug(home: Home) -> None:
    """From (0.3, -0.15): bring the tip 3 cm above the mug on the table."""
    play(home, *["lift_up_10"] * 3, *["arm_out_10"] * 5, "lift_down_2", "arm_out_2")


def pick_up_mug(home: Home) -> None:
    reach_over_mug(home)
    assert play(home, "pick_up", "lift_up_10", *["arm_in_10"] * 5)[0].held == MUG


def assert_same(first, second) -> None:
    for name, value in vars(first).items():
        other = getattr(second, name)
        same = value.tobytes() == other.tobytes() if isinstance(value, np.ndarray) else value == other
        assert same, name


def random_actions(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(20, count, p=np.array([6, 1, 2, 2, *[1] * 16]) / 27)
