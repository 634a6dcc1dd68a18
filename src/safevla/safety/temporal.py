"""Formulas over whole recorded traces: N at once, in numpy or torch.

    holds(node, signals)        (N, T) bool: is it true at each step
    robustness(node, signals)   (N, T) float: by how much; positive where it is true, negative where not

`signals` maps names to arrays (N, T), or (N, T, E) for signals of objects; all numpy or all torch. Torch
arrays keep their gradients. Robustness is the usual one of signal temporal logic: left - right of a
comparison, minimum for "and" and "always", maximum for "or" and "eventually", and infinite for signals that
are merely true or false. It is in the unit of whichever comparison decides.

**End of the trace.** Windows are cut at the ends of the trace; "eventually", "once", "until" and "since" over
no step at all are false, "always" and "historically" are true. That is `end="cut"`. With `end="false"` what
lies beyond the end counts as whatever makes the formula false, with `end="true"` as whatever makes it true:
true under "false" means that it holds however the trace goes on, false under "true" that it fails however it
goes on.

**Unknown values.** A comparison with NaN is false; with `end="false"` or "true" it is whatever makes the
whole formula so. Only signals that are declared `unknown` may be NaN.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from safevla.safety.lowering import ARITHMETIC, Node, nodes

ENDS = ("cut", "false", "true")
_CHUNK = 1 << 14  # values of a signal that are judged together: what fits in the processor's cache
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_OPPOSITE = {"cut": "cut", "false": "true", "true": "false"}


def holds(node: Node, signals: Mapping[str, Any], *, end: str = "cut") -> Any:
    """Return (N, T) bool: whether the formula is true at each step of each trace; (N, T, E) if per object."""
    return _evaluate(node, signals, end, truth=True)


def robustness(
    node: Node, signals: Mapping[str, Any], *, end: str = "cut", smooth: float = 0.0, start: bool = False
) -> Any:
    """Return by how much the formula is true at each step.

    Args:
        node: the lowered formula.
        signals: arrays (N, T) or (N, T, E) by name.
        end: what is assumed of the steps after the end: "cut", "false" or "true".
        smooth: 0 for the exact value. Else, and with torch only, minimum and maximum are replaced by
            log-sum-exp at this temperature (in the unit of the signals), so that every value has a gradient.
        start: return (N,), the robustness of the traces at their first step, instead of (N, T).

    Raises:
        ValueError: a signal is missing, arrays differ in N or T, or `smooth` without torch.
    """
    return _evaluate(node, signals, end, truth=False, smooth=smooth, start=start)


def _evaluate(
    node: Node,
    signals: Mapping[str, Any],
    end: str,
    *,
    truth: bool,
    smooth: float = 0.0,
    start: bool = False,
) -> Any:
    if end not in ENDS:
        raise ValueError(f"end is '{end}', expected one of {', '.join(ENDS)}")
    used = {name: signals[name] for name in needed(node, signals)}
    first = next(iter((used or signals).values()))
    shape = tuple(first.shape[:2])
    for name, array in used.items():
        if tuple(array.shape[:2]) != shape:
            raise ValueError(f"signal '{name}' has shape {tuple(array.shape)}, the others {shape}")
    if isinstance(first, np.ndarray):
        if smooth:
            raise ValueError("smooth robustness needs torch tensors")
        largest = max((int(np.prod(array.shape[1:])) for array in used.values()), default=1)
        rows = max(1, _CHUNK // max(largest, 1))
        parts = []
        for begin in range(0, max(shape[0], 1), rows):
            some = {name: array[begin : begin + rows] for name, array in used.items()}
            size = (min(rows, shape[0] - begin), shape[1])
            parts.append(Evaluator(Numpy(truth), some, size, end).root(node, start))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
    from safevla.safety.temporal_torch import Torch

    return Evaluator(Torch(truth, smooth, first), used, shape, end).root(node, start)


def needed(node: Node, signals: Mapping[str, Any] | None = None) -> list[str]:
    """Return the names of the signals that a formula reads; a missing one of `signals` raises ValueError."""
    names = list(dict.fromkeys(item.name for item in nodes(node) if item.kind == "signal"))
    missing = [name for name in names if signals is not None and name not in signals]
    if missing:
        raise ValueError(f"signal '{missing[0]}' is missing")
    return names


class Numpy:
    """What the evaluator needs of an array library; this one is numpy. Axis 1 is time.

    Args:
        truth: values are true or false; else they are robustness.
    """

    def __init__(self, truth: bool) -> None:
        self.truth = truth
        self.bottom: Any = False if truth else -np.inf
        self.top: Any = True if truth else np.inf
        self.negative: Callable[[Any], Any] = np.logical_not if truth else np.negative

    def maximum(self, first: Any, second: Any) -> Any:
        """Return the greater values; "or" of truth values."""
        return np.maximum(first, second)

    def minimum(self, first: Any, second: Any) -> Any:
        """Return the lesser values; "and" of truth values."""
        return np.minimum(first, second)

    def full(self, shape: Sequence[int], value: Any) -> Any:
        """Return an array of a value."""
        return np.full(shape, value, bool if self.truth else np.float64)

    def join(self, parts: Sequence[Any]) -> Any:
        """Join along time."""
        return np.concatenate(parts, axis=1)

    def stack(self, columns: Sequence[Any]) -> Any:
        """Stack columns of one step along time."""
        return np.stack(columns, axis=1)

    def flip(self, values: Any) -> Any:
        """Reverse time."""
        return values[:, ::-1]

    def greatest(self, values: Any, axis: int) -> Any:
        """Return the greatest value along an axis, bottom of none."""
        return np.max(values, axis=axis, initial=self.bottom)

    def running(self, values: Any) -> Any:
        """Return the greatest value so far at each step."""
        return np.maximum.accumulate(values, axis=1)

    def least(self, values: Any, axis: int) -> Any:
        """Return the least value along an axis, top of none."""
        return np.min(values, axis=axis, initial=self.top)

    def sliding(self, values: Any, size: int) -> Any:
        """Return the greatest of each `size` neighbours; time becomes shorter by size - 1."""
        return _sliding(values, size, np.maximum)

    def least_sliding(self, values: Any, size: int) -> Any:
        """Return the least of each `size` neighbours."""
        return _sliding(values, size, np.minimum)

    def where(self, condition: Any, first: Any, second: Any) -> Any:
        """Choose by a condition."""
        return np.where(condition, first, second)

    def is_unknown(self, values: Any) -> Any:
        """Return where values are NaN."""
        return np.isnan(values)

    def function(self, kind: str, arguments: Sequence[Any]) -> Any:
        """Apply an arithmetic sign or function."""
        return ARITHMETIC[kind](*arguments)


def _sliding(values: np.ndarray, size: int, combine: Any) -> np.ndarray:
    """Return the extremes of each `size` neighbours along axis 1, by doubling the reach.

    All traces lie behind each other in one array, which is much faster than one after the other. What mixes
    the end of a trace with the beginning of the next one is cut off.
    """
    keep = values.shape[1] - size + 1
    if values.size == 0 or size == 1:
        return values[:, :keep]
    values = np.ascontiguousarray(values)
    flat, step, reach = values.reshape(-1), int(np.prod(values.shape[2:])), 1
    while 2 * reach <= size:
        flat = combine(flat[: -reach * step], flat[reach * step :])
        reach *= 2
    if size > reach:
        rest = (size - reach) * step
        flat = combine(flat[:-rest], flat[rest:])
    return as_strided(flat, (len(values), keep, *values.shape[2:]), values.strides, writeable=False)


class Evaluator:
    """Evaluates formulas over arrays.

    Args:
        library: the array library, for truth values or for robustness.
        signals: arrays by name, (N, T) or (N, T, E).
        shape: (N, T).
        end: "cut", "false" or "true".
    """

    def __init__(self, library: Numpy, signals: Mapping[str, Any], shape: tuple[int, ...], end: str) -> None:
        self.library, self.signals, self.shape, self.end = library, signals, shape, end
        self._known: dict[tuple[int, str], Any] = {}

    def root(self, node: Node, start: bool = False) -> Any:
        """Return the values at each step (N, T), or with `start` those at the first step (N,)."""
        if not start:
            return self.value(node, self.end)
        if (
            node.kind in ("always", "eventually")
            and node.high is None
            and node.low == 0
            and self.end == "cut"
        ):
            reduce = self.library.least if node.kind == "always" else self.library.greatest
            return reduce(self.value(node.parts[0], self.end), axis=1)
        return self.value(node, self.end)[:, 0]

    def value(self, node: Node, end: str) -> Any:
        """Return the truth or robustness of a formula at each step."""
        key = (id(node), end)
        if key not in self._known:
            self._known[key] = self._value(node, end)
        return self._known[key]

    def _value(self, node: Node, end: str) -> Any:
        library, kind = self.library, node.kind
        if kind == "truth":
            return library.full(self.shape, library.top if node.value else library.bottom)
        if kind == "signal":
            values = self.signals[node.name]
            return values if library.truth else library.where(values, library.top, library.bottom)
        if kind in _COMPARE:
            return self._comparison(node, end)
        if kind == "not":
            return library.negative(self.value(node.parts[0], _OPPOSITE[end]))
        parts = [self.value(part, end) for part in node.parts]
        if kind in ("and", "or"):
            combine = library.minimum if kind == "and" else library.maximum
            result = parts[0]
            for part in parts[1:]:
                result = combine(result, part)
            return result
        if kind == "spread":
            return parts[0][:, :, None]
        if kind == "any":
            return library.greatest(parts[0], axis=2)
        if kind in ("once", "historically"):
            return self._window(parts[0], node, past=True, fill=self._neutral(kind))
        if kind in ("eventually", "always"):
            return self._window(parts[0], node, past=False, fill=self._beyond(kind, end))
        if kind == "until":
            return self._until(parts[0], parts[1], node.low, node.high, self._beyond(kind, end))
        if kind == "since":
            left, right = (library.flip(part) for part in parts)
            return library.flip(self._until(left, right, node.low, node.high, library.bottom))
        raise ValueError(f"'{kind}' is for monitors that run along; it has no value over a whole trace")

    def number(self, node: Node) -> Any:
        """Return the values of a numeric formula."""
        if node.kind == "number":
            return node.value
        if node.kind == "signal":
            values = self.signals[node.name]
            return values if node.scale == 1.0 else values * node.scale
        parts = [self.number(part) for part in node.parts]
        if node.kind == "spread":
            return parts[0] if isinstance(parts[0], float) else parts[0][:, :, None]
        return self.library.function(node.kind, parts)

    def _comparison(self, node: Node, end: str) -> Any:
        library = self.library
        left, right = (self.number(part) for part in node.parts)
        if isinstance(left, float) and isinstance(right, float):
            left = library.full(self.shape, 0.0) + left
        if library.truth:
            result = _COMPARE[node.kind](left, right)
        elif node.kind in ("==", "!="):
            result = abs(left - right) if node.kind == "!=" else -abs(left - right)
        elif isinstance(right, float) and right == 0.0:
            result = left if node.kind in (">", ">=") else -left
        else:
            result = left - right if node.kind in (">", ">=") else right - left
        if not node.unknown:
            return result
        assumed = library.top if end == "true" else library.bottom
        return library.where(library.is_unknown(left + right), assumed, result)

    def _neutral(self, kind: str) -> Any:
        """Return the value that a window operator does not feel."""
        return self.library.top if kind in ("always", "historically") else self.library.bottom

    def _beyond(self, kind: str, end: str) -> Any:
        """Return what stands after the end of the trace."""
        if end == "cut":
            return self._neutral(kind)
        return self.library.top if end == "true" else self.library.bottom

    def _window(self, values: Any, node: Node, *, past: bool, fill: Any) -> Any:
        """Return the greatest or least value in the window of each step."""
        library, steps = self.library, values.shape[1]
        least = node.kind in ("always", "historically")
        if past:
            values = library.flip(values)
        low = min(node.low, steps)
        if node.high is None:
            values = self._extended(values[:, low:], low + 1, fill)
            values = library.negative(values) if least else values
            result = library.flip(library.running(library.flip(values)))[:, :steps]
            result = library.negative(result) if least else result
        else:
            high = low + min(node.high - node.low, steps)
            values = self._extended(values[:, low:], high, fill)
            result = (library.least_sliding if least else library.sliding)(values, high - low + 1)
        return library.flip(result) if past else result

    def _until(self, left: Any, right: Any, low: int, high: int | None, fill: Any) -> Any:
        """Return "left until right" with window [low, high]; `fill` stands after the end."""
        library, steps = self.library, left.shape[1]
        shape = np.broadcast_shapes(tuple(left.shape), tuple(right.shape))
        left, right = (self._broadcast(part, shape) for part in (left, right))
        if low > 0:
            # left holds in the next `low` steps, and from there on it is an until that may come at once
            low = min(low, steps)
            later = self._until(left, right, 0, None if high is None else max(high - low, 0), fill)
            during = library.least_sliding(self._extended(left, low - 1, library.top), low)
            return library.minimum(during, self._extended(later[:, low:], low, fill))
        if high is None:
            column = library.full((shape[0], *shape[2:]), fill)
            columns = []
            for step in range(steps - 1, -1, -1):
                column = library.maximum(right[:, step], library.minimum(left[:, step], column))
                columns.append(column)
            return library.stack(columns[::-1])
        reach = min(high, steps)
        left, right = self._extended(left, reach, fill), self._extended(right, reach, fill)
        result, during = right[:, :steps], left[:, :steps]
        for offset in range(1, reach + 1):
            result = library.maximum(result, library.minimum(right[:, offset : offset + steps], during))
            during = library.minimum(during, left[:, offset : offset + steps])
        return result

    def _extended(self, values: Any, steps: int, fill: Any) -> Any:
        """Return the values with `steps` more at the end."""
        if steps <= 0:
            return values
        shape = (values.shape[0], steps, *values.shape[2:])
        return self.library.join([values, self.library.full(shape, fill)])

    def _broadcast(self, values: Any, shape: tuple[int, ...]) -> Any:
        return values if tuple(values.shape) == shape else values + self.library.full(shape, 0)
