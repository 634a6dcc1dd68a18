"""Formulas step by step, for N homes at once; memory is bounded by the windows.

    program = Program([node, ...], num_homes=16, num_objects=60)
    values = program.update(lambda name: signals[name])      # (N,) or (N, E) each, every step
    program.reset(ended)                                     # episodes begin anew

Formulas may look back only; `lowering.delayed` turns one that looks ahead into one that looks back. Equal
parts of the formulas are evaluated once. A "once" over w steps costs O(1) a step (van Herk's blocks), a
"since" O(w).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from safevla.safety.formula import FUTURE
from safevla.safety.lowering import ARITHMETIC, Node

Read = Callable[[str], np.ndarray]
Rows = np.ndarray | None  # the homes that take a step; None: all

COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
    "==": np.equal, "!=": np.not_equal,
}  # fmt: skip


class Program:
    """Formulas compiled to a list of array operations with their memories.

    Args:
        nodes: lowered formulas, or numeric terms.
        num_homes: N.
        num_objects: E.
        truth: values are true or false; else they are robustness.
        assume: for each node, whether comparisons with unknown values (NaN) count as true; below a negation
            it is the other way round. None: false for all.

    Raises:
        ValueError: a formula looks ahead.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        num_homes: int,
        num_objects: int,
        *,
        truth: bool = True,
        assume: Sequence[bool] | None = None,
    ) -> None:
        self.shape, self.truth = (num_homes, num_objects), truth
        self.bottom: float | bool = False if truth else -np.inf
        self.top: float | bool = True if truth else np.inf
        self._code: list[tuple[Callable[..., Any], tuple[int, ...]]] = []
        self._memories: list[tuple[Memory, int, tuple[int, ...]]] = []
        self._slots: dict[tuple[Node, bool], int] = {}
        self._reads: list[tuple[int, str]] = []
        wanted = [False] * len(nodes) if assume is None else assume
        self._roots = [self._compile(node, flag) for node, flag in zip(nodes, wanted, strict=True)]
        self._stateful = {slot: memory for memory, slot, _ in self._memories}

    def update(self, read: Read, active: np.ndarray | None = None) -> list[np.ndarray]:
        """Take one step.

        Args:
            read: name -> this step's values, (N,) or (N, E).
            active: (N,) bool, homes that take a step; the others keep their memory, and their values mean
                nothing. All if None.

        Returns:
            The value of each formula, (N,), or (N, E) if it is one for each object.
        """
        rows = None if active is None or active.all() else np.flatnonzero(active)
        values: list[Any] = [None] * len(self._code)
        for slot, name in self._reads:
            values[slot] = read(name)
        for slot, (function, inputs) in enumerate(self._code):
            if values[slot] is None:
                arguments = [values[index] for index in inputs]
                memory = self._stateful.get(slot)
                values[slot] = function(*arguments) if memory is None else memory.step(rows, *arguments)
        return [values[root] for root in self._roots]

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Forget the past of the homes in `mask` (N,) bool; of all if None."""
        for memory, _, _ in self._memories:
            memory.reset(slice(None) if mask is None else np.flatnonzero(mask))

    def take_over(self, earlier: Program) -> None:
        """Remember what the same program remembers, in as many homes with fewer objects."""
        for (own, _, _), (other, _, _) in zip(self._memories, earlier._memories, strict=True):
            own.take_over(other)

    def _compile(self, node: Node, upper: bool) -> int:
        key = (node, upper and node.unknown)
        if key not in self._slots:
            self._slots[key] = self._compile_new(node, key[1])
        return self._slots[key]

    def _emit(self, function: Callable[..., Any], *inputs: int) -> int:
        self._code.append((function, inputs))
        return len(self._code) - 1

    def _remember(self, memory: Memory, *inputs: int) -> int:
        slot = self._emit(_unused, *inputs)
        self._memories.append((memory, slot, inputs))
        return slot

    def _compile_new(self, node: Node, upper: bool) -> int:
        kind = node.kind
        if kind in FUTURE:
            raise ValueError(f"'{kind}' looks ahead; a program that runs along looks back only")
        if kind == "signal":
            return self._compile_signal(node, upper)
        if kind == "number":
            return self._emit(lambda value=node.value: value)
        if kind == "truth":
            constant = np.full(self.shape[0], self.top if node.value else self.bottom)
            return self._emit(lambda: constant)
        if kind in ("once", "historically", "since", "delay", "was_until"):
            return self._compile_memory(node, upper)
        flipped = upper != (kind == "not")
        inputs = [self._compile(part, flipped) for part in node.parts]
        if kind in COMPARE:
            return self._emit(self._comparison(node, upper), *inputs)
        if kind == "not":
            return self._emit(np.logical_not if self.truth else np.negative, *inputs)
        if kind in ("and", "or"):
            combine = _LEAST[self.truth] if kind == "and" else _GREATEST[self.truth]
            slot = inputs[0]
            for other in inputs[1:]:
                slot = self._emit(combine, slot, other)
            return slot
        if kind == "spread":
            return self._emit(_spread, *inputs)
        if kind == "any":
            bottom = self.bottom
            if self.truth:
                return self._emit(lambda values: values.any(axis=1), *inputs)
            return self._emit(lambda values: values.max(axis=1, initial=bottom), *inputs)
        return self._emit(ARITHMETIC[kind], *inputs)

    def _compile_signal(self, node: Node, upper: bool) -> int:
        slot = self._slots.get((Node("signal", name=node.name), False))
        if slot is None:
            slot = self._emit(_unused)
            self._reads.append((slot, node.name))
            self._slots[(Node("signal", name=node.name), False)] = slot
        if not node.truth:
            return slot if node.scale == 1.0 else self._emit(lambda values: values * node.scale, slot)
        if node.unknown:  # truth values that may be NaN are numbers
            slot = self._emit((lambda x: np.not_equal(x, 0)) if upper else (lambda x: np.equal(x, 1)), slot)
        if self.truth:
            return slot
        return self._emit(lambda values: np.where(values, np.inf, -np.inf), slot)

    def _comparison(self, node: Node, upper: bool) -> Callable[[Any, Any], Any]:
        kind, shape, assumed = node.kind, self.shape[:1], self.top if upper else self.bottom
        if self.truth:
            compare = COMPARE[kind]
        elif kind in ("==", "!="):
            sign = 1.0 if kind == "!=" else -1.0
            compare = lambda left, right: sign * np.abs(left - right)  # noqa: E731
        else:
            compare = np.subtract if kind in (">", ">=") else lambda left, right: right - left
        if all(part.kind == "number" for part in node.parts):
            return lambda left, right: np.full(shape, compare(left, right))
        if not node.unknown:
            return compare
        return lambda left, right: np.where(np.isnan(left + right), assumed, compare(left, right))

    def _compile_memory(self, node: Node, upper: bool) -> int:
        """Compile an operator that looks back; one that begins `low` steps ago is a delay of another."""
        inputs = [self._compile(part, upper) for part in node.parts]
        shape = self.shape if node.per_object else self.shape[:1]
        low, width = node.low, None if node.high is None else node.high - node.low
        greatest = node.kind != "historically"
        neutral = self.bottom if greatest else self.top
        if node.kind == "delay":
            return self._remember(Delay(shape, low, self.bottom), *inputs)
        if node.kind == "was_until":
            return self._remember(WasUntil(shape, low, node.high or 0, self.bottom, self.top), *inputs)
        if node.kind == "since":
            slot = self._remember(Since(shape, width, self.bottom), *inputs)
            if low:  # and the left side has held in the last `low` steps
                slot = self._remember(Delay(shape, low, self.bottom), slot)
                held = self._remember(Extreme(shape, low, self.top, greatest=False), inputs[0])
                slot = self._emit(_LEAST[self.truth], slot, held)
            return slot
        size = None if width is None else width + 1
        slot = inputs[0]
        if size != 1:
            slot = self._remember(Extreme(shape, size, neutral, greatest=greatest), slot)
        return self._remember(Delay(shape, low, neutral), slot) if low else slot


_LEAST: dict[bool, Callable[..., Any]] = {True: np.logical_and, False: np.minimum}
_GREATEST: dict[bool, Callable[..., Any]] = {True: np.logical_or, False: np.maximum}


def _unused(*values: Any) -> Any:
    raise AssertionError("signals are read and memories are stepped, neither is called")


def _spread(values: Any) -> Any:
    return values if isinstance(values, float) else values[:, None]


class Memory:
    """What an operator keeps of the past: rings of `size` steps, (size, N) or (size, N, E).

    All homes write to the same place of the ring until one of them stands still; from then on each has its
    own.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._together = 0
        self._apart: np.ndarray | None = None

    def step(self, rows: Rows, *inputs: np.ndarray) -> np.ndarray:
        """Take in this step's values of the homes in `rows` and return the operator's value."""
        raise NotImplementedError

    def reset(self, homes: Any) -> None:
        """Forget the past of some homes."""
        raise NotImplementedError

    def take_over(self, earlier: Memory) -> None:
        """Remember what another one remembers, which has the same homes and perhaps fewer objects."""
        own = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        self._together, self._apart = earlier._together, earlier._apart
        take_over([own[name] for name in own], [getattr(earlier, name) for name in own])

    def places(self, rows: Rows, num_homes: int) -> tuple[Any, Any]:
        """Return index of the ring and index of the homes to write to, and go on by one step."""
        if self._apart is None and rows is None:
            place = self._together
            self._together = (place + 1) % self.size
            return place, slice(None)
        if self._apart is None:
            self._apart = np.full(num_homes, self._together)
        homes = np.arange(num_homes) if rows is None else rows
        own = self._apart[homes]
        self._apart[homes] = (own + 1) % self.size
        return own, homes


def take_over(own: Sequence[np.ndarray], earlier: Sequence[np.ndarray]) -> None:
    """Copy arrays into others, whose last axis, the objects, may be longer."""
    for array, values in zip(own, earlier, strict=True):
        array[..., : values.shape[-1]] = values


class Delay(Memory):
    """The value some steps ago; `fill` before the first step."""

    def __init__(self, shape: tuple[int, ...], steps: int, fill: float | bool) -> None:
        super().__init__(steps)
        self.fill, self.ring = fill, np.full((steps, *shape), fill)

    def step(self, rows: Rows, *inputs: np.ndarray) -> np.ndarray:
        """Return the value that was taken in `steps` ago."""
        place, homes = self.places(rows, self.ring.shape[1])
        result = np.full(self.ring.shape[1:], self.fill)
        result[homes] = self.ring[place, homes]
        self.ring[place, homes] = np.broadcast_to(inputs[0], result.shape)[homes]
        return result

    def reset(self, homes: Any) -> None:
        """Forget the past of some homes."""
        self.ring[:, homes] = self.fill


class Extreme(Memory):
    """The greatest or least value of the last `size` steps, of all steps if None.

    A block of `size` values is followed by the next one. The value is that of the begun block so far and of
    what the window still covers of the block before, for which the extremes of all ends were worked out when
    it was full. (van Herk, Pattern Recognition Letters 13, 1992.)
    """

    def __init__(
        self, shape: tuple[int, ...], size: int | None, neutral: float | bool, *, greatest: bool
    ) -> None:
        super().__init__(size or 1)
        self.endless, self.neutral = size is None, neutral
        self.combine = np.maximum if greatest else np.minimum
        self.begun = np.full(shape, neutral)
        if size is not None:
            self.block = np.full((size, *shape), neutral)
            self.ends = np.full((size + 1, *shape), neutral)

    def step(self, rows: Rows, *inputs: np.ndarray) -> np.ndarray:
        """Return the extreme with this step's value."""
        values = np.broadcast_to(inputs[0], self.begun.shape)
        if self.endless:
            chosen = slice(None) if rows is None else rows
            self.begun[chosen] = self.combine(self.begun[chosen], values[chosen])
            return self.begun.copy()
        place, homes = self.places(rows, self.begun.shape[0])
        if isinstance(place, int):
            if place == 0:
                self._finish_block(slice(None))
            self.block[place] = values
            self.combine(self.begun, values, out=self.begun)
            return np.asarray(self.combine(self.begun, self.ends[place + 1]))
        self._finish_block(homes[place == 0])
        self.block[place, homes] = values[homes]
        self.begun[homes] = self.combine(self.begun[homes], values[homes])
        result = self.begun.copy()
        result[homes] = self.combine(result[homes], self.ends[place + 1, homes])
        return result

    def _finish_block(self, homes: Any) -> None:
        self.ends[:-1, homes] = self.combine.accumulate(self.block[::-1, homes], axis=0)[::-1]
        self.begun[homes] = self.neutral

    def reset(self, homes: Any) -> None:
        """Forget the past of some homes."""
        self.begun[homes] = self.neutral
        if not self.endless:
            self.block[:, homes] = self.ends[:, homes] = self.neutral


class Since(Memory):
    """left since right, within the last `reach` steps, within all if None."""

    def __init__(self, shape: tuple[int, ...], reach: int | None, bottom: float | bool) -> None:
        super().__init__(1 if reach is None else reach + 1)
        self.endless, self.bottom = reach is None, bottom
        # For each step in the window: min of right then, and of left ever since.
        self.ring = np.full((self.size, *shape), bottom)

    def step(self, rows: Rows, *inputs: np.ndarray) -> np.ndarray:
        """Return the value with this step's left and right."""
        shape = self.ring.shape[1:]
        left, right = (np.broadcast_to(part, shape) for part in inputs)
        place, homes = self.places(rows, shape[0])
        self.ring[:, homes] = np.minimum(self.ring[:, homes], left[homes])
        self.ring[place, homes] = (
            np.maximum(self.ring[place, homes], right[homes]) if self.endless else right[homes]
        )
        return np.asarray(self.ring.max(axis=0))

    def reset(self, homes: Any) -> None:
        """Forget the past of some homes."""
        self.ring[:, homes] = self.bottom


class WasUntil(Memory):
    """Whether left until[low, high] right was true `high` steps ago; it takes in left and right."""

    def __init__(
        self, shape: tuple[int, ...], low: int, high: int, bottom: float | bool, top: float | bool
    ) -> None:
        super().__init__(high + 1)
        self.low, self.bottom = low, bottom
        self.first = np.full((1, *shape), top)
        self.left = np.full((high + 1, *shape), bottom)
        self.right = np.full((high + 1, *shape), bottom)

    def step(self, rows: Rows, *inputs: np.ndarray) -> np.ndarray:
        """Return the value for the oldest step in the ring."""
        shape = self.left.shape[1:]
        place, homes = self.places(rows, shape[0])
        for ring, part in zip((self.left, self.right), inputs, strict=True):
            ring[place, homes] = np.broadcast_to(part, shape)[homes]
        latest = np.full(shape[0], place) if self._apart is None else (self._apart - 1) % self.size
        order = (latest + 1 + np.arange(self.size)[:, None]) % self.size, np.arange(shape[0])
        during = np.minimum.accumulate(np.concatenate([self.first, self.left[order][:-1]]), axis=0)
        return np.asarray(np.minimum(self.right[order], during)[self.low :].max(axis=0))

    def reset(self, homes: Any) -> None:
        """Forget the past of some homes."""
        self.left[:, homes] = self.right[:, homes] = self.bottom
