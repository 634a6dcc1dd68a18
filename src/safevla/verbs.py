"""The single stages as verbs of the command line: elicit, assure, pretrain, imitate."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from safevla.assure.evaluate import facts_of, load_table, save_table
from safevla.assure.parts import evaluate_in_parts, make_env
from safevla.assure.publish import publish
from safevla.config import ConfigError, nearest
from safevla.elicit.archive import RiskArchive
from safevla.elicit.search import elicit as search
from safevla.policy.checkpoint import learned_tasks, load_policy, load_policy_for, save_policy
from safevla.policy.device import find_device, place
from safevla.policy.protocol import check_compatible, wants_labels
from safevla.progress import ProgressBar
from safevla.rollout import play
from safevla.runs import RunFolder, last_metrics
from safevla.safety.aggregation import aggregate, tail_share
from safevla.safety.specification import Specification, load_specification
from safevla.scale import single_threaded
from safevla.settings import AssureConfig, ElicitConfig, ImitateConfig, PretrainConfig
from safevla.tasks.env import HORIZONS, HomeVecEnv
from safevla.tasks.sampling import load_scenarios
from safevla.tasks.sets import BENCHMARK_CLASSES
from safevla.tasks.settings import WorldSettings
from safevla.trackers import check_tracker, tracking
from safevla.types import TASKS, Scenario


def pretrain(config: PretrainConfig, resume: bool) -> None:
    """Train an image encoder on rendered pictures; the run folder gets encoder.pt."""
    from safevla.policy.presets import preset_config
    from safevla.pretrain.perception import STATE_NAME
    from safevla.pretrain.perception import pretrain as train_encoder

    settings = config.perception
    preset_config(settings.preset)
    find_device(config.device)
    total = settings.pictures or round(settings.minutes * 60)
    with RunFolder(config.out, config, resume=resume) as folder, ProgressBar("pretrain", total) as bar:

        def report(row: dict[str, float]) -> None:
            done = row["pictures"] if settings.pictures else row.get("minutes", settings.minutes) * 60
            bar.update(int(done), f"AP {row['ap/all']:.2f}")

        path = train_encoder(settings, folder.path, (folder / STATE_NAME).exists(), report, config.device)
        folder.finish("pretrain")
    print(f"encoder: {path}")


def imitate(config: ImitateConfig, resume: bool) -> None:
    """Train a policy from the expert with DAgger; the run folder gets a checkpoint."""
    from safevla.policy.presets import make_policy
    from safevla.pretrain.imitation import imitate as train_imitation

    check_tracker(config.tracker)
    single_threaded()
    tasks = parse_tasks(config.task)
    specification = load_specification(config.spec)
    policy = make_policy(config.preset, specification.names, seed=config.seed)
    world, labels = config.world.seen_by(policy), wants_labels(policy)
    make_env = functools.partial(world_env, tasks, world, specification, labels)
    env = make_env()
    set_encoder(policy, config.encoder)
    if config.start:
        set_trunks(policy, config.start)
    place(policy, config.device)
    check_compatible(policy, env)
    settings = config.imitation
    training, validation = (
        scenarios_of(tasks, given, split)
        for given, split in ((config.scenarios, "train"), (config.validation, "val"))
    )
    later = settings.rounds - 1
    episodes = settings.demonstrations + later * settings.corrections if settings.rounds else 0
    # With passes at the end more rounds would not give what they had given in one run.
    growing = () if settings.final_epochs else ("imitation.rounds",)
    with (
        RunFolder(config.out, config, resume=resume, growing=growing) as folder,
        ProgressBar("imitate", episodes) as bar,
        tracking(config.tracker, folder.path, config) as log,
    ):
        before = {"episodes": int(last_metrics(folder / "metrics.jsonl").get("data/episodes", 0))}

        def finished_round(number: int, metrics: dict[str, float]) -> None:
            log(number, metrics)
            before["episodes"] = int(metrics["data/episodes"])
            bar.update(before["episodes"], f"round {number}: {_success_note(metrics)}")

        train_imitation(
            settings,
            policy,
            env,
            training,
            folder.path,
            validation_scenarios=validation,
            on_round=finished_round,
            progress=lambda done, total: bar.update(before["episodes"] + done),
            make_env=make_env,
            processes=config.processes,
        )
        facts = {"method": "imitation", "task": config.task, "seed": config.seed}
        if config.start:
            facts |= {"start": config.start, "encoder": config.encoder}
        path = save_policy(policy, folder / "checkpoint", facts)
        folder.finish("imitate")
    print(f"policy: {path}")


def elicit(config: ElicitConfig, resume: bool) -> int:
    """Search for scenarios in which a policy is unsafe, or replay an archive and compare its costs."""
    single_threaded()
    tasks = parse_tasks(config.task)
    specification = load_specification(config.spec)
    policy = load_policy_for(config.policy, specification.names, config.device)
    homes = (tasks, config.world.seen_by(policy), specification, wants_labels(policy))
    env = world_env(*homes)
    check_compatible(policy, env)
    if config.replay:
        return replay(config, policy, env)
    with RunFolder(config.out, config, resume=resume) as folder:
        path = folder / "archive.jsonl"
        if not folder.done("elicit"):
            with ProgressBar("elicit", config.episodes) as bar:
                search(
                    policy, env, tasks, config.episodes, seed=config.seed, out=path,
                    described=config.described, size_classes=size_classes_of(config.size_class),
                    greedy=config.greedy, progress=lambda done, total: bar.update(done),
                    make_env=functools.partial(world_env, *homes), processes=config.processes,
                )  # fmt: skip
            folder.finish("elicit")
    archive = RiskArchive.load(path)
    for elite in archive:
        held_out = " (held out)" if elite.cell.held_out else ""
        print(
            f"{elite.cell.name:<52} {elite.raw_severity:9.3g} {elite.unit:<4} cost {elite.cost:g}{held_out}"
        )
    print(
        f"{archive.violating} of {archive.episodes} episodes violated something; {len(archive)} cells: {path}"
    )
    return 0


def replay(config: ElicitConfig, policy: Any, env: HomeVecEnv) -> int:
    """Play every scenario of an archive again; return 1 when a cost differs from the recorded one."""
    archive = RiskArchive.load(config.replay)
    # Actions are taken as they were in the search.
    seed, greedy = int(archive.facts.get("seed", config.seed)), bool(archive.facts.get("greedy"))
    different = 0
    for elite in archive:
        episode = play(env, policy, [elite.scenario], seed=seed, greedy=greedy)[0]
        same = abs(episode.cost - elite.cost) < 1e-6
        different += not same
        print(f"{elite.cell.name:<52} cost {episode.cost:g}{'' if same else f' (recorded: {elite.cost:g})'}")
    print(f"{len(archive) - different} of {len(archive)} scenarios replayed to the same cost")
    return int(different > 0)


def size_classes_of(name: str) -> str:
    """Return the size classes to search, as often as they are to occur; "all" in the benchmark's shares."""
    return BENCHMARK_CLASSES if name == "all" else name


def assure(config: AssureConfig, resume: bool) -> int:
    """Evaluate policies on the same held-out scenarios and report; 1 when --fail-if holds."""
    single_threaded()
    tasks = parse_tasks(config.task)
    specification = load_specification(config.spec)
    sources = policy_sources(config.policy)
    names = list(sources)
    gate = Gate(config.fail_if, specification.names, names) if config.fail_if else None
    scenarios = (
        given(config.scenarios, tasks, config.episodes)
        if config.scenarios
        else draw(tasks, config.split, config.episodes, config.seed)
    )
    check_sources(sources, scenarios, config.world, specification, config.device)
    for note in doubts(sources, scenarios):
        print(f"note: {note}", file=sys.stderr)
    episodes = len(sources) * len(scenarios)
    with RunFolder(config.out, config, resume=resume, growing=("episodes",)) as folder:
        kept = folder / "episodes.parquet"
        if not folder.done("assure") or load_table(kept).num_rows < episodes:
            with ProgressBar("assure", episodes) as bar:
                table = evaluate_in_parts(
                    sources, scenarios, specification, config.world, folder / "parts",
                    seed=config.seed, greedy=config.greedy, processes=config.processes, progress=bar.update,
                    signals=folder / "signals" if config.record_signals else None, device=config.device,
                )  # fmt: skip
            save_table(table, kept)
            folder.finish("assure", **facts_of(table))
        table = load_table(kept)
        pair = ("isa", "rl") if {"isa", "rl"} <= set(names) else (names[-1], names[0])
        publish(
            folder, table, specification, scenarios, sources,
            compare=pair, world=config.world, videos=config.videos if len(names) > 1 else 0,
            greedy=config.greedy, seed=config.seed, device=config.device,
        )  # fmt: skip
    return gate.judge(table) if gate else 0


def parse_tasks(text: str) -> tuple[str, ...]:
    """Read "ObjNav,Fetch"; an unknown task is a ConfigError that names the nearest one."""
    tasks = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for task in tasks:
        if task not in TASKS:
            raise ConfigError(f"unknown task '{task}'{nearest(task, TASKS)}")
    return tasks


def check_sources(
    sources: Mapping[str, str],
    scenarios: Sequence[Scenario],
    world: WorldSettings,
    specification: Specification,
    device: str = "cpu",
) -> None:
    """Load every policy and check that it fits the homes, before anything is written."""
    longest = dataclasses.replace(world, num_envs=1, horizon=longest_horizon(scenarios, world))
    for source in sources.values():
        policy = load_policy_for(source, specification.names, device)
        env = make_env(scenarios, specification, longest.seen_by(policy), labels=wants_labels(policy))
        check_compatible(policy, env)
        env.close()


def doubts(sources: Mapping[str, str], scenarios: Sequence[Scenario]) -> list[str]:
    """Return what makes an evaluation say less than it seems to."""
    found = []
    if any(scenario.split == "train" for scenario in scenarios):
        found.append("some homes are of the training split, which policies learn in; judge on val or test")
    for name, source in sources.items():
        learned = learned_tasks(source)
        new = sorted({scenario.task for scenario in scenarios} - set(learned)) if learned else []
        if new:
            found.append(f"policy '{name}' learned {', '.join(learned)} and is judged in {', '.join(new)}")
    return found


def longest_horizon(scenarios: Sequence[Scenario], world: WorldSettings) -> int:
    """Return the steps of the longest episode that the scenarios may have."""
    return world.horizon or max(HORIZONS[scenario.size_class] for scenario in scenarios)


def policy_sources(text: str) -> dict[str, str]:
    """Read "imitation,safer=runs/a/isa/checkpoint" into name -> what `load_policy` takes."""
    sources: dict[str, str] = {}
    for part in text.split(","):
        name, equals, source = part.partition("=")
        source = source if equals else part
        name = name if equals else Path(part).name
        if not (name.strip() and source.strip()):
            raise ConfigError(f"--policy '{text}' has an empty name; write e.g. imitation,mine=FOLDER")
        if name in sources:
            raise ConfigError(f"two policies are called '{name}'; name them: --policy a={source},b=...")
        sources[name] = source
    return sources


class Gate:
    """A condition such as "isa cost/corner.mean > 1" that fails an evaluation.

    Form: `[POLICY] METRIC[.mean|.cvar95|.worst|.rate] COMPARISON NUMBER`, METRIC one of success, cost,
    cost/<constraint>; without a policy it is judged for every one. cvar may have another level.
    """

    def __init__(self, text: str, constraints: tuple[str, ...], policies: list[str]) -> None:
        pattern = r"(?:(\S+)\s+)?([\w/]+)(?:\.(mean|cvar\d+(?:\.\d+)?|worst|rate))?\s*(>=|<=|>|<)\s*(\S+)"
        match = re.fullmatch(pattern, text.strip())
        if not match or not _is_number(match[5]):
            raise ConfigError(f"cannot read --fail-if '{text}'; write e.g. \"isa cost/corner.mean > 1\"")
        self.policy, self.metric, statistic, self.comparison, limit = match.groups()
        self.statistic, self.limit, self.policies = statistic or "mean", float(limit), policies
        if self.statistic != "rate" and tail_share(self.statistic) < 1.0 and self.metric == "success":
            raise ConfigError(
                f"--fail-if: {self.statistic} is of the largest values, which are the best of success; "
                "write success, the mean, or name a cost"
            )
        known = ["success", "cost", *(f"cost/{name}" for name in constraints)]
        if self.metric not in known:
            raise ConfigError(f"--fail-if: unknown metric '{self.metric}'{nearest(self.metric, known)}")
        if self.policy and self.policy not in policies:
            raise ConfigError(f"--fail-if: unknown policy '{self.policy}'{nearest(self.policy, policies)}")

    def judge(self, table: pa.Table) -> int:
        """Print each violated condition; return 1 when there is one."""
        from safevla.assure.evaluate import numbers, select

        failed = 0
        for policy in [self.policy] if self.policy else self.policies:
            values = numbers(select(table, policy=policy), self.metric)
            value = (
                float(np.mean(values > 0)) if self.statistic == "rate" else aggregate(values, self.statistic)
            )
            held = {
                ">": value > self.limit,
                ">=": value >= self.limit,
                "<": value < self.limit,
                "<=": value <= self.limit,
            }[self.comparison]
            if held:
                failed = 1
                print(
                    f"FAILED: {policy} {self.metric}.{self.statistic} is {value:.3g}"
                    f" ({self.comparison} {self.limit:g})"
                )
        return failed


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def draw(tasks: tuple[str, ...], split: str, count: int | None, seed: int) -> list[Scenario]:
    """Draw `count` scenarios of each task from a shipped set, without replacement; None takes them all."""
    generator = np.random.default_rng([seed, 1])
    chosen: list[Scenario] = []
    for task in tasks:
        known = load_scenarios(f"{task}-{split}")
        wanted = len(known) if count is None else count
        if wanted > len(known):
            raise ConfigError(
                f"{wanted} episodes of {task} asked for, the {split} set has {len(known)}; ask for less"
            )
        chosen += [known[index] for index in sorted(generator.choice(len(known), wanted, replace=False))]
    return chosen


def scenarios_of(tasks: tuple[str, ...], source: str, split: str) -> list[Scenario]:
    """Return all scenarios of the tasks in sets or files joined by commas; "": in the sets TASK-SPLIT."""
    if source:
        return [scenario for name in source.split(",") for scenario in given(name.strip(), tasks, None)]
    return [scenario for task in tasks for scenario in load_scenarios(f"{task}-{split}")]


def given(source: str, tasks: tuple[str, ...], count: int | None) -> list[Scenario]:
    """Return the first `count` (None: all) of each task from a set or file; ConfigError if there is none."""
    chosen = [scenario for task in tasks for scenario in load_scenarios(source, task)[:count]]
    if not chosen:
        raise ConfigError(f"{source} holds no scenario of {', '.join(tasks)}; name its task with --task")
    return chosen


def world_env(
    tasks: tuple[str, ...], world: WorldSettings, specification: Any, labels: int = 0
) -> HomeVecEnv:
    """Return homes that play the tasks; `labels` is for oracles."""
    return HomeVecEnv(
        tasks,
        num_envs=world.num_envs,
        num_threads=world.num_threads,
        resolution=world.picture,
        specification=specification,
        horizon=world.horizon,
        renderer=world.renderer,
        person=world.person,
        repaint=world.repaint,
        labels=labels,
    )


def set_encoder(policy: Any, source: str) -> None:
    """Give a new policy the image encoder of a policy, or one that `pretrain` wrote as encoder.pt.

    A backbone of others is loaded from the hub, or from the folder that `source` names; an oracle has none.
    """
    from safevla.policy.backbone import Backbone
    from safevla.pretrain.perception import load_encoder

    usual = source == ImitateConfig.encoder
    if wants_labels(policy):
        if not usual:
            raise ConfigError(
                f"an oracle has no image encoder to be taken from {source}; leave --encoder out"
            )
        return
    if isinstance(policy.encoder, Backbone):
        policy.encoder.load_weights(policy.encoder.config.weights if usual else source)
        return
    encoder = (
        load_encoder(source) if source.endswith(".pt") else getattr(load_policy(source), "encoder", None)
    )
    if encoder is None:
        raise ConfigError(f"policy '{source}' has no image encoder; name a checkpoint or an encoder.pt")
    policy.set_encoder(encoder)


def set_trunks(policy: Any, source: str) -> None:
    """Give a new policy the actor and the critics of another one, and leave it its own encoder.

    A policy with a memory can start from one without: what it takes from there begins as nothing.
    """
    start = load_policy_for(source, policy.constraints)
    theirs = {} if not hasattr(start, "state_dict") else start.state_dict()
    theirs, wanted = (
        {name: value for name, value in weights.items() if not name.startswith("encoder.")}
        for weights in (theirs, policy.state_dict())
    )
    if not any(".memory." in name for name in theirs):
        wanted = {name: value for name, value in wanted.items() if ".memory." not in name}
    if {name: value.shape for name, value in theirs.items()} != {
        name: value.shape for name, value in wanted.items()
    }:
        raise ConfigError(f"policy '{source}' has no actor of this preset's sizes; choose its --preset")
    policy.load_state_dict(policy.state_dict() | theirs)


def _success_note(metrics: dict[str, float]) -> str:
    shown = {key: value for key, value in metrics.items() if "success" in key}
    return "  ".join(f"{key.split('/')[-1]} {value:.2f}" for key, value in shown.items())
