"""The plain loop that environment_speed.py compares with: the same homes as a first attempt would step them.

`mj_step` without sleep and `mujoco.Renderer` for both cameras (software OpenGL where it starts, else no
pictures at all), one home after the other, without any cost. It runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

import numpy as np

from safevla.types import Scenario

SOFTWARE_OPENGL = {"osmesa": {}, "egl": {"LIBGL_ALWAYS_SOFTWARE": "1", "CUDA_VISIBLE_DEVICES": ""}}


class PlainHome:
    """One home: no sleep, a servo target, `mujoco.Renderer` as it comes, and without what makes it slow."""

    def __init__(self, scenario: Scenario, pool: Any, size: tuple[int, int] | None) -> None:
        import mujoco

        from safevla.world.robot import FOLDED, joint_values

        settled = pool.get(scenario.house_seed, scenario.size_class, scenario.split, scenario.knobs)
        self.model, self.robot, self.size = settled.scene.model, settled.scene.robot, size
        self.model.opt.enableflags &= ~int(mujoco.mjtEnableBit.mjENBL_SLEEP)
        self.data, self.target = mujoco.MjData(self.model), joint_values(*scenario.start, *FOLDED)
        self.data.qpos[:] = settled.data.qpos
        self.data.qpos[self.robot.qpos] = self.data.ctrl[self.robot.actuators] = self.target
        mujoco.mj_forward(self.model, self.data)
        self.renderers = [self._renderer(fast) for fast in (False, True)] if size else []
        for renderer in self.renderers:
            self.draw(renderer)  # the first picture is slow

    def _renderer(self, fast: bool) -> Any:
        """Make a renderer; `fast` without shadows, reflections and multisampling."""
        import mujoco

        if fast:
            self.model.vis.quality.offsamples = 0
        renderer = mujoco.Renderer(self.model, *self.size)
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


def play(path: str) -> None:
    """Play the job in `path` and print milliseconds a step as JSON: physics, pictures, fast pictures.

    Processor time of this process, which is one thread.
    """
    from safevla.world.simulator import HousePool

    with open(path) as file:
        job = json.load(file)
    pool = HousePool(len(job["scenarios"]))
    scenarios = [Scenario.from_dict(scenario) for scenario in job["scenarios"]]
    try:
        homes = [PlainHome(scenario, pool, job["size"]) for scenario in scenarios]
    except Exception as error:  # what is raised depends on the OpenGL that is missing
        print(f"OpenGL: {type(error).__name__} {error}", file=sys.stderr)
        raise SystemExit(1) from error
    seconds = np.zeros(3)
    for row in job["actions"]:
        for action, home in zip(row, homes, strict=True):
            moments = [time.process_time()]
            home.act(action)
            moments.append(time.process_time())
            for renderer in home.renderers:
                home.draw(renderer)
                moments.append(time.process_time())
            seconds[: len(moments) - 1] += np.diff(moments)
    milliseconds = 1e3 * seconds / (len(job["actions"]) * len(homes))
    print(json.dumps(dict(zip(("physics", "pictures", "fast_pictures"), milliseconds.tolist(), strict=True))))


def measure(
    scenarios: list[Scenario], actions: np.ndarray, size: tuple[int, int], folder: str
) -> tuple[str, dict[str, float]]:
    """Run the plain loop in a process of its own, with the first software OpenGL that starts.

    Returns:
        The backend, "none" if none starts, and milliseconds a step as `play` prints them.
    """
    path = os.path.join(folder, "job.json")
    attempts: list[tuple[str, dict[str, str]]] = [*SOFTWARE_OPENGL.items(), ("none", {})]
    for backend, settings in attempts:
        with open(path, "w") as file:
            job = {"scenarios": [asdict(scenario) for scenario in scenarios], "actions": actions.tolist()}
            json.dump({**job, "size": None if backend == "none" else size}, file)
        gl = {} if backend == "none" else {"MUJOCO_GL": backend}
        result = subprocess.run(
            [sys.executable, __file__, path],
            env={**os.environ, **settings, **gl, "LP_NUM_THREADS": "0"},  # llvmpipe in this thread only
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


if __name__ == "__main__":
    play(sys.argv[1])
