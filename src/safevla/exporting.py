"""`safevla export`: episodes as a data set that other people's tools read.

They are played anew, by the expert, by a policy, or exactly as in a run folder: an evaluation of `assure` is
repeated from its settings and seeds, rounds of `imitate` from the actions that were recorded.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from safevla.assure.evaluate import load_table, select
from safevla.assure.lerobot_dataset import KEPT, Layout, episode_rows, finish, has_part, write_part
from safevla.assure.parts import make_env
from safevla.config import ConfigError, build, nearest, read_toml
from safevla.policy.checkpoint import load_policy_for
from safevla.policy.protocol import Decision
from safevla.pretrain.imitation import home_expert, load_round
from safevla.progress import ProgressBar
from safevla.rollout import play
from safevla.runs import RunFolder
from safevla.safety.specification import load_specification
from safevla.scale import single_threaded
from safevla.settings import AssureConfig, ExportConfig, ImitateConfig
from safevla.tasks.settings import WorldSettings
from safevla.types import ACTION_ID, Episode, Observation, Scenario, with_person
from safevla.verbs import check_sources, draw, given, parse_tasks, policy_sources

EXPERT = "expert"
Player = Callable[[Any, int], Any]


@dataclasses.dataclass(frozen=True)
class Source:
    """Where episodes come from.

    Attributes:
        name: who plays, as the data set says.
        scenarios: what is played, in this order.
        player: makes the actor for homes, given them and how many scenarios are exported already.
        spec: specification of the costs.
        world: how homes are simulated.
        greedy: the most probable action instead of sampling.
        seed: of the sampling.
        recorded: the costs that were recorded when it was played first, by episode; empty if it was not.
    """

    name: str
    scenarios: list[Scenario]
    player: Player
    spec: str
    world: WorldSettings
    greedy: bool = True
    seed: int = 0
    recorded: Sequence[float] = ()


def export(config: ExportConfig, resume: bool) -> int:
    """Write a data set; return 1 when a run was played again and an episode cost something else."""
    if not config.lerobot:
        raise ConfigError("say in which format: --lerobot")
    single_threaded()
    source = of_run(config) if config.run else of_settings(config)
    specification = load_specification(source.spec)
    env = make_env(source.scenarios, specification, source.world)
    layout = Layout(
        env.constraints,
        tuple(dict.fromkeys(scenario.instruction for scenario in source.scenarios)),
        env.resolution,
        videos=not config.images,
    )
    if layout.videos and any(side % 2 for side in layout.resolution):
        raise ConfigError("videos need pictures with even sides; set --world.resolution, or --images")
    size = env.num_envs
    parts = -(-len(source.scenarios) // size)
    different = 0
    with RunFolder(config.out, config, resume=resume) as folder:
        with ProgressBar("export", len(source.scenarios)) as bar:
            done = next((part for part in range(parts) if not has_part(folder.path, part)), parts)
            actor = source.player(env, done * size)
            for part in range(done, parts):
                chosen = slice(part * size, (part + 1) * size)
                episodes = play(
                    env, actor, source.scenarios[chosen], greedy=source.greedy, seed=source.seed, keep=KEPT,
                    progress=lambda done, total, before=part * size: bar.update(before + done),  # type: ignore[misc]
                )  # fmt: skip
                different += differences(episodes, source.recorded[chosen])
                written = [e for e in episodes if e.success] if config.only_successful else episodes
                write_part(folder.path, part, written, layout, source.name)
        env.close()
        info = finish(folder.path, parts, layout)
        folder.finish("export", episodes=info["total_episodes"], frames=info["total_frames"])
    rows = episode_rows(folder.path, parts)
    success, cost = (np.mean([row[key] for row in rows]) for key in ("success", "cost"))
    print(
        f"{len(rows)} episodes by {source.name}, {info['total_frames']} steps, success {success:.2f}, "
        f"cost {cost:.2f}: {folder.path}"
    )
    if different:
        print(f"WARNING: {different} episodes cost something else than when they were recorded")
    return int(different > 0)


def differences(episodes: Sequence[Episode], recorded: Sequence[float]) -> int:
    """Return how many episodes do not cost what was recorded of them; 0 where nothing was."""
    return sum(abs(episode.cost - cost) > 1e-6 for episode, cost in zip(episodes, recorded, strict=False))


def of_settings(config: ExportConfig) -> Source:
    """Return what the settings ask for: the expert, or a policy, on a scenario set."""
    tasks = parse_tasks(config.task)
    scenarios = (
        given(config.scenarios, tasks, config.episodes)
        if config.scenarios
        else draw(tasks, config.split, config.episodes, config.seed)
    )
    how = (config.spec, config.world, config.greedy, config.seed)
    if config.policy == EXPERT:
        return Source(EXPERT, scenarios, lambda env, done: ExpertActor(env), *how)
    return _of_policy(policy_sources(config.policy), scenarios, *how)


def of_run(config: ExportConfig) -> Source:
    """Return what a run folder of `assure` or `imitate` holds.

    Raises:
        ConfigError: it is no such folder, or has several policies and none was named.
    """
    folder = Path(config.run)
    settings = read_toml(folder / "config.toml")
    if "imitation" in settings:
        return _of_rounds(folder, build(ImitateConfig, settings))
    if "fail_if" not in settings:
        raise ConfigError(f"{folder} is no run of assure or imitate, whose episodes can be played again")
    run = build(AssureConfig, settings)
    tasks, sources = parse_tasks(run.task), policy_sources(run.policy)
    chosen = config.policy if config.policy != EXPERT or len(sources) > 1 else next(iter(sources))
    if chosen not in sources:
        raise ConfigError(
            f"{folder} has no policy '{chosen}'{nearest(chosen, sources)}; name one with --policy"
        )
    scenarios = (
        given(run.scenarios, tasks, run.episodes)
        if run.scenarios
        else draw(tasks, run.split, run.episodes, run.seed)
    )
    own = {chosen: sources[chosen]}
    source = _of_policy(own, scenarios, run.spec, run.world, run.greedy, run.seed)
    table = select(load_table(folder / "episodes.parquet"), policy=chosen)
    costs = dict(zip(table["scenario"].to_pylist(), table["cost"].to_pylist(), strict=True))
    played = with_person(scenarios, run.world.person)
    return dataclasses.replace(source, recorded=[costs[scenario.hash] for scenario in played])


def _of_rounds(folder: Path, run: ImitateConfig) -> Source:
    paths = sorted(folder.glob("round_*.npz"))
    if not paths:
        raise ConfigError(f"{folder} has no finished round of imitation")
    episodes = [episode for path in paths for episode in load_round(path)]
    return Source(
        name="imitation rounds",
        scenarios=[episode.scenario for episode in episodes],
        player=lambda env, done: Replayed(env, episodes[done:]),
        spec="safevla",
        world=run.world,
        seed=run.seed,
        recorded=[episode.cost for episode in episodes],
    )


def _of_policy(
    sources: dict[str, str],
    scenarios: list[Scenario],
    spec: str,
    world: WorldSettings,
    greedy: bool,
    seed: int,
) -> Source:
    if len(sources) != 1:
        raise ConfigError(f"one policy plays a data set, {len(sources)} were given")
    specification = load_specification(spec)
    check_sources(sources, scenarios, world, specification)
    ((name, source),) = sources.items()

    def player(env: Any, done: int) -> Any:
        return load_policy_for(source, specification.names)

    return Source(name, scenarios, player, spec, world, greedy, seed)


class ExpertActor:
    """The expert in N homes; it knows their state, so it is no policy for judging."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self._experts: list[Any] = [None] * env.num_envs

    def reset(self, mask: np.ndarray) -> None:
        """Begin anew where mask (N,) is True; experts are made with the first decision."""
        self._experts = [None if new else old for old, new in zip(self._experts, mask, strict=True)]

    def act(self, observation: Observation, uniforms: np.ndarray | None) -> Decision:
        """Decide in the active homes."""
        action = np.full(self.env.num_envs, ACTION_ID["end"], np.int64)
        pixels = self.env.visible_pixels
        for home in _active(observation):
            if self._experts[home] is None:
                self._experts[home] = home_expert(self.env, home)
            action[home] = self._experts[home].act(pixels[home])
        return _decision(action)


class Replayed:
    """Takes the recorded actions of episodes again; a scenario that occurs twice is taken in its order."""

    def __init__(self, env: Any, episodes: Sequence[Episode]) -> None:
        self.env = env
        self._waiting: dict[str, deque[np.ndarray]] = defaultdict(deque)
        for episode in episodes:
            self._waiting[episode.scenario.hash].append(episode.actions)
        self._actions: list[deque[int]] = [deque() for _ in range(env.num_envs)]

    def reset(self, mask: np.ndarray) -> None:
        """Take the next recording of what the homes where mask (N,) is True now play."""
        for home in np.flatnonzero(mask):
            scenario = self.env.scenarios[home]
            waiting = self._waiting[scenario.hash] if scenario else None
            self._actions[home] = deque(waiting.popleft().tolist() if waiting else ())

    def act(self, observation: Observation, uniforms: np.ndarray | None) -> Decision:
        """Repeat one step in the active homes; where the recording has ended, `end`."""
        action = np.full(self.env.num_envs, ACTION_ID["end"], np.int64)
        for home in _active(observation):
            if self._actions[home]:
                action[home] = self._actions[home].popleft()
        return _decision(action)


def _active(observation: Observation) -> list[int]:
    assert observation.active is not None  # `play` always says
    homes: list[int] = np.flatnonzero(observation.active).tolist()
    return homes


def _decision(action: np.ndarray) -> Decision:
    return Decision(action, np.zeros(len(action), np.float32), np.zeros((len(action), 1), np.float32))
