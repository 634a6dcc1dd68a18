"""How long it takes to begin an episode in a house of the pool, the first pictures included.

    python benchmarks/reset_speed.py --size-class S M L

One environment of one home goes round some houses that have been settled before (`another house`), and
starts again in the same one (`the same house`). Processor time, medians. Beside it, what the pool saves: to
generate, compile and settle a house. The last line is the median over all resets to another house,
`reset_ms X`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from safevla.types import Knobs


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size-class", nargs="+", default=["S"], metavar="CLASS")
    parser.add_argument("--houses", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", metavar="FILE", help="also write the figures as JSON")
    return parser.parse_args()


def milliseconds(work: Callable[[], Any]) -> float:
    begin = time.process_time()
    work()
    return 1e3 * (time.process_time() - begin)


def measure(size_class: str, arguments: argparse.Namespace) -> tuple[dict[str, Any], list[float]]:
    """Return the row of a size class, and every reset to another house in ms."""
    from safevla.tasks.gym import make_vec
    from safevla.tasks.sampling import sample_scenario
    from safevla.world.house import generate
    from safevla.world.scene import compile_scene
    from safevla.world.simulator import HousePool, settle

    pool = HousePool(2 * arguments.houses)
    scenarios = [
        sample_scenario("ObjNav", arguments.seed + k, pool=pool, prove=False, size_class=size_class)
        for k in range(arguments.houses)
    ]
    env = make_vec("ObjNav", 1, pool=pool)
    for scenario in scenarios:  # settles the houses
        env.reset(None, [scenario])
    other, same = [], []
    for _ in range(arguments.rounds):
        for scenario in scenarios:
            other.append(milliseconds(lambda scenario=scenario: env.reset(None, [scenario])))
            same.append(milliseconds(lambda scenario=scenario: env.reset(None, [scenario])))
    specs, scenes = [], []
    parts = {
        "generate": [
            milliseconds(lambda k=k: specs.append(generate(k, size_class, "train", Knobs())))
            for k in range(arguments.houses)
        ],
        "compile": [milliseconds(lambda spec=spec: scenes.append(compile_scene(spec))) for spec in specs],
        "settle": [milliseconds(lambda scene=scene: settle(scene)) for scene in scenes],
    }
    row = {"class": size_class, "another house, ms": other, "the same house, ms": same}
    row |= {f"{name}, ms": values for name, values in parts.items()}
    return {
        key: value if key == "class" else round(float(np.median(value)), 2) for key, value in row.items()
    }, other


def main() -> None:
    arguments = parse_arguments()
    rows, resets = [], []
    for size_class in arguments.size_class:
        row, other = measure(size_class, arguments)
        rows.append(row)
        resets += other
        print(", ".join(f"{key} {value}" for key, value in row.items()))
    if arguments.save:
        from safevla.runs import code_version, machine, write_json

        command = f"python benchmarks/reset_speed.py --size-class {' '.join(arguments.size_class)}"
        head = {"command": command, "code": code_version(), "machine": machine()}
        write_json(Path(arguments.save), head | {"seeds": [arguments.seed], "rows": rows})
    print(f"reset_ms {np.median(resets):.2f}")


if __name__ == "__main__":
    main()
