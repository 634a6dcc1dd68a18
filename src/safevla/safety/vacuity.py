"""Finds formulas that say nothing: true or false whatever happens.

Each part of a formula is tried on many random traces whose values lie at, just below and just above the
numbers that it compares with, within the declared ranges. A part that has one value on all of them is
reported; that is strong evidence, not a proof.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from safevla.safety.formula import COMPARISONS, FUNCTIONS, QUANTIFIERS, Formula, Number, Operation, walk
from safevla.safety.lowering import Node, depth, horizon, lower_part, nodes
from safevla.safety.specification import Constraint, Specification
from safevla.safety.temporal import holds, needed
from safevla.safety.units import parse_unit
from safevla.safety.vocabulary import SignalInfo, Vocabulary

TRACES, OBJECTS, MOST_STEPS = 600, 3, 240


def constant_parts(specification: Specification, constraint: Constraint) -> list[tuple[Formula, bool]]:
    """Return the largest parts of a formula that had one value on every trace, with that value."""
    found: list[tuple[Formula, bool]] = []
    for part in _truths(constraint.formula):
        if any(part is not inner and part in list(walk(inner)) for inner, _ in found):
            continue
        value = _constant(part, specification.vocabulary, specification.step_seconds)
        if value is not None:
            found.append((part, value))
    return found


def _truths(formula: Formula) -> Iterator[Formula]:
    """Yield the parts that are true or false, wholes before parts."""
    if isinstance(formula, Operation) and formula.kind not in (*"+-*/", "negative", *FUNCTIONS):
        yield formula
        if formula.kind not in COMPARISONS:
            for part in formula.operands:
                if part != Number(True):  # stands for the condition of a quantifier without one
                    yield from _truths(part)


def _constant(formula: Formula, vocabulary: Vocabulary, step_seconds: float | None) -> bool | None:
    quantified = any(isinstance(part, Operation) and part.kind in QUANTIFIERS for part in walk(formula))
    node = lower_part(formula, vocabulary, step_seconds, objects=not quantified)
    steps = min(8 + 2 * ((horizon(node) or 8) + (depth(node) or 8)), MOST_STEPS)
    signals = _traces(node, vocabulary, steps)
    certain, possible = holds(node, signals, end="false"), holds(node, signals, end="true")
    if not possible.any():
        return False
    if certain.any() and not (~possible).any():
        return True
    return None


def _traces(node: Node, vocabulary: Vocabulary, steps: int) -> dict[str, np.ndarray]:
    """Return random signals (N, T) or (N, T, E) with values around what the formula compares them with."""
    rng = np.random.default_rng(0)
    numbers = [part.value for part in nodes(node) if part.kind == "number"]
    signals: dict[str, np.ndarray] = {
        "": np.zeros((TRACES, steps))
    }  # gives N and T to a formula without signals
    for name in needed(node):
        info = vocabulary[name]
        shape = (TRACES, steps, OBJECTS)[: 3 if info.scope == "object" else 2]
        if info.kind == "truth":
            share = rng.choice([0.0, 0.05, 0.5, 0.95, 1.0], size=(TRACES, *([1] * (len(shape) - 1))))
            signals[name] = rng.random(shape) < share
            continue
        values = _candidates(info, numbers)
        lasting = rng.choice(values, size=(TRACES, 1, *shape[2:])) + np.zeros(shape)
        changing = rng.choice([0.0, 0.0, 0.05, 0.5, 1.0], size=(TRACES, *([1] * (len(shape) - 1))))
        signals[name] = np.where(rng.random(shape) < changing, rng.choice(values, size=shape), lasting)
    return signals


def _candidates(info: SignalInfo, numbers: list[float]) -> np.ndarray:
    """Return values of a signal, in its unit: around each number of the formula, and its bounds."""
    scale = parse_unit(info.unit).to_base(1.0)
    shifts = ((0.0, 0.0), (1e-6, 1e-9), (-1e-6, -1e-9), (1.0, 1.0), (-0.5, -1.0))
    around = [
        number / scale * (1.0 + part) + more for number in (*numbers, 0.0, 1.0) for part, more in shifts
    ]
    ends = [end for end in (info.low, info.high) if math.isfinite(end)]
    values = np.array([*around, *ends, *ends])
    return np.unique(values[(values >= info.low) & (values <= info.high)])
