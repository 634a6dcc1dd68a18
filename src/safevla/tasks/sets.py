"""The scenario sets that come with the package, described."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safevla.tasks.sampling import load_scenarios, scenario_sets
from safevla.types import Scenario


@dataclass(frozen=True)
class ScenarioSet:
    """What is in a set of scenarios.

    Attributes:
        name: as `load_scenarios` takes it.
        count: number of scenarios.
        tasks: number of scenarios of each task.
        size_classes: number of scenarios in homes of each size class.
        expert_length: median and largest number of steps that the expert took; zeros where it was not tried.
        hash: of the set, see `set_hash`.
    """

    name: str
    count: int
    tasks: dict[str, int]
    size_classes: dict[str, int]
    expert_length: tuple[int, int]
    hash: str


def set_hash(scenarios: Sequence[Scenario]) -> str:
    """Return sixteen hex digits of a set, whatever its order; reports give the same of what they played."""
    names = "\n".join(sorted({scenario.hash for scenario in scenarios}))
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def describe_set(name: str) -> ScenarioSet:
    """Describe a set by its name, or a file of scenarios; what cannot be read raises ValueError."""
    scenarios = load_scenarios(name)
    if not scenarios:
        raise ValueError(f"the scenario set {name} is empty; draw scenarios into it with save_scenarios")
    lengths = [scenario.expert_length for scenario in scenarios]
    return ScenarioSet(
        name=name,
        count=len(scenarios),
        tasks=dict(Counter(scenario.task for scenario in scenarios)),
        size_classes=dict(sorted(Counter(scenario.size_class for scenario in scenarios).items())),
        expert_length=(int(np.median(lengths)), max(lengths)),
        hash=set_hash(scenarios),
    )


def describe_sets() -> list[ScenarioSet]:
    """Describe every set that comes with the package."""
    return [describe_set(name) for name in scenario_sets()]
