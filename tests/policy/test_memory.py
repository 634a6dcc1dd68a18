"""The memory: its poses, places and maps against the simulator's own; homes do not touch each other."""

import math

import numpy as np
import pytest

from safevla.policy.candidates import SIGHT_SIZE
from safevla.policy.memory import LAYERS, MemoryConfig, SpatialMemory
from safevla.policy.presets import make_policy, preset_config
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.expert import Expert
from safevla.tasks.sampling import load_scenarios
from safevla.types import ACTION_ID, ACTIONS, CHANNELS, NO_ACTION
from safevla.world.house import generate
from safevla.world.scene import compile_scene

GRID = (14, 14)
EVERY = np.array([True])


def windows(known, config):
    """Return all windows by layer, (scales, layers, n, n), and what is told of the target."""
    return known[:-SIGHT_SIZE].reshape(-1, len(LAYERS), config.window, config.window), known[-SIGHT_SIZE:]


@pytest.fixture(scope="module")
def walk():
    """Play an expert with perfect maps; return per step the truth and what the memory tells."""
    scenario = next(item for item in load_scenarios("safety-chores-val") if item.task == "PickUp")
    env = HomeVecEnv(("PickUp",), num_envs=1, resolution=112, labels=True)
    memory = SpatialMemory(MemoryConfig(), GRID)
    memory.reset(EVERY)
    seen = env.reset(EVERY, [scenario])
    expert, rows = Expert(env.homes[0], env.scenarios[0]), []
    for _ in range(scenario.expert_length - 3):  # until it is about to grasp
        known = memory.observe(seen.maps, seen.motion, seen.last_action, np.array([0]))[0]
        home = env.homes[0]
        rows.append((home.pose, memory._poses[0].copy(), known.copy()))
        action = expert.act(env.visible_pixels[0])
        seen = env.step(np.array([action])).observation
    boxes = expert._boxes[expert._targets]
    yield scenario, rows, boxes, memory, expert
    env.close()


def test_the_pose_is_that_of_the_robot_since_the_start(walk):
    _, rows, *_ = walk
    (x0, y0, yaw0), *_ = rows[0]
    for (x, y, yaw), own, _ in rows:
        ahead, left = x - x0, y - y0
        there = (
            math.cos(yaw0) * ahead + math.sin(yaw0) * left,
            math.cos(yaw0) * left - math.sin(yaw0) * ahead,
        )
        np.testing.assert_allclose(own[:2], there, atol=1e-3)
        assert math.isclose(math.cos(own[2]), math.cos(yaw - yaw0), abs_tol=1e-3)
    assert np.ptp([own[2] for _, own, _ in rows]) > 0.5  # it did turn


def test_the_target_is_told_where_it_is(walk):
    _, rows, boxes, *_ = walk
    gaps = []
    for (x, y, yaw), _, known in rows:
        evidence, ahead, left, height, _age = known[-5:]
        if evidence > 0.5:
            place = (
                x + math.cos(yaw) * ahead - math.sin(yaw) * left,
                y + math.sin(yaw) * ahead + math.cos(yaw) * left,
                height,
            )
            gaps.append(
                min(
                    np.linalg.norm(np.maximum(np.maximum(low - place, place - high), 0))
                    for low, high in boxes
                )
            )
    assert len(gaps) > 10
    assert np.median(gaps) < 0.3 and max(gaps) < 1.0  # the depth of a patch is that of what fills it


def test_remembered_floor_is_free_and_obstacles_are_not(walk):
    _, rows, _, memory, expert = walk
    (x0, y0, yaw0), *_ = rows[0]
    layers, cell = memory._maps[1][0], memory.config.cells[1]
    found = {}
    for name, layer in (("floor", 1), ("obstacle", 2)):
        i, j = np.nonzero((layers[..., 0] > 0) & (layers[..., layer] > 0.9) & (layers[..., 3 - layer] < 0.1))
        ahead, left = ((index - len(layers) // 2 + 0.5) * cell for index in (i, j))
        x = x0 + math.cos(yaw0) * ahead - math.sin(yaw0) * left
        y = y0 + math.sin(yaw0) * ahead + math.cos(yaw0) * left
        clearance = [expert._floor.clearance[expert._floor.index(*point)] for point in zip(x, y, strict=True)]
        found[name] = np.array(clearance)
    assert min(map(len, found.values())) > 20
    assert (found["floor"] > 0.05).mean() > 0.9
    assert np.median(found["obstacle"]) < 0.15 < np.median(found["floor"])


def test_a_window_turns_with_the_robot_and_moves_with_it():
    config = MemoryConfig()
    memory = SpatialMemory(config, GRID)
    memory.reset(EVERY)
    nothing = np.zeros((1, 2, CHANNELS, *GRID), np.float16)
    nothing[:, :, 4] = 4.0  # too far to be entered

    def look(forward=0.0, turn=0.0, action="turn_left_30"):
        motion = np.array([[forward, 0.0, turn, 0.0, 0.0, 0.0]], np.float32)
        last = np.array([ACTION_ID[action]])
        return windows(memory.observe(nothing, motion, last, np.array([0]))[0], config)[0][1]

    look(0.02, 0.0, "move_ahead")  # something stood in the way, 0.35 m ahead
    (row,), (column,) = np.nonzero(look()[LAYERS.index("blocked")])
    middle = config.window // 2
    assert row < middle and abs(column + 0.5 - middle) < 1.0
    (row,), (column,) = np.nonzero(look(turn=math.radians(90))[LAYERS.index("blocked")])
    assert column >= middle and abs(row + 0.5 - middle) < 1.5  # now on the right
    look(turn=-math.radians(90))
    (row,), _ = np.nonzero(look(forward=1.0, action="move_ahead")[LAYERS.index("blocked")])
    assert row > middle  # now behind
    assert look()[LAYERS.index("visited")].sum() == 2
    memory.reset(EVERY)
    assert not look()[LAYERS.index("blocked")].any()


def test_homes_do_not_touch_each_other():
    rng = np.random.default_rng(0)
    config, homes, steps = MemoryConfig(), 3, 5
    maps = rng.random((steps, homes, 2, CHANNELS, *GRID)).astype(np.float16)
    motion = rng.normal(size=(steps, homes, 6)).astype(np.float32)
    last = rng.integers(0, NO_ACTION, (steps, homes))
    together = SpatialMemory(config, GRID)
    together.reset(np.ones(homes, bool))
    among = [together.observe(maps[t], motion[t], last[t], np.arange(homes)) for t in range(steps)]
    for home in range(homes):
        alone = SpatialMemory(config, GRID)
        alone.reset(EVERY)
        for t in range(steps):
            part = slice(home, home + 1)
            own = alone.observe(maps[t, part], motion[t, part], last[t, part], np.array([0]))
            np.testing.assert_array_equal(own[0], among[t][home])
    resting = together.observe(maps[0], motion[0], last[0], np.array([1]))
    assert not resting[[0, 2]].any() and resting[1].any()


def test_a_memory_needs_maps_and_motion():
    config = preset_config("tiny-memory")
    assert config.feature_size == 2 * CHANNELS * 196 + 9 + config.memory.size + len(ACTIONS)
    with pytest.raises(ValueError, match="needs both"):
        type(config)(memory=MemoryConfig())
    assert make_policy("tiny-memory", ()).config == type(config)(**{**vars(config), "constraints": ()})


def test_the_cameras_are_those_of_the_robot():
    scene = compile_scene(generate(0))
    config = MemoryConfig()
    for camera, mount in zip(scene.robot.cameras, (config.navigation, config.manipulation), strict=True):
        np.testing.assert_allclose(scene.model.cam_pos[camera], mount[:3])
        assert scene.model.cam_fovy[camera] == config.field_of_view
        rotation = scene.model.cam_mat0[camera].reshape(3, 3)  # of the robot as it is made: yaw 0
        yaw, pitch = math.radians(mount[3]), math.radians(mount[4])
        ahead = (math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), -math.sin(pitch))
        np.testing.assert_allclose(-rotation[:, 2], ahead, atol=1e-6)
