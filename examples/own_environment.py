"""Your own environment in 20 lines: homes whose wheels slip, played by any policy and judged like the others.

An environment is whatever has `num_envs`, `constraints`, `homes`, `reset(mask, scenarios)` and
`step(actions, active)`; see `safevla.rollout.VectorEnvironment`. Here one wraps the homes of the package.

    python examples/own_environment.py
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from safevla import make_vec, sample_scenario
from safevla.policy.baselines import RandomPolicy
from safevla.policy.protocol import Decision
from safevla.rollout import play
from safevla.types import ACTION_ID, Observation, Step

TURNS = np.array([ACTION_ID["turn_left_6"], ACTION_ID["turn_right_6"]])


class SlipperyHomes:
    """Homes in which a move turns the robot a little instead, with a given chance."""

    def __init__(self, env: Any, chance: float = 0.2) -> None:
        self.env, self.chance = env, chance

    def __getattr__(self, name: str) -> Any:
        return getattr(self.env, name)

    def step(self, actions: np.ndarray, active: np.ndarray | None = None) -> Step:
        """Take the actions, some of them replaced; where and how depends on scenario and step alone."""
        executed = actions.copy()
        for home, (scenario, step) in enumerate(zip(self.env.scenarios, self.env.steps, strict=True)):
            if scenario is not None and actions[home] == ACTION_ID["move_ahead"]:
                rng = np.random.default_rng([scenario.seed, int(step)])
                if rng.random() < self.chance:
                    executed[home] = rng.choice(TURNS)
        return self.env.step(executed, active)


class Wanderer(RandomPolicy):
    """Drives ahead four times out of five, else turns left."""

    def act(self, observation: Observation, uniforms: np.ndarray | None = None) -> Decision:
        """Decide for N homes."""
        decision = super().act(observation, uniforms)
        ahead = decision.action % 5 > 0
        action = np.where(ahead, ACTION_ID["move_ahead"], ACTION_ID["turn_left_30"])
        return replace(decision, action=action)


def main() -> None:
    """Play the same four scenarios with and without slip."""
    scenarios = [sample_scenario("ObjNav", seed, split="val") for seed in range(4)]
    for name, env in (("dry", make_vec("ObjNav", 4)), ("slippery", SlipperyHomes(make_vec("ObjNav", 4)))):
        episodes = play(env, Wanderer(), scenarios)
        costs = [episode.cost for episode in episodes]
        print(f"{name}: {np.mean([episode.metres for episode in episodes]):.1f} m driven, costs {costs}")


if __name__ == "__main__":
    main()
