"""Constrained reinforcement learning of a policy that imitation started: the paper's algorithm on one page.

Each iteration plays whole episodes, moves one multiplier per constraint by their exact costs, and improves
the actor by PPO on the mixed advantage while all 1 + K critics learn. Nothing is half played between
iterations, so a checkpoint is exact: an interrupted run ends in the same weights as one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from safevla.constrain.learner import Learner, Metrics
from safevla.constrain.settings import MultiplierConfig, TrainConfig
from safevla.players import EnvironmentFactory, players
from safevla.rollout import VectorEnvironment
from safevla.scale import torch_threads
from safevla.types import Episode, Scenario

__all__ = ["MultiplierConfig", "TrainConfig", "draw_scenarios", "train"]

# What the learner needs of each step, beside actions, rewards and costs.
KEEP = ("features", "holding", "last_action", "bootstrap")


def train(
    config: TrainConfig,
    policy: Any,
    env: VectorEnvironment,
    domain_scenarios: Sequence[Scenario],
    archive_scenarios: Sequence[Scenario],
    out_dir: str | Path,
    on_iteration: Callable[[int, Metrics], None] | None = None,
    archive_weights: Sequence[float] | None = None,
    make_env: EnvironmentFactory | None = None,
    processes: int = 1,
) -> Any:
    """Improve `policy` in place under budgets, from where `out_dir` left off.

    Args:
        config: the settings.
        policy: the imitation policy; its start is also what the KL penalty anchors to.
        env: homes to play in; its constraints are the ones that get multipliers.
        domain_scenarios: the declared operational domain.
        archive_scenarios: what elicitation found; may be empty.
        out_dir: gets metrics.jsonl, start.pt and checkpoint.pt.
        on_iteration: called with the number of the iteration and its metrics.
        archive_weights: how often an archived scenario is drawn, e.g. its severity; None draws evenly.
        make_env: makes homes like `env` in another process; needed for more than one.
        processes: that play at once; learning has as many threads. Episodes do not depend on it.

    Returns:
        The trained policy (the same object).

    Raises:
        ValueError: nothing to play, a budget for a constraint that does not exist, or a checkpoint that does
            not fit.
    """
    if config.sharpness != 1.0:
        policy.sharpen(config.sharpness)
    learner = Learner(config, policy, env.constraints, Path(out_dir))
    with players(env, policy, make_env, processes) as group:
        while not learner.finished:
            started = time.perf_counter()
            iteration = learner.iteration
            scenarios = draw_scenarios(
                config, iteration, domain_scenarios, archive_scenarios, archive_weights
            )
            episodes = group.play(scenarios, seed=(config.seed, iteration), keep=KEEP)
            collected = time.perf_counter()

            metrics = learner.adapt_multipliers(episodes)
            with torch_threads(processes):
                metrics |= learner.improve(episodes)

            updated = time.perf_counter()
            learner.steps += sum(episode.length for episode in episodes)
            learner.iteration += 1
            metrics |= _rollout_metrics(episodes)
            metrics |= _speed_metrics(episodes, collected - started, updated - collected)
            learner.save(metrics)
            if on_iteration is not None:
                on_iteration(iteration, metrics)
    return policy


def draw_scenarios(
    config: TrainConfig,
    iteration: int,
    domain: Sequence[Scenario],
    archive: Sequence[Scenario],
    weights: Sequence[float] | None = None,
) -> list[Scenario]:
    """Draw what an iteration plays: the same for every method that has the same seed.

    Long episodes come first (by the expert's length), so that few homes idle at the end.
    """
    if not domain:
        raise ValueError("there is no scenario to train on; give at least one domain scenario")
    generator = np.random.default_rng([config.seed, iteration])
    from_archive = round(config.archive_fraction * config.episodes_per_iteration) if archive else 0
    from_domain = config.episodes_per_iteration - from_archive
    chosen = [domain[i] for i in generator.choice(len(domain), from_domain, len(domain) < from_domain)]
    if from_archive:
        chance = np.ones(len(archive)) if weights is None else np.asarray(weights, np.float64)
        if len(chance) != len(archive) or (chance < 0).any() or chance.sum() <= 0:
            raise ValueError("archive weights must be one non-negative number per scenario, not all zero")
        picks = generator.choice(len(archive), from_archive, p=chance / chance.sum())
        chosen += [archive[i] for i in picks]
    return sorted(chosen, key=lambda scenario: -scenario.expert_length)


def _rollout_metrics(episodes: Sequence[Episode]) -> Metrics:
    costs = np.stack([episode.costs.sum(axis=0) for episode in episodes])
    metrics = {
        "rollout/return": float(np.mean([episode.rewards.sum() for episode in episodes])),
        "rollout/success": float(np.mean([episode.success for episode in episodes])),
        "rollout/length": float(np.mean([episode.length for episode in episodes])),
        "rollout/cost": float(costs.sum(axis=1).mean()),
    }
    tasks = sorted({episode.scenario.task for episode in episodes})
    for task in tasks if len(tasks) > 1 else ():
        own = [episode.success for episode in episodes if episode.scenario.task == task]
        metrics[f"rollout/success/{task}"] = float(np.mean(own))
    for name, cost in zip(episodes[0].constraints, costs.mean(axis=0), strict=True):
        metrics[f"rollout/cost/{name}"] = float(cost)
    return metrics


def _speed_metrics(episodes: Sequence[Episode], collect: float, update: float) -> Metrics:
    total = collect + update
    return {
        "perf/steps_per_s": sum(episode.length for episode in episodes) / total,
        "perf/collect_share": collect / total,
        "perf/update_share": update / total,
    }
