"""Watches violations while they happen, in N homes: what has become irrevocable in this step?

A violation that looks back or not at all is decided in its own step. One that looks ahead, such as "tipped
and not eventually[0, 5 s] upright", is decided later: for each step in its horizon it is remembered whether
it is violated however things go on, and it counts in the step in which that becomes so. What is still open
when an episode ends has not been violated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from safevla.safety.formula import PAST
from safevla.safety.lowering import TRUE, Node, depth, from_start, horizon, looks_ahead
from safevla.safety.online import Program, Read, take_over
from safevla.safety.temporal import Evaluator, Numpy


@dataclass(frozen=True)
class Verdict:
    """What is known of a violation after a step; arrays (N,), or (N, E) if it is about single objects.

    Attributes:
        violated: bool, it has become irrevocable in this step.
        possible: bool, the same, unknown values (NaN) taken for the worst; True wherever `violated` is.
        open: (N,) bool, it may yet be decided either way for this step or one before it.
    """

    violated: np.ndarray
    possible: np.ndarray
    open: np.ndarray


class Watch:
    """The violations of a specification in N homes with E objects each.

    Args:
        violations: lowered formulas that are true where something is wrong. One that begins with a quantifier
            is judged for each object.
        terms: lowered numeric terms to work out in each step, such as severities.
        num_homes: N.
        num_objects: E.

    Raises:
        ValueError: a violation cannot be decided while an episode goes on.
    """

    def __init__(
        self, violations: Sequence[Node], terms: Sequence[Node], num_homes: int, num_objects: int
    ) -> None:
        shape = (num_homes, num_objects)
        self._none = np.zeros(num_homes, dtype=bool)
        self._ahead: list[_Ahead | None] = []
        wanted: list[Node] = []
        for violation in violations:
            root = violation.parts[0] if violation.kind == "any" else violation
            ahead = _Ahead(root, shape) if looks_ahead(root) else None
            self._ahead.append(ahead)
            wanted += [root] if ahead is None else ahead.leaves
        twice = [node for node in wanted for _ in (False, True)]
        assume = [flag for _ in wanted for flag in (False, True)] + [False] * len(terms)
        self._program = Program([*twice, *terms], *shape, assume=assume)
        self._num_values = len(twice)

    def update(self, read: Read, active: np.ndarray | None = None) -> tuple[list[Verdict], list[np.ndarray]]:
        """Take one step.

        Args:
            read: name of a signal -> its values in this step, (N,) or (N, E).
            active: (N,) bool, homes that take a step; what is said of the others means nothing. All if None.

        Returns:
            The verdict on each violation, and the value of each term.
        """
        values = self._program.update(read, active)
        pairs = zip(values[: self._num_values : 2], values[1 : self._num_values : 2], strict=True)
        verdicts = []
        for ahead in self._ahead:
            if ahead is None:
                violated, possible = next(pairs)
                verdicts.append(Verdict(violated, possible, self._none))
            else:
                verdicts.append(ahead.update([next(pairs) for _ in ahead.leaves], active))
        return verdicts, values[self._num_values :]

    def take_over(self, earlier: Watch) -> None:
        """Remember what a watch over the same violations remembers, in as many homes with fewer objects."""
        self._program.take_over(earlier._program)
        for own, other in zip(self._ahead, earlier._ahead, strict=True):
            if own is not None and other is not None:
                take_over(own.memories, other.memories)

    def reset(self, mask: np.ndarray | None = None) -> None:
        """Forget the past of the homes in `mask` (N,) bool; of all if None."""
        self._program.reset(mask)
        for ahead in self._ahead:
            if ahead is not None:
                ahead.reset(slice(None) if mask is None else np.flatnonzero(mask))


class _Ahead:
    """A violation that looks ahead: its parts that do not are remembered over its horizon.

    Attributes:
        leaves: the largest parts that do not look ahead; `update` is given their values.
    """

    def __init__(self, node: Node, shape: tuple[int, int]) -> None:
        self._tree, self.leaves = split(node)
        reach, self._back = reach_of(self._tree)
        length = reach + 1 + self._back
        sizes = [(shape[0], length, *shape[1:])[: 3 if leaf.per_object else 2] for leaf in self.leaves]
        # Of each leaf what is certain and what is possible, for the last steps; axis 1 is time.
        self._certain = [np.zeros(size, dtype=bool) for size in sizes]
        self._possible = [np.zeros(size, dtype=bool) for size in sizes]
        # Steps for which the violation is known, or that were before the episode.
        self._known = np.ones((shape[0], reach + 1, *shape[1:])[: 3 if node.per_object else 2], dtype=bool)

    @property
    def memories(self) -> list[np.ndarray]:
        """What it remembers."""
        return [*self._certain, *self._possible, self._known]

    def update(self, values: list[tuple[np.ndarray, np.ndarray]], active: np.ndarray | None) -> Verdict:
        """Take in what is certain and what is possible of each leaf."""
        homes = slice(None) if active is None or active.all() else np.flatnonzero(active)
        for index, pair in enumerate(values):
            for memory, value in zip((self._certain[index], self._possible[index]), pair, strict=True):
                _push(memory, np.broadcast_to(value, memory[:, 0].shape), homes)
        _push(self._known, np.zeros_like(self._known[:, 0]), homes)
        violated = self._judge(self._certain, self._possible, "false") & ~self._known
        possible = self._judge(self._possible, self._certain, "false") & ~self._known
        self._known |= possible
        unsettled = self._judge(self._possible, self._certain, "true") & ~self._known
        some_open = unsettled.reshape(len(unsettled), -1).any(axis=1)
        return Verdict(_any_step(violated), _any_step(possible), np.asarray(some_open))

    def _judge(self, growing: list[np.ndarray], falling: list[np.ndarray], end: str) -> np.ndarray:
        """Judge each remembered step, with values of leaves that the violation grows or falls with."""
        signals: dict[str, np.ndarray] = {}
        for index, (more, less) in enumerate(zip(growing, falling, strict=True)):
            signals |= {f"{index}+": more, f"{index}-": less}
        shape = len(self._known), self._known.shape[1] + self._back
        result: np.ndarray = Evaluator(Numpy(True), signals, shape, end).root(self._tree)
        return np.broadcast_to(result, (*shape, *self._known.shape[2:]))[:, self._back :]

    def reset(self, homes: int | slice | np.ndarray) -> None:
        """Forget the past of some homes."""
        for memory in (*self._certain, *self._possible):
            memory[homes] = False
        self._known[homes] = True


def split(node: Node) -> tuple[Node, list[Node]]:
    """Return the formula with its leaves cut off, and the leaves: the largest parts that do not look ahead.

    Each leaf is replaced by a signal, named by its number and by whether the formula grows with it. Where a
    past operator stands around a future one, a further leaf tells the steps of the episode from those before.
    """
    leaves: list[Node] = []

    def cut(part: Node, positive: bool) -> Node:
        if not looks_ahead(part):
            leaves.append(part)
            name = f"{len(leaves) - 1}{'+' if positive else '-'}"
            return Node("signal", name=name, per_object=part.per_object)
        parts = tuple(cut(item, positive != (part.kind == "not")) for item in part.parts)
        if part.kind in PAST:
            parts = from_start(part.kind, parts, cut(TRUE, positive != (part.kind == "historically")))
        return dataclasses.replace(part, parts=parts)

    return cut(node, True), leaves


def reach_of(tree: Node) -> tuple[int, int]:
    """Return how many steps after and before a step decide a formula in it; see `split`.

    Raises:
        ValueError: no number of steps decides it.
    """
    reach, back = horizon(tree), depth(tree)
    if reach is None:
        raise ValueError("a future operator without an end is never violated while an episode goes on")
    if back is None:
        raise ValueError("a past operator around a future one needs a window, such as once[0, 100 steps]")
    return reach, back


def _any_step(values: np.ndarray) -> np.ndarray:
    return np.asarray(values.any(axis=1))


def _push(memory: np.ndarray, values: np.ndarray, homes: slice | np.ndarray) -> None:
    """Drop the oldest step (axis 1) of some homes and add the newest."""
    memory[homes, :-1] = memory[homes, 1:]
    memory[homes, -1] = values[homes]
