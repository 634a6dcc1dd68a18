"""The tasks for Gymnasium: `gymnasium.make("SafetyChores/ObjNav-v0")`, PickUp-v0, Fetch-v0, and `make_vec`.

`import safevla.tasks.gym` registers the environments; where the package is installed, Gymnasium finds them
by itself through its plugin entry point.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces

from safevla.safety.specification import Specification
from safevla.tasks.env import HORIZONS, HomeVecEnv
from safevla.tasks.registration import register_environments
from safevla.tasks.sampling import ScenarioSampler, scenario_stream
from safevla.types import ACTIONS, NO_ACTION, Observation, Scenario
from safevla.world.house import check_size_class
from safevla.world.simulator import HousePool

LONGEST_INSTRUCTION = 200  # characters


class ChoresEnv(gymnasium.Env):  # type: ignore[misc]
    """One home as a Gymnasium environment.

    An observation has what a row of `Observation` has. The terminal step carries its own cost. `info` has
    `cost` (float), `costs` (dict), `success` (bool) and `events` (list of dicts); after `reset` it has the
    `scenario` as a dict.

    Args:
        task: one of TASKS.
        split: houses to draw scenarios from.
        scenarios: play these in turn instead of drawing.
        prove: draw only scenarios that the expert has solved.
        resolution: pixels along each side of a picture.
        specification: what is unsafe.
        horizon: steps after which an episode is truncated; default: those of the size class of its home.
        size_class: of the houses to draw scenarios from.
        described: share of the drawn scenarios whose instruction describes the target, as "a red mug".
        render_mode: "rgb_array" for both cameras side by side, or None.
        settings: further arguments of HomeVecEnv.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 5}

    def __init__(
        self,
        task: str = "ObjNav",
        split: str = "train",
        scenarios: Sequence[Scenario] | None = None,
        prove: bool = True,
        resolution: int = 112,
        specification: str | Specification = "safevla",
        horizon: int | None = None,
        render_mode: str | None = None,
        size_class: str = "S",
        described: float = 0.0,
        **settings: Any,
    ) -> None:
        check_size_class(size_class)
        self.size_class = size_class
        self.env = HomeVecEnv(task, 1, 1, resolution, specification, horizon, **settings)
        self.task, self.split, self.prove, self.render_mode = task, split, prove, render_mode
        self._given = cycle(scenarios) if scenarios else None
        classes = {scenario.size_class for scenario in scenarios} if scenarios else {size_class}
        longest = max(HORIZONS[name] for name in classes) if horizon is None else horizon
        self._sampler = ScenarioSampler(self.env.pool, horizon, self.env.specification, described)
        picture = spaces.Box(0, 255, (*self.env.resolution, 3), np.uint8)
        characters = string.ascii_letters + string.digits + " .,;:!?'-"
        self.observation_space = spaces.Dict(
            {
                "nav": picture,
                "manip": spaces.Box(0, 255, (*self.env.resolution, 3), np.uint8),
                "holding": spaces.Discrete(2),
                "last_action": spaces.Discrete(NO_ACTION + 1),
                "step": spaces.Discrete(longest + 1),
                "instruction": spaces.Text(LONGEST_INSTRUCTION, min_length=0, charset=characters),
                "joints": spaces.Box(-np.inf, np.inf, (3,), np.float32),
                "motion": spaces.Box(-np.inf, np.inf, (6,), np.float32),
            }
        )
        self.action_space = spaces.Discrete(len(ACTIONS))
        self._observation: Observation | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode.

        Args:
            seed: seeds the drawing of scenarios.
            options: {"scenario": Scenario} to play a certain one.
        """
        super().reset(seed=seed)
        scenario = (options or {}).get("scenario")
        if scenario is None and self._given is not None:
            scenario = next(self._given)
        if scenario is None:
            scenario = self._sampler.sample(
                self.task, self.np_random, self.split, size_class=self.size_class, prove=self.prove
            )
        self._observation = self.env.reset(np.ones(1, dtype=bool), [scenario])
        if not self.observation_space["step"].contains(int(self.env.horizons[0])):
            raise ValueError(
                f"the scenario plays in a home of class {scenario.size_class}, whose episodes are longer; "
                f"make the environment with size_class='{scenario.size_class}'"
            )
        return self._first_row(), {"scenario": scenario.to_dict()}

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Take one action; see the class for `info`."""
        step = self.env.step(np.array([action]))
        self._observation = step.observation
        info = {
            "cost": float(step.costs[0].sum()),
            "costs": dict(zip(self.env.constraints, step.costs[0].astype(float).tolist(), strict=True)),
            "success": bool(step.success[0]),
            "events": [event.to_dict() for event in step.events[0]],
        }
        return (
            self._first_row(),
            float(step.reward[0]),
            bool(step.terminated[0]),
            bool(step.truncated[0]),
            info,
        )

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """Return both pictures side by side, (H, 2 W, 3) uint8."""
        if self.render_mode != "rgb_array" or self._observation is None:
            return None
        return np.concatenate([self._observation.nav[0], self._observation.manip[0]], axis=1)

    def close(self) -> None:
        """End the environment."""
        self.env.close()

    def _first_row(self) -> dict[str, Any]:
        observation = self._observation
        assert observation is not None and observation.joints is not None and observation.motion is not None
        return {
            "nav": observation.nav[0],
            "manip": observation.manip[0],
            "holding": int(observation.holding[0]),
            "last_action": int(observation.last_action[0]),
            "step": int(observation.step[0]),
            "instruction": observation.instruction[0],
            "joints": observation.joints[0],
            "motion": observation.motion[0],
        }


def make_vec(
    task: str | Sequence[str] = "ObjNav",
    num_envs: int = 16,
    num_threads: int = 1,
    scenarios: Iterable[Scenario] | None = None,
    seed: int = 0,
    split: str = "train",
    prove: bool = True,
    pool: HousePool | None = None,
    size_class: str = "S",
    described: float = 0.0,
    **settings: Any,
) -> HomeVecEnv:
    """Make N homes stepped together, whose `reset()` needs no scenarios.

    Args:
        task: one of TASKS, or several.
        num_envs: N.
        num_threads: threads that share the homes; the results do not depend on it.
        scenarios: play these, over and over; None draws new ones.
        seed: of the drawing.
        split: houses to draw from.
        prove: draw only scenarios that the expert has solved.
        pool: settled houses to share.
        size_class: of the houses to draw from.
        described: share of the drawn scenarios whose instruction describes the target ("a red mug", "a mug in
            the kitchen").
        settings: further arguments of HomeVecEnv.
    """
    check_size_class(size_class)
    given = list(scenarios) if scenarios is not None else None
    if given is not None and not given:
        raise ValueError("the list of scenarios is empty; leave it out to draw scenarios")
    pool = pool if pool is not None else HousePool(capacity=max(64, num_envs))
    env = HomeVecEnv(task, num_envs, num_threads, pool=pool, **settings)
    env.source = (
        cycle(given) if given else scenario_stream(env.tasks, seed, split, pool, prove, size_class, described)
    )
    return env


register_environments()
