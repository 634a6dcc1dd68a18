import dataclasses

import numpy as np
import pytest

from safevla.tasks.env import HORIZONS, HomeVecEnv
from safevla.tasks.geometry import entity_boxes, horizontal_distance, target_entities
from safevla.tasks.instructions import instructions_for
from safevla.tasks.matching import matching_entities
from safevla.tasks.sampling import (
    ScenarioSampler,
    draw_knobs,
    load_scenarios,
    play_expert,
    sample_scenario,
    save_scenarios,
    scenario_sets,
    scenario_stream,
)
from safevla.types import KNOBS, TASKS, Knobs, Scenario
from safevla.world.simulator import HousePool

POOL = HousePool(8)


@pytest.mark.parametrize("task", TASKS)
def test_a_proven_scenario_is_solved_again_in_as_many_steps(task):
    scenario = sample_scenario(task, 11, "val", pool=POOL)
    result = play_expert(HomeVecEnv(task, 1, pool=POOL), scenario)
    assert result.success and result.cost <= 1
    assert result.length == scenario.expert_length > 0


def test_the_same_seed_draws_the_same_scenario():
    assert sample_scenario("ObjNav", 4, pool=POOL) == sample_scenario("ObjNav", 4, pool=HousePool(2))
    assert sample_scenario("ObjNav", 4, pool=POOL) != sample_scenario("ObjNav", 5, pool=POOL)


def test_starts_are_away_from_success_or_near_the_target():
    env = HomeVecEnv(TASKS, 1, pool=POOL)
    for seed in range(5):
        away = sample_scenario("ObjNav", seed, pool=POOL, prove=False)
        env.reset(np.ones(1, bool), [away])
        boxes = entity_boxes(env.homes[0])
        for entity in target_entities(env.homes[0].scene, away.target):
            assert horizontal_distance(boxes[entity], *away.start[:2]) > 2.0
        near = sample_scenario("PickUp", seed, pool=POOL)
        env.reset(np.ones(1, bool), [near])
        boxes = entity_boxes(env.homes[0])
        targets = target_entities(env.homes[0].scene, near.target)
        assert min(horizontal_distance(boxes[entity], *near.start[:2]) for entity in targets) <= 2.1
        assert env.visible_pixels[0][:, targets].max() >= 8


def test_given_knobs_are_kept_and_drawn_ones_are_in_range():
    knobs = Knobs(corner=1.0)
    assert sample_scenario("ObjNav", 0, knobs=knobs, pool=POOL, prove=False).knobs == knobs
    rng = np.random.default_rng(0)
    drawn = np.array([draw_knobs(rng).as_tuple() for _ in range(200)])
    assert drawn.shape == (200, len(KNOBS)) and drawn.min() == 0.0 and drawn.max() <= 1.0
    assert 0.35 < (drawn == 0).mean() < 0.65


def test_the_stream_takes_the_tasks_in_turn():
    stream = scenario_stream(("ObjNav", "PickUp"), seed=1, pool=POOL, prove=False)
    first = [next(stream) for _ in range(4)]
    assert [scenario.task for scenario in first] == ["ObjNav", "PickUp", "ObjNav", "PickUp"]
    again = scenario_stream(("ObjNav", "PickUp"), seed=1, pool=POOL, prove=False)
    assert [next(again) for _ in range(4)] == first


def test_files_round_trip_and_bad_ones_are_named(tmp_path):
    scenarios = [sample_scenario("ObjNav", seed, pool=POOL, prove=False) for seed in range(3)]
    path = tmp_path / "some.jsonl"
    save_scenarios(path, scenarios)
    assert load_scenarios(path) == scenarios
    path.write_text(path.read_text() + '{"task": "ObjNav"}\n')
    with pytest.raises(ValueError, match=r"some\.jsonl, line 4: not a scenario"):
        load_scenarios(path)
    path.write_text('{"task": ')
    with pytest.raises(ValueError, match="line 1"):
        load_scenarios(path)
    with pytest.raises(ValueError, match="no scenario file"):
        load_scenarios(tmp_path / "missing.jsonl")
    with pytest.raises(ValueError, match="unknown scenario set 'nothing'"):
        load_scenarios("nothing")


def test_packaged_sets_load():
    for name, count in scenario_sets().items():
        assert len(load_scenarios(name)) == count > 0


def test_wrong_names_are_clear_errors():
    with pytest.raises(ValueError, match="unknown task"):
        sample_scenario("Dance", 0)
    with pytest.raises(ValueError, match="class"):
        sample_scenario("ObjNav", 0, size_class="XL")


@pytest.mark.parametrize("size_class", ["M", "L"])
def test_larger_homes_have_longer_episodes(size_class):
    sampler = ScenarioSampler(POOL)
    scenario = sampler.sample("Fetch", np.random.default_rng(3), "val", size_class=size_class)
    assert sampler.environment().horizons.tolist() == [HORIZONS[size_class]] == [600]
    assert scenario.size_class == size_class and 0 < scenario.expert_length <= 600


@pytest.mark.parametrize("task", TASKS)
def test_a_described_scenario_says_what_is_true_of_some_of_a_type_only(task):
    sampler, contrasted = ScenarioSampler(POOL, described=1.0), 0
    for seed in range(6):
        scenario = sampler.sample(task, np.random.default_rng(seed), prove=False)
        settled = POOL.of(scenario)
        meant = matching_entities(settled, scenario.target, scenario.which)
        everything = target_entities(settled.scene, scenario.target)
        assert scenario.instruction in instructions_for(task, scenario.target, which=scenario.which)
        assert 0 < len(meant) <= len(everything)
        assert task == "ObjNav" or settled.scene.graspable[meant].any()
        contrasted += len(meant) < len(everything)
    assert contrasted >= 3


def test_a_distractor_may_be_asked_for_always():
    sampler = ScenarioSampler(POOL, described=1.0, uncontrasted=0.0)
    for seed in range(8):
        scenario = sampler.sample("ObjNav", np.random.default_rng(seed), prove=False)
        settled = POOL.of(scenario)
        meant = matching_entities(settled, scenario.target, scenario.which)
        assert 0 < len(meant) < len(target_entities(settled.scene, scenario.target))
    with pytest.raises(ValueError, match=r"uncontrasted is -1, expected a share"):
        ScenarioSampler(POOL, uncontrasted=-1)


def test_a_described_scenario_is_proven_and_drawn_again():
    sampler = ScenarioSampler(POOL, described=1.0)
    scenario = sampler.sample("PickUp", np.random.default_rng(1))
    assert scenario.which and scenario.expert_length > 0
    assert scenario == ScenarioSampler(HousePool(2), described=1.0).sample("PickUp", np.random.default_rng(1))
    assert play_expert(sampler.environment(), scenario).length == scenario.expert_length


def test_a_share_is_described_and_none_unless_asked_for():
    stream = scenario_stream("ObjNav", pool=POOL, prove=False, described=0.5)
    drawn = [bool(next(stream).which) for _ in range(12)]
    assert 2 <= sum(drawn) <= 10
    with pytest.raises(ValueError, match=r"described is 1\.5"):
        ScenarioSampler(POOL, described=1.5)


def test_a_description_is_written_only_where_there_is_one():
    plain = sample_scenario("ObjNav", 4, pool=POOL, prove=False)
    asked = dataclasses.replace(plain, which="colour:red")
    assert "which" not in plain.to_dict() and asked.to_dict()["which"] == "colour:red"
    assert Scenario.from_dict(asked.to_dict()) == asked
    assert asked.hash != plain.hash
