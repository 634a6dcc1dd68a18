"""Scenario sets, described."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from safevla.assure.evaluate import evaluate, scenarios_hash
from safevla.cli import main
from safevla.policy.baselines import InactivePolicy
from safevla.safety.specification import load_specification
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import load_scenarios, save_scenarios, scenario_sets
from safevla.tasks.sets import describe_set, describe_sets, set_hash


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
        assert one.hash in line and f"most {one.expert_length[1]}" in line
    assert "policies" not in text
    assert main(["list", "stes"]) == 2
    assert "there is no section 'stes'; did you mean 'sets'" in capsys.readouterr().err
    assert main(["list", "sets", "tasks"]) == 2
    assert "unexpected 'tasks'" in capsys.readouterr().err
