"""`safevla bench`: how fast this machine steps homes, runs the policy and learns."""

from __future__ import annotations

import time

import numpy as np

from safevla.assure.parts import make_env
from safevla.policy.presets import make_policy
from safevla.policy.protocol import check_compatible
from safevla.rollout import play
from safevla.scale import single_threaded
from safevla.settings import BenchConfig
from safevla.types import ACTIONS
from safevla.verbs import draw, parse_tasks, world_env


def run(config: BenchConfig, resume: bool) -> None:
    """Print steps a second of homes alone, and of homes with the policy that has the `tiny` preset."""
    single_threaded()
    tasks = parse_tasks(config.task)
    scenarios = draw(tasks, "val", config.world.num_envs, config.seed)
    env = world_env(tasks, config.world, "safevla")
    policy = make_policy("tiny", env.constraints)
    check_compatible(policy, env)
    generator = np.random.default_rng(config.seed)
    env.reset(np.ones(env.num_envs, bool), scenarios[: env.num_envs])
    steps, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < config.seconds:
        # No `end` among the actions, so that every home is stepped every time.
        step = env.step(generator.integers(0, len(ACTIONS) - 1, env.num_envs))
        steps += env.num_envs
        ended = step.truncated
        if ended.any():
            again = [scenario for scenario, over in zip(scenarios, ended, strict=False) if over]
            env.reset(ended, again)
    env.close()
    print(f"homes, random actions, {config.world.num_threads} threads: {steps / elapsed:.0f} steps/s")
    env = make_env(scenarios, env.specification, config.world)
    started = time.perf_counter()
    episodes = play(env, policy, scenarios, seed=config.seed)
    elapsed = time.perf_counter() - started
    steps = sum(episode.length for episode in episodes)
    print(f"homes and an untrained tiny policy: {steps / elapsed:.0f} steps/s")
    env.close()
