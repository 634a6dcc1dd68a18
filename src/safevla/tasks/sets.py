"""The scenario sets that come with the package: what is in them, and how the benchmark's were drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safevla.tasks.descriptions import KINDS, parse
from safevla.tasks.sampling import ScenarioSampler, load_scenarios, scenario_sets, set_hash
from safevla.types import KNOBS, TASKS, Knobs, Scenario
from safevla.world.house import SPLITS

# Size classes of the benchmark by number: 50 % S, 35 % M and 15 % L, in the first 20, 40, ... as in all.
BENCHMARK_CLASSES = "SMSMSLSMSMSMSLSMSMSL"
_BENCHMARK_SEED = 2026
DESCRIBED_CLASSES = "SMS"  # of the sets described-SPLIT: two thirds S, one third M
_DESCRIBED_SEED = 2027


@dataclass(frozen=True)
class ScenarioSet:
    """What is in a set of scenarios.

    Attributes:
        name: as `load_scenarios` takes it.
        count: number of scenarios.
        tasks: number of scenarios of each task.
        size_classes: number of scenarios in homes of each size class.
        descriptions: number of scenarios of each kind of description; empty where no target is described.
        expert_length: median and largest number of steps that the expert took; zeros where it was not tried.
        hash: of the set, see `set_hash`.
    """

    name: str
    count: int
    tasks: dict[str, int]
    size_classes: dict[str, int]
    descriptions: dict[str, int]
    expert_length: tuple[int, int]
    hash: str


def describe_set(name: str) -> ScenarioSet:
    """Describe a set by its name, or a file of scenarios; what cannot be read raises ValueError."""
    scenarios = load_scenarios(name)
    if not scenarios:
        raise ValueError(f"the scenario set {name} is empty; draw scenarios into it with save_scenarios")
    lengths = [scenario.expert_length for scenario in scenarios]
    kinds = Counter(parse(scenario.which)[0] for scenario in scenarios if scenario.which)
    return ScenarioSet(
        name=name,
        count=len(scenarios),
        tasks=dict(Counter(scenario.task for scenario in scenarios)),
        size_classes=dict(sorted(Counter(scenario.size_class for scenario in scenarios).items())),
        descriptions={kind: kinds[kind] for kind in KINDS if kinds[kind]},
        expert_length=(int(np.median(lengths)), max(lengths)),
        hash=set_hash(scenarios),
    )


def describe_sets() -> list[ScenarioSet]:
    """Describe every set that comes with the package."""
    return [describe_set(name) for name in scenario_sets()]


def judged_on(scenarios: Sequence[Scenario]) -> dict[str, str]:
    """Return what a result must say of the scenarios that it was judged on, as text.

    Returns:
        `scenarios`, the hash of what was played; `sets`, name and hash of each set of the package that some
        are from; `size_classes`, how many are in homes of each class.
    """
    played = {scenario.hash for scenario in scenarios}
    known = {name: load_scenarios(name) for name in scenario_sets()}
    sets = [
        f"{name} {set_hash(members)}"
        for name, members in known.items()
        if not played.isdisjoint(member.hash for member in members)
    ]
    classes = Counter(scenario.size_class for scenario in scenarios)
    return {
        "scenarios": set_hash(scenarios),
        "sets": ", ".join(sets),
        "size_classes": ", ".join(f"{name} {count}" for name, count in sorted(classes.items())),
    }


def benchmark_scenario(task: str, split: str, number: int, sampler: ScenarioSampler) -> Scenario:
    """Draw one scenario of the benchmark `safety-chores-SPLIT`; it depends on task, split and number alone.

    Those to judge by are proven solvable. Those to train in are not: that would take most of the time, and
    the expert fails in one of thirty.

    Each knob is uniform in 0..1, the size class is that of BENCHMARK_CLASSES. Both are settled before the
    house is drawn, so that houses which the expert does not solve do not shift them.
    """
    return _drawn(_BENCHMARK_SEED, BENCHMARK_CLASSES, task, split, number, sampler)


def described_sampler() -> ScenarioSampler:
    """Return what draws the sets `described-SPLIT`: every target is described, and has a distractor."""
    return ScenarioSampler(described=1.0, uncontrasted=0.0)


def described_scenario(task: str, split: str, number: int, sampler: ScenarioSampler) -> Scenario:
    """Draw one scenario of the set `described-SPLIT` as `benchmark_scenario` does, by `described_sampler()`.

    Every instruction describes its target, and something of the same type in the home is of another
    description, so that whoever does not listen to the description goes to the wrong one some of the time.
    """
    return _drawn(_DESCRIBED_SEED, DESCRIBED_CLASSES, task, split, number, sampler)


def _drawn(seed: int, classes: str, task: str, split: str, number: int, sampler: ScenarioSampler) -> Scenario:
    """Draw a scenario whose knobs and size class are settled before its house is drawn."""
    rng = np.random.default_rng([seed, TASKS.index(task), SPLITS.index(split), number])
    knobs = Knobs(*(float(round(value, 3)) for value in rng.random(len(KNOBS))))
    size_class = classes[number % len(classes)]
    return sampler.sample(task, rng, split, knobs, size_class, prove=split != "train")
