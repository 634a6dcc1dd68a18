"""Searches that ask for scenarios and are told how severe they were, and the loop that drives them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy.stats import qmc

from safevla.elicit.archive import RiskArchive, elites_of
from safevla.elicit.scenario import Sampler, ScenarioRequest, ScenarioSpace, build_all
from safevla.players import EnvironmentFactory, players
from safevla.rollout import Actor, VectorEnvironment
from safevla.tasks.sampling import ScenarioSampler
from safevla.types import TASKS, Episode, Scenario

_BLOCK = 64  # Sobol points drawn at once; a power of two keeps them balanced


class Search(Protocol):
    """Proposes points of the unit cube and learns from what they gave."""

    def ask(self, count: int) -> np.ndarray:
        """Return (count, dimension) points to try next."""

    def tell(self, points: np.ndarray, severities: np.ndarray) -> None:
        """Take in the severities (count,) of points (count, dimension) that were tried."""


class RandomSearch:
    """Draws from the prior: the control that any other search has to beat."""

    def __init__(self, dimension: int, seed: int) -> None:
        self.dimension = dimension
        self._generator = np.random.Generator(np.random.PCG64(seed))

    def ask(self, count: int) -> np.ndarray:
        """Return (count, dimension) independent uniform points."""
        return self._generator.random((count, self.dimension))

    def tell(self, points: np.ndarray, severities: np.ndarray) -> None:
        """Learn nothing."""


class SobolSearch:
    """Fills the cube evenly with a scrambled Sobol sequence; the points do not depend on batch sizes."""

    def __init__(self, dimension: int, seed: int) -> None:
        self.dimension = dimension
        self._sobol = qmc.Sobol(dimension, scramble=True, seed=np.random.Generator(np.random.PCG64(seed)))
        self._ready = np.zeros((0, dimension))

    def ask(self, count: int) -> np.ndarray:
        """Return the next (count, dimension) points of the sequence."""
        while len(self._ready) < count:
            self._ready = np.concatenate([self._ready, self._sobol.random(_BLOCK)])
        points, self._ready = self._ready[:count], self._ready[count:]
        return points

    def tell(self, points: np.ndarray, severities: np.ndarray) -> None:
        """Learn nothing: the sequence is fixed."""


SEARCHES: dict[str, Callable[[int, int], Search]] = {"sobol": SobolSearch, "random": RandomSearch}


def make_search(name: str, dimension: int, seed: int) -> Search:
    """Return a search by name; an unknown one raises ValueError that lists the known."""
    if name not in SEARCHES:
        raise ValueError(f"unknown search '{name}'; choose among {', '.join(sorted(SEARCHES))}")
    return SEARCHES[name](dimension, seed)


def home_sampler(env: Any, described: float = 0.0) -> Sampler:
    """Return the sampler that places a request in a real home and proves it with the expert.

    Args:
        env: a HomeVecEnv; its houses, horizon and specification are used.
        described: share of the scenarios whose instruction describes its target.
    """
    homes = ScenarioSampler(env.pool, env.horizon, env.specification, described)

    def sample(request: ScenarioRequest) -> Scenario:
        generator = np.random.default_rng(request.seed)
        return homes.sample(request.task, generator, request.split, request.knobs, request.size_class)

    return sample


def elicit(
    policy: Actor,
    env: VectorEnvironment,
    tasks: str | tuple[str, ...] = TASKS,
    budget_episodes: int = 128,
    seed: int = 0,
    out: str | Path | None = None,
    *,
    search: str = "sobol",
    split: str = "train",
    greedy: bool = False,
    archive: RiskArchive | None = None,
    sampler: Sampler | None = None,
    described: float = 0.0,
    size_classes: Sequence[str] = ("S",),
    progress: Callable[[int, int], None] | None = None,
    make_env: EnvironmentFactory | None = None,
    processes: int = 1,
) -> RiskArchive:
    """Search for scenarios in which a policy is unsafe.

    Args:
        policy: the policy to be searched for failures.
        env: homes to play in.
        tasks: a task or several.
        budget_episodes: episodes to play; requests without a solvable scenario count towards it too, so
            that the search always ends.
        seed: determines the search and the sampling of actions.
        out: where to keep the archive as JSON lines; written after every batch.
        search: a name in SEARCHES.
        split: houses to search.
        greedy: take the most likely action instead of sampling.
        archive: an archive to go on with; None starts an empty one.
        sampler: turns a request into a scenario; None uses real homes.
        described: with real homes, share of the scenarios whose instruction describes its target.
        size_classes: of the homes, each entry equally often.
        progress: called as progress(done, budget_episodes).
        make_env: makes homes like `env` in another process; needed for more than one.
        processes: that play at once, if the policy has weights to be sent to them; what is found does not
            depend on it.

    Returns:
        The archive of the worst distinct scenarios. Its episodes were chosen to be bad: they say what can
        happen, never how often.
    """
    chosen = (tasks,) if isinstance(tasks, str) else tuple(tasks)
    space = ScenarioSpace(tasks=chosen, split=split, size_classes=size_classes)
    searcher = make_search(search, space.dimension, seed)
    sample = sampler or home_sampler(env, described)
    found = archive if archive is not None else RiskArchive()
    found.constraints = tuple(env.constraints)
    found.tasks = tuple(sorted({*found.tasks, *chosen}))
    found.facts |= {"search": search, "seed": seed, "split": split, "greedy": greedy}
    batch = 4 * env.num_envs  # several waves, so that a home which ends early takes the next one
    done = 0
    with players(env, policy, make_env, processes if hasattr(policy, "state_dict") else 1) as group:
        while done < budget_episodes:
            points = searcher.ask(min(batch, budget_episodes - done))
            requests = [space.request(point) for point in points]
            indices, scenarios, refusals = build_all(requests, sample)
            found.refused += len(refusals)
            episodes = group.play(scenarios, greedy=greedy, seed=seed) if scenarios else []
            searcher.tell(points[indices], np.array([_keep(found, episode) for episode in episodes]))
            done += len(points)
            if out is not None:
                found.save(out)
            if progress is not None:
                progress(done, budget_episodes)
    if found.episodes == 0 and found.refused:
        raise ValueError(f"no scenario could be made of {found.refused} requests: {refusals[-1]}")
    return found


def _keep(archive: RiskArchive, episode: Episode) -> float:
    """Add an episode to the archive, and return how severe its worst violation was."""
    archive.add(episode)
    return max((elite.severity for elite in elites_of(episode)), default=0.0)
