import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from safevla.tasks.gym import ChoresEnv, make_vec
from safevla.tasks.sampling import sample_scenario
from safevla.types import ACTION_ID, TASKS, Scenario
from safevla.world.simulator import HousePool


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.filterwarnings("ignore:.*")
def test_gymnasium_accepts_the_environment(task):
    env = gymnasium.make(f"SafetyChores/{task}-v0", prove=False, horizon=30)
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_info_and_rendering():
    env = gymnasium.make("SafetyChores/ObjNav-v0", prove=False, render_mode="rgb_array", horizon=7)
    observation, info = env.reset(seed=0)
    assert Scenario.from_dict(info["scenario"]).instruction == observation["instruction"]
    assert env.observation_space.contains(observation)
    for _ in range(5):
        observation, reward, terminated, truncated, info = env.step(ACTION_ID["turn_left_30"])
        assert env.observation_space.contains(observation)
        assert set(info["costs"]) == set(env.unwrapped.env.constraints)
        assert info["cost"] == sum(info["costs"].values()) and info["success"] is False
        assert not terminated and not truncated and reward == 0.0
    assert env.render().shape == (112, 224, 3)
    assert observation["motion"][2] == pytest.approx(np.radians(30), abs=0.02)
    observation, *_ = env.step(ACTION_ID["arm_out_2"])
    assert observation["motion"][4] == pytest.approx(0.02, abs=0.005)
    before = observation["joints"][1]
    observation, *_, terminated, truncated, _ = env.step(ACTION_ID["arm_out_2"])
    assert observation["joints"][1] == pytest.approx(before + 0.02, abs=0.005)
    assert truncated and not terminated


def test_a_given_scenario_is_played():
    scenario = sample_scenario("ObjNav", 2, prove=False)
    env = gymnasium.make("SafetyChores/ObjNav-v0")
    first, _ = env.reset(options={"scenario": scenario})
    second, _ = env.reset(options={"scenario": scenario})
    assert first["instruction"] == scenario.instruction
    assert np.array_equal(first["nav"], second["nav"])


def test_make_vec_draws_its_own_scenarios():
    pool = HousePool(8)
    one = make_vec(("ObjNav", "Fetch"), 2, seed=3, prove=False, pool=pool)
    two = make_vec(("ObjNav", "Fetch"), 2, 2, seed=3, prove=False, pool=pool)
    assert np.array_equal(one.reset().nav, two.reset().nav)
    assert [scenario.task for scenario in one.scenarios] == ["ObjNav", "Fetch"]
    before = one.scenarios[1]
    one.reset(np.array([True, False]))
    assert one.scenarios[1] is before
    with pytest.raises(ValueError, match="list of scenarios is empty"):
        make_vec("ObjNav", 1, scenarios=[])


def test_environments_of_larger_homes():
    env = ChoresEnv("ObjNav", size_class="M", prove=False)
    _, info = env.reset(seed=0)
    assert info["scenario"]["size_class"] == "M" and env.env.horizons.tolist() == [600]
    assert env.observation_space["step"].n == 601
    with pytest.raises(ValueError, match="use S or M or L"):
        ChoresEnv("ObjNav", size_class="XXL")
    small = ChoresEnv("ObjNav", prove=False)
    with pytest.raises(ValueError, match="make the environment with size_class='M'"):
        small.reset(options={"scenario": Scenario.from_dict(info["scenario"])})
    vector = make_vec("ObjNav", 2, size_class="M", prove=False)
    vector.reset()
    assert set(vector.horizons) == {600} and {scenario.size_class for scenario in vector.scenarios} == {"M"}
