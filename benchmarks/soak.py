"""A long random run: does memory grow, does a state go bad, does anything leave its home?

    python benchmarks/soak.py --steps 200000 --homes 32 --size-class S M L

Homes are restarted every 200 steps, each in the next of three scenarios. Every step, every state is looked
at: NaN or guard (`bad states`), speeds (`fastest`), things below the floor or outside the walls (`escaped`).
Memory is the resident set of the process; whether it is constant is judged by the rows of the log after every
home has played all of its three scenarios. The last line is `bad_states X`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from safevla.types import ACTION_ID

HORIZON = 200
SCENARIOS = 3  # of each home
BELOW, OUTSIDE = -0.1, 0.05  # m: farther than this below the floor or outside the outer walls is escaped


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=10_000, help="of all homes together")
    parser.add_argument("--homes", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size-class", nargs="+", default=["S"], metavar="CLASS")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=10, help="lines of the log")
    parser.add_argument("--save", metavar="FILE", help="also write the log as JSON")
    return parser.parse_args()


def resident_megabytes() -> float:
    """Return the resident set of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


class Watch:
    """Looks at the states of all homes and remembers the worst of each."""

    def __init__(self) -> None:
        self.bad, self.fastest = 0, 0.0
        self.escaped: dict[tuple[int, int, int], str] = {}  # by home, episode and entity: its name

    def look(self, env: Any, episode: np.ndarray) -> None:
        """Take in what the latest step did."""
        self.bad += int(env.bad.sum())
        for number, home in enumerate(env.homes):
            scene = home.scene
            self.fastest = max(self.fastest, float(np.abs(home.data.qvel).max()))
            loose = np.flatnonzero(scene.present & scene.movable)
            places = home.data.xpos[scene.body[loose]]
            x0, y0, x1, y1 = scene.bounds
            gone = places[:, 2] < BELOW
            gone |= (places[:, 0] < x0 - OUTSIDE) | (places[:, 0] > x1 + OUTSIDE)
            gone |= (places[:, 1] < y0 - OUTSIDE) | (places[:, 1] > y1 + OUTSIDE)
            for entity in loose[gone].tolist():
                self.escaped[number, int(episode[number]), entity] = scene.names[entity]


def judge_memory(rows: list[dict[str, Any]], homes: int) -> dict[str, float]:
    """Return what the rows after the warm-up say of memory; the growth is the slope of their line."""
    warm = [row for row in rows if row["steps"] >= SCENARIOS * HORIZON * homes]
    if len(warm) < 2:
        return {}
    steps, memory = (np.array([row[name] for row in warm]) for name in ("steps", "memory, MB"))
    return {
        "steps of the warm-up": SCENARIOS * HORIZON * homes,
        "least MB after it": float(memory.min()),
        "most MB after it": float(memory.max()),
        "growth, MB in 100,000 steps": round(float(1e5 * np.polyfit(steps, memory, 1)[0]), 2),
    }


def draw_scenarios(arguments: argparse.Namespace, pool: Any) -> list[list[Any]]:
    """Return the scenarios of each home, of the size classes in turn."""
    from safevla.tasks.sampling import sample_scenario

    classes, tasks = arguments.size_class, ("ObjNav", "PickUp", "Fetch")
    return [
        [
            sample_scenario(
                tasks[k],
                arguments.seed + SCENARIOS * home + k,
                pool=pool,
                prove=False,
                size_class=classes[home % len(classes)],
            )
            for k in range(SCENARIOS)
        ]
        for home in range(arguments.homes)
    ]


def run(arguments: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the log, and what escaped."""
    from safevla.tasks.env import HomeVecEnv
    from safevla.world.simulator import HousePool

    homes = arguments.homes
    pool = HousePool(SCENARIOS * homes)
    scenarios = draw_scenarios(arguments, pool)
    env = HomeVecEnv(
        ("ObjNav", "PickUp", "Fetch"),
        homes,
        arguments.threads,
        resolution=arguments.resolution,
        horizon=HORIZON,
        pool=pool,
    )
    for k in reversed(range(SCENARIOS)):  # so that every house is settled before memory is looked at
        env.reset(None, [own[k] for own in scenarios])
    generator, watch = np.random.default_rng(arguments.seed), Watch()
    episode, rows = np.zeros(homes, np.int64), []
    rounds = -(-arguments.steps // homes)
    marks = set(np.linspace(rounds, 0, arguments.rows, endpoint=False, dtype=int).tolist())
    began = time.process_time()
    for count in range(1, rounds + 1):
        step = env.step(generator.integers(0, ACTION_ID["end"], homes))
        watch.look(env, episode)
        over = step.truncated
        if over.any():
            episode[over] += 1
            env.reset(over, [scenarios[k][episode[k] % SCENARIOS] for k in np.flatnonzero(over)])
        if count in marks:
            rows.append(
                {
                    "steps": count * homes,
                    "memory, MB": round(resident_megabytes(), 1),
                    "bad states": watch.bad,
                    "escaped": len(watch.escaped),
                    "fastest, m/s or rad/s": round(watch.fastest, 1),
                    "ms/step": round(1e3 * (time.process_time() - began) / (count * homes), 2),
                }
            )
            print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    gone = [f"{name} of home {home}, episode {number}" for (home, number, _), name in watch.escaped.items()]
    env.close()
    return rows, gone


def main() -> None:
    arguments = parse_arguments()
    rows, gone = run(arguments)
    print("escaped:", ", ".join(gone) or "nothing")
    memory = judge_memory(rows, arguments.homes)
    print("memory:", ", ".join(f"{name} {value:g}" for name, value in memory.items()) or "no two warm rows")
    if arguments.save:
        from safevla.runs import code_version, machine, write_json

        command = (
            f"python benchmarks/soak.py --steps {arguments.steps} --homes {arguments.homes} "
            f"--size-class {' '.join(arguments.size_class)}"
        )
        head = {"command": command, "code": code_version(), "machine": machine()}
        measured = {"seeds": [arguments.seed], "rows": rows, "memory": memory}
        write_json(Path(arguments.save), head | measured)
    print(f"bad_states {rows[-1]['bad states']}")


if __name__ == "__main__":
    main()
