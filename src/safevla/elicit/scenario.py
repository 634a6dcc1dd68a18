"""The space of scenarios that elicitation searches: the declared operational domain.

A point of the unit cube is a request for a scenario: task, safety-critical components, and the seed
from which house, start and target are drawn. The uniform measure on the cube is the prior of the
domain, so a search that draws uniformly draws from the domain, and any other departs from it on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from safevla.types import KNOBS, TASKS, Knobs, Scenario
from safevla.world.house import check_size_class

NO_KNOB = "none"
_ABSENT = 0.5  # share of houses without a given component, as tasks.sampling.draw_knobs has it
_PRESENT = 0.1  # a component below this strength is not what a scenario is about


@dataclass(frozen=True)
class ScenarioRequest:
    """What a search asks for; a sampler turns it into a solvable Scenario.

    Attributes:
        task: one of TASKS.
        seed: house, start and target are drawn from it.
        knobs: strength of each safety-critical component.
        split: "train", "val" or "test".
        size_class: "S", "M" or "L".
    """

    task: str
    seed: int
    knobs: Knobs
    split: str = "train"
    size_class: str = "S"


Sampler = Callable[[ScenarioRequest], Scenario]


@dataclass(frozen=True)
class ScenarioSpace:
    """Tasks x seeds x knobs, as a unit cube of `dimension` coordinates.

    Coordinates: the five knobs in the order of KNOBS, the seed, the task. The lower half of a knob's range
    stands for a house without that component, the upper half for its strength from 0 to 1, which is kept to
    three decimals.

    Attributes:
        tasks: tasks to choose among, each equally likely.
        split: the split that every scenario belongs to.
        size_classes: sizes of homes; which of them a home has follows from its seed, each entry as often.
        first_seed: lowest seed.
        seeds: number of seeds, each equally likely.
    """

    tasks: tuple[str, ...] = TASKS
    split: str = "train"
    size_classes: Sequence[str] = ("S",)
    first_seed: int = 0
    seeds: int = 2**24

    def __post_init__(self) -> None:
        unknown = [task for task in self.tasks if task not in TASKS]
        if unknown or not self.tasks:
            raise ValueError(f"tasks {list(self.tasks)} cannot be searched; choose among {', '.join(TASKS)}")
        for name in self.size_classes or ("",):
            check_size_class(name)
        if self.seeds < 1:
            raise ValueError(f"seeds is {self.seeds}, expected at least 1")

    @property
    def dimension(self) -> int:
        """Number of coordinates of a point."""
        return len(KNOBS) + 2

    def request(self, point: np.ndarray) -> ScenarioRequest:
        """Return what a point (dimension,) of the unit cube stands for."""
        values = np.asarray(point, dtype=np.float64)
        if values.shape != (self.dimension,) or not ((values >= 0) & (values <= 1)).all():
            raise ValueError(
                f"a point has {self.dimension} coordinates between 0 and 1, got {values.tolist()}"
            )
        strengths = np.maximum(0.0, (values - _ABSENT) / (1 - _ABSENT))
        knobs = {name: round(float(value), 3) for name, value in zip(KNOBS, strengths, strict=False)}
        seed = self.first_seed + min(int(values[-2] * self.seeds), self.seeds - 1)
        task = self.tasks[min(int(values[-1] * len(self.tasks)), len(self.tasks) - 1)]
        # Not the remainder of the seed: its low bits are all alike in a Sobol sequence.
        size_class = np.random.default_rng([seed, 11]).choice(list(self.size_classes))
        return ScenarioRequest(task, seed, Knobs(**knobs), self.split, str(size_class))

    def point(self, request: ScenarioRequest) -> np.ndarray:
        """Return a point (dimension,) that `request` maps back to the same request."""
        if request.task not in self.tasks or not 0 <= request.seed - self.first_seed < self.seeds:
            raise ValueError(f"task {request.task}, seed {request.seed} lies outside of the space")
        seed = (request.seed - self.first_seed + 0.5) / self.seeds
        task = (self.tasks.index(request.task) + 0.5) / len(self.tasks)
        strengths = np.array(request.knobs.as_tuple())
        knobs = np.where(strengths > 0, _ABSENT + (1 - _ABSENT) * strengths, _ABSENT / 2)
        return np.array([*knobs, seed, task])


def dominating_knob(knobs: Knobs) -> str:
    """Return the name of the strongest component, or NO_KNOB when hardly any is present."""
    values = knobs.as_tuple()
    strongest = int(np.argmax(values))
    return KNOBS[strongest] if values[strongest] >= _PRESENT else NO_KNOB


def build_all(
    requests: Sequence[ScenarioRequest], sampler: Sampler
) -> tuple[list[int], list[Scenario], list[str]]:
    """Turn requests into scenarios, leaving out those for which the sampler finds no solvable one.

    Returns:
        The indices of the requests that were met, their scenarios, and why the others were not.
    """
    indices: list[int] = []
    scenarios: list[Scenario] = []
    refusals: list[str] = []
    for index, request in enumerate(requests):
        try:
            scenarios.append(sampler(request))
        except ValueError as error:
            refusals.append(str(error))
        else:
            indices.append(index)
    return indices, scenarios, refusals
