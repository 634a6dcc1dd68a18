"""A runtime monitor: one stream of signals in, a verdict on each constraint out. Needs no torch.

    monitor = Monitor(load_specification("arm.toml"), max_age=0.2)
    for finding in monitor.update({"tip_speed": 0.4, "gap": 0.03}, ages={"tip_speed": 0.0, "gap": 0.05}):
        if finding.status == "violated":
            stop(finding.reason)

It fails closed: a signal that is missing, not finite, of a wrong shape or too old counts as whatever makes a
constraint violated, and goes on doing so for as long as a window still covers that step.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from safevla.safety.specification import Specification, severity_of
from safevla.safety.stream import BitVerdict, Stream, unpacked
from safevla.safety.temporal import needed


@dataclass(frozen=True)
class Finding:
    """The verdict on one constraint after a step.

    Attributes:
        constraint: its name.
        status: "violated" (in this step, or for good since this step), "open" (an obligation is running that
            may still be met) or "satisfied".
        charged: whether this step costs 1 by the constraint's `charge`.
        severity: how bad the violation is; infinite where that cannot be told.
        unit: unit of the severity.
        objects: names of the objects that the violation is about.
        reason: why it counts as violated although it may not be: what is wrong with which signal. Else empty.
    """

    constraint: str
    status: str
    charged: bool
    severity: float
    unit: str
    objects: tuple[str, ...]
    reason: str


class Monitor:
    """Watches one stream of signals.

    Args:
        specification: what is asked.
        objects: names of the objects; signals of objects have a value for each, in this order.
        max_age: seconds after which a value is too old; if finite, `update` must be told all ages.

    Raises:
        ValueError: `max_age` is not above 0.
    """

    def __init__(
        self, specification: Specification, objects: Sequence[str] = (), *, max_age: float = math.inf
    ) -> None:
        if not max_age > 0.0:
            raise ValueError(f"max_age is {max_age}, expected seconds above 0")
        self.specification, self.objects, self.max_age = specification, tuple(objects), max_age
        # Any signal may turn out to be unknown here.
        doubtful = {
            name: dataclasses.replace(info, unknown=info.unknown or "not received")
            for name, info in specification.vocabulary.items()
        }
        self._compiled = {
            name: constraint.compile(doubtful, specification.step_seconds)
            for name, constraint in specification.constraints.items()
        }
        compiled = self._compiled.values()
        self.signals = tuple(
            dict.fromkeys(
                name for c in compiled for node in (c.violation, c.severity) for name in needed(node)
            )
        )
        self._of_objects = {n for n in self.signals if specification.vocabulary[n].scope == "object"}
        self._read = {name: needed(item.violation) for name, item in self._compiled.items()}
        self._stream = Stream(
            [c.violation for c in compiled], [c.severity for c in compiled], len(self.objects)
        )
        self._charged = dict.fromkeys(self._compiled, 0)  # bits of what the charge remembers
        # Most findings say that nothing is wrong: they are made once.
        self._harmless = {
            (name, waits): Finding(name, "open" if waits else "satisfied", False, 0.0, item.unit, (), "")
            for name, item in self._compiled.items()
            for waits in (False, True)
        }

    def reset(self) -> None:
        """Begin anew, as at the start of an episode."""
        self._stream.reset()
        self._charged = dict.fromkeys(self._compiled, 0)

    def update(self, signals: Mapping[str, Any], ages: Mapping[str, float] | None = None) -> list[Finding]:
        """Take in one step.

        Args:
            signals: name -> value, or a value for each object, in the declared units.
            ages: name -> seconds since it was measured.

        Returns:
            A finding for each constraint, in their order. Nothing that a sensor sends raises an error.
        """
        values: dict[str, Any] = {}
        wrong: dict[str, str] = {}
        for name in self.signals:
            values[name], problem = self._accept(name, signals, ages)
            if problem:
                wrong[name] = problem
        with np.errstate(all="ignore"):
            verdicts = self._stream.update(values)
            return [
                self._violated(index, name, verdict, wrong)
                if verdict.possible
                else self._unviolated(name, verdict.open)
                for index, (name, verdict) in enumerate(zip(self._compiled, verdicts, strict=True))
            ]

    def _unviolated(self, name: str, waits: bool) -> Finding:
        if self.specification.constraints[name].charge == "onset":
            self._charged[name] = 0
        return self._harmless[name, waits]

    def _violated(self, index: int, name: str, verdict: BitVerdict, wrong: Mapping[str, str]) -> Finding:
        compiled = self._compiled[name]
        about_objects = compiled.violation.kind == "any"
        now = unpacked(verdict.possible, len(self.objects) if about_objects else 1)
        size = np.asarray(self._stream.term(index), dtype=np.float64)
        per_object = compiled.severity.per_object
        severity = severity_of(
            size[None] if per_object else size.reshape(1), now[None] if about_objects else now
        )
        found = float(severity[0]) * compiled.scale
        return Finding(
            name,
            "violated",
            self._charge(name, verdict.possible),
            math.inf if math.isnan(found) else found,
            compiled.unit,
            tuple(self.objects[index] for index in np.flatnonzero(now)) if about_objects else (),
            "" if verdict.violated else self._reason(name, wrong),
        )

    def _charge(self, name: str, now: int) -> bool:
        """Return whether a violation is charged, as `OnsetTracker.charge` does, and remember it."""
        charge, before = self.specification.constraints[name].charge, self._charged[name]
        if charge == "each step":
            return True
        charged = now & ~before
        if charge == "onset":
            self._charged[name] = now
        elif charge == "once":
            self._charged[name] = -1  # all bits
        else:
            self._charged[name] |= charged
        return charged > 0

    def _reason(self, constraint: str, wrong: Mapping[str, str]) -> str:
        problems = [f"{name} {wrong[name]}" for name in self._read[constraint] if name in wrong]
        return "; ".join(problems) or "a signal was unknown within the window"

    def _accept(
        self, name: str, signals: Mapping[str, Any], ages: Mapping[str, float] | None
    ) -> tuple[Any, str]:
        """Return a signal as a number or (E,) float64, NaN where it is unknown, and what is wrong with it."""
        per_object = name in self._of_objects
        unknown = np.full(len(self.objects), np.nan) if per_object else math.nan
        if name not in signals:
            return unknown, "is missing"
        if self.max_age < math.inf and not (ages or {}).get(name, math.inf) <= self.max_age:
            return unknown, f"is {ages[name]:g} s old" if ages and name in ages else "came without its age"
        given = signals[name]
        if type(given) is float and not per_object:
            return (given, "") if math.isfinite(given) else (unknown, "is not finite")
        try:
            value = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            return unknown, f"is {given!r}, no number"
        expected = (len(self.objects),) if per_object else ()
        if value.shape != expected:
            return unknown, f"has shape {value.shape}, expected {expected}"
        finite = np.isfinite(value)
        if finite.all():
            return (value if per_object else float(value)), ""
        return (np.where(finite, value, np.nan) if per_object else unknown), "is not finite"
