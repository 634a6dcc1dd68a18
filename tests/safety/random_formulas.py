"""Random formulas over the signals x, y and z, and traces for them."""

from __future__ import annotations

import numpy as np

from safevla.safety.formula import Formula, Number, Operation, Signal, Window
from safevla.safety.lowering import Node
from safevla.safety.online import Program
from safevla.safety.vocabulary import SignalInfo

NAMES = ("x", "y", "z")
VOCABULARY = {name: SignalInfo(name) for name in NAMES}
PAST_KINDS, FUTURE_KINDS = ("once", "historically", "since"), ("eventually", "always", "until")


TERMS = ("+", "-", "*", "abs", "min", "max")


def random_term(rng: np.random.Generator, depth: int, terms: tuple[str, ...] = TERMS) -> Formula:
    """Return a number made of signals."""
    draw = rng.integers(0, 3 + len(terms) if depth > 0 else 3)
    if draw < 2:
        return Signal(str(rng.choice(NAMES)))
    if draw == 2:
        return Number(float(rng.integers(-2, 3)) / 2)
    parts = (random_term(rng, depth - 1, terms), random_term(rng, depth - 1, terms))
    kind = terms[draw - 3]
    if kind == "sqrt":
        return Operation(kind, (Operation("abs", parts[:1]),))
    if kind == "pow":
        return Operation(kind, (Number(1.5), parts[0]))
    return Operation(kind, parts[:1] if kind in ("abs", "exp") else parts)


def random_window(rng: np.random.Generator, endless: bool = True) -> Window | None:
    """Return a window, often one at an edge: of one step, of no width, farther than the trace."""
    if endless and rng.random() < 0.25:
        return None
    low = int(rng.choice([0, 0, 0, 1, 2, 5, 30]))
    high = low + int(rng.choice([0, 1, 2, 3, 7, 40]))
    return Window(Number(float(low)), Number(float(high)))


def random_formula(
    rng: np.random.Generator,
    depth: int,
    *,
    past: bool = True,
    future: bool = True,
    endless: bool = True,
    mixed: bool = True,
    terms: tuple[str, ...] = TERMS,
) -> Formula:
    """Return a formula with at most `depth` operators above each other.

    Args:
        rng: makes the choices.
        depth: at most so many levels.
        past: with operators that look back.
        future: with operators that look ahead.
        endless: also without a window.
        mixed: operators that look back may stand around operators that look ahead.
        terms: arithmetic signs and functions that occur.
    """
    options = {"past": past, "future": future, "endless": endless, "mixed": mixed, "terms": terms}
    if depth == 0 or rng.random() < 0.1:
        sign = str(rng.choice(["<", "<=", ">", ">="]))
        return Operation(sign, (random_term(rng, 1, terms), random_term(rng, 1, terms)))
    kinds = ["not", "and", "or", "implies", "previous", "next", *PAST_KINDS, *FUTURE_KINDS]
    kinds = [kind for kind in kinds if past or kind not in (*PAST_KINDS, "previous")]
    kinds = [kind for kind in kinds if future or kind not in (*FUTURE_KINDS, "next")]
    kind = str(rng.choice(kinds))
    if kind in (*PAST_KINDS, "previous") and not mixed:
        options["future"] = False
    parts = tuple(random_formula(rng, depth - 1, **options) for _ in range(2))
    if kind in ("not", "previous", "next"):
        return Operation(kind, parts[:1])
    if kind in ("and", "or", "implies"):
        return Operation(kind, parts)
    # Without a window only what looks back at nothing that looks ahead, unless all may be endless.
    window = random_window(rng, endless or (kind in PAST_KINDS and not options["future"]))
    return Operation(kind, parts if kind in ("since", "until") else parts[:1], window)


def random_traces(rng: np.random.Generator, traces: int, steps: int) -> dict[str, np.ndarray]:
    """Return signals (N, T); half of them take few values, so that ties occur."""
    smooth = {name: rng.normal(size=(traces, steps)) for name in NAMES}
    return {
        name: np.where(rng.random((traces, 1)) < 0.5, np.round(values), values)
        for name, values in smooth.items()
    }


def run_along(node: Node, signals: dict[str, np.ndarray], *, truth: bool) -> np.ndarray:
    """Return what a Program says step by step, (N, T)."""
    homes, steps = next(iter(signals.values())).shape
    program = Program([node], homes, 0, truth=truth)
    return np.stack(
        [
            np.array(program.update(lambda name, t=t: signals[name][:, t])[0])
            for t in range(steps)
        ],
        axis=1,
    )  # fmt: skip
