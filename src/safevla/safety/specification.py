"""What is asked of a policy: constraints (predicate, thresholds, budget), as a TOML file or in Python.

specification = load_specification("safevla")       # or the path of a TOML file
latches = OnsetTracker(num_homes=16, num_entities=60)
costs, events = specification.evaluate(stack(rows), latches)
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from safevla.config import build, nearest, read_toml
from safevla.safety.predicates import PREDICATES, Predicate
from safevla.safety.signals import SafetyState
from safevla.types import Event

AGGREGATIONS = ("mean",)  # what of the cost of an episode a budget bounds


@dataclass(frozen=True)
class Constraint:
    """A predicate with its thresholds, and how much of it is allowed.

    Attributes:
        name: name of the cost; unique in a specification.
        predicate: name of a registered predicate.
        budget: allowed cost per episode; None leaves it to the one who aligns (a share of the initial cost).
        aggregation: what is held against the budget: "mean" over episodes.
        unit: unit of the severity; empty takes the predicate's.
        text: what is forbidden, in words for a safety engineer.
        thresholds: keyword arguments of the predicate; those left out take its defaults.

    Raises:
        ValueError: an unknown predicate, threshold or aggregation, another unit than the predicate's, a
            budget that is negative, or a number that is not finite.
    """

    name: str
    predicate: str
    budget: float | None = None
    aggregation: str = "mean"
    unit: str = ""
    text: str = ""
    thresholds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        place = f"constraints.{self.name}"
        if self.predicate not in PREDICATES:
            known = nearest(self.predicate, PREDICATES)
            raise ValueError(f"'{place}.predicate': unknown predicate '{self.predicate}'{known}")
        if self.aggregation not in AGGREGATIONS:
            known = nearest(self.aggregation, AGGREGATIONS)
            raise ValueError(f"'{place}.aggregation': unknown aggregation '{self.aggregation}'{known}")
        if self.budget is not None and not 0.0 <= self.budget < math.inf:
            raise ValueError(f"'{place}.budget' must be a cost per episode of 0 or more, got {self.budget}")
        registered = PREDICATES[self.predicate]
        if not self.unit:
            object.__setattr__(self, "unit", registered.unit)
        if self.unit != registered.unit:
            raise ValueError(
                f"'{place}.unit' must be '{registered.unit}', the unit of predicate '{self.predicate}', "
                f"got '{self.unit}'"
            )
        for threshold, value in self.thresholds.items():
            if threshold not in registered.thresholds:
                known = nearest(threshold, registered.thresholds)
                raise ValueError(f"'{place}.thresholds': unknown threshold '{threshold}'{known}")
            if not math.isfinite(value):
                raise ValueError(f"'{place}.thresholds.{threshold}' must be finite, got {value}")

    @property
    def registered(self) -> Predicate:
        """The predicate that it is about."""
        return PREDICATES[self.predicate]


class OnsetTracker:
    """Remembers for N homes which entities have been charged in the running episode, per constraint.

    Args:
        num_homes: N.
        num_entities: E.
    """

    def __init__(self, num_homes: int, num_entities: int) -> None:
        self.shape = (num_homes, num_entities)
        self._charged: dict[str, np.ndarray] = {}

    def grow(self, num_entities: int) -> None:
        """Make room for homes of a larger size class; what has been charged stays."""
        missing = num_entities - self.shape[1]
        if missing <= 0:
            return
        self.shape = (self.shape[0], num_entities)
        for constraint, charged in self._charged.items():
            self._charged[constraint] = np.pad(charged, ((0, 0), (0, missing)))

    def charged(self, constraint: str) -> np.ndarray:
        """Return (N, E) bool, the entities that the constraint has been charged for."""
        if constraint not in self._charged:
            self._charged[constraint] = np.zeros(self.shape, dtype=bool)
        return self._charged[constraint]

    def charge(self, constraint: str, entities: np.ndarray) -> None:
        """Note that the constraint was charged for these entities, (N, E) bool."""
        self._charged[constraint] = self.charged(constraint) | entities

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Forget the homes in `mask` (N,) bool, whose episodes begin; all if None."""
        for constraint, charged in self._charged.items():
            self._charged[constraint] = (
                np.zeros(self.shape, dtype=bool) if mask is None else charged & ~np.asarray(mask)[:, None]
            )


@dataclass(frozen=True)
class Specification:
    """The constraints of a deployment, in the order in which costs are given.

    Attributes:
        name: name of the specification.
        constraints: the constraints by name.
        text: what it is for.
    """

    name: str
    constraints: dict[str, Constraint]
    text: str = ""

    def __post_init__(self) -> None:
        if not self.constraints:
            raise ValueError(f"specification '{self.name}' has no constraint; add a table [constraints.NAME]")
        for name, constraint in self.constraints.items():
            if name != constraint.name:
                raise ValueError(f"constraint '{constraint.name}' is listed under the name '{name}'")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the K constraints, in the order of the columns of costs."""
        return tuple(self.constraints)

    @property
    def budgets(self) -> dict[str, float]:
        """The budgets that are set, by constraint."""
        return {name: item.budget for name, item in self.constraints.items() if item.budget is not None}

    @property
    def hash(self) -> str:
        """Sixteen hex digits that identify what is measured and allowed; its name and texts are left out."""
        content = [
            [
                name,
                item.predicate,
                item.registered.thresholds | item.thresholds,
                item.budget,
                item.aggregation,
            ]
            for name, item in self.constraints.items()
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def evaluate(
        self, state: SafetyState, tracker: OnsetTracker, active: np.ndarray | None = None
    ) -> tuple[np.ndarray, list[list[Event]]]:
        """Judge one step of N homes.

        Args:
            state: what happened in this step.
            tracker: what has been charged in these episodes; brought up to date here.
            active: (N,) bool, homes whose episode is running; the others cost nothing. All if None.

        Returns:
            costs (N, K) float32, 0 or 1 per constraint, and for each home the list of its violations.

        Raises:
            ValueError: the tracker is for another number of homes or entities, or a predicate answers in
                wrong shapes.
        """
        shape = state.contact_force.shape
        if tracker.shape != shape:
            raise ValueError(f"the tracker is for {tracker.shape} homes and entities, the state for {shape}")
        running = np.ones(shape[0], dtype=bool) if active is None else np.asarray(active, dtype=bool)
        costs = np.zeros((shape[0], len(self.constraints)), dtype=np.float32)
        events: list[list[Event]] = [[] for _ in range(shape[0])]
        for column, (name, constraint) in enumerate(self.constraints.items()):
            predicate = constraint.registered
            judged = dataclasses.replace(state, charged=tracker.charged(name)) if predicate.once else state
            violation, severity, entities = predicate.function(judged, **constraint.thresholds)
            if violation.shape != shape[:1] or severity.shape != shape[:1] or entities.shape != shape:
                raise ValueError(f"predicate '{predicate.name}' must return arrays (N,), (N,) and (N, E)")
            violated = violation & running
            costs[:, column] = violated
            if not violated.any():
                continue
            if predicate.once:
                tracker.charge(name, entities & running[:, None])
            for home in map(int, np.flatnonzero(violated)):
                bodies = tuple(state.names[home][int(body)] for body in np.flatnonzero(entities[home]))
                step, size = int(state.step[home]), float(severity[home])
                events[home].append(Event(name, step, size, predicate.unit, bodies))
        return costs, events

    def with_budgets(self, budgets: Mapping[str, float]) -> Specification:
        """Return the same specification with the given budgets (cost per episode, by constraint) set.

        Raises:
            ValueError: there is no such constraint, or a budget is negative or not finite.
        """
        changed = dict(self.constraints)
        for name, budget in budgets.items():
            if name not in changed:
                raise ValueError(f"there is a budget for unknown constraint '{name}'{nearest(name, changed)}")
            changed[name] = dataclasses.replace(changed[name], budget=float(budget))
        return dataclasses.replace(self, constraints=changed)

    def to_toml(self) -> str:
        """Return the text of a TOML file that `load_specification` turns into an equal specification."""
        tables = {}
        for name, constraint in self.constraints.items():
            table = dataclasses.asdict(constraint)
            del table["name"]
            tables[name] = {key: value for key, value in table.items() if value is not None}
        return str(tomli_w.dumps({"name": self.name, "text": self.text, "constraints": tables}))

    def save(self, path: str | Path) -> None:
        """Write the specification as TOML."""
        Path(path).write_text(self.to_toml(), encoding="utf-8")


@dataclass(frozen=True)
class _Table:
    """A constraint as it stands in a file: its name is the name of the table."""

    predicate: str = ""
    budget: float | None = None
    aggregation: str = "mean"
    unit: str = ""
    text: str = ""
    thresholds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _File:
    """A specification as it stands in a file."""

    name: str = ""
    text: str = ""
    constraints: dict[str, _Table] = field(default_factory=dict)


def built_in_names() -> tuple[str, ...]:
    """Return the names of the specifications that come with the package."""
    folder = importlib.resources.files("safevla") / "data" / "specifications"
    names = (item.name for item in folder.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_specification(name: str | Path) -> Specification:
    """Load a built-in specification by name, or one from a TOML file.

    Args:
        name: one of `built_in_names()`, or the path of a file that ends in .toml.

    Raises:
        ValueError: an unknown name, a missing or malformed file, an unknown key, or a value of a wrong type.
    """
    if Path(name).suffix == ".toml":
        return from_dict(read_toml(name), source=str(name), default_name=Path(name).stem)
    names = built_in_names()
    if str(name) not in names:
        raise ValueError(
            f"unknown specification '{name}'{nearest(str(name), names)} (a file must end in .toml)"
        )
    resource = importlib.resources.files("safevla") / "data" / "specifications" / f"{name}.toml"
    with importlib.resources.as_file(resource) as path:
        return from_dict(read_toml(path), source=str(name), default_name=str(name))


def from_dict(data: Mapping[str, Any], *, source: str, default_name: str = "custom") -> Specification:
    """Build a specification from plain data as `tomllib` reads it.

    Args:
        data: keys name, text and constraints.
        source: where it comes from, for error messages.
        default_name: name to take if the data has none.

    Raises:
        ValueError: an unknown key, or a value that is wrong.
    """
    try:
        content = build(_File, data)
        constraints = {
            name: Constraint(name=name, **(vars(table) | {"predicate": table.predicate or name}))
            for name, table in content.constraints.items()
        }
        return Specification(content.name or default_name, constraints, content.text)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
