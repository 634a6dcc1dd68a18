"""One stream of signals: the verdicts of `watch.Watch` for a single home, in numbers and bits of Python.

Arrays of one home spend their time on being arrays. Here a truth value of E objects is a whole number with a
bit for each, and the last steps of it are one longer number, so that an operator over a window of w steps is
about log2(w) shifts. Every truth value comes as a pair: what is certain, and what is possible if unknown
values (NaN) are taken for the worst.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from safevla.safety.formula import FUTURE, PAST
from safevla.safety.lowering import ARITHMETIC, Node, looks_ahead, nodes
from safevla.safety.online import COMPARE
from safevla.safety.watch import reach_of, split

Pair = tuple[int, int]
Judge = Callable[[list[int], list[int], bool], int]


class BitVerdict(NamedTuple):
    """What is known of a violation after a step; see `watch.Verdict`. Bits stand for objects."""

    violated: int
    possible: int
    open: bool


class Stream:
    """The violations of a specification in one home.

    Args:
        violations: lowered formulas that are true where something is wrong; see `watch.Watch`.
        terms: lowered numeric terms, worked out when they are asked for.
        num_objects: E.

    Raises:
        ValueError: a violation cannot be decided while an episode goes on.
    """

    def __init__(self, violations: Sequence[Node], terms: Sequence[Node], num_objects: int) -> None:
        self.num_objects = num_objects
        self._values: list[Any] = []
        self._slots: dict[Node, int] = {}
        self._signals: dict[str, int] = {}
        self._code: list[tuple[int, Callable[[Any, Any], Any], int, int]] = []
        self._memories: list[_Memory | _Ahead] = []
        self._roots: list[int | _Ahead] = []
        for violation in violations:
            root = violation.parts[0] if violation.kind == "any" else violation
            self._roots.append(self._ahead(root) if looks_ahead(root) else self._compile(root))
        steps = self._code
        self._code = []
        self._terms = [self._compile(term) for term in terms]
        self._code, self._late = steps, self._code

    def update(self, signals: Mapping[str, Any]) -> list[BitVerdict]:
        """Take one step: name -> a number, or (E,) float64; NaN where it is unknown."""
        values = self._values
        for name, slot in self._signals.items():
            values[slot] = signals[name]
        for slot, function, left, right in self._code:
            values[slot] = function(values[left], values[right])
        verdicts = []
        for root in self._roots:
            if isinstance(root, int):
                violated, possible = values[root]
                verdicts.append(BitVerdict(violated, possible, False))
            else:
                verdicts.append(root.update([values[leaf] for leaf in root.leaves]))
        return verdicts

    def term(self, index: int) -> Any:
        """Return the value of a term after this step: a number, or (E,)."""
        for slot, function, left, right in self._late:
            self._values[slot] = function(self._values[left], self._values[right])
        return self._values[self._terms[index]]

    def reset(self) -> None:
        """Forget the past."""
        for memory in self._memories:
            memory.reset()

    def _ahead(self, root: Node) -> _Ahead:
        tree, leaves = split(root)
        some = any(item.per_object for item in nodes(tree))
        slots = [self._compile(leaf) for leaf in leaves]
        each = [leaf.per_object for leaf in leaves]
        ahead = _Ahead(tree, slots, each, self.num_objects if some else None)
        self._memories.append(ahead)
        return ahead

    def _compile(self, node: Node) -> int:
        if node not in self._slots:
            self._slots[node] = self._compile_new(node)
        return self._slots[node]

    def _slot(self, value: Any = None) -> int:
        self._values.append(value)
        return len(self._values) - 1

    def _emit(self, function: Callable[[Any, Any], Any], left: int, right: int | None = None) -> int:
        slot = self._slot()
        self._code.append((slot, function, left, left if right is None else right))
        return slot

    def _compile_new(self, node: Node) -> int:
        kind, full = node.kind, (1 << self.num_objects) - 1 if node.per_object else 1
        if kind in FUTURE:
            raise ValueError(f"'{kind}' looks ahead; a program that runs along looks back only")
        if kind == "number":
            return self._slot(node.value)
        if kind == "truth":
            return self._slot((1, 1) if node.value else (0, 0))
        if kind == "signal":
            return self._compile_signal(node)
        inputs = [self._compile(part) for part in node.parts]
        if kind in COMPARE:
            return self._emit((_compare_objects if node.per_object else _compare)(COMPARE[kind]), *inputs)
        if kind == "not":
            return self._emit(lambda x, _: (full ^ x[1], full ^ x[0]), *inputs)
        if kind in ("and", "or"):
            slot = inputs[0]
            for other in inputs[1:]:
                slot = self._emit(_both if kind == "and" else _either, slot, other)
            return slot
        if kind == "spread":
            return self._emit(lambda x, _: (full * x[0], full * x[1]), *inputs) if node.truth else inputs[0]
        if kind == "any":
            return self._emit(lambda x, _: (int(x[0] > 0), int(x[1] > 0)), *inputs)
        if kind in PAST:
            memory = _Memory(node, self.num_objects if node.per_object else 1)
            self._memories.append(memory)
            return self._emit(memory.step, *inputs)
        function: Any = np.true_divide if kind == "/" else ARITHMETIC[kind]  # dividing by 0 is no error
        if len(inputs) == 1:
            return self._emit(lambda x, _: function(x), *inputs)
        return self._emit(function, *inputs)

    def _compile_signal(self, node: Node) -> int:
        slot = self._signals.setdefault(node.name, len(self._values))
        if slot == len(self._values):
            self._slot()
        if not node.truth:
            scale = node.scale
            return slot if scale == 1.0 else self._emit(lambda x, _: x * scale, slot)
        return self._emit(_true_objects if node.per_object else _true, slot)


def _true(value: float, _: Any) -> Pair:
    return int(value == 1), int(value != 0)


def _true_objects(values: np.ndarray, _: Any) -> Pair:
    return bits(values == 1), bits(values != 0)


def _both(left: Pair, right: Pair) -> Pair:
    return left[0] & right[0], left[1] & right[1]


def _either(left: Pair, right: Pair) -> Pair:
    return left[0] | right[0], left[1] | right[1]


def _compare(sign: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Pair]:
    def compare(left: Any, right: Any) -> Pair:
        together = left + right
        if together != together:  # NaN: unknown
            return 0, 1
        found = int(sign(left, right))
        return found, found

    return compare


def _compare_objects(sign: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Pair]:
    def compare(left: Any, right: Any) -> Pair:
        unknown, found = np.isnan(left + right), sign(left, right)
        if not unknown.any():
            certain = bits(found)
            return certain, certain
        return bits(found & ~unknown), bits(found | unknown)

    return compare


def bits(truth: np.ndarray) -> int:
    """Return (E,) bool as a number with a bit for each, the first one lowest."""
    return int.from_bytes(np.packbits(truth, bitorder="little").tobytes(), "little")


def unpacked(number: int, count: int) -> np.ndarray:
    """Return the lowest bits of a number as (count,) bool."""
    some = np.frombuffer(number.to_bytes(count // 8 + 1, "little"), np.uint8)
    return np.unpackbits(some, bitorder="little")[:count].astype(bool)


class _Memory:
    """An operator that looks back. Of each step it keeps E bits in one number, the newest lowest.

    "historically" is kept as "not once not". Of "since" the bits of a step say: the right side was true then,
    and the left side in every step after it.
    """

    def __init__(self, node: Node, num_objects: int) -> None:
        self.kind, self.low, self.endless = node.kind, node.low, node.high is None
        self.size = (node.low if node.high is None else node.high) + 1
        self.stride, self.full = num_objects, (1 << num_objects) - 1
        self.mask = (1 << self.size * num_objects) - 1
        self.every = self.mask // self.full if self.full else 0  # the lowest bit of each step
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        # Of what is certain and of what is possible: the last steps, and what was true before them.
        self.certain = self.possible = (0, 0)

    def step(self, first: Pair, second: Pair) -> Pair:
        """Take in this step's values and return the operator's."""
        if self.kind == "historically":
            full = self.full
            first = second = full ^ first[1], full ^ first[0]
        same = self.certain == self.possible and first[0] == first[1] and second[0] == second[1]
        self.certain, certain = self._advance(self.certain, first[0], second[0])
        if same:
            self.possible, possible = self.certain, certain
        else:
            self.possible, possible = self._advance(self.possible, first[1], second[1])
        if self.kind == "historically":
            return self.full ^ possible, self.full ^ certain
        return certain, possible

    def _advance(self, state: Pair, left: int, right: int) -> tuple[Pair, int]:
        steps, before = state
        steps <<= self.stride
        if self.kind == "since":
            steps &= self.every * left
            before &= left
        steps = (steps | right) & self.mask
        window = steps >> self.low * self.stride
        if self.endless:
            before |= window & self.full
            return (steps, before), before
        return (steps, 0), _fold(window, self.size - self.low, self.stride) & self.full


def _fold(steps: int, count: int, stride: int) -> int:
    """Return a number whose lowest step has what is true in any of the lowest `count` steps."""
    reach = 1
    while 2 * reach <= count:
        steps |= steps >> reach * stride
        reach *= 2
    return steps | steps >> (count - reach) * stride if count > reach else steps


class _Ahead:
    """A violation that looks ahead, see `watch._Ahead`: its leaves are remembered, the newest step lowest.

    A step takes a bit for each object, and one more that tells whether any is set. What concerns the home
    alone is repeated for each object.

    Args:
        tree: the formula with its leaves replaced by signals that are named by their number.
        leaves: slots of the leaves.
        of_objects: for each leaf, whether it has a value for each object.
        num_objects: E; None if nothing in the formula has a value for each object.
    """

    def __init__(
        self, tree: Node, leaves: list[int], of_objects: list[bool], num_objects: int | None
    ) -> None:
        reach, back = reach_of(tree)
        count = max(num_objects, 1) if num_objects is not None else 1
        self.leaves, self.num_objects = leaves, num_objects
        self.stride = count if num_objects is None else count + 1
        self.ones = (1 << count) - 1
        self.factors = [1 if each else self.ones for each in of_objects]
        self.mask = (1 << (reach + 1 + back) * self.stride) - 1
        # The lowest bit of each step.
        self.every = sum(1 << step * self.stride for step in range(reach + 1 + back))
        self.full = self.every * self.ones
        self.judged = reach + 1
        nobody = tree.per_object and num_objects == 0
        self.window = 0 if nobody else self.full & ((1 << self.judged * self.stride) - 1)
        self.judge = self._compile(tree)
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self.certain, self.possible = [0] * len(self.leaves), [0] * len(self.leaves)
        self.known = self.window  # steps for which the violation is known, or that were before the episode

    def update(self, values: list[Pair]) -> BitVerdict:
        """Take in what is certain and what is possible of each leaf."""
        stride, mask = self.stride, self.mask
        for index, (factor, pair) in enumerate(zip(self.factors, values, strict=True)):
            self.certain[index] = (self.certain[index] << stride | factor * pair[0]) & mask
            self.possible[index] = (self.possible[index] << stride | factor * pair[1]) & mask
        self.known = self.known << stride & self.window
        asked = self.window ^ self.known
        violated = possible = self.judge(self.certain, self.possible, False) & asked
        if self.certain != self.possible:
            possible = self.judge(self.possible, self.certain, False) & asked
        self.known |= possible
        some_open = self.judge(self.possible, self.certain, True) & asked & ~possible > 0
        if not possible:
            return BitVerdict(0, 0, some_open)
        first, second = (_fold(part, self.judged, stride) & self.ones for part in (violated, possible))
        return BitVerdict(first, second, some_open)

    def _compile(self, node: Node) -> Judge:
        """Return what judges each remembered step, from leaves that the formula grows and falls with.

        The last argument says whether what lies beyond the last step counts as true.
        """
        kind, full = node.kind, self.full
        if kind == "signal":
            leaf = int(node.name[:-1])
            return lambda more, less, end: more[leaf]
        parts = [self._compile(part) for part in node.parts]
        first, second = parts[0], parts[-1]
        if kind == "not":
            return lambda more, less, end: full ^ first(less, more, not end)
        if kind in ("and", "or"):
            return self._joined(parts, kind == "and")
        if kind == "spread":
            return first
        if kind == "any":
            shift, every, ones = self.stride - 1, self.every, self.ones if self.num_objects else 0
            return lambda more, less, end: (first(more, less, end) + full >> shift & every) * ones
        if kind in ("until", "since"):
            return self._until(first, second, node.low, node.high or 0, past=kind == "since")
        return self._window(first, node)

    def _joined(self, parts: list[Judge], conjunction: bool) -> Judge:
        def joined(more: list[int], less: list[int], end: bool) -> int:
            result = parts[0](more, less, end)
            for part in parts[1:]:
                value = part(more, less, end)
                result = result & value if conjunction else result | value
            return result

        return joined

    def _window(self, part: Judge, node: Node) -> Judge:
        """Compile once, historically, eventually, always; those over all steps are "not some not"."""
        stride, flip = self.stride, self.full if node.kind in ("historically", "always") else 0
        low, high = node.low, node.high or 0
        beyond = self.full & ((1 << high * stride) - 1) if node.kind in FUTURE else 0
        shift = high * stride if node.kind in FUTURE else -low * stride
        count, full = high - low + 1, self.full

        def window(more: list[int], less: list[int], end: bool) -> int:
            value = part(more, less, end) ^ flip
            if shift < 0:
                value >>= -shift
            elif shift > 0:  # the steps beyond the last one come below it
                value = value << shift | (beyond if end != (flip > 0) else 0)
            return _fold(value, count, stride) & full ^ flip

        return window

    def _until(self, left: Judge, right: Judge, low: int, high: int, *, past: bool) -> Judge:
        stride, full = self.stride, self.full
        beyond = 0 if past else full & ((1 << high * stride) - 1)

        def until(more: list[int], less: list[int], end: bool) -> int:
            during, then = left(more, less, end), right(more, less, end)
            if not past:
                fill = beyond if end else 0
                during, then = during << high * stride | fill, then << high * stride | fill
            held, result = full, 0
            for step in range(high + 1):
                shift = (step if past else high - step) * stride
                if step >= low:
                    result |= held & then >> shift
                held &= during >> shift
            return result

        return until
