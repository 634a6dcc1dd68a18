"""Evaluate several policies on several processes, in parts that an interrupted run keeps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from safevla.assure.evaluate import distinct, evaluate, load_table, save_table, with_facts
from safevla.assure.recording import Recorder, save_recordings
from safevla.policy.checkpoint import load_policy_for
from safevla.policy.protocol import wants_labels
from safevla.safety.specification import Specification
from safevla.scale import run_jobs
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sets import judged_on
from safevla.tasks.settings import WorldSettings
from safevla.types import Scenario, with_person

_EPISODES_PER_PART = 60


def evaluate_in_parts(
    policies: Mapping[str, str],
    scenarios: Sequence[Scenario],
    specification: Specification,
    world: WorldSettings,
    folder: Path,
    *,
    seed: int = 0,
    greedy: bool = False,
    processes: int = 1,
    progress: Callable[[int], None] | None = None,
    signals: Path | None = None,
    training_seed: int | None = None,
    device: str = "cpu",
) -> pa.Table:
    """Play every scenario with every policy; the result does not depend on `processes`.

    Args:
        policies: name in the table -> what `load_policy` takes.
        scenarios: what every policy meets.
        specification: what is charged.
        world: how homes are simulated.
        folder: keeps a Parquet file per finished part; an episode that is in one is not played again, so the
            same folder with more scenarios or policies plays only what is new.
        seed: seeds the sampling of actions, the same for every policy.
        greedy: take the most probable action instead of sampling.
        processes: parts played at once.
        progress: called with the number of episodes finished so far.
        signals: a folder; the signals of every step are recorded there, for `safevla replay`.
        training_seed: seed that the policies were trained with; None: not known.
        device: where policies compute, see `policy.device.find_device`.

    Returns:
        The episode table, policies in the given order, with the facts of `judged_on`.

    Raises:
        ValueError: a scenario occurs twice.
    """
    scenarios = with_person(scenarios, world.person)
    wanted = list(itertools.product(policies, distinct(scenarios)))
    for needed in (folder, signals):
        if needed is not None:
            needed.mkdir(parents=True, exist_ok=True)
    known = _rows(folder)
    jobs = []
    for name, source in policies.items():
        missing = [scenario for scenario in scenarios if (name, scenario.hash) not in known]
        for start in range(0, len(missing), _EPISODES_PER_PART):
            chunk = missing[start : start + _EPISODES_PER_PART]
            path = folder / f"{name}-{chunk[0].hash}.parquet"
            facts = (seed, greedy, path, signals, training_seed, device)
            jobs.append((name, source, chunk, specification, world, *facts))
    played = sum(key in known for key in wanted)

    def report() -> None:
        if progress is not None:
            progress(played + sum(len(chunk) for _, _, chunk, *_, path, _, _, _ in jobs if path.exists()))

    run_jobs(evaluate_part, jobs, processes, report)
    known = _rows(folder)
    # Parts that an older version left say that `training_seed` is always known.
    table = pa.concat_tables([known[key] for key in wanted], promote_options="default")
    return with_facts(table.combine_chunks(), judged_on(scenarios))


def _rows(folder: Path) -> dict[tuple[str, str], pa.Table]:
    """Return the rows of all parts in a folder, one table each, by policy and scenario."""
    rows: dict[tuple[str, str], pa.Table] = {}
    for path in sorted(folder.glob("*.parquet")):
        table = load_table(path)
        keys = zip(table["policy"].to_pylist(), table["scenario"].to_pylist(), strict=True)
        rows |= {key: table.slice(row, 1) for row, key in enumerate(keys)}
    return rows


def evaluate_part(
    name: str,
    source: str,
    scenarios: list[Scenario],
    specification: Specification,
    world: WorldSettings,
    seed: int,
    greedy: bool,
    path: Path,
    signals: Path | None = None,
    training_seed: int | None = None,
    device: str = "cpu",
) -> None:
    """Play some scenarios with one policy and write their rows; importable, so that a process can run it."""
    policy = load_policy_for(source, specification.names, device)
    env = make_env(scenarios, specification, world.seen_by(policy), labels=wants_labels(policy))
    recorder = Recorder() if signals is not None else None
    table = evaluate(
        {name: policy},
        env,
        scenarios,
        seed=seed,
        greedy=greedy,
        training_seed=training_seed,
        observer=recorder,
    )
    env.close()
    if signals is not None and recorder is not None:
        keys = [{"policy": name, "scenario": scenario.hash} for scenario in scenarios]
        save_recordings(recorder.recordings(keys), signals / path.name)
    temporary = path.with_suffix(".tmp")
    save_table(table, temporary)
    temporary.replace(path)


def make_env(
    scenarios: Sequence[Scenario],
    specification: Specification,
    world: WorldSettings,
    shaping: float = 0.0,
    labels: int = 0,
) -> HomeVecEnv:
    """Return homes that can play the scenarios; `shaping` is for training alone, `labels` for oracles."""
    tasks = tuple(dict.fromkeys(scenario.task for scenario in scenarios))
    return HomeVecEnv(
        tasks,
        num_envs=min(world.num_envs, max(len(scenarios), 1)),
        num_threads=world.num_threads,
        resolution=world.picture,
        specification=specification,
        horizon=world.horizon,
        renderer=world.renderer,
        person=world.person,
        repaint=world.repaint,
        shaping=shaping,
        labels=labels,
    )
