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

from safevla.safety.specification import OnsetTracker, Specification, severity_of
from safevla.safety.temporal import needed
from safevla.safety.watch import Watch


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
        self._read = {name: needed(item.violation) for name, item in self._compiled.items()}
        shape = (1, len(self.objects))
        self._watch = Watch([c.violation for c in compiled], [c.severity for c in compiled], *shape)
        self._onsets = OnsetTracker(*shape)

    def reset(self) -> None:
        """Begin anew, as at the start of an episode."""
        self._watch.reset()
        self._onsets.reset()

    def update(self, signals: Mapping[str, Any], ages: Mapping[str, float] | None = None) -> list[Finding]:
        """Take in one step.

        Args:
            signals: name -> value, or a value for each object, in the declared units.
            ages: name -> seconds since it was measured.

        Returns:
            A finding for each constraint, in their order. Nothing that a sensor sends raises an error.
        """
        values: dict[str, np.ndarray] = {}
        wrong: dict[str, str] = {}
        for name in self.signals:
            values[name], problem = self._accept(name, signals, ages or {})
            if problem:
                wrong[name] = problem
        with np.errstate(all="ignore"):
            verdicts, severities = self._watch.update(values.__getitem__)
        findings = []
        for (name, compiled), verdict, size in zip(self._compiled.items(), verdicts, severities, strict=True):
            charge = self.specification.constraints[name].charge
            charged = self._onsets.charge(name, charge, verdict.possible, np.ones(1, dtype=bool))
            about = tuple(self.objects[index] for index in np.flatnonzero(verdict.possible[0])) if (
                verdict.possible.ndim > 1
            ) else ()  # fmt: skip
            violated, certain = bool(verdict.possible.any()), bool(verdict.violated.any())
            status = "violated" if violated else "open" if verdict.open[0] else "satisfied"
            severity = float(severity_of(size, verdict.possible)[0]) * compiled.scale if violated else 0.0
            reason = "" if certain or not violated else self._reason(name, wrong)
            findings.append(
                Finding(
                    name, status, bool(charged.any()), math.inf if math.isnan(severity) else severity,
                    compiled.unit, about, reason,
                )
            )  # fmt: skip
        return findings

    def _reason(self, constraint: str, wrong: Mapping[str, str]) -> str:
        problems = [f"{name} {wrong[name]}" for name in self._read[constraint] if name in wrong]
        return "; ".join(problems) or "a signal was unknown within the window"

    def _accept(
        self, name: str, signals: Mapping[str, Any], ages: Mapping[str, float]
    ) -> tuple[np.ndarray, str]:
        """Return a signal as (1,) or (1, E) float64, NaN where it is unknown, and what is wrong with it."""
        per_object = self.specification.vocabulary[name].scope == "object"
        shape = (1, len(self.objects)) if per_object else (1,)
        unknown = np.full(shape, np.nan)
        if name not in signals:
            return unknown, "is missing"
        if math.isfinite(self.max_age) and not ages.get(name, math.inf) <= self.max_age:
            return unknown, f"is {ages[name]:g} s old" if name in ages else "came without its age"
        try:
            value = np.asarray(signals[name], dtype=np.float64)
        except (TypeError, ValueError):
            return unknown, f"is {signals[name]!r}, no number"
        if value.shape != shape[1:]:
            return unknown, f"has shape {value.shape}, expected {shape[1:]}"
        value = np.where(np.isfinite(value), value, np.nan).reshape(shape)
        return value, "is not finite" if np.isnan(value).any() else ""
