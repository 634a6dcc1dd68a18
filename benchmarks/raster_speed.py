"""How long the rasteriser takes for a picture, by size of the picture and of the home.

    python benchmarks/raster_speed.py --size-class S M L

Both cameras of the robot, colours and ids, at the start of some episodes, as `safevla.make_vec` draws them.
Processor time of one thread, the median over all pictures. The last line is `picture_ms X`: the last class in
the largest size.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size-class", nargs="+", default=["S"], metavar="CLASS")
    parser.add_argument("--pixels", nargs="+", type=int, default=[64, 112], help="sides of square pictures")
    parser.add_argument("--homes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=25, help="through all homes, the first not counted")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", metavar="FILE", help="also write the figures as JSON")
    return parser.parse_args()


def start_homes(size_class: str, count: int, seed: int) -> list[Any]:
    """Return homes at the start of episodes."""
    from safevla.tasks.sampling import sample_scenario
    from safevla.world.simulator import Home, HousePool

    pool, homes = HousePool(count), []
    for number in range(seed, seed + count):
        scenario = sample_scenario("ObjNav", number, pool=pool, prove=False, size_class=size_class)
        homes.append(Home())
        homes[-1].reset(pool.of(scenario), scenario.start)
    return homes


def picture_milliseconds(homes: list[Any], pixels: int, rounds: int) -> float:
    """Return the median time of a picture, ms; homes take turns, so that none stays in the cache."""
    from safevla.world.raster import Raster

    raster = Raster(pixels, pixels)
    meshes = [raster.prepare(home.model) for home in homes]
    first, second = (np.zeros((pixels, pixels, 3), np.uint8) for _ in range(2))
    ids = np.zeros((2, pixels, pixels), np.int32)
    taken = []
    for _ in range(rounds):
        for home, mesh in zip(homes, meshes, strict=True):
            began = time.thread_time()
            raster.render_two(mesh, home.data, home.scene.robot.cameras, (first, second), None, ids)
            taken.append(1e3 * (time.thread_time() - began) / 2)
    return float(np.median(taken[len(homes) :]))


def main() -> None:
    arguments = parse_arguments()
    rows: list[dict[str, Any]] = []
    for size_class in arguments.size_class:
        homes = start_homes(size_class, arguments.homes, arguments.seed)
        geoms = int(np.median([home.model.ngeom for home in homes]))
        row: dict[str, Any] = {"class": size_class, "geoms": geoms}
        for pixels in sorted(arguments.pixels):
            row[f"{pixels} x {pixels}, ms"] = round(picture_milliseconds(homes, pixels, arguments.rounds), 3)
        rows.append(row)
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    if arguments.save:
        from safevla.runs import code_version, machine, write_json

        command = f"python benchmarks/raster_speed.py --size-class {' '.join(arguments.size_class)}"
        head = {"command": command, "code": code_version(), "machine": machine()}
        write_json(Path(arguments.save), head | {"seeds": [arguments.seed], "rows": rows})
    print(f"picture_ms {list(rows[-1].values())[-1]:.2f}")


if __name__ == "__main__":
    main()
