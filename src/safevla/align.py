"""The integrated safety approach on one page: model, elicit, constrain, assure, report.

Each stage leaves its result in the run folder, and a stage that has finished is never run again:

    specification.toml   model: what is unsafe, and how much of it is allowed
    archive.jsonl        elicit: scenarios in which the policy to be aligned is unsafe
    rl/, isa/            constrain: the same policy trained without and with constraints, on the same steps
    episodes.parquet     assure: imitation, rl, isa and two controls on the same held-out scenarios
    report.html          what all of it amounts to
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

from safevla.assure.evaluate import facts_of, load_table, save_table
from safevla.assure.parts import evaluate_in_parts, make_env
from safevla.assure.publish import publish
from safevla.config import ConfigError
from safevla.constrain.train import train
from safevla.elicit.archive import RiskArchive
from safevla.elicit.search import elicit
from safevla.policy.checkpoint import load_policy_for, save_policy
from safevla.policy.protocol import check_compatible, wants_labels
from safevla.progress import ProgressBar
from safevla.runs import RunFolder, last_metrics
from safevla.safety.specification import Specification, load_specification
from safevla.scale import run_jobs, single_threaded
from safevla.settings import AlignConfig
from safevla.trackers import check_tracker, tracking
from safevla.types import Scenario
from safevla.verbs import draw, given, longest_horizon, parse_tasks, scenarios_of, size_classes_of, world_env

METHODS = ("rl", "isa")


def run(config: AlignConfig, resume: bool) -> int:
    """Run `safevla align`: the four stages and the report."""
    align(config, resume=resume)
    return 0


def align(config: AlignConfig, *, resume: bool = False) -> Path:
    """Align a policy with a safety specification; return the path of the report.

    Raises:
        ValueError: a setting, the policy or the specification is not usable; nothing has been written then.
    """
    single_threaded()
    check_tracker(config.tracker)
    tasks = parse_tasks(config.task)
    training = scenarios_of(tasks, config.scenarios, "train")
    held_out = held_out_scenarios(tasks, config)
    specification = model(config, tasks, longest_horizon([*training, *held_out], config.world))
    with RunFolder(config.out, config, resume=resume) as folder:
        keep_specification(specification, folder)
        if not folder.done("elicit"):
            folder.finish("elicit", **search(config, folder, specification, training))
        if not folder.done("constrain"):
            constrain(config, folder, specification, training)
            folder.finish("constrain", methods=list(METHODS))
        if not folder.done("assure"):
            folder.finish("assure", **assure(config, folder, specification, held_out))
        return publish(
            folder,
            load_table(folder / "episodes.parquet"),
            specification,
            held_out,
            sources(config, folder),
            compare=("isa", "rl"),
            world=config.world,
            videos=config.assure.videos,
            greedy=config.assure.greedy,
            seed=config.seed,
            device=config.device,
            training={method: folder / method / "metrics.jsonl" for method in METHODS},
            archive=RiskArchive.load(folder / "archive.jsonl"),
        )


def model(config: AlignConfig, tasks: tuple[str, ...], horizon: int) -> Specification:
    """Stage 1, model: load what is unsafe and the budgets, and check that the policy fits the homes."""
    named = config.constraints.items()
    budgets = {name: item.budget for name, item in named if item.budget is not None}
    aggregations = {name: item.aggregation for name, item in named if item.aggregation is not None}
    specification = load_specification(config.spec).with_budgets(config.train.budgets | budgets)
    specification = specification.with_aggregations(config.train.aggregations | aggregations)
    policy = load_policy_for(config.policy, specification.names, config.device)
    world = dataclasses.replace(config.world, num_envs=1, horizon=horizon)
    env = world_env(tasks, world.seen_by(policy), specification, wants_labels(policy))
    check_compatible(policy, env)
    env.close()
    if not hasattr(policy, "policy_parameters"):
        raise ConfigError(f"policy '{config.policy}' has nothing to train; start from a checkpoint")
    return specification


def keep_specification(specification: Specification, folder: RunFolder) -> None:
    """Write the specification into the run folder, or see that it is the one that the run began with."""
    path = folder / "specification.toml"
    if not folder.done("model"):
        specification.save(path)
        folder.finish("model", specification=specification.hash)
    elif folder.facts("model")["specification"] != specification.hash:
        raise ConfigError(f"the specification is no longer the one of {path}; choose another --out")


def search(
    config: AlignConfig, folder: RunFolder, specification: Specification, training: list[Scenario]
) -> dict[str, Any]:
    """Stage 2, elicit: find training scenarios in which the policy to be aligned is unsafe."""
    count, tasks = config.elicit.episodes, parse_tasks(config.task)
    only_small = all(scenario.size_class in ("S", "foreign") for scenario in training)
    homes = config.elicit.size_class or ("S" if only_small else "all")
    policy = load_policy_for(config.policy, specification.names, config.device)
    # In its own colours: an elite is to be found again from its scenario alone.
    world = dataclasses.replace(config.world.seen_by(policy), repaint=0.0)
    make_env = functools.partial(world_env, tasks, world, specification, wants_labels(policy))
    env = make_env()
    with ProgressBar("elicit", count) as bar:
        archive = elicit(
            policy,
            env,
            tasks,
            count,
            seed=config.seed,
            out=folder.path / "archive.jsonl",
            described=config.elicit.described,
            size_classes=size_classes_of(homes),
            greedy=config.elicit.greedy,
            progress=lambda done, total: bar.update(done),
            make_env=make_env,
            processes=config.processes,
        )
    env.close()
    return {"episodes": archive.episodes, "violating": archive.violating, "cells": len(archive)}


def constrain(
    config: AlignConfig, folder: RunFolder, specification: Specification, scenarios: list[Scenario]
) -> None:
    """Stage 3, constrain: train the policy with and without constraints, on the same number of steps."""
    jobs = [(config, method, folder.path, specification, scenarios) for method in METHODS]
    key, total = ("steps", config.train.total_steps) if config.train.total_steps else ("iteration", None)
    with ProgressBar("constrain", (total or config.train.iterations) * len(jobs)) as bar:

        def watch() -> None:
            last = [last_metrics(folder / method / "metrics.jsonl") for method in METHODS]
            note = "  ".join(
                f"{method}: SR {row['rollout/success']:.2f} CC {row['rollout/cost']:.2f}"
                for method, row in zip(METHODS, last, strict=True)
                if row
            )
            bar.update(int(sum(row.get(key, 0) for row in last)), note)

        run_jobs(train_method, jobs, config.processes, watch)


def train_method(
    config: AlignConfig, method: str, folder: Path, specification: Specification, scenarios: list[Scenario]
) -> None:
    """Train one method from the start policy and save its checkpoint; runs in a process of its own."""
    if (folder / method / "checkpoint" / "config.json").exists():
        return
    policy = load_policy_for(config.policy, specification.names, config.device)
    world, labels = config.world.seen_by(policy), wants_labels(policy)
    make = functools.partial(make_env, scenarios, specification, world, config.train.shaping, labels)
    env = make()
    elites, weights = RiskArchive.load(folder / "archive.jsonl").weights(even=config.train.archive_even)
    settings = dataclasses.replace(
        config.train,
        method=method,
        budgets=specification.budgets,
        aggregations=specification.aggregations,
    )
    with tracking(config.tracker, folder / method, config) as log:
        train(
            settings,
            policy,
            env,
            scenarios,
            [elite.scenario for elite in elites],
            folder / method,
            on_iteration=log,
            archive_weights=weights.tolist() or None,
            make_env=make,
            processes=max(config.processes // len(METHODS), 1),
        )
    env.close()
    facts = {"method": method, "start": config.policy, "seed": config.seed, "task": config.task}
    save_policy(policy, folder / method / "checkpoint", facts)


def assure(
    config: AlignConfig, folder: RunFolder, specification: Specification, scenarios: list[Scenario]
) -> dict[str, str]:
    """Stage 4, assure: every policy on the same held-out scenarios; returns what these are."""
    policies = sources(config, folder)
    with ProgressBar("assure", len(policies) * len(scenarios)) as bar:
        table = evaluate_in_parts(
            policies,
            scenarios,
            specification,
            config.world,
            folder / "parts",
            seed=config.seed,
            greedy=config.assure.greedy,
            processes=config.processes,
            progress=bar.update,
            signals=folder / "signals" if config.assure.record_signals else None,
            training_seed=config.seed,
            device=config.device,
        )
    save_table(table, folder / "episodes.parquet")
    return facts_of(table)


def sources(config: AlignConfig, folder: RunFolder) -> dict[str, str]:
    """Return the policies that every table has: name -> what `load_policy` takes."""
    trained = {method: str(folder / method / "checkpoint") for method in METHODS}
    return {"imitation": config.policy, **trained, "inactive": "inactive", "random": "random"}


def held_out_scenarios(tasks: tuple[str, ...], config: AlignConfig) -> list[Scenario]:
    """Return the scenarios to judge on, from homes that no policy was trained in."""
    if config.assure.scenarios:
        return given(config.assure.scenarios, tasks, config.assure.episodes)
    return draw(tasks, "val", config.assure.episodes, config.seed)
