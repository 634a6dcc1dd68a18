"""Episode tables with a known truth, and a home that costs what the policy's action says."""

from types import SimpleNamespace

import numpy as np

from safevla.assure.evaluate import make_table
from safevla.types import NO_ACTION, Event, Knobs, Observation, Scenario, Step

CONSTRAINTS = ("corner", "blind_spot", "fragile_collection", "critical_point", "dangerous_equipment")
# policy -> (mean cost where it costs, chance of costing, success rate)
TRUTH = {
    "imitation": (6.0, 0.6, 0.45),
    "rl": (9.0, 0.7, 0.7),
    "isa": (3.0, 0.3, 0.68),
    "inactive": (0.0, 0.0, 0.0),
}


def make_scenario(house: int, task: str = "ObjNav") -> Scenario:
    return Scenario(
        task, "S", "val", house, Knobs(corner=0.5), (1.0, 2.0, 0.5), "find a mug", "mug", seed=house
    )


def described_table():
    """Return the episodes of two policies whose targets are described by colour, by room, or not at all."""
    table = synthetic_table(episodes=30, policies=("rl", "isa"))
    rows = []
    for row in table.to_pylist():
        which = ("colour:red", "in:kitchen", "")[row["house_seed"] % 3]
        lost = bool(which) and not row["success"] and row["house_seed"] % 2 == 0
        rows.append(row | {"which": which, "distractor": lost})
    return make_table(rows, CONSTRAINTS)


def synthetic_table(episodes=60, tasks=("ObjNav",), policies=tuple(TRUTH), seed=0):
    generator = np.random.default_rng(seed)
    rows = []
    for task in tasks:
        hardness = generator.random(episodes)
        for policy in policies:
            size, chance, success = TRUTH[policy]
            for house in range(episodes):
                costs = (
                    size * hardness[house] * 2 * generator.exponential(1.0) * (generator.random() < chance)
                )
                split = generator.multinomial(round(costs), [0.3, 0.25, 0.1, 0.1, 0.25])
                scenario = make_scenario(house, task)
                rows.append(
                    {
                        "task": task,
                        "policy": policy,
                        "training_seed": 0,
                        "scenario": scenario.hash,
                        "house_seed": house,
                        "size_class": "S",
                        "split": "val",
                        "seed": 0,
                        "success": bool(hardness[house] + 0.2 * generator.normal() < success) and success > 0,
                        "cost": float(split.sum()),
                        **{f"cost/{n}": float(v) for n, v in zip(CONSTRAINTS, split, strict=True)},
                        "length": 1 if policy == "inactive" else int(generator.integers(20, 200)),
                        "metres": 0.0 if policy == "inactive" else float(generator.uniform(1, 12)),
                        "truncated": False,
                        "mode": "sampled",
                        "specification": "0123456789abcdef",
                        "code": "0.1.0",
                    }
                )
    return make_table(rows, CONSTRAINTS)


class CostlyEnv:
    """Four steps an episode; action 1 costs one `corner` in every odd house."""

    constraints = CONSTRAINTS

    def __init__(self, num_envs=3):
        self.num_envs = num_envs
        self.homes = [SimpleNamespace(pose=(0.0, 0.0, 0.0)) for _ in range(num_envs)]
        self.specification = SimpleNamespace(hash="feed", names=CONSTRAINTS)
        self._scenarios = [None] * num_envs
        self._steps = np.zeros(num_envs, dtype=np.int64)

    def reset(self, mask, scenarios):
        for home, scenario in zip(np.flatnonzero(mask), scenarios, strict=True):
            self._scenarios[home], self._steps[home] = scenario, 0
            self.homes[home].pose = (0.0, 0.0, 0.0)
        return self._observation()

    def step(self, actions, active=None):
        size = self.num_envs
        costs = np.zeros((size, len(CONSTRAINTS)), dtype=np.float32)
        events = [[] for _ in range(size)]
        for home in np.flatnonzero(np.ones(size, bool) if active is None else active):
            self._steps[home] += 1
            self.homes[home].pose = (0.5 * self._steps[home], 0.0, 0.0)
            if actions[home] == 1 and self._scenarios[home].house_seed % 2:
                costs[home, 0] = 1.0
                events[home].append(Event("corner", int(self._steps[home]) - 1, 42.0, "N", ("wall_1",)))
        ended = self._steps >= 4
        return Step(
            self._observation(), np.zeros(size, np.float32), ended, np.zeros(size, bool), costs, ended, events
        )

    def _observation(self):
        size = self.num_envs
        picture = np.zeros((size, 16, 16, 3), np.uint8)
        picture[..., 0] = 40 * self._steps[:, None, None]
        return Observation(
            picture,
            picture,
            np.zeros(size, np.int64),
            np.full(size, NO_ACTION),
            self._steps.copy(),
            ["" if s is None else s.instruction for s in self._scenarios],
        )


class ConstantPolicy:
    def __init__(self, action):
        self.action = action

    def reset(self, mask):
        pass

    def act(self, observation, uniforms):
        size = len(observation.step)
        return SimpleNamespace(
            action=np.full(size, self.action), values=np.zeros((size, 1 + len(CONSTRAINTS)), np.float32)
        )
