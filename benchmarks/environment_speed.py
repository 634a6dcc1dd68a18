"""How many steps per second N homes give, against a plain loop over the same homes.

Ours: `safevla.make_vec` with both cameras and all costs. Plain: the same houses, starts and actions with
`mj_step` without sleep and `mujoco.Renderer` for both cameras (software OpenGL where it starts, else no
pictures at all), one home after the other, without any cost. Last line: `ratio X`.

    python benchmarks/environment_speed.py
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np

from safevla.types import ACTION_ID, Scenario

SOFTWARE_OPENGL = {"osmesa": {}, "egl": {"LIBGL_ALWAYS_SOFTWARE": "1", "CUDA_VISIBLE_DEVICES": ""}}
PICTURES = 112


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", default="ObjNav")
    parser.add_argument("--homes", type=int, default=16)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--steps", type=int, default=100, help="timed steps of every home, ours")
    parser.add_argument("--plain-steps", type=int, default=6, help="timed steps of every home, plain loop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", metavar="FILE", help="also write the figures as JSON")
    parser.add_argument("--plain", metavar="FILE", help="internal: run the plain loop on a job file")
    return parser.parse_args()


def draw_actions(homes: int, steps: int, seed: int) -> np.ndarray:
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


# ---------------------------------------------------------------- ours


def run_ours(env: Any, scenarios: list[Scenario], actions: np.ndarray) -> float:
    """Play the actions in all homes and return steps per second."""
    env.reset(np.ones(len(scenarios), bool), scenarios)
    begin = time.perf_counter()
    for row in actions:
        env.step(row)
    return actions.size / (time.perf_counter() - begin)


@contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Measure the seconds spent in each part of a step while the context is open."""
    from safevla.safety.signals import SignalTracker
    from safevla.safety.specification import Specification
    from safevla.tasks.seat import Seat
    from safevla.world.simulator import Home

    seconds: dict[str, float] = defaultdict(float)
    parts = (
        ("physics: sweep or dynamics, contacts", Home, "act"),
        ("pictures: colour and ids, two cameras", Seat, "_render"),
        ("signals: visibility, free space, chains", SignalTracker, "update"),
        ("costs: five predicates, onsets, events", Specification, "evaluate"),
    )

    def timed(name: str, function: Callable) -> Callable:
        @wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                seconds[name] += time.perf_counter() - begin

        return call

    originals = [(owner, method, getattr(owner, method)) for _, owner, method in parts]
    for (name, owner, method), (_, _, function) in zip(parts, originals, strict=True):
        setattr(owner, method, timed(name, function))
    try:
        yield seconds
    finally:
        for owner, method, function in originals:
            setattr(owner, method, function)


def print_shares(seconds: dict[str, float], total: float, steps: int) -> None:
    """Print where the time of a step goes, on one thread."""
    rows = {**seconds, "the rest: copies, bookkeeping": total - sum(seconds.values())}
    print(f"\n{'where the time goes (one thread)':<44}{'ms/step':>9}{'share':>8}")
    for name, value in rows.items():
        print(f"{name:<44}{1e3 * value / steps:9.3f}{100 * value / total:7.1f}%")
    print(f"{'all':<44}{1e3 * total / steps:9.3f}{100.0:7.1f}%")


# ---------------------------------------------------------------- the plain loop


class PlainHome:
    """One home as a first attempt would write it: no sleep, a servo target, `mujoco.Renderer`."""

    def __init__(self, scenario: Scenario, pool: Any, pictures: bool) -> None:
        import mujoco

        from safevla.world.robot import FOLDED, joint_values

        settled = pool.get(scenario.house_seed, scenario.size_class, scenario.split, scenario.knobs)
        self.model, self.robot = settled.scene.model, settled.scene.robot
        self.model.opt.enableflags &= ~int(mujoco.mjtEnableBit.mjENBL_SLEEP)
        self.data, self.target = mujoco.MjData(self.model), joint_values(*scenario.start, *FOLDED)
        self.data.qpos[:] = settled.data.qpos
        self.data.qpos[self.robot.qpos] = self.data.ctrl[self.robot.actuators] = self.target
        mujoco.mj_forward(self.model, self.data)
        self.renderers = [self._renderer(fast) for fast in (False, True)] if pictures else []
        for renderer in self.renderers:
            self.draw(renderer)  # the first picture is slow

    def _renderer(self, fast: bool) -> Any:
        """Make a renderer; `fast` without shadows, reflections and multisampling."""
        import mujoco

        if fast:
            self.model.vis.quality.offsamples = 0
        renderer = mujoco.Renderer(self.model, PICTURES, PICTURES)
        if fast:
            for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                renderer.scene.flags[flag] = False
        return renderer

    def act(self, action: int) -> None:
        """Simulate one action with `mj_step`."""
        import mujoco

        from safevla.world.robot import commanded_target
        from safevla.world.simulator import SUBSTEPS

        start, self.target = self.target, commanded_target(self.target, action)
        for step in range(SUBSTEPS):
            share = min(1.0, (step + 1) / (0.9 * SUBSTEPS))
            self.data.ctrl[self.robot.actuators] = start + (self.target - start) * share
            mujoco.mj_step(self.model, self.data)

    def draw(self, renderer: Any) -> None:
        """Draw both cameras."""
        for camera in self.robot.cameras:
            renderer.update_scene(self.data, camera)
            renderer.render()


def run_plain(path: str) -> None:
    """Play the job in `path` and print milliseconds per step as JSON: physics, pictures, fast pictures."""
    from safevla.world.simulator import HousePool

    with open(path) as file:
        job = json.load(file)
    pool = HousePool(len(job["scenarios"]))
    scenarios = [Scenario.from_dict(scenario) for scenario in job["scenarios"]]
    try:
        homes = [PlainHome(scenario, pool, job["pictures"]) for scenario in scenarios]
    except Exception as error:  # what is raised depends on the OpenGL that is missing
        print(f"OpenGL: {type(error).__name__} {error}", file=sys.stderr)
        raise SystemExit(1) from error
    seconds = np.zeros(3)
    for row in job["actions"]:
        for action, home in zip(row, homes, strict=True):
            moments = [time.perf_counter()]
            home.act(action)
            moments.append(time.perf_counter())
            for renderer in home.renderers:
                home.draw(renderer)
                moments.append(time.perf_counter())
            seconds[: len(moments) - 1] += np.diff(moments)
    milliseconds = 1e3 * seconds / (len(job["actions"]) * len(homes))
    print(json.dumps(dict(zip(("physics", "pictures", "fast_pictures"), milliseconds.tolist(), strict=True))))


def plain_loop(scenarios: list[Scenario], actions: np.ndarray, folder: str) -> tuple[str, dict[str, float]]:
    """Run the plain loop in a process of its own, with the first software OpenGL that starts."""
    path = os.path.join(folder, "job.json")
    attempts: list[tuple[str, dict[str, str]]] = [*SOFTWARE_OPENGL.items(), ("none", {})]
    for backend, settings in attempts:
        with open(path, "w") as file:
            job = {"scenarios": [asdict(scenario) for scenario in scenarios], "actions": actions.tolist()}
            json.dump({**job, "pictures": backend != "none"}, file)
        gl = {} if backend == "none" else {"MUJOCO_GL": backend}
        result = subprocess.run(
            [sys.executable, __file__, "--plain", path],
            env={**os.environ, **settings, **gl},
            capture_output=True,
            text=True,
        )
        if result.returncode == 0:
            return backend, json.loads(result.stdout.splitlines()[-1])
        if "OpenGL" not in result.stderr:
            break
        reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"OpenGL by {backend} does not start: {reason}")
    raise SystemExit(f"the plain loop failed:\n{result.stderr}")


def main() -> None:
    arguments = parse_arguments()
    if arguments.plain:
        run_plain(arguments.plain)
        return
    import tempfile

    from safevla.tasks.gym import make_vec
    from safevla.tasks.sampling import sample_scenario
    from safevla.world.simulator import HousePool

    homes, threads = arguments.homes, arguments.threads
    print(f"{arguments.task}, {homes} homes, {PICTURES} x {PICTURES}, two cameras, costs on")
    pool = HousePool(homes)
    scenarios = [
        sample_scenario(arguments.task, arguments.seed + home, pool=pool, prove=False)
        for home in range(homes)
    ]
    actions = draw_actions(homes, arguments.steps, arguments.seed)
    speeds = {}
    for count in sorted({1, threads}):
        env = make_vec(
            arguments.task,
            homes,
            num_threads=count,
            resolution=PICTURES,
            horizon=arguments.steps + 1,
            pool=pool,
        )
        run_ours(env, scenarios, actions[:5])  # compiles, builds the houses
        speeds[count] = run_ours(env, scenarios, actions)
        print(f"ours, {count} thread{'s' if count > 1 else ' '}: {speeds[count]:9.1f} steps/s")
        if count == 1:
            with stopwatch() as seconds:
                total = actions.size / run_ours(env, scenarios, actions)
            shares = (dict(seconds), total)
        env.close()
    with tempfile.TemporaryDirectory() as folder:
        backend, plain = plain_loop(scenarios, actions[: arguments.plain_steps], folder)
    print_plain(backend, plain)
    print_shares(*shares, actions.size)
    ours = 1e3 / speeds[threads]
    if arguments.save:
        save(arguments, speeds, backend, plain)
    if backend != "none":
        fast = (plain["physics"] + plain["fast_pictures"]) / ours
        print(f"\nagainst pictures without shadows and multisampling: {fast:.1f} times as fast")
    print(f"\nratio {(plain['physics'] + plain['pictures']) / ours:.1f}")


def save(
    arguments: argparse.Namespace, speeds: dict[int, float], backend: str, plain: dict[str, float]
) -> None:
    """Write the figures for the documentation."""
    from safevla.runs import code_version, machine, write_json

    rows = [
        {"loop": f"safevla, {count} threads", "steps_per_s": round(speed, 1)}
        for count, speed in speeds.items()
    ]
    fastest = max(speeds.values())
    for title, pictures in (("as it comes", "pictures"), ("no shadows, no multisampling", "fast_pictures")):
        if backend != "none":
            speed = 1e3 / (plain["physics"] + plain[pictures])
            rows.append({"loop": f"plain, {backend}, {title}", "steps_per_s": round(speed, 1)})
    for row in rows:
        row["safevla_is_faster_by"] = round(fastest / float(row["steps_per_s"]), 1)
    head = {"command": f"python benchmarks/environment_speed.py --homes {arguments.homes}"}
    data = head | {"code": code_version(), "machine": machine(), "seeds": [arguments.seed], "rows": rows}
    write_json(Path(arguments.save), data)


def print_plain(backend: str, plain: dict[str, float]) -> None:
    """Print what a step of the plain loop costs."""
    if backend == "none":
        print(
            f"plain loop (no OpenGL starts here, so without pictures): {1e3 / plain['physics']:.1f} steps/s"
        )
        return
    for title, pictures in (("as it comes", "pictures"), ("no shadows, no multisampling", "fast_pictures")):
        total = plain["physics"] + plain[pictures]
        print(
            f"plain loop (OpenGL by {backend}, {title}): {1e3 / total:.1f} steps/s; "
            f"physics {plain['physics']:.2f} ms, pictures {plain[pictures]:.2f} ms"
        )


if __name__ == "__main__":
    main()
