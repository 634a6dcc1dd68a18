"""From policies and scenarios to a table of episodes, and from the table to numbers with intervals.

Every policy meets the same scenarios, so that differences are paired. One row is one episode, and a row
says all that is needed to play it again: scenario, seed, mode, specification, code version.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from safevla.assure import statistics
from safevla.assure.statistics import Interval
from safevla.rollout import Actor, Observer, VectorEnvironment, play
from safevla.runs import code_version
from safevla.tasks.descriptions import KINDS
from safevla.types import Episode, Scenario, with_person

COST_PREFIX = "cost/"
ALL_TASKS = "all"
ALL_DESCRIPTIONS = "all"
SIZE_CLASSES = ("S", "M", "L", "foreign")

_COLUMNS = {
    "task": pa.string(),
    "policy": pa.string(),
    "training_seed": pa.int64(),
    "scenario": pa.string(),
    "house_seed": pa.int64(),
    "size_class": pa.string(),
    "split": pa.string(),
    "seed": pa.int64(),
    "success": pa.bool_(),
    "cost": pa.float64(),
    "length": pa.int64(),
    "metres": pa.float64(),
    "truncated": pa.bool_(),
    "mode": pa.string(),
    "specification": pa.string(),
    "code": pa.string(),
    "which": pa.string(),
    "distractor": pa.bool_(),
}
_ABSENT: dict[str, Any] = {"which": "", "distractor": False}  # what tables of before these columns stand for


def distinct(scenarios: Sequence[Scenario]) -> list[str]:
    """Return the hashes of the scenarios; ValueError where one occurs twice, as it would be counted twice."""
    hashes = [scenario.hash for scenario in scenarios]
    if len(set(hashes)) < len(hashes):
        raise ValueError(f"{len(hashes) - len(set(hashes))} scenarios occur twice; episodes must be distinct")
    return hashes


def evaluate(
    policies: Mapping[str, Actor],
    env: VectorEnvironment,
    scenarios: Sequence[Scenario],
    *,
    seed: int = 0,
    greedy: bool = False,
    training_seed: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    observer: Observer | None = None,
) -> pa.Table:
    """Play all scenarios with each policy and return a row for each episode.

    Args:
        policies: name in the table -> policy.
        env: homes to play in; its specification decides what costs.
        scenarios: met by every policy in the same way; no scenario twice.
        seed: with the scenario it determines the sampling of actions.
        greedy: take the most likely action instead of sampling; stored in the column `mode`.
        training_seed: seed that the policies were trained with, kept in the table; None: not known.
        progress: called as progress(episodes done, episodes in all).
        observer: called after each step, see `rollout.play`.

    Raises:
        ValueError: there is no scenario or policy, or a scenario occurs twice.
    """
    if not policies or not scenarios:
        raise ValueError("nothing to evaluate: give at least one policy and one scenario")
    hashes = distinct(with_person(scenarios, getattr(env, "person", False)))
    total = len(policies) * len(scenarios)
    rows: list[dict[str, Any]] = []
    constant = {
        "training_seed": training_seed,
        "seed": seed,
        "mode": "greedy" if greedy else "sampled",
        "specification": str(getattr(getattr(env, "specification", None), "hash", "")),
        "code": code_version(),
    }
    for name, policy in policies.items():
        before = len(rows)

        def report(done: int, _: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, total)

        episodes = play(env, policy, scenarios, greedy=greedy, seed=seed, progress=report, observer=observer)
        if [episode.scenario.hash for episode in episodes] != hashes:
            raise ValueError(f"policy {name} was not given the same scenarios as the others")
        rows += [episode_row(episode) | {"policy": name} | constant for episode in episodes]
    return make_table(rows, env.constraints)


def episode_row(episode: Episode) -> dict[str, Any]:
    """Return what a finished episode itself says of its row."""
    scenario = episode.scenario
    totals = episode.costs.sum(axis=0, dtype=np.float64)
    return {
        "task": scenario.task,
        "scenario": scenario.hash,
        "house_seed": scenario.house_seed,
        "size_class": scenario.size_class,
        "split": scenario.split,
        "success": bool(episode.success),
        "cost": float(totals.sum()),
        **{f"{COST_PREFIX}{name}": float(v) for name, v in zip(episode.constraints, totals, strict=True)},
        "length": episode.length,
        "metres": float(episode.metres),
        "truncated": bool(episode.truncated),
        "which": scenario.which,
        "distractor": bool(episode.distractor),
    }


def make_table(rows: Sequence[Mapping[str, Any]], constraints: Sequence[str]) -> pa.Table:
    """Build the episode table from rows; `constraints` gives the cost columns and their order."""
    fields = []
    for name, kind in _COLUMNS.items():
        fields.append(pa.field(name, kind, nullable=name == "training_seed"))
        if name == "cost":
            fields += [pa.field(f"{COST_PREFIX}{k}", pa.float64(), nullable=False) for k in constraints]
    return pa.Table.from_pylist([_ABSENT | dict(row) for row in rows], schema=pa.schema(fields))


def save_table(table: pa.Table, path: str | Path) -> Path:
    """Write the episodes as Parquet; the same table gives the same bytes."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, target, compression="zstd")
    return target


def load_table(path: str | Path) -> pa.Table:
    """Read an episode table; a file that is none raises ValueError."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"cannot read episodes from {path}: {str(error).splitlines()[0]}") from error
    for name, value in _ABSENT.items():
        if name not in table.column_names:
            column = pa.array([value] * table.num_rows, _COLUMNS[name])
            table = table.append_column(pa.field(name, _COLUMNS[name], nullable=False), column)
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise ValueError(f"{path} is not an episode table: columns {', '.join(missing)} are missing")
    return table


def with_facts(table: pa.Table, facts: Mapping[str, str]) -> pa.Table:
    """Return the table with facts about all of its episodes; `save_table` keeps them in the file."""
    return table.replace_schema_metadata({**(table.schema.metadata or {}), **facts})


def facts_of(table: pa.Table) -> dict[str, str]:
    """Return the facts of `with_facts`, those of `tasks.sets.judged_on` where `assure` made the table."""
    return {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}


def constraints_of(table: pa.Table) -> tuple[str, ...]:
    """Return the constraints that the table has cost columns of."""
    return tuple(n.removeprefix(COST_PREFIX) for n in table.column_names if n.startswith(COST_PREFIX))


def policies_of(table: pa.Table) -> list[str]:
    """Return the policies in the order in which they first occur."""
    return list(dict.fromkeys(table["policy"].to_pylist()))


def tasks_of(table: pa.Table) -> list[str]:
    """Return the tasks in the order in which they first occur."""
    return list(dict.fromkeys(table["task"].to_pylist()))


def select(table: pa.Table, *, policy: str | None = None, task: str | None = None) -> pa.Table:
    """Return the rows of a policy and a task; None and ALL_TASKS leave that choice open."""
    if policy is not None:
        table = table.filter(pc.equal(table["policy"], policy))
    if task is not None and task != ALL_TASKS:
        table = table.filter(pc.equal(table["task"], task))
    return table


def numbers(table: pa.Table, column: str) -> np.ndarray:
    """Return a column as (n,) float64."""
    values: np.ndarray = np.asarray(table[column].to_pylist(), dtype=np.float64)
    return values


def houses(table: pa.Table) -> np.ndarray:
    """Return (n,) labels of the house of each episode; episodes of one house are not independent."""
    parts = (table["size_class"].to_pylist(), table["split"].to_pylist(), table["house_seed"].to_pylist())
    return np.array(["/".join(map(str, part)) for part in zip(*parts, strict=True)])


def scenarios_hash(table: pa.Table) -> str:
    """Return sixteen hex digits that identify the set of scenarios that was played."""
    names = "\n".join(sorted(set(table["scenario"].to_pylist())))
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def summarise(
    table: pa.Table, *, seed: int = 0, aggregations: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return a dict for each task and policy, and for all tasks together where there are several.

    Keys: task, policy, episodes; `success` (SR), `cost` (CC), `cost/<constraint>`, `safe_success`,
    `violation_rate`, `cvar95`, `cost_per_step`, `cost_per_metre`, `length`, `truncated` (the share in which
    time was up), `r_success_cost`, each an Interval (value, low, high); `worst`; `quadrants`, counts of
    success x safe. An episode is safe when it cost nothing. `aggregations` names constraints whose budget
    bounds something else than the mean: each adds `<aggregation>/<constraint>`, e.g. `cvar95/corner`.
    """
    tasks = tasks_of(table)
    others = {name: kind for name, kind in (aggregations or {}).items() if kind != "mean"}
    rows = []
    for task in [*tasks, *([ALL_TASKS] if len(tasks) > 1 else [])]:
        for policy in policies_of(table):
            part = select(table, policy=policy, task=task)
            if part.num_rows:
                rows.append({"task": task, "policy": policy} | _summary(part, seed, others))
    return rows


def summarise_classes(table: pa.Table, *, seed: int = 0) -> list[dict[str, Any]]:
    """Return a dict for each size class of homes and policy, all tasks together; [] where there is one class.

    Keys: size_class, policy and the numbers of `summarise`.
    """
    played = set(table["size_class"].to_pylist())
    rows = []
    for name in SIZE_CLASSES if len(played) > 1 else ():
        part = table.filter(pc.equal(table["size_class"], name))
        for policy in policies_of(part):
            row = _summary(select(part, policy=policy), seed, {})
            rows.append({"size_class": name, "policy": policy} | row)
    return rows


def summarise_descriptions(table: pa.Table) -> list[dict[str, Any]]:
    """Return a dict for each kind of description and policy, all tasks together; [] where there is none.

    Keys: description, a kind in `tasks.descriptions.KINDS` or "all"; policy; episodes; `success`, and
    `distractor`, the share that ended at something else of the target's type, each an Interval.
    """
    table = table.filter(pc.not_equal(table["which"], ""))
    kinds = [which.partition(":")[0] for which in table["which"].to_pylist()]
    rows = []
    for kind in [*(kind for kind in KINDS if kind in kinds), *([ALL_DESCRIPTIONS] if kinds else [])]:
        chosen = table.filter(pa.array([kind in (own, ALL_DESCRIPTIONS) for own in kinds]))
        for policy in policies_of(chosen):
            part = select(chosen, policy=policy)
            rates = {
                name: statistics.clustered_share(numbers(part, name) > 0, houses(part))
                for name in ("success", "distractor")
            }
            rows.append({"description": kind, "policy": policy, "episodes": part.num_rows} | rates)
    return rows


def _summary(part: pa.Table, seed: int, aggregations: Mapping[str, str]) -> dict[str, Any]:
    success, cost, where = numbers(part, "success") > 0, numbers(part, "cost"), houses(part)
    steps, metres = numbers(part, "length"), numbers(part, "metres")
    safe = cost == 0
    return {
        "episodes": part.num_rows,
        "success": statistics.clustered_share(success, where),
        "cost": statistics.bootstrap_mean(cost, where, seed=seed),
        **{
            f"{COST_PREFIX}{name}": statistics.bootstrap_mean(
                numbers(part, f"{COST_PREFIX}{name}"), where, seed=seed
            )
            for name in constraints_of(part)
        },
        **{
            f"{kind}/{name}": statistics.bootstrap_aggregate(
                numbers(part, f"{COST_PREFIX}{name}"), where, kind, seed=seed
            )
            for name, kind in aggregations.items()
        },
        "safe_success": statistics.clustered_share(success & safe, where),
        "violation_rate": statistics.clustered_share(~safe, where),
        "cvar95": statistics.bootstrap_cvar(cost, where, seed=seed),
        "worst": statistics.worst(cost),
        "cost_per_step": statistics.bootstrap_ratio(cost, steps, where, seed=seed),
        "cost_per_metre": statistics.bootstrap_ratio(cost, metres, where, seed=seed),
        "length": statistics.bootstrap_mean(steps, where, seed=seed),
        "truncated": statistics.clustered_share(numbers(part, "truncated") > 0, where),
        "r_success_cost": statistics.pearson(success, cost),
        "quadrants": {
            "success_safe": int((success & safe).sum()),
            "success_unsafe": int((success & ~safe).sum()),
            "failure_safe": int((~success & safe).sum()),
            "failure_unsafe": int((~success & ~safe).sum()),
        },
    }


def paired(table: pa.Table, first: str, second: str, *, task: str | None = None) -> tuple[pa.Table, pa.Table]:
    """Return the rows of two policies, row i of both being the same scenario and training seed.

    Raises:
        ValueError: a policy is missing, or they did not meet the same scenarios in the same way.
    """
    sides = []
    for name in (first, second):
        part = select(table, policy=name, task=task)
        if part.num_rows == 0:
            known = ", ".join(policies_of(table))
            raise ValueError(
                f"no episodes of policy {name}" + (f" in {task}" if task else "") + f"; has: {known}"
            )
        sides.append(part.sort_by([(key, "ascending") for key in ("training_seed", "seed", "scenario")]))
    for column in ("scenario", "training_seed", "seed", "mode", "specification"):
        if sides[0][column].to_pylist() != sides[1][column].to_pylist():
            raise ValueError(f"{first} and {second} are not paired: their episodes differ in {column}")
    return sides[0], sides[1]


def compare(
    table: pa.Table, first: str, second: str, *, task: str | None = None, seed: int = 0
) -> dict[str, Any]:
    """Compare two policies on the same scenarios; differences are first - second.

    Returns:
        first, second, task, episodes; `cost` (CC), `success` (SR), `safe_success` and `cost/<constraint>`:
        paired differences as Intervals; `cost_change`, the relative change of mean CC (nan when the second
        costs nothing); `success_p`, the exact McNemar p of SR, by house.
    """
    one, two = paired(table, first, second, task=task)
    where = houses(one)

    def difference(column: str) -> Interval:
        return statistics.paired_difference(numbers(one, column), numbers(two, column), where, seed=seed)

    safe = [(numbers(side, "success") > 0) & (numbers(side, "cost") == 0) for side in (one, two)]
    means = [float(numbers(side, "cost").mean()) for side in (one, two)]
    return {
        "first": first,
        "second": second,
        "task": task or ALL_TASKS,
        "episodes": one.num_rows,
        "cost": difference("cost"),
        "success": difference("success"),
        "safe_success": statistics.paired_difference(safe[0], safe[1], where, seed=seed),
        **{f"{COST_PREFIX}{n}": difference(f"{COST_PREFIX}{n}") for n in constraints_of(table)},
        "cost_change": (means[0] - means[1]) / means[1] if means[1] > 0 else math.nan,
        "success_p": statistics.mcnemar(numbers(one, "success"), numbers(two, "success"), where),
    }


def compare_all(table: pa.Table, pairs: Sequence[tuple[str, str]], *, seed: int = 0) -> list[dict[str, Any]]:
    """Compare several pairs over all tasks; `success_p_holm` is adjusted for their number."""
    rows = [compare(table, first, second, seed=seed) for first, second in pairs]
    if rows:
        adjusted = statistics.holm([row["success_p"] for row in rows])
        rows = [row | {"success_p_holm": float(p)} for row, p in zip(rows, adjusted, strict=True)]
    return rows
