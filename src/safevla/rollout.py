"""Play scenarios to their end: one function for judging a policy and for learning from it.

A work queue feeds the homes: each takes the next scenario as soon as its episode ends. What an episode does
depends on its scenario, its policy and the seed, never on which home plays it or in which order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from safevla.policy.protocol import named_failures
from safevla.policy.trunk import SequenceBatch
from safevla.types import Episode, Event, Observation, Scenario, Step, with_person

# Called after each step as observer(env, step, active (N,) bool, playing (N,) index of the scenario or -1).
Observer = Callable[[Any, Step, np.ndarray, np.ndarray], None]


class VectorEnvironment(Protocol):
    """What `play` needs of an environment; `tasks.env.HomeVecEnv` is the real one."""

    num_envs: int
    constraints: tuple[str, ...]

    @property
    def homes(self) -> Sequence[Any]:
        """The homes, each with `pose` (x, y, yaw) in metres and radians."""

    def reset(self, mask: np.ndarray, scenarios: Sequence[Scenario]) -> Observation:
        """Start the scenarios in the homes where mask (N,) is True; observation of all N homes."""

    def step(self, actions: np.ndarray, active: np.ndarray | None = None) -> Step:
        """Take actions (N,) in the active homes."""


class Turns(Protocol):
    """Says which scenarios are played here; `players.Turns` deals them to several processes."""

    def take(self, wanted: int) -> list[int]:
        """Return the numbers of the next scenarios for so many free homes, fewer or none where none is left.

        Who has nothing to play and is given nothing is done.
        """


class _All:
    """All of so many scenarios, in their order."""

    def __init__(self, total: int) -> None:
        self._left = iter(range(total))

    def take(self, wanted: int) -> list[int]:
        return list(islice(self._left, wanted))


class Actor(Protocol):
    """What `play` needs of a policy."""

    def reset(self, mask: np.ndarray) -> None:
        """Forget the history of the homes where mask (N,) is True."""

    def act(self, observation: Observation, uniforms: np.ndarray | None) -> Any:
        """Decide for N homes; uniforms (N,) in [0, 1) sample the actions, None takes the most likely."""


def play(
    env: VectorEnvironment,
    policy: Actor,
    scenarios: Sequence[Scenario],
    *,
    greedy: bool = False,
    seed: int | tuple[int, ...] = 0,
    keep: Sequence[str] = (),
    observer: Observer | None = None,
    progress: Callable[[int, int], None] | None = None,
    turns: Turns | None = None,
) -> list[Episode]:
    """Play every scenario once, from its start to its end.

    Args:
        env: N homes stepped together.
        policy: decides for N homes.
        scenarios: what to play; the same scenario may occur several times and is then played differently.
        greedy: take the most likely action instead of sampling.
        seed: with the scenario and its occurrence it determines the sampling of the actions.
        keep: per-step fields of the policy's decision or of the observation to store in `Episode.extras` as
            arrays (T, ...). "bootstrap" stores the values (1 + K,) of the state after the last step: what
            the critics expect after a truncation, zeros after `end`.
        observer: called after each step, before any home is reset.
        progress: called as progress(finished, total) when an episode ends.
        turns: which of the scenarios are played here, the others are played elsewhere; None: all of them.

    Returns:
        The episodes played here, in the order of the scenarios. Where the environment put a person in, theirs
        say so, and have another hash than without.

    Raises:
        FailedPolicyError: the policy raised an error.
    """
    scenarios = with_person(scenarios, getattr(env, "person", False))
    game = _Game(env, policy, scenarios, seed, tuple(keep), progress, turns)
    while game.seat():
        decision = game.decide(greedy)
        game.finish_truncated(decision)
        if any(recording is not None for recording in game.played):
            game.step(decision, observer)
    return [game.episodes[index] for index in sorted(game.episodes)]


class _Game:
    """The homes of one call of `play`, who plays in them and what came of it."""

    def __init__(
        self,
        env: VectorEnvironment,
        policy: Actor,
        scenarios: Sequence[Scenario],
        seed: int | tuple[int, ...],
        keep: tuple[str, ...],
        progress: Callable[[int, int], None] | None,
        turns: Turns | None,
    ) -> None:
        self.env, self.policy, self.scenarios, self.keep, self.progress = (
            env,
            policy,
            scenarios,
            keep,
            progress,
        )
        self.generators = _episode_generators(scenarios, seed)
        self.turns: Turns = _All(len(scenarios)) if turns is None else turns
        self.wants_values = not {"values", "bootstrap"}.isdisjoint(keep)
        self.played: list[_Recording | None] = [None] * env.num_envs
        self.episodes: dict[int, Episode] = {}
        self.observation: Observation | None = None

    def seat(self) -> bool:
        """Give free homes their next scenarios; False when nothing is played and nothing is left."""
        free = [home for home, recording in enumerate(self.played) if recording is None]
        chosen = self.turns.take(len(free)) if free else []
        if not chosen:
            return len(free) < len(self.played)
        started = free[: len(chosen)]
        for home, index in zip(started, chosen, strict=True):
            self.played[home] = _Recording(index, self.scenarios[index], self.generators[index], self.keep)
        mask = _mask(len(self.played), started)
        # At the very start all is forgotten: the policy may have played elsewhere, with other homes.
        forgotten = np.ones_like(mask) if self.observation is None else mask
        self.observation = self.env.reset(mask, [self.scenarios[index] for index in chosen])
        with named_failures(self.policy, "to begin an episode"):
            self.policy.reset(forgotten)
        return True

    def decide(self, greedy: bool) -> Any:
        """Return the policy's decision for all homes."""
        assert self.observation is not None
        playing = np.array([recording is not None for recording in self.played])
        self.observation = replace(self.observation, active=playing, wants_values=self.wants_values)
        uniforms = None if greedy else _draw(self.played)
        longest = int(self.observation.step[playing].max(initial=0))
        with named_failures(self.policy, f"to act, up to {longest} steps after the start"):
            return self.policy.act(self.observation, uniforms)

    def finish_truncated(self, decision: Any) -> None:
        """End the episodes whose last value was waited for: it comes with everybody's next decision."""
        for home, recording in enumerate(self.played):
            if recording is not None and recording.truncated:
                self._finish(home, recording, np.asarray(decision.values[home], dtype=np.float32))

    def step(self, decision: Any, observer: Observer | None) -> None:
        """Act in the homes that are played in, and record it."""
        assert self.observation is not None
        active = np.array([recording is not None for recording in self.played])
        actions = np.where(active, np.asarray(decision.action, dtype=np.int64), 0)
        before = _positions(self.env, active)
        step = self.env.step(actions, active)
        moved = np.hypot(*(_positions(self.env, active) - before).T)
        if observer is not None:
            numbers = np.array([-1 if recording is None else recording.index for recording in self.played])
            observer(self.env, step, active, numbers)
        for home, recording in enumerate(self.played):
            if recording is None:
                continue
            recording.add(home, actions[home], decision, self.observation, step, moved[home])
            waits = recording.truncated and "bootstrap" in self.keep
            if step.terminated[home] or (recording.truncated and not waits):
                self._finish(home, recording, None)
        self.observation = step.observation

    def _finish(self, home: int, recording: _Recording, bootstrap: np.ndarray | None) -> None:
        self.episodes[recording.index] = recording.episode(self.env.constraints, bootstrap)
        self.played[home] = None
        if self.progress is not None:
            self.progress(len(self.episodes), len(self.scenarios))


@dataclass
class _Recording:
    """One episode while it is being played."""

    index: int
    scenario: Scenario
    generator: np.random.Generator
    keep: tuple[str, ...]
    actions: list[int] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    costs: list[np.ndarray] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    kept: dict[str, list[np.ndarray]] = field(default_factory=dict)
    metres: float = 0.0
    success: bool = False
    distractor: bool = False
    truncated: bool = False

    def add(
        self, home: int, action: int, decision: Any, observation: Observation, step: Step, metres: float
    ) -> None:
        """Record one step; the terminal step's reward, cost and events belong to the episode."""
        self.actions.append(int(action))
        self.rewards.append(float(step.reward[home]))
        self.costs.append(np.array(step.costs[home], dtype=np.float32))
        self.events.extend(step.events[home])
        self.metres += float(metres)
        self.success = bool(step.success[home])
        self.distractor = step.distractor is not None and bool(step.distractor[home])
        self.truncated = bool(step.truncated[home]) and not bool(step.terminated[home])
        for name in self.keep:
            if name != "bootstrap":
                source = decision if hasattr(decision, name) else observation
                self.kept.setdefault(name, []).append(np.array(getattr(source, name)[home]))

    def episode(self, constraints: tuple[str, ...], bootstrap: np.ndarray | None) -> Episode:
        """Return what was recorded; `bootstrap` None stands for a state that has no future."""
        extras = {name: np.stack(values) for name, values in self.kept.items()}
        if "bootstrap" in self.keep:
            nothing = np.zeros(1 + len(constraints), dtype=np.float32)
            extras["bootstrap"] = nothing if bootstrap is None else bootstrap
        return Episode(
            scenario=self.scenario,
            success=self.success,
            truncated=self.truncated,
            actions=np.array(self.actions, dtype=np.int64),
            rewards=np.array(self.rewards, dtype=np.float32),
            costs=np.stack(self.costs).reshape(len(self.actions), len(constraints)),
            constraints=constraints,
            events=self.events,
            metres=self.metres,
            extras=extras,
            distractor=self.distractor,
        )


def _episode_generators(
    scenarios: Sequence[Scenario], seed: int | tuple[int, ...]
) -> list[np.random.Generator]:
    seeds = (seed,) if isinstance(seed, int) else seed
    seen: Counter[str] = Counter()
    generators = []
    for scenario in scenarios:
        key = scenario.hash
        generators.append(np.random.default_rng([*seeds, int(key, 16), seen[key]]))
        seen[key] += 1
    return generators


def _draw(played: Sequence[_Recording | None]) -> np.ndarray:
    """Draw one uniform per home; a home that only waits for its last value takes none from its stream."""
    return np.array(
        [0.5 if item is None or item.truncated else item.generator.random() for item in played], np.float64
    )


def _mask(size: int, chosen: Sequence[int]) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[list(chosen)] = True
    return mask


def _positions(env: VectorEnvironment, active: np.ndarray) -> np.ndarray:
    """Return x, y of each active home's robot, (N, 2) in metres."""
    positions = np.zeros((len(active), 2))
    for home in np.flatnonzero(active).tolist():
        positions[home] = env.homes[home].pose[:2]
    return positions


def pad(arrays: Sequence[np.ndarray], length: int | None = None) -> np.ndarray:
    """Stack B arrays (T_i, ...) into (B, T, ...), zeros behind each end; T is the longest unless given."""
    longest = max(len(array) for array in arrays) if length is None else length
    padded = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), dtype=arrays[0].dtype)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    return padded


def length_buckets(lengths: np.ndarray, size: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Split episodes into minibatches of similar length, in random order.

    Lengths are jittered by a tenth before they are sorted, so that the groups differ between epochs while
    little is padded.

    Args:
        lengths: (B,) steps of each episode.
        size: episodes in a minibatch; the last one may hold fewer.
        generator: draws the jitter and the order.

    Returns:
        Arrays of indices that cover 0..B-1 once.
    """
    order = np.argsort(lengths * generator.uniform(0.9, 1.1, len(lengths)), kind="stable")
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    return [groups[index] for index in generator.permutation(len(groups))]


def sequence_batch(policy: Any, episodes: Sequence[Episode]) -> SequenceBatch:
    """Stack episodes that kept features, holding and last_action into padded tensors (B, T, ...)."""
    lengths = torch.tensor([episode.length for episode in episodes])
    longest = int(lengths.max())
    padded = {
        name: torch.from_numpy(pad([episode.extras[name] for episode in episodes]))
        for name in ("features", "holding", "last_action")
    }
    return SequenceBatch(
        features=padded["features"],
        holding=padded["holding"],
        last_action=padded["last_action"],
        text=policy.embed_text([episode.scenario.instruction for episode in episodes]),
        actions=torch.from_numpy(pad([episode.actions for episode in episodes])),
        mask=torch.arange(longest)[None, :] < lengths[:, None],
    )


def take(batch: SequenceBatch, rows: np.ndarray) -> SequenceBatch:
    """Return some episodes of a batch, cut to the longest of them."""
    index = torch.from_numpy(rows)
    longest = int(batch.mask.index_select(0, index).sum(dim=1).max())
    parts = {item.name: getattr(batch, item.name) for item in fields(batch)}
    cut = {name: part if name == "text" else part[:, :longest] for name, part in parts.items()}
    return SequenceBatch(**{name: part.index_select(0, index) for name, part in cut.items()})


@torch.no_grad()
def evaluate_all(function: Callable[[SequenceBatch], Tensor], batch: SequenceBatch, size: int) -> Tensor:
    """Return function(batch) (B, T, ...), computed in groups of `size` episodes of similar length."""
    order = np.argsort(batch.mask.sum(dim=1).numpy(), kind="stable")
    whole: Tensor | None = None
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        part = function(take(batch, rows))
        if whole is None:
            whole = part.new_zeros(*batch.mask.shape, part.shape[-1])
        whole[torch.from_numpy(rows), : part.shape[1]] = part
    assert whole is not None
    return whole


def save_atomically(state: Any, path: Path) -> None:
    """Write with `torch.save` so that a reader sees the old file or the new one, never half of it."""
    temporary = path.with_name(path.name + ".tmp")
    torch.save(state, temporary)
    temporary.replace(path)
