"""Put the policies of runs into the package, and the numbers of runs into results/.

Usage: python runs/ship.py policies PRETRAIN_FOLDER IMITATE_FOLDER ALIGN_FOLDER
       python runs/ship.py policy RUN_FOLDER NAME           (one policy)
       python runs/ship.py judged ASSURE_FOLDER NAME        (these write results/NAME.json)
       python runs/ship.py perception PRETRAIN_FOLDER NAME
       python runs/ship.py imitation IMITATE_FOLDER NAME
       python runs/ship.py aligned ALIGN_FOLDER NAME
"""

import argparse
import dataclasses
import itertools
import json
import math
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pyarrow as pa

from safevla.assure.evaluate import (
    compare,
    constraints_of,
    load_table,
    scenarios_hash,
    summarise,
    summarise_classes,
    summarise_descriptions,
)
from safevla.types import TASKS

ROOT = Path(__file__).parents[1]
CHECKPOINTS = ROOT / "src/safevla/data/checkpoints"
RESULTS = ROOT / "results"
_BLOCK = 12  # iterations of a row of a training curve


def ship_policy(source: Path, name: str) -> None:
    """Copy the checkpoint of a run, with the log of its training; where nothing was learned the log stays."""
    target, log = CHECKPOINTS / name, source / "metrics.jsonl"
    shutil.copytree(source / "checkpoint", target, dirs_exist_ok=True)
    if log.exists():
        shutil.copy(log, target / "metrics.jsonl")


def ship_results(align: Path) -> None:
    """Write the summary of the table and its episodes."""
    table = load_table(align / "episodes.parquet")
    head = head_of(align) | {"seeds": sorted({row["seed"] for row in table.to_pylist()})}
    write("align", head | {"rows": summarise(table), "comparison": compare(table, "isa", "rl")})
    names = constraints_of(table)
    keep = ("task", "policy", "training_seed", "scenario", "success", "cost", "length")
    rows = [
        {key: row[key] for key in keep} | {"costs": {name: row[f"cost/{name}"] for name in names}}
        for row in table.to_pylist()
    ]
    write("table1", head | {"rows": rows})


def ship_judged(folder: Path, name: str, *also: Path) -> None:
    """Write the summary of an `assure` run; the last policy is compared with the first, or isa with rl.

    `against_the_first` compares each with the first, all tasks together and each alone.

    A policy `NAME-1` is `NAME` again, trained with seed 1: its episodes are pooled with those of `NAME`; in
    `by_seed` they stand alone, and `comparisons_by_seed` compares each two policies of a seed. The policies
    of the runs in `also`, judged by the same scenarios, are added to those of `folder`.
    """
    tables = [load_table(one / "episodes.parquet") for one in (folder, *also)]
    if len({scenarios_hash(table) for table in tables}) > 1:
        raise SystemExit(f"{folder} and {', '.join(map(str, also))} were not judged by the same scenarios")
    played = pa.concat_tables(tables, promote_options="default")
    table = pooled(played)
    policies = list(dict.fromkeys(table["policy"].to_pylist()))
    first, second = ("isa", "rl") if {"isa", "rl"} <= set(policies) else (policies[-1], policies[0])
    head = head_of(folder) | {"seeds": sorted(set(table["seed"].to_pylist()))}
    head["command"] = "; ".join(head_of(one)["command"] for one in (folder, *also))
    numbers: dict[str, Any] = {"rows": summarise(table)}
    if table["policy"] != played["policy"]:
        head["seeds"] = {
            "evaluation": head["seeds"],
            "training": sorted(set(table["training_seed"].to_pylist())),
        }
        numbers["by_seed"] = summarise(played)
        seeds = zip(played["policy"].to_pylist(), table["training_seed"].to_pylist(), strict=True)
        numbers["comparisons_by_seed"] = [
            compare(played, one, other)
            for (other, here), (one, there) in itertools.combinations(dict.fromkeys(seeds), 2)
            if here == there
        ]
    if first != second:
        numbers["comparison"] = compare(table, first, second)
        tasks = [None, *dict.fromkeys(table["task"].to_pylist())]
        numbers["against_the_first"] = [
            compare(table, name, policies[0], task=task) for name in policies[1:] for task in tasks
        ]
    # None where all homes are of one class, or no target is described.
    parts = {"classes": summarise_classes(table), "descriptions": summarise_descriptions(table)}
    write(name, head | numbers | {key: rows for key, rows in parts.items() if rows})


def pooled(table: pa.Table) -> pa.Table:
    """Return the table with each `NAME-SEED` as episodes of `NAME` and that training seed."""
    parts = [re.fullmatch(r"(.+)-(\d+)", name) for name in table["policy"].to_pylist()]
    names = [part[1] if part else name for part, name in zip(parts, table["policy"].to_pylist(), strict=True)]
    seeds = [int(part[2]) if part else 0 for part in parts]
    for column, values in (("policy", names), ("training_seed", seeds)):
        field = table.schema.field(column)
        place = table.schema.get_field_index(column)
        table = table.set_column(place, field, pa.array(values, field.type))
    return table


def ship_perception(pretrain: Path, name: str) -> None:
    """Write what the encoder sees, by category, size and distance."""
    metrics = json.loads((pretrain / "metrics.json").read_text())
    rows = []
    for key, values in metrics.items():
        group, slash, kind = key.partition("/")
        if slash:
            rows.append({"group": group, "name": kind} | values)
    head = head_of(pretrain) | {"pictures": metrics["pictures"]}
    head |= {"colour": rounded(metrics["colour"])}
    write(name, head | {"all": rounded(metrics["all"]), "rows": [rounded(row) for row in rows]})


def ship_imitation(imitate: Path, name: str) -> None:
    """Write what each round of imitation reached."""
    rows = [json.loads(line) for line in (imitate / "metrics.jsonl").read_text().splitlines()]
    shown = {
        "round": "round",
        "data/steps": "steps",
        "data/episodes": "episodes",
        "accuracy/action": "accuracy",
        "validation/greedy/success": "SR greedy",
        **{f"validation/greedy/success/{task}": f"SR {task}" for task in TASKS},
        "validation/greedy/cost": "CC greedy",
        "validation/sampled/success": "SR sampled",
        "validation/sampled/cost": "CC sampled",
    }
    table = [{title: round(row[key], 3) for key, title in shown.items() if key in row} for row in rows]
    settings = tomllib.loads((imitate / "config.toml").read_text())["imitation"]
    judged = {"validation_episodes": settings["validation_episodes"]}
    write(name, head_of(imitate) | judged | {"rows": table})


def ship_aligned(align: Path, name: str) -> None:
    """Write how success and cost went in training, for blocks of iterations, of both methods.

    `curve` has success and cost of each single iteration.
    """
    config = tomllib.loads((align / "config.toml").read_text())["train"]
    rows, curve = [], []
    for method in ("rl", "isa"):
        lines = (align / method / "metrics.jsonl").read_text().splitlines()
        log = [json.loads(line) for line in lines]
        starts = [0, *range(config["critic_warmup"], len(log), _BLOCK)]
        for first, end in zip(starts, [*starts[1:], len(log)], strict=True):
            rows.append({"method": method} | _block(log[first:end], config["episodes_per_iteration"]))
        curve += [
            {"method": method, "steps": int(entry["steps"])}
            | {
                f"{title}, mixture": round(entry[f"rollout/{key}"], 3)
                for title, key in (("SR", "success"), ("CC", "cost"))
            }
            for entry in log
        ]
    write(name, head_of(align) | {"rows": rows, "curve": curve})


def _block(log: list[dict[str, float]], episodes: int) -> dict[str, Any]:
    """Return means over a block of iterations."""
    shown = {
        "rollout/success": "SR, mixture",
        **{f"rollout/success/{task}": f"SR {task}" for task in TASKS},
        "rollout/cost": "CC, mixture",
        "rollout/length": "length",
        "loss/kl_to_imitation": "KL to the start",
    }
    first, last = int(log[0]["iteration"]), int(log[-1]["iteration"])
    row: dict[str, Any] = {"iterations": f"{first} to {last}", "steps": int(log[-1]["steps"])}
    row["episodes"] = episodes * len(log)
    for key, title in shown.items():
        values = [entry[key] for entry in log if key in entry]
        row[title] = round(sum(values) / len(values), 3) if values else None
    return row


def head_of(folder: Path) -> dict[str, Any]:
    """Return what a run folder says of how it was made; `seeds` has the run's own.

    Where the folder lay is nobody else's concern: in the command it lies in safevla-runs/.
    """
    seed = tomllib.loads((folder / "config.toml").read_text()).get("seed", 0)
    run = json.loads((folder / "run.json").read_text())
    run["command"] = run["command"].replace(str(folder.resolve().parent), "safevla-runs")
    judged_on = run["stages"].get("assure")  # which scenarios: their hash, their sets, their size classes
    return (
        {key: run[key] for key in ("command", "code", "machine")}
        | {"seeds": [seed]}
        | ({"judged_on": judged_on} if judged_on else {})
    )


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Round the numbers to four decimals."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}


def write(name: str, data: dict[str, Any]) -> None:
    """Write results/NAME.json; intervals become [value, low, high]."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(plain(data), indent=1, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """Return numbers, text, lists and dictionaries only."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [plain(item) for item in dataclasses.astuple(value)]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    policies = kinds.add_parser("policies")
    for folder in ("pretrain", "imitate", "align"):
        policies.add_argument(folder, type=Path)
    one_by_one = {
        "aligned": ship_aligned,
        "policy": ship_policy,
        "judged": ship_judged,
        "perception": ship_perception,
        "imitation": ship_imitation,
    }
    for kind in one_by_one:
        single = kinds.add_parser(kind)
        single.add_argument("folder", type=Path)
        single.add_argument("name")
        single.add_argument("--also", type=Path, nargs="+", default=[], help="judged: further runs")
    arguments = parser.parse_args()
    if arguments.kind in one_by_one:
        one_by_one[arguments.kind](arguments.folder, arguments.name, *arguments.also)
    else:
        ship_policy(arguments.imitate, "imitation")
        for method in ("rl", "isa"):
            ship_policy(arguments.align / method, method)
        ship_results(arguments.align)
        ship_perception(arguments.pretrain, "perception")
        ship_imitation(arguments.imitate, "imitation")
