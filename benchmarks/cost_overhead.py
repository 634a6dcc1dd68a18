"""What costs add to a step of the homes: judging, and the signals that are judged.

    python benchmarks/cost_overhead.py --save FILE

The same episodes at 112 px with random actions, on one core, in turns: with everything, without judging, and
without judging and signals. Process time; `adds` is the median over the turns of what a step takes with
costs over the same without, with the least and the greatest turn. A turn in which code is compiled goes
before and does not count. The last line, `overhead X`, is the percentage for `safevla` in class M.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from safevla.runs import code_version, machine, write_json
from safevla.safety.signals import SignalTracker
from safevla.tasks.env import HomeVecEnv
from safevla.tasks.sampling import load_scenarios

SETTINGS = (("S", "safevla"), ("M", "safevla"), ("M", "strict"))
ACTIONS = [0, 0, 0, 2, 3, 6, 10]  # mostly driving, some turning and lifting
KINDS = ("with costs", "without judging", "without judging and signals")


@contextmanager
def left_out(kind: str, homes: int, constraints: int) -> Iterator[None]:
    """Leave out parts of a step while the context is open."""
    charge, update = HomeVecEnv._charge, SignalTracker.update
    nothing = np.zeros((homes, constraints), np.float32), [[] for _ in range(homes)]

    def see_nothing(tracker: SignalTracker, *_: Any) -> Any:
        return SimpleNamespace(visible_pixels=np.zeros((1, 2, len(tracker.scene.names)), np.int32))

    if kind != KINDS[0]:
        HomeVecEnv._charge = lambda *_: nothing  # type: ignore[method-assign]
    if kind == KINDS[2]:
        SignalTracker.update = see_nothing  # type: ignore[method-assign]
    try:
        yield
    finally:
        HomeVecEnv._charge, SignalTracker.update = charge, update  # type: ignore[method-assign]


def measure(size_class: str, specification: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the row of a size class and a specification."""
    homes, steps = arguments.homes, arguments.steps
    known = load_scenarios("safety-chores-val", "ObjNav")
    scenarios = [one for one in known if one.size_class == size_class][:homes]
    env = HomeVecEnv("ObjNav", homes, 1, specification=specification)
    actions = np.random.default_rng(arguments.seed).choice(ACTIONS, size=(steps, homes))
    spent: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for turn in range(arguments.turns + 1):
        for kind in np.roll(KINDS, turn):  # each kind is the first one now and then
            with left_out(kind, homes, len(env.constraints)):
                env.reset(np.ones(homes, bool), scenarios)
                begin = time.process_time()
                for row in actions:
                    env.step(row)
                spent[kind].append(1e6 * (time.process_time() - begin) / actions.size)
    env.close()
    times = {kind: np.array(values[1:]) for kind, values in spent.items()}
    adds = 100.0 * (times[KINDS[0]] / times[KINDS[2]] - 1.0)
    row: dict[str, Any] = {"group": "costs", "class": size_class, "specification": specification}
    row |= {f"{kind}, us": round(float(np.median(values)), 1) for kind, values in times.items()}
    figures = {"adds, %": np.median(adds), "least": adds.min(), "most": adds.max()}
    return row | {name: round(float(value), 1) for name, value in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--homes", type=int, default=8)
    parser.add_argument("--steps", type=int, default=40, help="steps of every home in a turn")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    rows = []
    for size_class, specification in SETTINGS:
        rows.append(measure(size_class, specification, arguments))
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if arguments.save:
        head = {"command": "python benchmarks/cost_overhead.py", "code": code_version()}
        head |= {"machine": machine(), "seeds": [arguments.seed]}
        sizes = {name: getattr(arguments, name) for name in ("homes", "steps", "turns")}
        write_json(arguments.save, head | sizes | {"rows": rows})
    print(f"overhead {rows[1]['adds, %']}")


if __name__ == "__main__":
    main()
