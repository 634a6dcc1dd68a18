"""Scenario sets: what is in them, and that results say which one they were judged on."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from safevla.assure.evaluate import evaluate, facts_of, load_table, scenarios_hash
from safevla.cli import main
from safevla.policy.baselines import InactivePolicy
from safevla.safety.specification import load_specification
from safevla.tasks import sampling
from safevla.tasks.descriptions import KINDS
from safevla.tasks.env import HORIZONS, HomeVecEnv
from safevla.tasks.geometry import target_entities
from safevla.tasks.instructions import instructions_for
from safevla.tasks.matching import matching_entities
from safevla.tasks.sampling import (
    FROZEN_FILE,
    ScenarioSampler,
    load_scenarios,
    play_expert,
    save_scenarios,
    scenario_sets,
)
from safevla.tasks.sets import (
    DESCRIBED_CLASSES,
    benchmark_scenario,
    describe_set,
    describe_sets,
    described_sampler,
    described_scenario,
    judged_on,
    set_hash,
)
from safevla.types import TASKS
from safevla.world.simulator import HousePool

BENCHMARK = ("safety-chores-val", "safety-chores-test")


def test_every_set_is_described_from_its_scenarios():
    described = {one.name: one for one in describe_sets()}
    assert set(described) == set(scenario_sets())
    scenarios = load_scenarios("ObjNav-val")
    one = described["ObjNav-val"]
    assert one.count == len(scenarios) == sum(one.size_classes.values()) and one.tasks == {
        "ObjNav": one.count
    }
    lengths = [scenario.expert_length for scenario in scenarios]
    assert one.expert_length == (int(np.median(lengths)), max(lengths))
    assert len({one.hash for one in described.values()}) == len(described)


def test_the_hash_is_that_of_a_report_that_played_the_set(tmp_path):
    scenarios = [replace(one, expert_length=0) for one in load_scenarios("ObjNav-val")[:3]]
    env = HomeVecEnv("ObjNav", num_envs=3, specification=load_specification("safevla"))
    table = evaluate({"inactive": InactivePolicy()}, env, scenarios)
    env.close()
    assert set_hash(scenarios) == set_hash(scenarios[::-1]) == scenarios_hash(table)
    save_scenarios(tmp_path / "mine.jsonl", scenarios)
    assert describe_set(str(tmp_path / "mine.jsonl")).hash == scenarios_hash(table)
    assert set_hash(scenarios) != set_hash(scenarios[:2])


def test_empty_and_unknown_sets_are_one_line(tmp_path):
    save_scenarios(tmp_path / "empty.jsonl", [])
    with pytest.raises(ValueError, match="is empty; draw"):
        describe_set(str(tmp_path / "empty.jsonl"))
    with pytest.raises(ValueError, match="unknown scenario set"):
        describe_set("ObjNav-vall")


def test_list_shows_one_section(capsys):
    assert main(["list", "sets"]) == 0
    text = capsys.readouterr().out
    for one in describe_sets():
        line = next(line for line in text.splitlines() if line.split()[0] == one.name)
        longest = one.expert_length[1]
        kinds = ", ".join(f"{kind} {count}" for kind, count in one.descriptions.items())
        assert (kinds in line) if kinds else (" – " in line)
        assert one.hash in line and (f"most {longest}" if longest else "not played") in line
    assert "policies" not in text
    assert main(["list", "stes"]) == 2
    assert "there is no section 'stes'; did you mean 'sets'" in capsys.readouterr().err
    assert main(["list", "sets", "tasks"]) == 2
    assert "unexpected 'tasks'" in capsys.readouterr().err


@pytest.mark.parametrize("name", BENCHMARK)
def test_the_benchmark_is_what_it_says(name):
    scenarios = load_scenarios(name)
    assert Counter((one.task, one.size_class) for one in scenarios) == {
        (task, size_class): count
        for task in TASKS
        for size_class, count in (("S", 100), ("M", 70), ("L", 30))
    }
    assert {one.split for one in scenarios} == {name.rpartition("-")[2]}
    assert len({one.house_seed for one in scenarios}) == len({one.hash for one in scenarios}) == 600
    assert all(0 < one.expert_length <= HORIZONS[one.size_class] for one in scenarios)
    knobs = np.sort([one.knobs.as_tuple() for one in scenarios], axis=0)
    even = (np.arange(600) + 0.5) / 600
    assert np.abs(knobs - even[:, None]).max() < 0.067  # Kolmogorov-Smirnov, 1 %: uniform in 0..1
    navigation = load_scenarios(name, "ObjNav")
    assert navigation == [one for one in scenarios if one.task == "ObjNav"] and len(navigation) == 200
    assert load_scenarios(name, ["Fetch", "ObjNav"]) == [one for one in scenarios if one.task != "PickUp"]


def test_the_sets_share_no_home():
    names = (*BENCHMARK, "described-val", "described-train")
    seeds = [{(one.split, one.house_seed) for one in load_scenarios(name)} for name in names]
    assert all(one.isdisjoint(other) for one, other in combinations(seeds, 2))


@pytest.mark.parametrize("name", [*BENCHMARK, "described-val"])
def test_the_hash_of_a_set_to_judge_by_is_written_down(name):
    kept = Path(sampling.__file__).parents[1] / "data/scenarios" / FROZEN_FILE
    assert json.loads(kept.read_text())[name] == describe_set(name).hash


@pytest.mark.parametrize(("task", "split", "number"), [("ObjNav", "val", 4), ("PickUp", "val", 199)])
def test_a_scenario_of_the_benchmark_can_be_drawn_again(task, split, number):
    """It depends on task, split and number alone, not on what was drawn before it."""
    kept = load_scenarios(f"safety-chores-{split}", task)[number]
    assert benchmark_scenario(task, split, number, ScenarioSampler()) == kept


@pytest.mark.parametrize(("name", "each"), [("described-val", 70), ("described-train", 200)])
def test_every_instruction_of_the_described_sets_describes_its_target(name, each):
    scenarios = load_scenarios(name)
    split = name.rpartition("-")[2]
    assert Counter(one.task for one in scenarios) == dict.fromkeys(TASKS, each)
    for task in TASKS:
        own = [one for one in scenarios if one.task == task]
        assert "".join(one.size_class for one in own) == (DESCRIBED_CLASSES * each)[:each]
    assert {one.split for one in scenarios} == {split}
    assert len({one.house_seed for one in scenarios}) == len({one.hash for one in scenarios}) == 3 * each
    assert all(
        one.instruction in instructions_for(one.task, one.target, which=one.which) for one in scenarios
    )
    kinds = describe_set(name).descriptions
    assert list(kinds) == [kind for kind in KINDS if kind in kinds] and sum(kinds.values()) == 3 * each
    assert all(kinds[kind] >= each // 3 for kind in ("colour", "in", "on"))
    proven = [0 < one.expert_length <= HORIZONS[one.size_class] for one in scenarios]
    assert all(proven) if split == "val" else not any(one.expert_length for one in scenarios)


def test_beside_a_described_target_there_is_another_of_its_type():
    pool = HousePool(2)
    for one in load_scenarios("described-val")[::30]:
        settled = pool.of(one)
        meant = matching_entities(settled, one.target, one.which)
        everything = target_entities(settled.scene, one.target)
        assert 0 < len(meant) < len(everything) and set(meant) < set(everything)


@pytest.mark.parametrize(("task", "number"), [("ObjNav", 0), ("PickUp", 4)])
def test_a_described_scenario_can_be_drawn_again_and_is_solved(task, number):
    kept = load_scenarios("described-val", task)[number]
    sampler = described_sampler()
    assert described_scenario(task, "val", number, sampler) == kept
    result = play_expert(sampler.environment(), kept)
    assert result.success and result.cost <= 1 and result.length == kept.expert_length


def test_the_expert_solves_homes_of_all_classes_in_one_environment():
    own = load_scenarios("safety-chores-val", "Fetch")
    env = HomeVecEnv("Fetch", 1)
    for size_class in ("L", "S", "M"):
        one = next(one for one in own if one.size_class == size_class)
        result = play_expert(env, one)
        assert env.horizons[0] == HORIZONS[size_class]
        assert result.success and result.cost <= 1 and result.length == one.expert_length


def test_a_changed_set_is_noticed(tmp_path, monkeypatch):
    known = load_scenarios("safety-chores-val")[:3]
    monkeypatch.setattr(
        sampling, "_packaged_sets", lambda: {path.stem: path for path in tmp_path.glob("*.jsonl")}
    )
    save_scenarios(tmp_path / "frozen-set.jsonl", known)
    (tmp_path / FROZEN_FILE).write_text(json.dumps({"frozen-set": set_hash(known)}))
    assert load_scenarios("frozen-set") == known
    save_scenarios(tmp_path / "frozen-set.jsonl", [*known[:2], replace(known[2], seed=known[2].seed + 1)])
    with pytest.raises(
        ValueError, match=f"frozen-set was changed: its hash is .*, frozen was {set_hash(known)}"
    ):
        load_scenarios("frozen-set")
    assert len(load_scenarios(tmp_path / "frozen-set.jsonl")) == 3  # by its path it is a set like any other


def test_results_say_what_they_were_judged_on(tmp_path):
    chosen = [next(one for one in load_scenarios("safety-chores-val") if one.size_class == c) for c in "SM"]
    folder = tmp_path / "run"
    save_scenarios(tmp_path / "two.jsonl", chosen)
    words = ["assure", "--policy=inactive,random", f"--scenarios={tmp_path / 'two.jsonl'}", f"--out={folder}"]
    assert main([*words, "--processes=1", "--videos=0", "--world.resolution=16", "--world.num_envs=2"]) == 0
    whole = f"safety-chores-val {describe_set('safety-chores-val').hash}"
    facts = {"scenarios": set_hash(chosen), "sets": whole, "size_classes": "M 1, S 1"}
    assert judged_on(chosen) == facts
    assert json.loads((folder / "run.json").read_text())["stages"]["assure"] == facts
    table = load_table(folder / "episodes.parquet")
    assert facts_of(table) == facts
    for name in ("report.md", "report.html"):
        text = (folder / name).read_text()
        assert whole in text and set_hash(chosen) in text and "Size of homes" in text
