"""How fast homes are stepped, with two cameras and all costs, and how that compares with a plain loop.

    python benchmarks/environment_speed.py                            # class S, 112 px: the ratio
    python benchmarks/environment_speed.py --size-class M
    python benchmarks/environment_speed.py --tables --threads 1 --size-class S M L --save FILE
    python benchmarks/environment_speed.py --only-threads --size-class S M L --save FILE

Ours: `safevla.make_vec`. Plain: the same houses, starts and actions, see plain_loop.py. Two streams of
actions: `mixed`, random, mostly driving, much of it into things; `drive`, which turns away from what it would
touch, as a policy does. Milliseconds are processor time on one thread, and the last line, `ratio X`, is the
plain loop's over ours for `mixed` at the first picture size. Threads are compared by the clock, in turns of a
few steps; that needs a machine with nothing else to do, so it can be done alone (`--only-threads`).
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import plain_loop

from safevla.types import ACTION_ID, Scenario

CHUNK = 20  # steps of all homes that one number of threads takes before the next has its turn
TABLE_RESOLUTIONS = ("64", "112", "224x384")
TABLE_HOMES = (1, 4, 16, 64)
MOST_STEPS = 960  # of all homes together, in one measurement


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", default="ObjNav")
    parser.add_argument("--size-class", nargs="+", default=["S"], metavar="CLASS")
    parser.add_argument("--resolution", nargs="+", default=["112"], metavar="H or HxW")
    parser.add_argument("--actions", nargs="+", default=["mixed", "drive"], choices=("mixed", "drive"))
    parser.add_argument("--homes", type=int, default=16)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=60, help="timed steps of every home, ours")
    parser.add_argument("--plain-steps", type=int, default=4, help="timed steps of every home, plain loop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--least-objects", type=int, default=0, help="leave out homes with fewer free bodies")
    parser.add_argument("--tables", action="store_true", help="also by picture size and number of homes")
    parser.add_argument("--only-threads", action="store_true", help="neither plain loop nor shares of time")
    parser.add_argument("--save", metavar="FILE", help="also write the figures as JSON")
    arguments = parser.parse_args()
    if arguments.only_threads and arguments.threads < 2:
        parser.error("--only-threads compares 1 thread with more, give --threads 2 or more")
    return arguments


# ---------------------------------------------------------------- actions


def mixed_actions(homes: int, steps: int, seed: int) -> np.ndarray:
    """Return (steps, homes) actions: mostly driving, some of the arm, none that ends the episode."""
    rng = np.random.default_rng(seed)
    ending = [ACTION_ID["sub_task_done"], ACTION_ID["end"]]
    ids = np.array([action for action in ACTION_ID.values() if action not in ending])
    weights = np.ones(len(ids))
    weights[[ACTION_ID["move_ahead"], ACTION_ID["turn_left_30"], ACTION_ID["turn_right_30"]]] = (
        12.0,
        3.0,
        3.0,
    )
    return rng.choice(ids, size=(steps, homes), p=weights / weights.sum())


def drive_actions(scenarios: list[Scenario], pool: Any, steps: int, seed: int) -> np.ndarray:
    """Return (steps, homes) actions of a drive that turns where it would touch something, nearly always."""
    from safevla.world.simulator import Home

    actions = np.zeros((steps, len(scenarios)), np.int64)
    for number, scenario in enumerate(scenarios):
        rng, home = np.random.default_rng([seed, number]), Home()
        home.reset(pool.of(scenario), scenario.start)
        turn = "turn_left_30"
        for step in range(steps):
            before = home.state()
            name = (
                "move_ahead"
                if rng.random() < 0.8
                else str(rng.choice(["turn_left_6", "lift_up_2", "arm_in_2"]))
            )
            if home.act(ACTION_ID[name]).substeps and rng.random() < 0.97:
                home.set_state(before)
                name = turn
                home.act(ACTION_ID[name])
            elif rng.random() < 0.1:
                turn = str(rng.choice(["turn_left_30", "turn_right_30"]))
            actions[step, number] = ACTION_ID[name]
    return actions


# ---------------------------------------------------------------- ours


def in_turns(
    envs: dict[int, Any], scenarios: list[Scenario], actions: np.ndarray
) -> tuple[dict[str, float], float]:
    """Step environments with other numbers of threads in turns.

    Returns:
        `ms` of processor time a step of the one with one thread, steps a second by the clock for each as
        `steps/s, N`, their `gain` (median over the turns), and the share of actions that were swept.
    """
    clock: dict[int, list[float]] = defaultdict(list)
    work, swept = 0.0, 0
    for env in envs.values():
        env.reset(None, scenarios)
        for row in actions[:2]:  # warm
            env.step(row)
        env.reset(None, scenarios)
    for first in range(0, len(actions), CHUNK):
        for threads, env in envs.items():
            began, worked = time.perf_counter(), time.process_time()
            for row in actions[first : first + CHUNK]:
                env.step(row)
                if threads == 1:
                    swept += int((~env.simulated).sum())
            clock[threads].append(time.perf_counter() - began)
            if threads == 1:
                work += time.process_time() - worked
    figures = {"ms": 1e3 * work / actions.size}
    for threads, seconds in clock.items():
        figures[f"steps/s, {threads}"] = actions.size / sum(seconds)
    last = max(envs)
    figures["gain"] = float(np.median(np.array(clock[1]) / np.array(clock[last])))
    return figures, swept / actions.size


@contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Measure the processor time spent in each part of a step while the context is open."""
    from safevla.safety.signals import SignalTracker
    from safevla.tasks.env import HomeVecEnv
    from safevla.tasks.seat import Seat
    from safevla.world.simulator import Home

    seconds: dict[str, float] = defaultdict(float)
    parts = (
        ("physics: sweep or dynamics, contacts", Home, "act"),
        ("pictures: colour and ids, two cameras", Seat, "_render"),
        ("signals: visibility, free space, chains", SignalTracker, "update"),
        ("costs: constraints, onsets, events", HomeVecEnv, "_charge"),
    )

    def timed(name: str, function: Callable) -> Callable:
        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            begin = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                seconds[name] += time.process_time() - begin

        return call

    originals = [(owner, method, getattr(owner, method)) for _, owner, method in parts]
    for (name, owner, method), (_, _, function) in zip(parts, originals, strict=True):
        setattr(owner, method, timed(name, function))
    try:
        yield seconds
    finally:
        for owner, method, function in originals:
            setattr(owner, method, function)


def parts_of_a_step(env: Any, scenarios: list[Scenario], actions: np.ndarray) -> dict[str, float]:
    """Return milliseconds a step of each part, and of all, on one thread."""
    env.reset(None, scenarios)
    with stopwatch() as seconds:
        began = time.process_time()
        for row in actions:
            env.step(row)
        total = time.process_time() - began
    parts = {**seconds, "the rest: bookkeeping": total - sum(seconds.values()), "all": total}
    return {name: 1e3 * value / actions.size for name, value in parts.items()}


# ---------------------------------------------------------------- one size class


def loose_things(scene: Any) -> int:
    """Return the number of free bodies of a home, the robot not counted."""
    return int(np.sum(scene.movable & scene.present))


class Bench:
    """The scenarios, actions and environments of one size class.

    Attributes:
        rows: what has been measured, for the results file; `group` names the table.
    """

    def __init__(self, arguments: argparse.Namespace, size_class: str) -> None:
        from safevla.tasks.sampling import sample_scenario
        from safevla.world.simulator import HousePool

        self.arguments, self.size_class = arguments, size_class
        most = max(TABLE_HOMES) if arguments.tables else arguments.homes
        most = max(most, arguments.homes)
        self.pool = HousePool(most)
        self.scenarios: list[Scenario] = []
        for seed in itertools.count(arguments.seed):
            scenario = sample_scenario(
                arguments.task, seed, pool=self.pool, prove=False, size_class=size_class
            )
            if loose_things(self.pool.of(scenario).scene) >= arguments.least_objects:
                self.scenarios.append(scenario)
            if len(self.scenarios) == most:
                break
        self.actions = {
            "mixed": mixed_actions(most, arguments.steps, arguments.seed),
            "drive": drive_actions(self.scenarios, self.pool, arguments.steps, arguments.seed),
        }
        played = self.scenarios[: arguments.homes]
        self.loose = int(np.median([loose_things(self.pool.of(scenario).scene) for scenario in played]))
        self.rows: list[dict[str, Any]] = []

    def env(self, homes: int, threads: int, size: tuple[int, int]) -> Any:
        """Make an environment whose episodes do not end while it is measured."""
        from safevla.tasks.gym import make_vec

        settings = {"num_threads": threads, "resolution": size, "horizon": 10**6, "pool": self.pool}
        return make_vec(self.arguments.task, homes, **settings)

    def speed(self, homes: int, size: tuple[int, int], stream: str) -> dict[str, Any]:
        """Measure one setting on one and on all threads."""
        counts = sorted({1, self.arguments.threads})
        envs = {count: self.env(homes, count, size) for count in counts}
        most = self.arguments.steps if len(counts) > 1 else MOST_STEPS // homes
        steps = min(self.arguments.steps, max(2, most))
        figures, swept = in_turns(envs, self.scenarios[:homes], self.actions[stream][:steps, :homes])
        for env in envs.values():
            env.close()
        row: dict[str, Any] = {"class": self.size_class, "objects": self.loose, "homes": homes}
        row |= {"pictures": "x".join(map(str, size)), "actions": stream, "swept": round(swept, 2)}
        row["ms/step"] = round(figures["ms"], 2)
        for count in counts:
            name = f"steps/s, {count} thread{'s' if count > 1 else ''}"
            row[name] = round(figures[f"steps/s, {count}"])
        if len(counts) > 1:
            row[f"gain by {counts[-1]} threads"] = round(figures["gain"], 2)
        else:
            del row["steps/s, 1 thread"]  # by the clock: of use only beside another
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        return row

    def by_homes(self, homes: int, size: tuple[int, int]) -> dict[str, Any]:
        """Measure the same episodes, the first steps of all homes, played so many at a time."""
        env, steps = self.env(homes, 1, size), MOST_STEPS // len(self.scenarios)
        actions, seconds = self.actions["mixed"][:steps], 0.0
        for first in range(0, len(self.scenarios), homes):
            env.reset(None, self.scenarios[first : first + homes])
            began = time.process_time()
            for row in actions[:, first : first + homes]:
                env.step(row)
            seconds += time.process_time() - began
        env.close()
        row = {"class": self.size_class, "homes": homes, "ms/step": round(1e3 * seconds / actions.size, 2)}
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        return row

    def ratio(self, size: tuple[int, int]) -> float:
        """Measure ours and the plain loop, and return their ratio."""
        homes = self.arguments.homes
        row = self.speed(homes, size, "mixed")
        self.rows.append({"group": "speed"} | row)
        scenarios = self.scenarios[:homes]
        plain_actions = self.actions["mixed"][: self.arguments.plain_steps, :homes]
        with tempfile.TemporaryDirectory() as folder:
            backend, plain = plain_loop.measure(scenarios, plain_actions, size, folder)
        compared = {"safevla, one thread": row["ms/step"]}
        if backend == "none":
            compared["plain, no OpenGL starts here: without pictures"] = plain["physics"]
        else:
            compared[f"plain, {backend}, as it comes"] = plain["physics"] + plain["pictures"]
            compared[f"plain, {backend}, no shadows, no multisampling"] = (
                plain["physics"] + plain["fast_pictures"]
            )
        compared["of this, physics of the plain loop"] = plain["physics"]
        head = {"group": "ratio", "class": self.size_class, "objects": self.loose}
        for loop, milliseconds in compared.items():
            times = round(milliseconds / row["ms/step"], 1)
            self.rows.append(head | {"loop": loop, "ms/step": round(milliseconds, 2), "times": times})
            print(f"{loop}: {milliseconds:.2f} ms/step, {times} times ours")
        return list(compared.values())[1] / row["ms/step"]

    def parts(self, size: tuple[int, int]) -> None:
        """Measure where the time goes."""
        homes = self.arguments.homes
        env = self.env(homes, 1, size)
        columns = {
            stream: parts_of_a_step(env, self.scenarios[:homes], self.actions[stream][:, :homes])
            for stream in self.arguments.actions
        }
        env.close()
        print(f"\n{'where the time goes, ms/step':<42}" + "".join(f"{name:>8}" for name in columns))
        for part in next(iter(columns.values())):
            values = {f"{name}, ms/step": round(column[part], 3) for name, column in columns.items()}
            self.rows.append({"group": "parts", "class": self.size_class, "part": part} | values)
            print(f"{part:<42}" + "".join(f"{value:8.3f}" for value in values.values()))
        print()


def parse_size(text: str) -> tuple[int, int]:
    """Return (H, W) from "112" or "224x384"."""
    height, _, width = text.partition("x")
    return int(height), int(width or height)


def main() -> None:
    arguments = parse_arguments()
    sizes = [parse_size(text) for text in arguments.resolution]
    rows, ratios = [], []
    for size_class in arguments.size_class:
        bench = Bench(arguments, size_class)
        if arguments.only_threads:
            streams = [bench.speed(arguments.homes, sizes[0], stream) for stream in arguments.actions]
            rows += streams
            continue
        ratios.append(bench.ratio(sizes[0]))
        bench.parts(sizes[0])
        more = [parse_size(text) for text in TABLE_RESOLUTIONS] if arguments.tables else sizes
        for size in more:
            for stream in arguments.actions:
                if (size, stream) != (sizes[0], "mixed"):
                    row = bench.speed(arguments.homes, size, stream)
                    bench.rows.append({"group": "speed"} | row)
        for homes in TABLE_HOMES if arguments.tables else ():
            bench.rows.append({"group": "homes"} | bench.by_homes(homes, sizes[0]))
        rows += bench.rows
    if arguments.save:
        save(arguments, rows)
    if arguments.only_threads:
        name = f"gain by {arguments.threads} threads"
        print(f"\nthread_gain {min(row[name] for row in rows):.2f}")
    else:
        print(f"\nratio {min(ratios):.1f}")


def save(arguments: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    """Write the figures for the documentation."""
    from safevla.runs import code_version, machine, write_json

    words = ["--tables"] if arguments.tables else []
    words += ["--only-threads"] if arguments.only_threads else []
    words += ["--threads", str(arguments.threads), "--steps", str(arguments.steps)]
    if arguments.least_objects:
        words += ["--least-objects", str(arguments.least_objects)]
    words += ["--size-class", *arguments.size_class, "--homes", str(arguments.homes)]
    head = {"command": f"python benchmarks/environment_speed.py {' '.join(words)}"}
    data = head | {"code": code_version(), "machine": machine(), "seeds": [arguments.seed], "rows": rows}
    write_json(Path(arguments.save), data)


if __name__ == "__main__":
    main()
