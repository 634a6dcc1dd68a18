"""`safevla export`: episodes as a data set that other people's tools read.

They are played anew, by the expert, by a policy, or exactly as in a run folder: an evaluation of `assure` is
repeated from its settings and seeds, rounds of `imitate` and data sets of `export --parquet` from the actions
that were recorded.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from safevla import __version__
from safevla.assure import demonstrations
from safevla.assure.evaluate import load_table, select
from safevla.assure.lerobot_dataset import (
    KEPT,
    Layout,
    episode_rows,
    finish,
    has_part,
    write_part,
)
from safevla.assure.parts import make_env
from safevla.config import ConfigError, build, nearest, read_toml
from safevla.policy.checkpoint import load_policy_for
from safevla.policy.protocol import Decision, wants_labels
from safevla.pretrain.imitation import home_expert
from safevla.pretrain.rounds import load_round
from safevla.progress import ProgressBar
from safevla.rollout import play
from safevla.runs import RunFolder
from safevla.safety.specification import load_specification
from safevla.scale import run_jobs, single_threaded
from safevla.settings import AssureConfig, ExportConfig, ImitateConfig
from safevla.tasks.settings import WorldSettings
from safevla.types import ACTION_ID, ACTIONS, Episode, Observation, Scenario, with_person
from safevla.verbs import check_sources, draw, given, parse_tasks, policy_sources
from safevla.world.simulator import ACTION_SECONDS

EXPERT = "expert"


@dataclasses.dataclass(frozen=True)
class Source:
    """Where episodes come from; plain data, so that other processes can play parts of it.

    Attributes:
        name: who plays, as the data set says.
        scenarios: what is played, in this order.
        spec: specification of the costs.
        world: how homes are simulated.
        policy: who decides: the expert, or what `load_policy` takes.
        greedy: the most probable action instead of sampling.
        seed: of the sampling.
        recorded: the costs that were recorded when it was played first, by episode; empty if it was not.
        taken: actions that are taken again instead, by episode; empty if somebody decides.
        labels: of HomeVecEnv: not 0 if who plays is an oracle, which is told what its pictures show.
        device: where the policy computes.
    """

    name: str
    scenarios: Sequence[Scenario]
    spec: str
    world: WorldSettings
    policy: str = EXPERT
    greedy: bool = True
    seed: int = 0
    recorded: Sequence[float] = ()
    taken: Sequence[np.ndarray] = ()
    labels: int = 0
    device: str = "cpu"

    def part(self, start: int, stop: int | None = None) -> Source:
        """Return the source of some of the episodes."""
        own = {name: getattr(self, name)[start:stop] for name in ("scenarios", "recorded", "taken")}
        return dataclasses.replace(self, **own)

    def actor(self, env: Any) -> Any:
        """Return who plays in the homes; a new one for every part that is played by itself."""
        if self.taken:
            return Replayed(env, self.scenarios, self.taken)
        if self.policy == EXPERT:
            return ExpertActor(env)
        return load_policy_for(self.policy, env.constraints, self.device)

    def play(self, env: Any, actor: Any, keep: Sequence[str], progress: Any = None) -> list[Episode]:
        """Play all episodes."""
        return play(
            env, actor, self.scenarios, greedy=self.greedy, seed=self.seed, keep=keep, progress=progress
        )

    def differences(self, episodes: Sequence[Episode]) -> int:
        """Return how many episodes do not cost what was recorded of them; 0 where nothing was."""
        pairs = zip(episodes, self.recorded, strict=False)
        return sum(abs(episode.cost - cost) > 1e-6 for episode, cost in pairs)


def export(config: ExportConfig, resume: bool) -> int:
    """Write a data set; return 1 when a run was played again and an episode cost something else."""
    if config.lerobot == config.parquet:
        raise ConfigError("say in which format: --lerobot or --parquet")
    if config.parquet and config.images:
        raise ConfigError("--images is for --lerobot; --parquet always keeps the pictures exact to the bit")
    single_threaded()
    source = of_run(config) if config.run else of_settings(config)
    write = write_lerobot if config.lerobot else write_parquet
    rows, different = write(config, source, resume)
    success, cost, steps = (np.array([row[key] for row in rows]) for key in ("success", "cost", "length"))
    print(
        f"{len(rows)} episodes by {source.name}, {steps.sum()} steps, success {success.mean():.2f}, "
        f"cost {cost.mean():.2f}: {config.out}"
    )
    if different:
        print(f"WARNING: {different} episodes cost something else than when they were recorded")
    return int(different > 0)


def write_lerobot(config: ExportConfig, source: Source, resume: bool) -> tuple[list[dict[str, Any]], int]:
    """Write the LeRobot format; return the episodes' rows, and how many differ from what was recorded."""
    env = make_env(source.scenarios, load_specification(source.spec), source.world, labels=source.labels)
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
            actor = source.part(done * size).actor(env)
            for part in range(done, parts):
                own = source.part(part * size, (part + 1) * size)
                episodes = own.play(
                    env, actor, KEPT, lambda done, total, before=part * size: bar.update(before + done)
                )
                different += own.differences(episodes)
                written = [e for e in episodes if e.success] if config.only_successful else episodes
                write_part(folder.path, part, written, layout, source.name)
        env.close()
        info = finish(folder.path, parts, layout)
        folder.finish("export", episodes=info["total_episodes"], frames=info["total_frames"])
    return episode_rows(folder.path, parts), different


def write_parquet(config: ExportConfig, source: Source, resume: bool) -> tuple[list[dict[str, Any]], int]:
    """Write our own format; return the episodes' rows, and how many differ from what was recorded."""
    specification, size = load_specification(source.spec), source.world.num_envs
    starts = range(0, len(source.scenarios), size)
    with RunFolder(config.out, config, resume=resume) as folder:
        paths = [demonstrations.shard_path(folder.path, shard) for shard in range(len(starts))]
        jobs = [
            (source.part(start, start + size), start, path, config.only_successful)
            for start, path in zip(starts, paths, strict=True)
            if not path.exists()
        ]
        with ProgressBar("export", len(source.scenarios)) as bar:
            different = run_jobs(
                play_shard, jobs, config.processes,
                lambda: bar.update(min(size * sum(p.exists() for p in paths), len(source.scenarios))),
            )  # fmt: skip
        facts = {
            "policy": source.name,
            "constraints": list(specification.names),
            "specification": {"source": source.spec, "hash": specification.hash},
            "actions": list(ACTIONS),
            "step_seconds": ACTION_SECONDS,
            "seed": source.seed,
            "greedy": source.greedy,
            "world": dataclasses.asdict(source.world),
            "safevla": __version__,
            **{key: folder.provenance[key] for key in ("command", "code")},
        }
        rows = demonstrations.finish(folder.path, len(paths), facts)
        folder.finish("export", episodes=len(rows), frames=sum(row["length"] for row in rows))
    return rows, sum(different)


def play_shard(source: Source, first: int, path: Path, only_successful: bool) -> int:
    """Play some episodes and write their file; importable, so that a process can run it.

    Args:
        source: of these episodes alone.
        first: number of the first of them in the data set.
        path: of the file.
        only_successful: leave out episodes that failed; the others keep their numbers.

    Returns:
        How many do not cost what was recorded of them.
    """
    env = make_env(source.scenarios, load_specification(source.spec), source.world, labels=source.labels)
    episodes = source.play(env, source.actor(env), demonstrations.KEPT)
    env.close()
    numbered = {first + k: e for k, e in enumerate(episodes) if e.success or not only_successful}
    demonstrations.write_shard(path, numbered, env.constraints)
    return source.differences(episodes)


def of_settings(config: ExportConfig) -> Source:
    """Return what the settings ask for: the expert, or a policy, on a scenario set."""
    tasks = parse_tasks(config.task)
    scenarios = (
        given(config.scenarios, tasks, config.episodes)
        if config.scenarios
        else draw(tasks, config.split, config.episodes, config.seed)
    )
    if config.policy == EXPERT:
        return Source(EXPERT, scenarios, config.spec, config.world, seed=config.seed)
    sources = policy_sources(config.policy)
    source = _of_policy(sources, scenarios, config.spec, config.world, config.greedy, config.seed)
    return dataclasses.replace(source, device=config.device or "cpu")


def of_run(config: ExportConfig) -> Source:
    """Return what a run folder of `assure` or `imitate` holds, or a data set of `export --parquet`.

    Raises:
        ConfigError: it is no such folder, or has several policies and none was named.
    """
    folder = Path(config.run)
    settings = read_toml(folder / "config.toml")
    if settings.get("parquet"):
        return _of_demonstrations(folder)
    if "imitation" in settings:
        return _of_rounds(folder, build(ImitateConfig, settings))
    if "fail_if" not in settings:
        raise ConfigError(
            f"{folder} is no run of assure or imitate, and no data set of --parquet; "
            "have a policy of a run of align played anew: --policy RUN/isa/checkpoint"
        )
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
    recorded = [costs[scenario.hash] for scenario in played]
    return dataclasses.replace(source, recorded=recorded, device=config.device or run.device)


def _of_rounds(folder: Path, run: ImitateConfig) -> Source:
    paths = sorted(folder.glob("round_*.npz"))
    if not paths:
        raise ConfigError(f"{folder} has no finished round of imitation")
    episodes = [episode for path in paths for episode in load_round(path)]
    return Source(
        name="imitation rounds",
        scenarios=[episode.scenario for episode in episodes],
        spec=run.spec,
        world=run.world,
        seed=run.seed,
        recorded=[episode.cost for episode in episodes],
        taken=[episode.actions for episode in episodes],
    )


def _of_demonstrations(folder: Path) -> Source:
    data = demonstrations.load_demonstrations(folder, pictures=False)
    episodes = list(data)
    return Source(
        name=data.manifest["policy"],
        scenarios=[episode.scenario for episode in episodes],
        spec=data.manifest["specification"]["source"],
        world=WorldSettings(**data.manifest["world"]),
        seed=data.manifest["seed"],
        recorded=[episode.cost for episode in episodes],
        taken=[episode.actions for episode in episodes],
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
    check_sources(sources, scenarios, world, load_specification(spec))
    ((name, source),) = sources.items()
    policy = load_policy_for(source, load_specification(spec).names)
    world = world.seen_by(policy)
    return Source(name, scenarios, spec, world, source, greedy, seed, labels=wants_labels(policy))


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

    def __init__(self, env: Any, scenarios: Sequence[Scenario], taken: Sequence[np.ndarray]) -> None:
        self.env = env
        self._waiting: dict[str, deque[np.ndarray]] = defaultdict(deque)
        for scenario, actions in zip(scenarios, taken, strict=True):
            self._waiting[scenario.hash].append(actions)
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
