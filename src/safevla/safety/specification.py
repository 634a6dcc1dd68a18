"""What is asked of a policy: constraints (a formula, a budget), as a TOML file or in Python.

    specification = load_specification("safevla")       # or the path of a TOML file
    onsets = OnsetTracker(num_homes=16, num_objects=60)
    costs, events = specification.evaluate(stack(rows), onsets)

docs/specification.md explains the language.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from safevla.config import nearest
from safevla.safety.aggregation import tail_share
from safevla.safety.formula import FUTURE, Formula, Operation, formula, walk
from safevla.safety.grammar import parse
from safevla.safety.lowering import Node, lower, lower_term, negation
from safevla.safety.online import Read
from safevla.safety.signals import SafetyState
from safevla.safety.units import dimension_text, parse_unit
from safevla.safety.vocabulary import HOME_SIGNALS, SignalInfo, Vocabulary, home_signal
from safevla.safety.watch import Verdict, Watch
from safevla.types import Event

CHARGES = ("each step", "onset", "once", "once per object")


@dataclass(frozen=True)
class Constraint:
    """What is forbidden or required at every step, and how much violation is allowed.

    Attributes:
        name: name of the cost; unique in a specification.
        forbid: a formula that must not be true, or its text. Either this or `require`.
        require: a formula that must be true at every step, or its text.
        charge: what costs 1. "each step": every step in which a violation holds or, if it looks ahead,
            becomes irrevocable. "onset": the first of consecutive such steps. "once": the first in an
            episode. "once per object": the first of each object. Empty: "onset" if the formula looks ahead,
            else "each step".
        severity: how bad it is, a numeric formula or its text; of objects, the greatest of those that
            violate.
            None: 1.
        unit: unit of the severity; empty takes that of the formula.
        budget: allowed cost per episode; None leaves it to the one who aligns (a share of the initial cost).
        aggregation: what of the costs of many episodes is held against the budget: "mean", "worst", or the
            mean of the worst ones, e.g. "cvar95" of the worst 5 %.
        text: what is forbidden, in words for a safety engineer.

    Raises:
        ValueError: a name of other characters than letters, digits and underscores, none or both of `forbid`
            and `require`, a formula that cannot be read, an unknown charge or aggregation, or a budget that
            is negative or not finite.
    """

    name: str
    forbid: Formula | str | None = None
    require: Formula | str | None = None
    charge: str = ""
    severity: Formula | str | None = None
    unit: str = ""
    budget: float | None = None
    aggregation: str = "mean"
    text: str = ""
    _sources: dict[str, str] = field(init=False, compare=False, repr=False)  # texts that errors point into

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w+", self.name):
            raise ValueError(
                f"constraint name '{self.name}' is not made of letters, digits and underscores alone, "
                "as flags and the names of metrics need it"
            )
        place = f"constraints.{self.name}"
        object.__setattr__(self, "_sources", {})
        for key in ("forbid", "require", "severity"):
            value = getattr(self, key)
            if isinstance(value, str):
                self._sources[key] = value
                object.__setattr__(self, key, _read(value, f"{place}.{key}"))
            elif value is not None:
                object.__setattr__(self, key, formula(value))
        if (self.forbid is None) == (self.require is None):
            raise ValueError(f"'{place}' needs a formula, either 'forbid' or 'require'")
        if not self.charge:
            ahead = any(isinstance(n, Operation) and n.kind in FUTURE for n in walk(self.formula))
            object.__setattr__(self, "charge", "onset" if ahead else "each step")
        if self.charge not in CHARGES:
            raise ValueError(
                f"'{place}.charge': unknown charge '{self.charge}'{nearest(self.charge, CHARGES)}"
            )
        with _at(f"{place}.aggregation"):
            tail_share(self.aggregation)
        if self.budget is not None and not 0.0 <= self.budget < math.inf:
            raise ValueError(f"'{place}.budget' must be a cost per episode of 0 or more, got {self.budget}")

    @property
    def formula(self) -> Formula:
        """What is forbidden, or what is required without an "always" around it, which goes without saying."""
        if self.forbid is not None:
            return cast(Formula, self.forbid)
        required = cast(Formula, self.require)
        while isinstance(required, Operation) and required.kind == "always" and required.window is None:
            required = required.operands[0]
        return required

    @property
    def rule(self) -> str:
        """Return the rule as text: "forbid ..." or "require ..."."""
        return f"forbid {self.forbid}" if self.forbid is not None else f"require {self.require}"

    def compile(self, vocabulary: Vocabulary, step_seconds: float | None) -> Compiled:
        """Check names, kinds and units against the signals that exist, and lower the formulas.

        Raises:
            ValueError: see `lowering.lower`; also a unit that is not one of the severity, "once per object"
                without an outermost quantifier, or a violation that no step can decide.
        """
        place = f"constraints.{self.name}"
        key = "forbid" if self.forbid is not None else "require"
        with _at(f"{place}.{key}"):
            node = lower(self.formula, vocabulary, step_seconds, self._sources.get(key, ""))
            violation = node if self.forbid is not None else negation(node)
            Watch([violation], [], 1, 1)
        if self.charge == "once per object" and violation.kind != "any":
            raise ValueError(
                f"'{place}.charge': 'once per object' needs a formula that begins with a quantifier"
            )
        severity, scale, unit = Node("number", truth=False, value=1.0), 1.0, ""
        if self.severity is not None:
            with _at(f"{place}.severity"):
                severity, dimension = lower_term(
                    cast(Formula, self.severity), vocabulary, step_seconds, self._sources.get("severity", "")
                )
            if severity.per_object and violation.kind != "any":
                problem = "has a value for each object, and the formula does not begin with a quantifier"
                raise ValueError(f"'{place}.severity' {problem}")
            own = getattr(self.severity, "name", "")
            natural = vocabulary[own].unit if own in vocabulary else dimension_text(dimension)
            unit = self.unit or ("" if natural == "a plain number" else natural)
            if parse_unit(unit).dimension != dimension:
                raise ValueError(f"'{place}.unit' must be '{natural}' or like it, got '{self.unit}'")
            scale = 1.0 / parse_unit(unit).to_base(1.0)
        elif self.unit:
            raise ValueError(f"'{place}.unit' is '{self.unit}', but there is no 'severity'")
        return Compiled(violation, severity, scale, unit)


@dataclass(frozen=True)
class Compiled:
    """A constraint in the form that evaluators read.

    Attributes:
        violation: true where something is wrong.
        severity: a number, in base units.
        scale: the severity times this is in `unit`.
        unit: unit of the severity.
    """

    violation: Node
    severity: Node
    scale: float
    unit: str


@dataclass(frozen=True)
class Specification:
    """The constraints of a deployment, in the order in which costs are given.

    Attributes:
        name: name of the specification.
        constraints: the constraints by name.
        text: what it is for.
        signals: what formulas may name, for environments other than the homes; empty: HOME_SIGNALS.
        step_seconds: how long a step is, for windows in seconds; None: windows are in steps.

    Raises:
        ValueError: there is no constraint, one is listed under another name, or does not fit the signals.
    """

    name: str
    constraints: dict[str, Constraint]
    text: str = ""
    signals: dict[str, SignalInfo] = field(default_factory=dict)
    step_seconds: float | None = None
    compiled: dict[str, Compiled] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.constraints:
            raise ValueError(f"specification '{self.name}' has no constraint; add a table [constraints.NAME]")
        if self.step_seconds is not None and not 0.0 < self.step_seconds < math.inf:
            raise ValueError(f"'step_seconds' must be a time above 0, got {self.step_seconds}")
        for name, constraint in self.constraints.items():
            if name != constraint.name:
                raise ValueError(f"constraint '{constraint.name}' is listed under the name '{name}'")
        compiled = {
            name: constraint.compile(self.vocabulary, self.step_seconds)
            for name, constraint in self.constraints.items()
        }
        object.__setattr__(self, "compiled", compiled)
        with_units = {
            name: dataclasses.replace(constraint, unit=compiled[name].unit)
            for name, constraint in self.constraints.items()
        }
        object.__setattr__(self, "constraints", with_units)

    @property
    def vocabulary(self) -> Vocabulary:
        """The signals that formulas may name."""
        return self.signals or HOME_SIGNALS

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the K constraints, in the order of the columns of costs."""
        return tuple(self.constraints)

    @property
    def named(self) -> frozenset[str]:
        """The signals that formulas and severities name."""
        from safevla.safety.temporal import needed

        nodes = [node for item in self.compiled.values() for node in (item.violation, item.severity)]
        return frozenset(name for node in nodes for name in needed(node))

    @property
    def budgets(self) -> dict[str, float]:
        """The budgets that are set, by constraint."""
        return {name: item.budget for name, item in self.constraints.items() if item.budget is not None}

    @property
    def aggregations(self) -> dict[str, str]:
        """What of the costs of many episodes each budget bounds, by constraint."""
        return {name: item.aggregation for name, item in self.constraints.items()}

    @property
    def hash(self) -> str:
        """Sixteen hex digits that identify what is measured and allowed; its name and texts are left out.

        A constraint that is word for word one of the five built-in ones keeps the identity that it had when
        it was a function with thresholds: it costs the same, so earlier runs and episodes can be gone on
            with.
        """
        content: list[Any] = []
        for name, item in self.constraints.items():
            if item.name in _EARLIER and self._is_built_in(item):
                content.append([name, name, _EARLIER[name], item.budget, item.aggregation])
            else:
                what = [item.rule, item.charge, str(item.severity), item.unit]
                content.append([name, what, item.budget, item.aggregation])
        if self.signals or self.step_seconds is not None:
            content.append([sorted(map(repr, self.signals.values())), self.step_seconds])
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def _is_built_in(self, item: Constraint) -> bool:
        original = _built_in().constraints[item.name]
        return not self.signals and item == dataclasses.replace(original, budget=item.budget, text=item.text)

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
            ValueError: the tracker is for another number of homes or objects, or whether something is
                violated hangs on a value that is unknown in this step.
        """
        shape = state.contact_force.shape
        if tracker.shape != shape:
            raise ValueError(f"the tracker is for {tracker.shape} homes and entities, the state for {shape}")
        running = np.ones(shape[0], dtype=bool) if active is None else np.asarray(active, dtype=bool)
        return self.judge(lambda name: home_signal(state, name), state.names, state.step, tracker, running)

    def judge(
        self,
        read: Read,
        names: Sequence[Sequence[str]],
        step: np.ndarray,
        tracker: OnsetTracker,
        running: np.ndarray,
    ) -> tuple[np.ndarray, list[list[Event]]]:
        """Judge one step of N homes by signals, wherever they come from; see `evaluate`.

        Args:
            read: name of a signal -> its values in this step, (N,) or (N, E), in its declared unit.
            names: per home the names of its objects.
            step: (N,) int64, index of the step in its episode.
            tracker: what has been charged in these episodes; brought up to date here.
            running: (N,) bool, homes whose episode is running.
        """
        verdicts, severities = tracker.watch(self).update(read, running)
        costs = np.zeros((len(running), len(self.constraints)), dtype=np.float32)
        events: list[list[Event]] = [[] for _ in running]
        for column, (name, constraint) in enumerate(self.constraints.items()):
            verdict, compiled = verdicts[column], self.compiled[name]
            if compiled.violation.unknown:
                self._refuse_unknown(name, verdict, running)
            charged = tracker.charge(name, constraint.charge, verdict.violated, running)
            violated = charged.any(axis=1) if charged.ndim > 1 else charged
            if not violated.any():
                continue
            costs[:, column] = violated
            sizes = severity_of(severities[column], charged) * compiled.scale
            for home in map(int, np.flatnonzero(violated)):
                bodies = np.flatnonzero(charged[home]) if charged.ndim > 1 else ()
                named = tuple(names[home][int(body)] for body in bodies)
                events[home].append(Event(name, int(step[home]), float(sizes[home]), compiled.unit, named))
        return costs, events

    def _refuse_unknown(self, name: str, verdict: Verdict, running: np.ndarray) -> None:
        doubtful = verdict.possible & ~verdict.violated
        if not (doubtful.any(axis=1) if doubtful.ndim > 1 else doubtful)[running].any():
            return
        from safevla.safety.temporal import needed

        names = [item for item in needed(self.compiled[name].violation) if self.vocabulary[item].unknown]
        why = "; ".join(f"'{item}' is unknown ({self.vocabulary[item].unknown})" for item in names)
        raise ValueError(
            f"'constraints.{name}': whether this step violates it is not known: {why}; write the formula so "
            "that it does not ask for it there"
        )

    def with_budgets(self, budgets: Mapping[str, float]) -> Specification:
        """Return the same specification with the given budgets (cost per episode, by constraint) set.

        Raises:
            ValueError: there is no such constraint, or a budget is negative or not finite.
        """
        return self._changed("a budget", "budget", {name: float(value) for name, value in budgets.items()})

    def with_aggregations(self, aggregations: Mapping[str, str]) -> Specification:
        """Return the same specification with the given aggregations (by constraint) set.

        Raises:
            ValueError: there is no such constraint or aggregation.
        """
        return self._changed("an aggregation", "aggregation", aggregations)

    def _changed(self, what: str, key: str, values: Mapping[str, Any]) -> Specification:
        changed = dict(self.constraints)
        for name, value in values.items():
            if name not in changed:
                raise ValueError(f"there is {what} for unknown constraint '{name}'{nearest(name, changed)}")
            changed[name] = dataclasses.replace(changed[name], **{key: value})
        return dataclasses.replace(self, constraints=changed)

    def to_toml(self) -> str:
        """Return the text of a TOML file that `load_specification` turns into an equal specification."""
        from safevla.safety.specification_file import to_toml

        return to_toml(self)

    def save(self, path: str | Path) -> None:
        """Write the specification as TOML."""
        Path(path).write_text(self.to_toml(), encoding="utf-8")


class OnsetTracker:
    """What N homes remember of their running episodes: what was charged, and what formulas need of the past.

    Args:
        num_homes: N.
        num_objects: E.
    """

    def __init__(self, num_homes: int, num_objects: int) -> None:
        self.shape = (num_homes, num_objects)
        self._charged: dict[str, np.ndarray] = {}
        self._watch: tuple[Specification, Watch] | None = None

    def grow(self, num_objects: int) -> None:
        """Make room for homes with more objects; what is remembered stays."""
        missing = num_objects - self.shape[1]
        if missing <= 0:
            return
        self.shape = (self.shape[0], num_objects)
        for constraint, charged in self._charged.items():
            if charged.ndim > 1:
                self._charged[constraint] = np.pad(charged, ((0, 0), (0, missing)))
        if self._watch is not None:
            specification, earlier = self._watch
            self._watch = None
            self.watch(specification).take_over(earlier)

    def watch(self, specification: Specification) -> Watch:
        """Return what watches over the constraints of the specification in these homes."""
        if self._watch is None or self._watch[0] is not specification:
            compiled = specification.compiled.values()
            watch = Watch([c.violation for c in compiled], [c.severity for c in compiled], *self.shape)
            self._watch = (specification, watch)
        return self._watch[1]

    def charge(self, constraint: str, charge: str, violated: np.ndarray, running: np.ndarray) -> np.ndarray:
        """Return what of a violation, (N,) or (N, E) bool, is charged in this step, and remember it."""
        now: np.ndarray = violated & (running[:, None] if violated.ndim > 1 else running)
        if charge == "each step":
            return now
        before = self._charged.get(constraint)
        if before is None:
            before = self._charged[constraint] = np.zeros_like(violated)
        charged: np.ndarray = now & ~before
        if charge == "onset":
            before[running] = violated[running]
        elif charge == "once" and violated.ndim > 1:
            before |= np.any(charged, axis=1, keepdims=True)
        else:
            before |= charged
        return charged

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Forget the homes in `mask` (N,) bool, whose episodes begin; all if None."""
        for charged in self._charged.values():
            charged[slice(None) if mask is None else np.asarray(mask)] = False
        if self._watch is not None:
            self._watch[1].reset(None if mask is None else np.asarray(mask))


def severity_of(sizes: Any, charged: np.ndarray) -> np.ndarray:
    """Return (N,) float64, the severity of each home, the greatest of the objects that are charged."""
    values = np.broadcast_to(np.asarray(sizes, dtype=np.float64), charged.shape[: max(np.ndim(sizes), 1)])
    if charged.ndim == 1:
        return np.where(charged, values, 0.0)
    values = values if values.ndim > 1 else values[:, None]
    return np.asarray(np.max(np.where(charged, values, 0.0), axis=1, initial=0.0), dtype=np.float64)


def _read(text: str, place: str) -> Formula:
    with _at(place):
        return parse(text)


@contextmanager
def _at(place: str) -> Iterator[None]:
    """Put the place in a specification before the message of a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"'{place}': {error}") from None


# What `hash` says of the five built-in constraints: the predicate and the thresholds that they once were.
_TIPPED = math.radians(20.0)
_EARLIER: dict[str, dict[str, float]] = {
    "corner": {"force": 5.0, "openness": 0.4},
    "blind_spot": {"force": 5.0, "window": 100.0},
    "fragile_collection": {"displacement": 0.05, "tilt": _TIPPED},
    "critical_point": {"drop": 0.1},
    "dangerous_equipment": {"force": 1.0, "tilt": _TIPPED},
}


@functools.lru_cache(maxsize=1)
def _built_in() -> Specification:
    return load_specification("safevla")


def load_specification(name: str | Path) -> Specification:
    """Load a built-in specification by name, or one from a TOML file.

    Args:
        name: one of `built_in_names()`, or the path of a file that ends in .toml.

    Raises:
        ValueError: an unknown name, a missing or malformed file, an unknown key, a value of a wrong type, or
            a formula that is wrong.
    """
    from safevla.safety.specification_file import load

    return load(name)
