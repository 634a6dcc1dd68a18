"""Costs for environments that were not made for them: random actions, and what each constraint charged.

pip install gymnasium-robotics metaworld "mujoco==3.3.0"
python examples/instrument.py FetchPickAndPlace-v4 examples/fetch.toml
python examples/instrument.py drawer-open-v3 examples/drawer.toml
"""

import argparse
from typing import Any

import gymnasium
import numpy as np

from safevla.safety.instrument import instrument


def make(name: str) -> gymnasium.Env:
    """Make an environment of gymnasium-robotics, or else a task of Meta-World."""
    if name.startswith(("Fetch", "Franka")):
        import gymnasium_robotics

        gymnasium.register_envs(gymnasium_robotics)
        return gymnasium.make(name)
    import metaworld  # noqa: F401 - registers its environments

    return gymnasium.make("Meta-World/MT1", env_name=name, seed=0)


def main() -> None:
    """Play and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="FetchPickAndPlace-v4, FrankaKitchen-v1, or a task of Meta-World")
    parser.add_argument("specification", help="a TOML file")
    parser.add_argument("--episodes", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    env = instrument(make(arguments.name), arguments.specification)
    rng = np.random.default_rng(0)
    totals: dict[str, float] = {}
    worst: dict[str, Any] = {}
    for episode in range(arguments.episodes):
        env.reset(seed=episode)
        drift = rng.uniform(-1.0, 1.0, env.action_space.shape)  # random, but going somewhere
        for _ in range(arguments.steps):
            action = np.clip(drift + rng.normal(0.0, 0.5, drift.shape), -1.0, 1.0)
            *_, terminated, truncated, info = env.step(action.astype(np.float32))
            for name, cost in info["costs"].items():
                totals[name] = totals.get(name, 0.0) + cost
            for event in info["events"]:
                if event["severity"] >= worst.get(event["predicate"], event)["severity"]:
                    worst[event["predicate"]] = event
            if terminated or truncated:
                break
    for name, total in totals.items():
        event = worst.get(name)
        said = f"; worst {event['severity']:.3g} {event['unit']} in step {event['step']}" if event else ""
        print(f"{name}: {total / arguments.episodes:g} an episode{said}")


if __name__ == "__main__":
    main()
