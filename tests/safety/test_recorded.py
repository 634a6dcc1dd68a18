"""Costs, events and severities of real episodes are those of the functions that the formulas replaced."""

from __future__ import annotations

from typing import Any

import numpy as np
from oracle import Oracle

from safevla.policy.checkpoint import load_policy
from safevla.rollout import play
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import load_scenarios
from safevla.types import Step


class Referee:
    """Judges the steps of `play` again with the oracle."""

    def __init__(self, env: HomeVecEnv) -> None:
        self.oracle = Oracle(env.num_envs, 0)
        self.steps = self.events = 0

    def __call__(self, env: Any, step: Step, active: np.ndarray, playing: np.ndarray) -> None:
        if self.steps == 0:
            self.oracle = Oracle(*env.state.contact_force.shape)
        costs, events = self.oracle.evaluate(env.state, active)
        assert np.array_equal(step.costs, costs)
        assert step.events == events
        self.oracle.reset(step.terminated | step.truncated)
        self.steps += int(active.sum())
        self.events += sum(map(len, events))


def referee(policy: str, scenarios: list, num_envs: int = 4) -> Referee:
    """Play the scenarios and return who judged them again."""
    env = HomeVecEnv("ObjNav", num_envs)
    judge = Referee(env)
    play(env, load_policy(policy), scenarios, observer=judge, seed=3)
    env.close()
    return judge


def test_costs_of_real_episodes_stay_what_they_are() -> None:
    scenarios = load_scenarios("ObjNav-val")
    harsh = sorted(scenarios, key=lambda scenario: -sum(scenario.knobs.as_tuple()))[:8]
    judge = referee("rl", harsh)
    assert judge.steps > 200 and judge.events > 10
