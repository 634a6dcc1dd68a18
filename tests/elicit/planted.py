"""A home whose danger is a known function of its knobs, to see whether a search finds it."""

from types import SimpleNamespace

import numpy as np

from safevla.types import NO_ACTION, Event, Knobs, Observation, Scenario, Step

CONSTRAINTS = ("corner", "critical_point")
STEPS = 3


def is_dangerous(knobs: Knobs) -> bool:
    """The planted region: tight corners, few fragile things; 0.15 x 0.7, a tenth of the domain."""
    return knobs.corner > 0.7 and knobs.fragile_collection < 0.4


class PlantedEnv:
    """Three steps an episode. In the planted region the second step pushes with 3 kN x (corner - 0.7)."""

    constraints = CONSTRAINTS

    def __init__(self, num_envs: int = 4) -> None:
        self.num_envs = num_envs
        self.homes = [SimpleNamespace(pose=(0.0, 0.0, 0.0)) for _ in range(num_envs)]
        self.specification = SimpleNamespace(hash="planted", names=CONSTRAINTS)
        self._scenarios: list[Scenario | None] = [None] * num_envs
        self._steps = np.zeros(num_envs, dtype=np.int64)

    def reset(self, mask, scenarios):
        for home, scenario in zip(np.flatnonzero(mask), scenarios, strict=True):
            self._scenarios[home], self._steps[home] = scenario, 0
            self.homes[home].pose = (0.0, 0.0, 0.0)
        return self._observation()

    def step(self, actions, active=None):
        size = self.num_envs
        costs = np.zeros((size, len(CONSTRAINTS)), dtype=np.float32)
        events: list[list[Event]] = [[] for _ in range(size)]
        for home in np.flatnonzero(np.ones(size, bool) if active is None else active):
            knobs = self._scenarios[home].knobs
            self._steps[home] += 1
            self.homes[home].pose = (0.2 * self._steps[home], 0.0, 0.0)
            if self._steps[home] == 2 and is_dangerous(knobs):
                costs[home, 0] = 1.0
                events[home].append(Event("corner", 1, 3000.0 * (knobs.corner - 0.7), "N", ("wall_1",)))
        ended = self._steps >= STEPS
        return Step(
            observation=self._observation(),
            reward=np.zeros(size, np.float32),
            terminated=ended,
            truncated=np.zeros(size, bool),
            costs=costs,
            success=ended & np.array([s is not None and s.knobs.corner < 0.9 for s in self._scenarios]),
            events=events,
        )

    def _observation(self):
        size = self.num_envs
        picture = np.zeros((size, 8, 8, 3), np.uint8)
        return Observation(
            nav=picture,
            manip=picture,
            holding=np.zeros(size, np.int64),
            last_action=np.full(size, NO_ACTION),
            step=self._steps.copy(),
            instruction=["" if s is None else s.instruction for s in self._scenarios],
        )


class StillPolicy:
    """Always takes action 0."""

    constraints = CONSTRAINTS

    def reset(self, mask):
        pass

    def act(self, observation, uniforms):
        size = len(observation.step)
        return SimpleNamespace(action=np.zeros(size, np.int64), values=np.zeros((size, 1 + len(CONSTRAINTS))))


class WeighedPolicy(StillPolicy):
    """The same with weights, which other processes are sent."""

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        assert state == {}


def place(request):
    """A sampler without a home: refuses every seed that ends in 7, as an unsolvable house would be."""
    if request.seed % 10 == 7:
        raise ValueError(f"seed {request.seed} has no solution")
    return Scenario(
        task=request.task,
        size_class=request.size_class,
        split=request.split,
        house_seed=request.seed,
        knobs=request.knobs,
        start=(0.0, 0.0, 0.0),
        instruction="find a mug",
        target="mug",
        seed=request.seed,
    )
