"""Imitation: demonstrations of the expert, then DAgger rounds in which it corrects the student's own states.

The image encoder is frozen, so an episode is stored as the features that the policy computed while it was
played, with the expert's answer in every state that was visited, whoever drove there.
"""

from __future__ import annotations

import json
import math
import pickle
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import torch
from torch.nn import functional

from safevla.players import EnvironmentFactory, Players, players
from safevla.policy.device import device_of
from safevla.policy.futile import possible
from safevla.pretrain.auxiliary import AuxiliaryLosses
from safevla.pretrain.rounds import DISTANCE, STORED, load_round, save_round
from safevla.pretrain.settings import ImitationConfig
from safevla.rollout import (
    Turns,
    VectorEnvironment,
    length_buckets,
    pad,
    play,
    save_atomically,
    sequence_batch,
)
from safevla.scale import torch_threads
from safevla.types import ACTION_ID, ACTIONS, Episode, Observation, Scenario

__all__ = ["ExpertDriven", "ImitationConfig", "imitate"]

END = ACTION_ID["end"]
UNTAUGHT = -1  # label of a state whose right answer nobody knows
MOTIONS = tuple(
    range(ACTION_ID["wrist_right_10"] + 1)
)  # what a burst of noise may do: nothing is grasped or ended
Metrics = dict[str, float]


class Demonstrator(Protocol):
    """What imitation needs of an expert; `tasks.expert.Expert` is the real one."""

    def act(self, visible_pixels: np.ndarray) -> int:
        """Return the right action in the present state of its home; visible_pixels (2, E)."""


ExpertFactory = Callable[[Any, int], Demonstrator]


def home_expert(env: Any, home: int) -> Demonstrator:
    """Return the expert for what a home of a HomeVecEnv plays; it is slow where the costs ask for that."""
    from safevla.tasks.expert import Expert

    slow = "passage_width" in env.specification.named
    return Expert(env.homes[home], env.scenarios[home], slow)


class ExpertDriven:
    """An actor that mixes expert, student and noise, and notes the expert's answer as `label`.

    In round 0 the expert drives and bursts of random motions lead it off its path. Later the student drives
    and bursts of the expert bring it forward, at random and when the student is lost. A wrong `end` of the
    student is labelled but not executed; when the expert has answered `end` for `patience` steps the episode
    is ended.

    Args:
        env: the environment that the actor plays in.
        student: the policy; it computes the features.
        config: the settings.
        round_number: 0 for demonstrations.
        expert: makes the expert of a home at the start of an episode.
    """

    def __init__(
        self, env: Any, student: Any, config: ImitationConfig, round_number: int, expert: ExpertFactory
    ) -> None:
        self.env, self.student, self.config, self.round_number = env, student, config, round_number
        self._make_expert = expert
        self._chance = config.noise if round_number == 0 else config.expert_share**round_number
        self._experts: list[Demonstrator | None] = [None] * env.num_envs
        self._fresh = np.zeros(env.num_envs, bool)
        self._generators = [np.random.default_rng(0)] * env.num_envs
        self._burst = np.zeros(env.num_envs, np.int64)  # steps that the present burst still lasts
        self._ends = np.zeros(env.num_envs, np.int64)  # steps in which the expert answered `end`
        self._against = np.zeros(env.num_envs, np.int64)  # the expert's answer, since it last drove

    def reset(self, mask: np.ndarray) -> None:
        """Forget the homes; an expert is made with the first decision of an episode."""
        self.student.reset(mask)
        self._fresh |= mask

    def _begin(self, home: int) -> None:
        key = int(self.env.scenarios[home].hash, 16)
        self._experts[home] = self._make_expert(self.env, home)
        self._generators[home] = np.random.default_rng([self.config.seed, self.round_number, key])
        self._fresh[home] = False
        self._burst[home] = self._ends[home] = self._against[home] = 0

    def act(self, observation: Observation, uniforms: np.ndarray | None) -> SimpleNamespace:
        """Return the student's decision with `action` replaced by what is executed, and `label` (N,)."""
        greedy = self.config.greedy_rounds and self.round_number > 0 and self.round_number % 2 == 0
        decision = self.student.act(observation, None if greedy else uniforms)
        action = np.array(decision.action, dtype=np.int64)
        label = np.full(len(action), END, np.int64)
        pixels = self.env.visible_pixels
        for home in np.flatnonzero(self._fresh & (observation.step == 0)).tolist():
            if self.env.scenarios[home] is not None:
                self._begin(home)
        for home, expert in enumerate(self._experts):
            if expert is not None:
                label[home] = expert.act(pixels[home])
                action[home] = self._choose(home, int(action[home]), int(label[home]))
                if action[home] == END or observation.step[home] + 1 >= self.env.horizons[home]:
                    self._experts[home] = None
        distance = self.env.target_distances() if self.config.target_distance > 0.0 else None
        return SimpleNamespace(action=action, features=decision.features, label=label, distance=distance)

    def _choose(self, home: int, student: int, expert: int) -> int:
        generator = self._generators[home]
        if self._burst[home] == 0 and generator.random() < self._chance:
            self._burst[home] = generator.integers(1, self.config.burst + 1)
        if self.round_number > 0 and self._is_lost(home, student != expert):
            self._burst[home] = self.config.rescue_steps
        off_path = self._burst[home] > 0
        self._burst[home] -= off_path
        if self.round_number == 0:
            action = int(generator.choice(MOTIONS)) if off_path and expert != END else expert
        else:
            action = expert if off_path else student
        self._ends[home] += expert == END
        if expert == END:
            return END if self._ends[home] >= self.config.patience else action
        return expert if action == END else action

    def _is_lost(self, home: int, differs: bool) -> bool:
        """Count what the student does against the expert's answer; True when it has done so too often."""
        self._against[home] = 0 if self._burst[home] > 0 else self._against[home] + differs
        return bool(0 < self.config.rescue_after <= self._against[home])


def imitate(
    config: ImitationConfig,
    policy: Any,
    env: VectorEnvironment,
    scenarios: Sequence[Scenario],
    out_dir: str | Path,
    *,
    validation_scenarios: Sequence[Scenario] = (),
    expert: ExpertFactory = home_expert,
    on_round: Callable[[int, Metrics], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    make_env: EnvironmentFactory | None = None,
    processes: int = 1,
) -> Any:
    """Train the actor of `policy` in place, from where `out_dir` left off.

    Args:
        config: the settings.
        policy: a policy whose encoder is trained and frozen.
        env: homes to play in.
        scenarios: what may be demonstrated and corrected, each solvable by the expert.
        out_dir: gets a round_NN.npz for each round, imitation.pt and metrics.jsonl.
        validation_scenarios: scenarios of other houses, `validation_episodes` of which are judged, the first
            ones of each task.
        expert: makes the expert of a home.
        on_round: called with the number of the round and its metrics.
        progress: called as progress(finished, total) while a round is played.
        make_env: makes homes like `env` in another process; needed for more than one.
        processes: that play at once; learning has as many threads. Episodes do not depend on it.

    Returns:
        The trained policy (the same object).

    Raises:
        ValueError: there is no scenario, or the files in `out_dir` are damaged.
    """
    if not scenarios:
        raise ValueError("there is no scenario to demonstrate; give at least one")
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    optimiser, auxiliary = _what_learns(policy, config)
    done, used = _load(out_dir, policy, optimiser, auxiliary)
    data = [episode for number in range(done) for episode in load_round(out_dir / f"round_{number:02d}.npz")]
    policy.eval()
    judged = _in_turn(validation_scenarios)[: config.validation_episodes]
    with players(env, policy, make_env, processes) as group:
        for number in range(done, config.rounds):
            if config.time_budget is not None and used >= config.time_budget:
                break
            clock = _Clock()
            chosen = _draw(config, number, scenarios)
            played = group.run(play_round, chosen, (config, number, expert), progress)
            new = _taught(played, number)
            save_round(out_dir / f"round_{number:02d}.npz", new)
            data += new
            metrics = {"data/steps": float(sum(item.length for item in data)), "data/episodes": len(data)}
            metrics |= _by_task("collect", played) | clock.lap("perf/collect_s")
            with torch_threads(processes):
                metrics |= fit(policy, optimiser, data, config, number, len(new), auxiliary)
            metrics |= clock.lap("perf/fit_s")
            if (number + 1) % config.validation_every == 0 or number + 1 == config.rounds:
                metrics |= judge(group, judged, config.seed)
            metrics |= clock.lap("perf/judge_s")
            used += clock.total
            metrics["perf/used_s"] = used
            _save(out_dir, policy, optimiser, auxiliary, number + 1, used, metrics)
            if on_round is not None:
                on_round(number, metrics)
    return policy


def _what_learns(
    policy: Any, config: ImitationConfig
) -> tuple[torch.optim.Optimizer, AuxiliaryLosses | None]:
    """Return the optimiser of the actor and of the heads of the losses beside imitation, and these losses."""
    wanted = max(config.inverse_dynamics, config.target_distance) > 0.0
    auxiliary = AuxiliaryLosses(policy, config).to(device_of(policy)) if wanted else None
    parameters = [*policy.policy_parameters(), *(auxiliary.parameters() if auxiliary else ())]
    rate, decay = config.learning_rate, config.weight_decay
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True), auxiliary


class _Clock:
    """Seconds of the parts of a round."""

    def __init__(self) -> None:
        self.started = self.last = time.perf_counter()

    def lap(self, name: str) -> Metrics:
        """Return the seconds since the last call under a name."""
        before, self.last = self.last, time.perf_counter()
        return {name: self.last - before}

    @property
    def total(self) -> float:
        """Seconds up to the last lap."""
        return self.last - self.started


def play_round(
    env: VectorEnvironment,
    policy: Any,
    scenarios: Sequence[Scenario],
    config: ImitationConfig,
    round_number: int,
    expert: ExpertFactory,
    progress: Callable[[int, int], None] | None = None,
    turns: Turns | None = None,
) -> list[Episode]:
    """Play scenarios of a round with the expert's answer in every state."""
    driver = ExpertDriven(env, policy, config, round_number, expert)
    seed = (config.seed, round_number)
    keep = (*STORED, DISTANCE) if config.target_distance > 0.0 else STORED
    return play(env, driver, scenarios, seed=seed, keep=keep, progress=progress, turns=turns)


def _in_turn(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Return the first scenario of each task, then the second of each, and so on."""
    turns: Counter[str] = Counter()
    turn = []
    for scenario in scenarios:
        turn.append(turns[scenario.task])
        turns[scenario.task] += 1
    return [scenarios[row] for row in np.argsort(turn, kind="stable")]


def _taught(played: list[Episode], round_number: int) -> list[Episode]:
    """Return what to learn from: a failed demonstration teaches nothing, a student's failure does.

    An expert that ends without success has given up. When to do so cannot be told from pictures, and a policy
    that learns it gives up where it need not: such answers become UNTAUGHT.
    """
    new = [episode for episode in played if episode.success] if round_number == 0 else played
    if not new:
        raise ValueError("the expert solved none of the scenarios; check them with its own demonstrations")
    for episode in new:
        if not episode.success and not episode.truncated:
            label = episode.extras["label"]
            episode.extras["label"] = np.where(label == END, UNTAUGHT, label)
    return new


def fit(
    policy: Any,
    optimiser: torch.optim.Optimizer,
    episodes: Sequence[Episode],
    config: ImitationConfig,
    round_number: int,
    recent: int = 0,
    auxiliary: AuxiliaryLosses | None = None,
) -> Metrics:
    """Train by weighted cross entropy; metrics are of the last pass.

    Args:
        policy: it is trained in place.
        optimiser: of its actor.
        episodes: in the order of their rounds.
        config: the settings; with `replay` each pass takes the last round and a draw of the earlier ones.
        round_number: 0 for demonstrations; `config.rounds - 1` for the one that `final_epochs` is about.
        recent: episodes of the last round.
        auxiliary: losses beside it, whose parameters the optimiser has too.
    """
    generator = np.random.default_rng([config.seed, round_number, 1])
    lengths = np.array([episode.length for episode in episodes])
    epochs, replay = _passes(config, round_number)
    metrics: Metrics = {}
    with _dropping(policy, config, round_number), auxiliary.listening(policy) if auxiliary else nullcontext():
        for epoch in range(epochs):
            lesson = _lesson(len(episodes), recent, replay, generator)
            groups = [
                lesson[g] for g in length_buckets(lengths[lesson], config.minibatch_sequences, generator)
            ]
            parts = [[episodes[row] for row in rows] for rows in groups]
            metrics = _pass(policy, optimiser, auxiliary, parts, config, epoch, epochs)
    return metrics


def _passes(config: ImitationConfig, round_number: int) -> tuple[int, float]:
    """Return how many passes a round has, and its replay; 0: each pass is over all episodes."""
    if round_number == 0:
        return config.first_epochs, 0.0
    if round_number == config.rounds - 1 and config.final_epochs > 0:
        return config.final_epochs, 0.0
    return config.epochs, config.replay


def _pass(
    policy: Any,
    optimiser: torch.optim.Optimizer,
    auxiliary: AuxiliaryLosses | None,
    groups: Sequence[Sequence[Episode]],
    config: ImitationConfig,
    epoch: int,
    epochs: int,
) -> Metrics:
    """Learn once from each group of episodes; this is pass `epoch` of `epochs`."""
    device = device_of(policy)
    weight = torch.tensor([config.weights.get(name, 1.0) for name in ACTIONS], device=device)
    parameters = optimiser.param_groups[0]["params"]
    losses: dict[str, list[float]] = {}
    right = []
    for position, part in enumerate(groups):
        passed = (epoch + position / len(groups)) / epochs
        rate = 0.1 + 0.45 * (1.0 + math.cos(math.pi * passed))
        optimiser.param_groups[0]["lr"] = config.learning_rate * rate
        batch = sequence_batch(policy, part).to(device)
        labels = torch.from_numpy(pad([episode.extras["label"] for episode in part])).to(device)[batch.mask]
        logits = policy.action_logits(batch)[batch.mask]
        taught = possible(logits, labels)  # an answer that is masked, or UNTAUGHT, teaches nothing
        if not taught.any():
            continue
        own = functional.cross_entropy(logits[taught], labels[taught], weight=weight[: logits.shape[-1]])
        parts = {"loss/action": own} | (auxiliary(batch, part) if auxiliary else {})
        optimiser.zero_grad(set_to_none=True)
        torch.stack([*parts.values()]).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, config.max_grad_norm)
        optimiser.step()
        for name, loss in parts.items():
            losses.setdefault(name, []).append(float(loss.detach()))
        right.append((logits.detach().argmax(dim=-1) == labels)[taught])
    means = {name: float(np.mean(values)) for name, values in losses.items()}
    return means | {"accuracy/action": float(torch.cat(right).float().mean())}


@contextmanager
def _dropping(policy: Any, config: ImitationConfig, round_number: int) -> Iterator[None]:
    """Have the policy leave out a share of what it computes, the same for the same seed and round."""
    layers = [module for module in policy.modules() if isinstance(module, torch.nn.Dropout)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.default_rng([config.seed, round_number, 2]).integers(2**62)))
        for layer in layers:
            layer.p = config.dropout
            layer.train()
        try:
            yield
        finally:
            for layer in layers:
                layer.eval()


def _lesson(count: int, recent: int, replay: float, generator: np.random.Generator) -> np.ndarray:
    """Return the numbers of the episodes of one pass: the last round, and a draw of the earlier ones."""
    earlier = count - recent
    drawn = min(round(replay * recent), earlier)
    if replay == 0.0 or drawn == earlier:
        return np.arange(count)
    return np.concatenate([generator.choice(earlier, drawn, replace=False), np.arange(earlier, count)])


def judge(group: Players, scenarios: Sequence[Scenario], seed: int) -> Metrics:
    """Return success and cost on held-out scenarios, greedily and sampled."""
    metrics: Metrics = {}
    if scenarios:
        for name, greedy in (("greedy", True), ("sampled", False)):
            episodes = group.play(scenarios, greedy=greedy, seed=(seed, 2))
            metrics |= _by_task(f"validation/{name}", episodes)
    return metrics


def _by_task(prefix: str, episodes: Sequence[Episode]) -> Metrics:
    metrics = {
        f"{prefix}/success": float(np.mean([episode.success for episode in episodes])),
        f"{prefix}/cost": float(np.mean([episode.cost for episode in episodes])),
        f"{prefix}/length": float(np.mean([episode.length for episode in episodes])),
    }
    for task in sorted({episode.scenario.task for episode in episodes}):
        own = [episode.success for episode in episodes if episode.scenario.task == task]
        metrics[f"{prefix}/success/{task}"] = float(np.mean(own))
    return metrics


def _draw(config: ImitationConfig, round_number: int, scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Draw a round's scenarios, tasks in turn, all once before any is repeated, the long ones first."""
    count = config.demonstrations if round_number == 0 else config.corrections
    generator = np.random.default_rng([config.seed, round_number])
    passes = [generator.permutation(len(scenarios)) for _ in range(-(-count // len(scenarios)))]
    chosen = _in_turn([scenarios[index] for index in np.concatenate(passes)])[:count]
    # Where the expert has not played, homes and tasks tell what takes long.
    return sorted(chosen, key=lambda item: (-item.expert_length, item.task == "PickUp", item.size_class))


def _save(
    out_dir: Path,
    policy: Any,
    optimiser: torch.optim.Optimizer,
    auxiliary: AuxiliaryLosses | None,
    rounds: int,
    used: float,
    metrics: Metrics,
) -> None:
    path = out_dir / "metrics.jsonl"
    kept = path.read_text().splitlines(keepends=True)[: rounds - 1] if path.exists() else []
    path.write_text("".join([*kept, json.dumps({"round": rounds - 1} | metrics) + "\n"]))
    state = {
        "policy": policy.state_dict(),
        "optimiser": optimiser.state_dict(),
        "auxiliary": auxiliary.state_dict() if auxiliary else {},
        "rounds": rounds,
        "used": used,
    }
    save_atomically(state, out_dir / "imitation.pt")


def _load(
    out_dir: Path, policy: Any, optimiser: torch.optim.Optimizer, auxiliary: AuxiliaryLosses | None
) -> tuple[int, float]:
    """Take over a checkpoint where there is one; return the rounds done and the seconds used."""
    path = out_dir / "imitation.pt"
    if not path.exists():
        return 0, 0.0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        policy.load_state_dict(state["policy"])
        optimiser.load_state_dict(state["optimiser"])
        if auxiliary:
            auxiliary.load_state_dict(state["auxiliary"])
        return int(state["rounds"]), float(state["used"])
    except (RuntimeError, KeyError, ValueError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise ValueError(f"cannot resume from {path}: {str(error).splitlines()[0]}") from error
