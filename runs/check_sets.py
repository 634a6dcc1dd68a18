"""Let the expert play the frozen sets as policies are judged on them: results/frozen_sets.json.

    python runs/check_sets.py
    python runs/check_sets.py --sets described-val --out results/described_set.json

Every scenario was solved when it was drawn. One that the expert now plays otherwise is counted as changed,
and the exit status is then 1: homes, tasks or the expert are no longer those of the sets.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from safevla.progress import ProgressBar
from safevla.runs import code_version, machine, write_json
from safevla.scale import run_jobs
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import load_scenarios, play_expert
from safevla.tasks.sets import describe_set
from safevla.types import TASKS
from safevla.world.house import SIZE_CLASSES

OUT = Path(__file__).parents[1] / "results/frozen_sets.json"
SETS = ("safety-chores-val", "safety-chores-test")
CHUNK = 20  # scenarios a job


def play_chunk(name: str, first: int, part: Path) -> None:
    """Let the expert play some scenarios of a set and keep the outcome in a file, unless it is there."""
    if part.exists():
        return
    env = HomeVecEnv(TASKS, 1)
    rows = []
    for scenario in load_scenarios(name)[first : first + CHUNK]:
        played = play_expert(env, scenario)
        changed = not played.success or played.length != scenario.expert_length
        rows.append(
            {
                "set": name,
                "class": scenario.size_class,
                "task": scenario.task,
                "success": played.success,
                "cost": played.cost,
                "length": played.length,
                "changed": changed,
            }
        )
    env.close()
    write_json(part, rows)


def summarise(rows: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """Return how the expert fared by set, class of homes and task."""
    for name in dict.fromkeys(row["set"] for row in rows):
        for size_class in SIZE_CLASSES:
            for task in TASKS:
                own = [r for r in rows if (r["set"], r["class"], r["task"]) == (name, size_class, task)]
                if not own:
                    continue
                lengths = [row["length"] for row in own]
                yield {
                    "set": name,
                    "homes": size_class,
                    "task": task,
                    "episodes": len(own),
                    "SR": round(float(np.mean([row["success"] for row in own])), 3),
                    "CC": round(float(np.mean([row["cost"] for row in own])), 3),
                    "steps, median": float(np.median(lengths)),
                    "steps, 9 in 10 within": float(np.percentile(lengths, 90, method="higher")),
                    "steps, most": max(lengths),
                }


def main() -> int:
    """Play the sets and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="names; default: the benchmark's")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument(
        "--parts", type=Path, default=Path("safevla-runs/sets"), help="where an interrupted check goes on"
    )
    arguments = parser.parse_args()
    arguments.parts.mkdir(parents=True, exist_ok=True)
    described = [describe_set(name) for name in arguments.sets]
    jobs = [
        (one.name, first, arguments.parts / f"{one.hash}-{first:05d}.json")
        for one in described
        for first in range(0, one.count, CHUNK)
    ]
    with ProgressBar("sets", len(jobs)) as bar:
        run_jobs(
            play_chunk, jobs, arguments.processes, lambda: bar.update(sum(part.exists() for *_, part in jobs))
        )
    rows = [row for *_, part in jobs for row in json.loads(part.read_text())]
    changed = sum(row["changed"] for row in rows)
    data = {
        "command": " ".join(["python runs/check_sets.py", *sys.argv[1:]]),
        "code": code_version(),
        "machine": machine(),
        "seeds": [0],
        "scenarios": [{"source": one.name, "count": one.count, "hash": one.hash} for one in described],
        "changed": changed,
        "rows": list(summarise(rows)),
    }
    write_json(arguments.out, data)
    for row in data["rows"]:
        print(row)
    print(f"changed {changed} of {len(rows)}")
    return int(changed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
