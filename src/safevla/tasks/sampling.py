"""Scenarios: drawn at random, proven solvable by the expert, read from and written to JSON lines."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import importlib.resources
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from safevla.safety.signals import VISIBLE_PIXELS
from safevla.safety.specification import Specification
from safevla.tasks.descriptions import KINDS, descriptions
from safevla.tasks.env import HomeVecEnv, check_task
from safevla.tasks.expert import Expert
from safevla.tasks.geometry import entity_boxes, horizontal_distance, navigation_map, target_entities
from safevla.tasks.instructions import TARGETS, make_instruction
from safevla.tasks.matching import matching_entities, true_descriptions
from safevla.tasks.planner import NavigationMap
from safevla.tasks.seat import SUCCESS_DISTANCE
from safevla.tasks.settings import check_share
from safevla.types import KNOBS, Knobs, Scenario
from safevla.world.foreign import SIZE_CLASS as FOREIGN
from safevla.world.foreign import home_hash
from safevla.world.scene import Scene
from safevla.world.simulator import Home, HousePool, SettledScene

HOUSES = 60  # houses that are tried before giving up
TRIES_PER_HOUSE = 3
START_DISTANCE = 1.0  # m of driving between the start and success (ObjNav, Fetch)
PICK_UP_START = (0.8, 2.0)  # m from the target's box (PickUp)
PICK_UP_FACING = math.radians(40)  # the robot starts turned to the target within this angle
MAX_EXPERT_COST = 1.0
TRIES_IN_FOREIGN_HOME = 30
UNCONTRASTED = 0.2  # share of described targets beside which nothing else of their type need be
FROZEN_FILE = "frozen.json"  # beside the sets of the package: name -> hash of those that must never change


@dataclass(frozen=True)
class ExpertResult:
    """How the expert fared in a scenario."""

    success: bool
    length: int
    cost: float


def play_expert(env: HomeVecEnv, scenario: Scenario) -> ExpertResult:
    """Let the expert play a scenario in the first home of an environment."""
    mask = np.zeros(env.num_envs, dtype=bool)
    mask[0] = True
    env.reset(mask, [scenario])
    expert = Expert(env.homes[0], scenario)
    actions = np.zeros(env.num_envs, np.int64)
    cost = 0.0
    for length in range(1, int(env.horizons[0]) + 1):
        actions[0] = expert.act(env.visible_pixels[0])
        step = env.step(actions, mask)
        cost += float(step.costs[0].sum())
        if step.terminated[0] or step.truncated[0]:
            return ExpertResult(bool(step.success[0]), length, cost)
    raise AssertionError("an episode is truncated at the horizon")


class ScenarioSampler:
    """Draws scenarios; keeps its homes between draws.

    Args:
        pool: settled houses to share.
        horizon: steps within which the expert must succeed; default: those of the size class.
        specification: what the expert must not violate more than once.
        described: share of the scenarios whose instruction describes the target, see `tasks.descriptions`;
            mostly in homes where others of its type are of another description.
        uncontrasted: share of those beside which nothing else of their type need be; 0: there always is.
    """

    def __init__(
        self,
        pool: HousePool | None = None,
        horizon: int | None = None,
        specification: str | Specification = "safevla",
        described: float = 0.0,
        uncontrasted: float = UNCONTRASTED,
    ) -> None:
        self.described = check_share("described", described)
        self.uncontrasted = check_share("uncontrasted", uncontrasted)
        self.pool = pool if pool is not None else HousePool(capacity=4)
        self.horizon = horizon
        self.specification = specification
        self._env: HomeVecEnv | None = None
        self._home = Home()

    def sample(
        self,
        task: str,
        rng: np.random.Generator,
        split: str = "train",
        knobs: Knobs | None = None,
        size_class: str = "S",
        prove: bool = True,
    ) -> Scenario:
        """Draw one scenario; arguments and errors as in `sample_scenario`."""
        check_task(task)
        describe = self._describes(rng)
        for _ in range(HOUSES):
            given = knobs if knobs is not None else draw_knobs(rng)
            seed = int(rng.integers(2**31))
            for _ in range(TRIES_PER_HOUSE):
                scenario = self.draw_in(task, rng, seed, split, given, size_class, describe)
                if scenario is None:
                    break
                if not prove:
                    return scenario
                result = play_expert(self.environment(), scenario)
                if result.success and result.cost <= MAX_EXPERT_COST and self._starts_well(scenario):
                    return dataclasses.replace(scenario, expert_length=result.length)
        raise ValueError(
            f"no solvable {task} in {HOUSES} houses of class {size_class}, try other knobs than {given}"
        )

    def sample_foreign(
        self, home: str | Path, task: str, rng: np.random.Generator, prove: bool = True
    ) -> Scenario:
        """Draw one scenario in a home that was not generated; arguments as in `foreign_scenarios`."""
        check_task(task)
        name = home_hash(home)
        settled = self.pool.foreign(str(home), name)
        describe = self._describes(rng)
        for _ in range(TRIES_IN_FOREIGN_HOME):
            place = self._place(task, rng, settled, describe)
            if place is None:
                continue
            start, instruction, target, which = place
            scenario = Scenario(
                task, FOREIGN, "test", int(name[:8], 16), Knobs(), start, instruction, target,
                int(rng.integers(2**31)), home=str(home), home_hash=name, which=which,
            )  # fmt: skip
            if not prove:
                return scenario
            result = play_expert(self.environment(), scenario)
            if result.success and result.cost <= MAX_EXPERT_COST and self._starts_well(scenario):
                return dataclasses.replace(scenario, expert_length=result.length)
        present = [kind for kind in TARGETS[task] if _offers(settled.scene, task, kind)]
        if not present:
            raise ValueError(
                f"nothing in {home} is a target of {task} ({', '.join(TARGETS[task])}); "
                "give bodies such a type in the sidecar"
            )
        raise ValueError(
            f"no {task} in {home} that the expert can solve, tried {TRIES_IN_FOREIGN_HOME} times with "
            f"targets {', '.join(present)}; is there floor to drive on, are they in reach?"
        )

    def environment(self) -> HomeVecEnv:
        """Return the one home in which scenarios are tried."""
        if self._env is None:
            self._env = HomeVecEnv(
                tuple(TARGETS), 1, specification=self.specification, horizon=self.horizon, pool=self.pool
            )
        return self._env

    def _starts_well(self, scenario: Scenario) -> bool:
        """Return whether the target is in view at the start (PickUp only)."""
        if scenario.task != "PickUp":
            return True
        env = self.environment()
        env.reset(np.ones(1, bool), [scenario])
        targets = matching_entities(env.homes[0].settled, scenario.target, scenario.which)
        return bool((env.visible_pixels[0][:, targets] >= VISIBLE_PIXELS).any())

    def draw_in(
        self,
        task: str,
        rng: np.random.Generator,
        seed: int,
        split: str,
        knobs: Knobs,
        size_class: str,
        describe: bool = False,
    ) -> Scenario | None:
        """Return a scenario in one house, not tried yet; None if the house offers none."""
        place = self._place(task, rng, self.pool.get(seed, size_class, split, knobs), describe)
        if place is None:
            return None
        start, instruction, target, which = place
        number = int(rng.integers(2**31))
        return Scenario(task, size_class, split, seed, knobs, start, instruction, target, number, which=which)

    def _describes(self, rng: np.random.Generator) -> bool:
        """Draw whether a target is described; draws nothing where none ever is."""
        return self.described > 0.0 and rng.random() < self.described

    def _place(
        self, task: str, rng: np.random.Generator, settled: SettledScene, describe: bool
    ) -> tuple[tuple[float, float, float], str, str, str] | None:
        """Return a start, an instruction, its target and which of it; None if a house offers none."""
        home = self._home
        # Far outside, as while the house settled: the robot is placed later.
        home.reset(settled, (-100.0, -100.0, 0.0))
        boxes = entity_boxes(home)
        targets = [name for name in TARGETS[task] if _offers(home.scene, task, name)]
        if not targets:
            return None
        which = ""
        if describe:
            choice = _draw_description(task, rng, settled, targets, self.uncontrasted)
            if choice is None:
                return None
            target, which = choice
        else:
            target = targets[int(rng.integers(len(targets)))]
        entities = matching_entities(settled, target, which)
        floor = navigation_map(home, boxes, entities)
        near_boxes = [boxes[entity] for entity in entities]
        start = (_start_near if task == "PickUp" else _start_away)(floor, near_boxes, rng)
        if start is None:
            return None
        return start, make_instruction(task, target, rng, which=which), target, which


def sample_scenario(
    task: str,
    rng: np.random.Generator | int,
    split: str = "train",
    knobs: Knobs | None = None,
    size_class: str = "S",
    pool: HousePool | None = None,
    prove: bool = True,
) -> Scenario:
    """Draw a scenario: a random house, a start, a target and a sentence.

    Args:
        task: one of TASKS.
        rng: a generator, or a seed for one.
        split: "train", "val" or "test".
        knobs: safety-critical components of the house; None draws them, see `draw_knobs`.
        size_class: size of the house.
        pool: settled houses to share.
        prove: return only scenarios that the expert solves in the simulator within the horizon at a cost of
            at most 1; its length is recorded in the scenario.

    Raises:
        ValueError: the task, split or size class is unknown, or no solvable scenario was found.
    """
    generator = np.random.default_rng(rng) if isinstance(rng, int) else rng
    return ScenarioSampler(pool).sample(task, generator, split, knobs, size_class, prove)


def foreign_scenarios(
    home: str | Path,
    task: str | Sequence[str],
    count: int,
    seed: int = 0,
    prove: bool = True,
    pool: HousePool | None = None,
) -> list[Scenario]:
    """Draw scenarios in a home that was not generated, the tasks in turn.

    Args:
        home: MJCF file or folder, see `world.foreign.load_home`. Scenarios keep this path as it is given, and
            the hash of the files; a relative path is found from the working directory, or in the folders that
            the environment variable SAFEVLA_HOMES names.
        task: one of TASKS, or several.
        count: how many.
        seed: of the drawing.
        prove: return only scenarios that the expert solves at a cost of at most 1.
        pool: settled houses to share.

    Raises:
        ValueError: a file is missing or malformed, or the home has no target that the expert can get to.
    """
    names = check_task(task)
    sampler = ScenarioSampler(pool)
    return [
        sampler.sample_foreign(home, names[k % len(names)], np.random.default_rng([seed, k, 7]), prove)
        for k in range(count)
    ]


def scenario_stream(
    tasks: str | Sequence[str],
    seed: int = 0,
    split: str = "train",
    pool: HousePool | None = None,
    prove: bool = True,
    size_class: str = "S",
    described: float = 0.0,
) -> Iterator[Scenario]:
    """Yield scenarios without end, the tasks in turn; the i-th depends on nothing but the arguments and i.

    A share of `described` has an instruction that describes its target, see `ScenarioSampler`.
    """
    names = check_task(tasks)
    sampler = ScenarioSampler(pool, described=described)
    index = 0
    while True:
        rng = np.random.default_rng([seed, index])
        yield sampler.sample(names[index % len(names)], rng, split, size_class=size_class, prove=prove)
        index += 1


def draw_knobs(rng: np.random.Generator) -> Knobs:
    """Return knobs as the ordinary domain has them: each is 0 in half of the houses, else uniform in 0..1."""
    present = rng.random(len(KNOBS)) < 0.5
    strength = rng.random(len(KNOBS))
    return Knobs(*(float(round(value, 3)) for value in present * strength))


def _offers(scene: Scene, task: str, target: str) -> bool:
    """Return whether a home holds a target of a task; what is to be picked up must be graspable."""
    entities = target_entities(scene, target)
    return bool(len(entities) and (task == "ObjNav" or scene.graspable[entities].any()))


def _draw_description(
    task: str, rng: np.random.Generator, settled: SettledScene, targets: list[str], uncontrasted: float
) -> tuple[str, str] | None:
    """Draw a target and a description of it that is true in a home, or None.

    But for a share `uncontrasted`, one that others of its type in the home do not fit. Type, kind of
    description and value are drawn one after the other, so that types with many colours do not crowd out
    others.
    """
    contrasted = rng.random() >= uncontrasted
    options: dict[str, list[str]] = {}
    for target in targets:
        everything = len(target_entities(settled.scene, target))
        if contrasted and everything < 2:
            continue
        found = true_descriptions(settled, target)
        coloured = sum(len(found[which]) for which in found if which.startswith("colour:"))
        for which in descriptions(target):
            entities = found.get(which, np.zeros(0, np.int64))
            usable = task == "ObjNav" or settled.scene.graspable[entities].any()
            # Beside one whose colour has no clear name, no colour tells which is meant.
            clear = coloured == everything or not which.startswith("colour:")
            if len(entities) and usable and clear and not (contrasted and len(entities) == everything):
                options.setdefault(target, []).append(which)
    if not options:
        return None
    target = list(options)[int(rng.integers(len(options)))]
    kinds = [kind for kind in KINDS if any(which.startswith(f"{kind}:") for which in options[target])]
    kind = kinds[int(rng.integers(len(kinds)))]
    values = [which for which in options[target] if which.startswith(f"{kind}:")]
    return target, values[int(rng.integers(len(values)))]


def _start_away(
    floor: NavigationMap, boxes: list[np.ndarray], rng: np.random.Generator
) -> tuple[float, float, float] | None:
    """Return a free start from which success is at least START_DISTANCE of driving away."""
    flat = dataclasses.replace(floor, step_cost=np.ones_like(floor.step_cost))
    goals = np.zeros(floor.clearance.shape, dtype=bool)
    for box in boxes:
        goals |= floor.distance_to_box(box[0], box[1]) <= SUCCESS_DISTANCE
    distance = flat.field(goals)
    cells = np.argwhere(floor.free & np.isfinite(distance) & (distance >= START_DISTANCE))
    if len(cells) == 0:
        return None
    return (*_point(floor, cells, rng), _angle(rng))


def _start_near(
    floor: NavigationMap, boxes: list[np.ndarray], rng: np.random.Generator
) -> tuple[float, float, float] | None:
    """Return a free start near a target and roughly turned to it."""
    box = boxes[int(rng.integers(len(boxes)))]
    gap = floor.distance_to_box(box[0], box[1])
    cells = np.argwhere(floor.free & (gap >= PICK_UP_START[0]) & (gap <= PICK_UP_START[1]))
    if len(cells) == 0:
        return None
    x, y = _point(floor, cells, rng)
    assert horizontal_distance(box, x, y) <= PICK_UP_START[1] + floor.cell
    centre = box.mean(axis=0)
    yaw = math.atan2(centre[1] - y, centre[0] - x) + float(rng.uniform(-PICK_UP_FACING, PICK_UP_FACING))
    return x, y, float(round(yaw, 4))


def _point(floor: NavigationMap, cells: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    x, y = floor.origin + (cells[int(rng.integers(len(cells)))] + 0.5) * floor.cell
    return float(round(x, 4)), float(round(y, 4))


def _angle(rng: np.random.Generator) -> float:
    return float(round(rng.uniform(-math.pi, math.pi), 4))


def save_scenarios(path: str | Path, scenarios: Sequence[Scenario]) -> None:
    """Write scenarios as JSON lines."""
    lines = [json.dumps(scenario.to_dict()) + "\n" for scenario in scenarios]
    Path(path).write_text("".join(lines), encoding="utf-8")


def load_scenarios(source: str | Path, task: str | Sequence[str] | None = None) -> list[Scenario]:
    """Read scenarios from a file of JSON lines, or a set that comes with the package by its name.

    Args:
        source: a path that ends in .jsonl, or a name that `safevla list sets` shows.
        task: only the scenarios of this task, or of several; default: of all.

    Raises:
        ValueError: there is no such file or set, a line is not a scenario, or a frozen set was changed.
    """
    path = Path(source)
    if path.suffix != ".jsonl":
        names = sorted(_packaged_sets())
        if str(source) not in names:
            near = difflib.get_close_matches(str(source), names, n=3) or names
            hint = f"did you mean {', '.join(near)}?" if near else "give the path of a .jsonl file"
            raise ValueError(f"unknown scenario set {str(source)!r}; {hint}")
        path = _packaged_sets()[str(source)]
    if not path.is_file():
        raise ValueError(f"there is no scenario file {path}")
    scenarios = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            scenarios.append(Scenario.from_dict(json.loads(line)))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    if path.suffix != Path(source).suffix:
        _check_frozen(path, scenarios)
    if task is None:
        return scenarios
    wanted = check_task(task)
    return [scenario for scenario in scenarios if scenario.task in wanted]


def _check_frozen(path: Path, scenarios: Sequence[Scenario]) -> None:
    """Raise ValueError where a set of the package is not what its hash was written down for."""
    frozen = path.with_name(FROZEN_FILE)
    wanted = json.loads(frozen.read_text(encoding="utf-8")).get(path.stem) if frozen.exists() else None
    found = set_hash(scenarios)
    if wanted is not None and found != wanted:
        raise ValueError(
            f"the scenario set {path.stem} was changed: its hash is {found}, frozen was {wanted}; "
            "install safevla again, or give a changed set a path of its own"
        )


def set_hash(scenarios: Sequence[Scenario]) -> str:
    """Return sixteen hex digits of a set, whatever its order; reports give the same of what they played."""
    names = "\n".join(sorted({scenario.hash for scenario in scenarios}))
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def scenario_sets() -> dict[str, int]:
    """Return the names of the scenario sets that come with the package and how many scenarios each holds."""
    return {
        name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in _packaged_sets().items()
    }


def _packaged_sets() -> dict[str, Path]:
    folder = Path(str(importlib.resources.files("safevla"))) / "data" / "scenarios"
    return {path.stem: path for path in sorted(folder.glob("*.jsonl"))}
