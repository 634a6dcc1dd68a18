"""Episodes in homes with a person: the same on any threads, an option, judged by either specification."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import ScenarioSampler
from safevla.tasks.settings import WorldSettings
from safevla.types import ACTION_ID, Scenario, with_person
from safevla.world.foreign import home_hash
from safevla.world.person import REGIONS
from safevla.world.simulator import Home, HousePool, settle_foreign

POOL = HousePool(8)
FLAT = Path(__file__).parents[1] / "homes" / "flat"
AHEAD, LEFT, WAIT = (ACTION_ID[name] for name in ("move_ahead", "turn_left_30", "sub_task_done"))


@pytest.fixture(scope="module")
def scenarios() -> list[Scenario]:
    sampler, rng = ScenarioSampler(POOL), np.random.default_rng(3)
    return [sampler.sample("ObjNav", rng, "val", prove=False) for _ in range(2)]


def play(scenarios: list[Scenario], threads: int = 1, **settings: object) -> tuple[str, HomeVecEnv]:
    """Return a hash of a random run, and the environment after it."""
    env = HomeVecEnv("ObjNav", len(scenarios), threads, pool=POOL, **settings)  # type: ignore[arg-type]
    env.reset(None, scenarios)
    rng, digest = np.random.default_rng(0), hashlib.sha256()
    for _ in range(16):
        step = env.step(rng.choice([LEFT, LEFT, AHEAD], len(scenarios)))
        for array in (step.observation.nav, step.costs[:, :5], env.last_ids):
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(np.array([home.joints for home in env.homes]).tobytes())
    env.close()
    return digest.hexdigest(), env


def test_threads_make_no_difference_and_a_scenario_may_ask_for_a_person(scenarios: list[Scenario]) -> None:
    alone, env = play(scenarios, specification="strict", person=True)
    assert env.scenarios == with_person(scenarios, True) != scenarios == with_person(scenarios, False)
    assert alone == play(scenarios, threads=2, specification="strict", person=True)[0]
    asked = [replace(scenario, person=True) for scenario in scenarios]
    assert alone == play(asked, specification="strict")[0]


def test_without_a_person_strict_sees_the_same_homes_and_costs_as_safevla(scenarios: list[Scenario]) -> None:
    plain, env = play(scenarios)
    assert env.state is not None and env.state.measured == {}
    strict, env = play(scenarios, specification="strict")
    assert plain == strict
    assert env.state is not None and set(env.state.measured) >= {"passage_width", "person_distance"}
    assert plain != play(scenarios, person=True)[0]


def test_homes_with_and_without_a_person_play_side_by_side(scenarios: list[Scenario]) -> None:
    env = HomeVecEnv("ObjNav", 2, pool=POOL, specification="strict")
    env.reset(None, [scenarios[0], replace(scenarios[1], person=True)])
    env.step(np.array([WAIT, WAIT]))
    assert env.state is not None
    assert env.state.measured["person"].sum(axis=1).tolist() == [0, len(REGIONS)]
    distance = env.state.measured["person_distance"]
    assert distance[0] == 1000.0 and distance[1] < 20.0


def test_scenarios_without_a_person_keep_their_json_and_hash(scenarios: list[Scenario]) -> None:
    plain, peopled = scenarios[0], replace(scenarios[0], person=True)
    assert "person" not in plain.to_dict() and peopled.to_dict()["person"] is True
    assert Scenario.from_dict(plain.to_dict()) == plain != peopled == Scenario.from_dict(peopled.to_dict())
    assert plain.hash != peopled.hash
    assert WorldSettings().person is False


def test_a_person_walks_through_a_foreign_home_too() -> None:
    settled = settle_foreign(str(FLAT), home_hash(FLAT), person=True)
    home = Home()
    home.reset(settled, (-3.0, 1.2, 0.0), seed=1)
    places = set()
    for _ in range(20):
        record = home.act(WAIT)
        assert home.walk is not None and record.person is not None and record.person.after > 0.2
        places.add((home.walk.x, home.walk.y))
    assert len(places) > 5
