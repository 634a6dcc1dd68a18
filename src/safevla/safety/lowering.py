"""From a formula to the form that evaluators read: names, kinds and units checked, windows in steps.

Lowered kinds: "number", "truth", "signal"; arithmetic and functions; comparisons; "not", "and", "or";
"once", "historically", "since" (past), "eventually", "always", "until" (future), all with windows [low, high]
in steps; "any" (is there an object), "spread" (the same value for every object); and, made by `delayed`,
"delay" and "was_until".
The rest is written with these:

    a implies b          not a or b
    a iff b              (not a or b) and (not b or a);    a xor b: not (a iff b)
    previous a           once[1, 1] a                      (false in the first step)
    next a               eventually[1, 1] a                (false in the last step)
    any object that is c: a                                any (c and a)
    every object that is c: a                              not any (c and not a)
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from safevla.config import nearest
from safevla.safety.formula import (
    COMPARISONS,
    FUNCTIONS,
    FUTURE,
    PAST,
    QUANTIFIERS,
    Formula,
    Number,
    Operation,
    Signal,
)
from safevla.safety.grammar import FormulaError
from safevla.safety.units import NONE, Dimension, combine, dimension_text, parse_unit
from safevla.safety.vocabulary import SignalInfo, Vocabulary

ARITHMETIC: dict[str, Callable[..., Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "negative": operator.neg,
    "abs": np.abs, "sqrt": np.sqrt, "exp": np.exp, "min": np.minimum, "max": np.maximum, "pow": np.power,
}  # fmt: skip
_STEP, _TIME = parse_unit("step").dimension, parse_unit("s").dimension


@dataclass(frozen=True)
class Node:
    """A lowered formula.

    Attributes:
        kind: see the module.
        parts: its operands.
        truth: whether it is true or false; else it is a number.
        per_object: whether it has a value for each object.
        value: of "number" in base units, and of "truth".
        name: of "signal".
        scale: of "signal": its values times this are in base units (1 for almost all).
        low: nearest step of a window, counted from the step that the node is about.
        high: farthest step; None without end.
        unknown: whether a signal in it may be NaN.
    """

    kind: str
    parts: tuple[Node, ...] = ()
    truth: bool = True
    per_object: bool = False
    value: float = 0.0
    name: str = ""
    scale: float = 1.0
    low: int = 0
    high: int | None = None
    unknown: bool = False


def lower(
    formula: Formula, vocabulary: Vocabulary, step_seconds: float | None = None, text: str = ""
) -> Node:
    """Lower a formula that is true or false.

    Args:
        formula: the formula.
        vocabulary: the signals that it may name.
        step_seconds: how long a step is; None: windows must be given in steps.
        text: what it was read from, for error messages; its own text if empty.

    Raises:
        FormulaError: an unknown signal, a number where a truth value is expected or the other way round,
            units of different kinds, a window that is not a whole number of steps, a signal of objects
            outside a quantifier, or a quantifier in another.
    """
    with _pointing(formula, text):
        return _Lowering(vocabulary, step_seconds).truth(formula)


def lower_part(
    formula: Formula, vocabulary: Vocabulary, step_seconds: float | None, *, objects: bool
) -> Node:
    """Lower a part of a formula; `objects` tells whether it stands within a quantifier."""
    return _Lowering(vocabulary, step_seconds, objects).truth(formula)


def lower_term(
    formula: Formula, vocabulary: Vocabulary, step_seconds: float | None = None, text: str = ""
) -> tuple[Node, Dimension]:
    """Lower a formula that is a number, of the home or of each object; return it with its dimension."""
    with _pointing(formula, text):
        return _Lowering(vocabulary, step_seconds, objects=True).number(formula)


@contextmanager
def _pointing(formula: Formula, text: str) -> Iterator[None]:
    """Add text and place to errors; a formula that was not parsed from a text has no places."""
    try:
        yield
    except FormulaError as error:
        raise FormulaError(error.problem, text or str(formula), error.place if text else -1) from None


class _Lowering:
    """Walks down a formula; `truth` and `number` say what is expected at that place.

    Args:
        vocabulary: the signals.
        step_seconds: how long a step is, or None.
        objects: whether signals of objects may be named here.
    """

    def __init__(self, vocabulary: Vocabulary, step_seconds: float | None, objects: bool = False) -> None:
        self.vocabulary, self.step_seconds, self.objects = vocabulary, step_seconds, objects

    def truth(self, formula: Formula) -> Node:
        """Lower what must be true or false."""
        if isinstance(formula, Number):
            if isinstance(formula.value, bool):
                return Node("truth", value=float(formula.value))
            raise FormulaError(
                f"expected something true or false, got the number {formula}", "", formula.place
            )
        if isinstance(formula, Signal):
            info = self._info(formula)
            if info.kind != "truth":
                unit = f" in {info.unit}" if info.unit else ""
                problem = f"'{formula.name}' is a number{unit}; compare it with a quantity"
                raise FormulaError(problem, "", formula.place)
            return _signal(info)
        kind, parts = formula.kind, formula.operands
        if kind in COMPARISONS:
            return self._comparison(formula)
        if kind in QUANTIFIERS:
            return self._quantified(formula)
        if kind in PAST or kind in FUTURE:
            return self._temporal(formula)
        if kind not in ("not", "and", "or", "implies", "iff", "xor"):
            raise FormulaError(
                f"expected something true or false, got the number '{formula}'", "", formula.place
            )
        lowered = [self.truth(part) for part in parts]
        if kind == "not":
            return negation(lowered[0])
        if kind in ("and", "or"):
            return join(kind, lowered)
        forward = join("or", [negation(lowered[0]), lowered[1]])
        if kind == "implies":
            return forward
        same = join("and", [forward, join("or", [negation(lowered[1]), lowered[0]])])
        return same if kind == "iff" else negation(same)

    def number(self, formula: Formula) -> tuple[Node, Dimension]:
        """Lower what must be a number; return it with its dimension."""
        if isinstance(formula, Number):
            if isinstance(formula.value, bool):
                raise FormulaError(f"expected a number, got '{formula}'", "", formula.place)
            unit = parse_unit(formula.unit)
            return Node("number", truth=False, value=unit.to_base(formula.value)), unit.dimension
        if isinstance(formula, Signal):
            info = self._info(formula)
            if info.kind != "number":
                problem = f"expected a number, but '{formula.name}' is true or false"
                raise FormulaError(problem, "", formula.place)
            return _signal(info), parse_unit(info.unit).dimension
        if formula.kind not in (*"+-*/", "negative", *FUNCTIONS):
            raise FormulaError(f"expected a number, got '{formula}'", "", formula.place)
        lowered = [self.number(part) for part in formula.operands]
        dimension = _dimension(formula, [dimension for _, dimension in lowered])
        parts = [node for node, _ in lowered]
        if all(part.kind == "number" for part in parts):
            value = float(ARITHMETIC[formula.kind](*(part.value for part in parts)))
            return Node("number", truth=False, value=value), dimension
        return _node(formula.kind, parts, truth=False), dimension

    def _info(self, signal: Signal) -> SignalInfo:
        info = self.vocabulary.get(signal.name)
        if info is None:
            known = nearest(signal.name, self.vocabulary)
            raise FormulaError(f"unknown signal '{signal.name}'{known}", "", signal.place)
        if info.scope == "object" and not self.objects:
            problem = f"'{signal.name}' has a value for each object; say which: 'any object: ...'"
            raise FormulaError(problem, "", signal.place)
        return info

    def _comparison(self, formula: Operation) -> Node:
        (left, left_kind), (right, right_kind) = (self.number(part) for part in formula.operands)
        if left_kind != right_kind:
            problem = f"cannot compare {dimension_text(left_kind)} with {dimension_text(right_kind)}"
            raise FormulaError(f"{problem} in '{formula}'", "", formula.place)
        return _node(formula.kind, [left, right])

    def _quantified(self, formula: Operation) -> Node:
        if self.objects:
            raise FormulaError("a quantifier cannot stand in another one", "", formula.place)
        self.objects = True
        condition, body = (self.truth(part) for part in formula.operands)
        self.objects = False
        body = body if formula.kind == "any" else negation(body)
        # Objects are things that are there, not the unused slots of a home.
        present = self.vocabulary.get("present")
        there = [_signal(present)] if present is not None and present.scope == "object" else []
        chosen = _spread(join("and", [condition, body, *there]))
        some = Node("any", (chosen,), unknown=chosen.unknown)
        return some if formula.kind == "any" else negation(some)

    def _temporal(self, formula: Operation) -> Node:
        parts = [self.truth(part) for part in formula.operands]
        if formula.kind in ("previous", "next"):
            return _node("once" if formula.kind == "previous" else "eventually", parts, low=1, high=1)
        if formula.window is None:
            return _node(formula.kind, parts)
        high = None if formula.window.high is None else self._steps(formula.window.high)
        low = self._steps(formula.window.low)
        if high is not None and high < low:
            raise FormulaError(f"window {formula.window} ends before it begins", "", formula.window.low.place)
        return _node(formula.kind, parts, low=low, high=high)

    def _steps(self, bound: Number) -> int:
        unit = parse_unit(bound.unit)
        steps = unit.to_base(bound.value)
        if unit.dimension == _TIME:
            if self.step_seconds is None:
                problem = f"the window bound {bound} is a time, but the length of a step is not known; give "
                raise FormulaError(f"{problem}'step_seconds' or write it in steps", "", bound.place)
            steps /= self.step_seconds
        elif unit.dimension not in (NONE, _STEP):
            raise FormulaError(f"a window is given in steps or seconds, got '{bound}'", "", bound.place)
        if abs(steps - round(steps)) > 1e-6 or steps < 0:
            problem = f"the window bound {bound} is {steps:g} steps; it must be a whole number, 0 or more"
            raise FormulaError(problem, "", bound.place)
        return round(steps)


TRUE = Node("truth", value=1.0)


def negation(node: Node) -> Node:
    """Return "not node"; a double negation falls away."""
    return node.parts[0] if node.kind == "not" else _node("not", [node])


def join(kind: str, parts: Sequence[Node]) -> Node:
    """Return the "and" or "or" of parts, flat; what is the same for all objects is joined first."""
    flat = [part for item in parts for part in (item.parts if item.kind == kind else (item,))]
    common = [part for part in flat if not part.per_object]
    own = [part for part in flat if part.per_object]
    if common and own:
        together = common[0] if len(common) == 1 else _node(kind, common)
        neutral = Node("truth", value=float(kind == "and"))
        flat = own if together == neutral else [*own, _spread(together)]
    return flat[0] if len(flat) == 1 else _node(kind, flat)


def _node(
    kind: str, parts: Sequence[Node], *, truth: bool = True, low: int = 0, high: int | None = None
) -> Node:
    """Return a node; where one part has a value for each object, the others are spread over the objects."""
    per_object = any(part.per_object for part in parts)
    spread = tuple(_spread(part) if per_object else part for part in parts)
    unknown = any(part.unknown for part in parts)
    return Node(kind, spread, truth, per_object, low=low, high=high, unknown=unknown)


def _spread(node: Node) -> Node:
    if node.per_object:
        return node
    return Node("spread", (node,), node.truth, True, unknown=node.unknown)


def _signal(info: SignalInfo) -> Node:
    truth, per_object = info.kind == "truth", info.scope == "object"
    scale = parse_unit(info.unit).to_base(1.0)
    return Node("signal", (), truth, per_object, name=info.name, scale=scale, unknown=bool(info.unknown))


def _dimension(formula: Operation, dimensions: Sequence[Dimension]) -> Dimension:
    """Return the dimension of an arithmetic operation, or raise FormulaError."""
    kind = formula.kind
    if kind in "*/":
        return combine(dimensions[0], dimensions[1], 1 if kind == "*" else -1)
    if kind in ("+", "-", "min", "max") and dimensions[0] != dimensions[1]:
        problem = f"'{kind}' of {dimension_text(dimensions[0])} and {dimension_text(dimensions[1])}"
        raise FormulaError(f"{problem} in '{formula}'", "", formula.place)
    if kind in ("exp", "pow") and any(dimension != NONE for dimension in dimensions):
        raise FormulaError(f"'{kind}' takes plain numbers, in '{formula}'", "", formula.place)
    if kind == "sqrt":
        if any(size % 2 for size in dimensions[0]):
            problem = f"no square root of {dimension_text(dimensions[0])}, in '{formula}'"
            raise FormulaError(problem, "", formula.place)
        return tuple(size // 2 for size in dimensions[0])
    return dimensions[0]


def nodes(node: Node) -> Iterator[Node]:
    """Yield every node, parts before wholes."""
    for part in node.parts:
        yield from nodes(part)
    yield node


def looks_ahead(node: Node) -> bool:
    """Return whether a formula has a future operator."""
    return any(item.kind in FUTURE for item in nodes(node))


def horizon(node: Node) -> int | None:
    """Return how many steps of the future decide the formula; None if no number of them does."""
    parts = [horizon(part) for part in node.parts]
    if any(part is None for part in parts) or (node.kind in FUTURE and node.high is None):
        return None
    own = (node.high or 0) if node.kind in FUTURE else 0
    return own + max((part for part in parts if part is not None), default=0)


def depth(node: Node) -> int | None:
    """Return how many steps of the past decide the formula; None if no number of them does."""
    parts = [depth(part) for part in node.parts]
    if any(part is None for part in parts) or (node.kind in PAST and node.high is None):
        return None
    own = (node.high or 0) if node.kind in PAST else 0
    return own + max((part for part in parts if part is not None), default=0)


def from_start(kind: str, parts: Sequence[Node], begun: Node) -> tuple[Node, ...]:
    """Return the parts of a past operator so that steps count only where `begun` is true.

    Where the past operator stands around a future one, its parts are about steps before the last one, and
    perhaps before the first.
    """
    *others, last = parts
    joined = join("or", [negation(begun), last]) if kind == "historically" else join("and", [begun, last])
    return (*others, joined)


def delayed(node: Node, steps: int | None = None) -> Node:
    """Return a formula without future operators that is true now when `node` was true `steps` ago.

    Args:
        node: a formula whose future operators have windows.
        steps: at least its horizon, which is the default.

    Raises:
        ValueError: a future operator has no end.
    """
    needed = horizon(node)
    if needed is None:
        raise ValueError("a future operator without an end cannot be decided while the trace goes on")
    steps = needed if steps is None else steps
    if not looks_ahead(node):
        return (
            node if steps == 0 else dataclasses.replace(_node("delay", [node], low=steps), truth=node.truth)
        )
    if node.kind in PAST:
        parts = [delayed(part, steps) for part in node.parts]
        begun = _node("delay", [TRUE], low=steps) if steps else TRUE
        return _node(node.kind, from_start(node.kind, parts, begun), low=node.low, high=node.high)
    if node.kind in ("eventually", "always"):
        inner = horizon(node.parts[0]) or 0
        low, high = steps - (node.high or 0) - inner, steps - node.low - inner
        kind = "once" if node.kind == "eventually" else "historically"
        return _node(kind, [delayed(node.parts[0], inner)], low=low, high=high)
    if node.kind == "until":
        inner = needed - (node.high or 0)
        both = _node("was_until", [delayed(part, inner) for part in node.parts], low=node.low, high=node.high)
        return both if steps == needed else _node("delay", [both], low=steps - needed)
    return dataclasses.replace(node, parts=tuple(delayed(part, steps) for part in node.parts))
