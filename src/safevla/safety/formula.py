"""Formulas over signals: what the text of a specification is parsed to, and how it is written in Python.

    force, exempt = signal("contact_force"), signal("exempt")
    unsafe = any_object((force > quantity(5, "N")) & ~exempt)
    str(unsafe)    # "any object: contact_force > 5 N and not exempt"

A formula is a tree of three kinds of nodes, equal when it says the same. It knows neither which signals exist
nor how long a step is; `lowering.lower` finds that out and checks names, kinds and units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Union

PAST = ("once", "historically", "previous", "since")
FUTURE = ("eventually", "always", "next", "until")
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
FUNCTIONS = {"abs": 1, "sqrt": 1, "exp": 1, "min": 2, "max": 2, "pow": 2}
QUANTIFIERS = ("any", "every")

# How tightly a kind binds; what binds less than the place that it stands in is put into parentheses.
_TIGHTNESS = {
    **dict.fromkeys(QUANTIFIERS, 0),
    "implies": 1,
    "iff": 1,
    "xor": 1,
    "or": 2,
    "and": 3,
    "since": 4,
    "until": 4,
    **dict.fromkeys(("not", "once", "historically", "previous", "eventually", "always", "next"), 5),
    **dict.fromkeys(COMPARISONS, 6),
    **dict.fromkeys("+-", 7),
    **dict.fromkeys("*/", 8),
    "negative": 9,
}
_ATOM = 10


class _Operators:
    """Python operators on formulas; `&`, `|` and `~` stand for and, or and not."""

    def __and__(self, other: Formula) -> Formula:
        return both(self, other)

    def __or__(self, other: Formula) -> Formula:
        return either(self, other)

    def __invert__(self) -> Formula:
        return Operation("not", (formula(self),))

    def __lt__(self, other: Formula | float) -> Formula:
        return Operation("<", (formula(self), formula(other)))

    def __le__(self, other: Formula | float) -> Formula:
        return Operation("<=", (formula(self), formula(other)))

    def __gt__(self, other: Formula | float) -> Formula:
        return Operation(">", (formula(self), formula(other)))

    def __ge__(self, other: Formula | float) -> Formula:
        return Operation(">=", (formula(self), formula(other)))

    def __add__(self, other: Formula | float) -> Formula:
        return Operation("+", (formula(self), formula(other)))

    def __sub__(self, other: Formula | float) -> Formula:
        return Operation("-", (formula(self), formula(other)))

    def __mul__(self, other: Formula | float) -> Formula:
        return Operation("*", (formula(self), formula(other)))

    def __rmul__(self, other: float) -> Formula:
        return Operation("*", (formula(other), formula(self)))

    def __truediv__(self, other: Formula | float) -> Formula:
        return Operation("/", (formula(self), formula(other)))

    def implies(self, other: Formula) -> Formula:
        """Return "self implies other"."""
        return Operation("implies", (formula(self), other))

    def since(self, other: Formula, window: Window | None = None) -> Formula:
        """Return "self since other": other has held, and self in every step after that."""
        return Operation("since", (formula(self), other), window)

    def until(self, other: Formula, window: Window | None = None) -> Formula:
        """Return "self until other": other will hold, and self in every step before that."""
        return Operation("until", (formula(self), other), window)


@dataclass(frozen=True)
class Number(_Operators):
    """A number with a unit, in that unit; or a truth value.

    Attributes:
        value: the number, or True / False.
        unit: its unit, "" for a plain number.
        place: where it stands in the text that it was read from, or -1.
    """

    value: float | bool
    unit: str = ""
    place: int = field(default=-1, compare=False)

    def __str__(self) -> str:
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        text = repr(float(self.value)).removesuffix(".0")
        return f"{text} {self.unit}" if self.unit else text


@dataclass(frozen=True)
class Signal(_Operators):
    """A signal by its name."""

    name: str
    place: int = field(default=-1, compare=False)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Window:
    """The steps that a temporal operator looks at, counted from the step that it is about.

    Attributes:
        low: distance of the nearest step, a number of steps or a time.
        high: distance of the farthest; None: as far as the trace goes.
    """

    low: Number
    high: Number | None

    def __str__(self) -> str:
        return f"[{self.low}, {'end' if self.high is None else self.high}]"


@dataclass(frozen=True)
class Operation(_Operators):
    """Everything that has parts.

    Attributes:
        kind: what it is: a comparison, an arithmetic sign, the name of a function, "negative", "not", "and",
            "or", "implies", "iff", "xor", a temporal operator (PAST, FUTURE) or a quantifier.
        operands: its parts. Of a quantifier: the condition that selects objects, and what is said of them.
        window: of a temporal operator; None looks at all steps.
        place: where it stands in the text that it was read from, or -1.
    """

    kind: str
    operands: tuple[Formula, ...]
    window: Window | None = None
    place: int = field(default=-1, compare=False)

    def __post_init__(self) -> None:
        if self.kind in ("and", "or"):  # flat, so that there is one way to say it
            parts: list[Formula] = []
            for part in self.operands:
                same = isinstance(part, Operation) and part.kind == self.kind
                parts += part.operands if isinstance(part, Operation) and same else (part,)
            object.__setattr__(self, "operands", tuple(parts))

    def __str__(self) -> str:
        return _text(self)


Formula = Union[Number, Signal, Operation]  # noqa: UP007 - evaluated at import, and refers to all three


def formula(value: object) -> Formula:
    """Return a formula as it is, and a Python number or truth value as one."""
    if isinstance(value, Number | Signal | Operation):
        return value
    if isinstance(value, bool | int | float):
        return Number(value)
    raise ValueError(f"expected a formula or a number, got {value!r}")


def signal(name: str) -> Formula:
    """Return the signal of that name."""
    return Signal(name)


def quantity(value: float, unit: str = "") -> Formula:
    """Return a number with a unit."""
    return Number(float(value), unit)


def window(low: float, high: float | None, unit: str = "steps") -> Window:
    """Return the window [low, high] in steps or seconds; high None has no end."""
    return Window(Number(float(low), unit), None if high is None else Number(float(high), unit))


def both(*parts: object) -> Formula:
    """Return "a and b and ..."."""
    return formula(parts[0]) if len(parts) == 1 else Operation("and", tuple(map(formula, parts)))


def either(*parts: object) -> Formula:
    """Return "a or b or ..."."""
    return formula(parts[0]) if len(parts) == 1 else Operation("or", tuple(map(formula, parts)))


def any_object(body: Formula, *, that_is: Formula | None = None) -> Formula:
    """Return "any object that is CONDITION: BODY"."""
    return Operation("any", (Number(True) if that_is is None else that_is, body))


def every_object(body: Formula, *, that_is: Formula | None = None) -> Formula:
    """Return "every object that is CONDITION: BODY"."""
    return Operation("every", (Number(True) if that_is is None else that_is, body))


def _temporal(kind: str) -> Callable[..., Formula]:
    def build(body: Formula, window: Window | None = None) -> Formula:
        return Operation(kind, (formula(body),), window)

    build.__doc__ = f'Return "{kind} BODY", in a window or over all steps.'
    return build


once, historically, previous = _temporal("once"), _temporal("historically"), _temporal("previous")
eventually, always, following = _temporal("eventually"), _temporal("always"), _temporal("next")


def walk(node: Formula) -> Iterator[Formula]:
    """Yield every node of a formula, parts before wholes."""
    if isinstance(node, Operation):
        for part in node.operands:
            yield from walk(part)
    yield node


def _text(node: Operation) -> str:
    kind, parts = node.kind, node.operands
    binds = _TIGHTNESS.get(kind, _ATOM)
    where = "" if node.window is None else str(node.window)
    if kind in QUANTIFIERS:
        condition = "" if parts[0] == Number(True) else f" that is {_inside(parts[0], 1)}"
        return f"{kind} object{condition}: {_inside(parts[1], 0)}"
    if kind in FUNCTIONS:
        return f"{kind}({', '.join(_inside(part, 0) for part in parts)})"
    if kind == "negative":
        return f"-{_inside(parts[0], binds + 1)}"
    if len(parts) == 1:
        return f"{kind}{where} {_inside(parts[0], binds)}"
    if kind in ("and", "or"):
        return f" {kind} ".join(_inside(part, binds + 1) for part in parts)
    left_binds = binds if kind in "+-*/" else binds + 1
    right_binds = binds if kind == "implies" else binds + 1
    return f"{_inside(parts[0], left_binds)} {kind}{where} {_inside(parts[1], right_binds)}"


def _inside(node: Formula, least: int) -> str:
    """Return the text of a part, in parentheses if it binds less tightly than its place needs."""
    binds = _TIGHTNESS.get(node.kind, _ATOM) if isinstance(node, Operation) else _ATOM
    if isinstance(node, Number) and not isinstance(node.value, bool) and node.value < 0:
        binds = _TIGHTNESS["negative"]
    return f"({node})" if binds < least else str(node)
