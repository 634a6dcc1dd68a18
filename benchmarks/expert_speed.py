"""How much faster than real time the expert demonstrates, and what its demonstrations cost.

    python benchmarks/expert_speed.py                    # 60 scenarios of safety-chores-val
    python benchmarks/expert_speed.py --scenarios 6 --save FILE

An action lasts half a second (`simulator.ACTION_SECONDS`), so a policy in real time acts twice a second.
Speeds are processor time on one thread, expert and home together. `none` draws no pictures in colour: what is
visible, which the expert and the costs need, is counted all the same. `with beginnings` also counts what
begins an episode: generating, compiling and settling its house.

Costs are means of an episode with 95 % intervals, a bootstrap over houses: by `safevla`, by `strict`, and by
`strict` with a person in every home, whom the expert knows nothing of. The last line is `times_real_time X`,
the smallest over the size classes, with pictures and beginnings.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import pyarrow as pa

from safevla.assure.evaluate import COST_PREFIX, constraints_of, evaluate, numbers, summarise
from safevla.exporting import ExpertActor
from safevla.runs import code_version, machine, write_json
from safevla.scale import single_threaded
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import load_scenarios
from safevla.tasks.sets import describe_set
from safevla.types import TASKS, Scenario
from safevla.world.simulator import ACTION_SECONDS

SET = "safety-chores-val"
CLASSES = ("S", "M", "L")
PICTURES = {"112 x 112": 112, "none": 1}  # pixels of a side; a picture of one pixel takes no time


def timed(function: Callable, seconds: dict[str, float], name: str) -> Callable:
    """Return the function, adding its processor time to `seconds[name]`."""

    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        began = time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            seconds[name] += time.process_time() - began

    return call


def play(
    scenarios: list[Scenario], specification: str, *, resolution: int = 1, person: bool = False
) -> tuple[pa.Table, dict[str, float]]:
    """Let the expert play; return the table of episodes, and the processor seconds of each part."""
    seconds: dict[str, float] = defaultdict(float)
    env = HomeVecEnv(TASKS, 1, resolution=resolution, specification=specification, person=person)
    actor = ExpertActor(env)
    for owner, method, name in ((env, "reset", "begin"), (env, "step", "home"), (actor, "act", "expert")):
        setattr(owner, method, timed(getattr(owner, method), seconds, name))
    table = evaluate({"expert": actor}, env, scenarios, greedy=True)
    env.close()
    return table, seconds


def speed_row(size_class: str, pictures: str, table: pa.Table, seconds: dict[str, float]) -> dict[str, Any]:
    """Return the figures of one size class."""
    steps = int(numbers(table, "length").sum())
    stepping = seconds["home"] + seconds["expert"]
    times = {
        "times real time": steps * ACTION_SECONDS / stepping,
        "with beginnings": steps * ACTION_SECONDS / (stepping + seconds["begin"]),
    }
    return {
        "group": "speed",
        "class": size_class,
        "pictures": pictures,
        "episodes": table.num_rows,
        "steps": steps,
        "home, ms/step": round(1e3 * seconds["home"] / steps, 2),
        "expert, ms/step": round(1e3 * seconds["expert"] / steps, 2),
        "beginning, ms/episode": round(1e3 * seconds["begin"] / table.num_rows, 1),
        "steps/s": round(steps / stepping),
        **{name: round(value, 1) for name, value in times.items()},
    }


def cost_rows(judged_by: str, table: pa.Table) -> list[dict[str, Any]]:
    """Return the row of a specification, and one for each of its constraints that cost anything."""
    everything = summarise(table)[-1]  # all tasks together
    free = [1.0 - share for share in everything["violation_rate"]]
    rows: list[dict[str, Any]] = [
        {
            "group": "cost",
            "judged by": judged_by,
            "episodes": table.num_rows,
            "SR": everything["success"],
            "CC": everything["cost"],
            "free of cost": [free[0], free[2], free[1]],
        }
    ]
    for name in constraints_of(table):
        values = numbers(table, f"{COST_PREFIX}{name}")
        if values.any():
            rows.append(
                {
                    "group": "constraints",
                    "judged by": judged_by,
                    "constraint": name,
                    "cost": everything[f"{COST_PREFIX}{name}"],
                    "episodes with cost": int((values > 0).sum()),
                    "worst": float(values.max()),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenarios", type=int, default=60, help="of the set, evenly over the tasks")
    parser.add_argument("--save", type=Path, default=Path(__file__).parents[1] / "results/expert.json")
    arguments = parser.parse_args()
    single_threaded()
    count = arguments.scenarios // len(TASKS)
    scenarios = [scenario for task in TASKS for scenario in load_scenarios(SET, task)[:count]]
    play(scenarios[:1], "strict", resolution=112)  # loads and compiles what is loaded and compiled once
    rows, tables = [], []
    for size_class in CLASSES:
        own = [scenario for scenario in scenarios if scenario.size_class == size_class]
        for pictures, resolution in PICTURES.items() if own else ():
            table, seconds = play(own, "safevla", resolution=resolution)
            rows.append(speed_row(size_class, pictures, table, seconds))
            print(rows[-1], flush=True)
        tables += [table] if own else []
    judged = {
        "safevla": pa.concat_tables(tables),
        "strict": play(scenarios, "strict")[0],
        "strict, with a person": play(scenarios, "strict", person=True)[0],
    }
    for judged_by, table in judged.items():
        rows += cost_rows(judged_by, table)
    described = describe_set(SET)
    data = {
        "command": f"python benchmarks/expert_speed.py --scenarios {arguments.scenarios}",
        "code": code_version(),
        "machine": machine(),
        "seeds": [0],
        "scenarios": {"source": SET, "count": len(scenarios), "hash": described.hash},
        "rows": rows,
    }
    write_json(arguments.save, data)
    for row in rows[len(tables) * len(PICTURES) :]:
        print(row)
    slowest = min(row["with beginnings"] for row in rows if row.get("pictures") == "112 x 112")
    print(f"times_real_time {slowest:.1f}")


if __name__ == "__main__":
    main()
