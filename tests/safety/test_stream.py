"""One stream in bits: the same verdicts as the watch over arrays, whatever the formula and the values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_formulas import random_formula

from safevla.safety.formula import Formula, Operation, Signal
from safevla.safety.monitor import Monitor
from safevla.safety.specification import CHARGES, Constraint, OnsetTracker, Specification
from safevla.safety.stream import bits, unpacked
from safevla.safety.vocabulary import SignalInfo
from safevla.safety.watch import Watch

# "x" and "y" belong to objects, where the formula is within a quantifier; any value may be unknown.
VOCABULARY = {
    "x": SignalInfo("x", scope="object", unknown="sometimes"),
    "y": SignalInfo("y", scope="object", unknown="sometimes"),
    "z": SignalInfo("z", unknown="sometimes"),
    "flag": SignalInfo("flag", kind="truth", unknown="sometimes"),
    "mark": SignalInfo("mark", kind="truth", scope="object", unknown="sometimes"),
}


def of_home(formula: Formula) -> Formula:
    """Return the formula with the signals of objects replaced, so that it may stand outside a quantifier."""
    if isinstance(formula, Signal):
        return Signal("z") if formula.name in "xy" else formula
    if isinstance(formula, Operation):
        parts = tuple(of_home(part) for part in formula.operands)
        return Operation(formula.kind, parts, formula.window)
    return formula


def random_rule(rng: np.random.Generator) -> Formula:
    """Return a formula about the home, about objects, or one in which both stand beside each other."""
    draw = lambda: random_formula(rng, int(rng.integers(1, 4)), endless=False)  # noqa: E731
    quantified = Operation(str(rng.choice(["any", "every"])), (Signal("mark"), draw()))
    alone = of_home(draw())
    if rng.random() < 0.3:
        alone = Operation("or", (alone, Signal("flag")))
    mixed = Operation(str(rng.choice(["and", "or", "implies"])), (alone, quantified))
    return (alone, quantified, mixed, Operation("next", (mixed,)))[rng.integers(4)]


def random_values(rng: np.random.Generator, steps: int, objects: int) -> list[dict[str, object]]:
    holes = rng.choice([0.0, 0.1])
    rows = []
    for _ in range(steps):
        row = {name: rng.normal(size=objects).round(int(rng.integers(0, 2))) for name in "xy"}
        row |= {"z": rng.normal(size=1).round(1), "flag": rng.integers(0, 2, 1).astype(float)}
        row |= {"mark": rng.integers(0, 2, objects).astype(float)}
        rows.append({k: np.where(rng.random(v.shape) < holes, np.nan, v) for k, v in row.items()})
    return rows


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), objects=st.integers(0, 3))
def test_bits_say_what_arrays_say(seed: int, objects: int) -> None:
    rng = np.random.default_rng(seed)
    rule, charge = random_rule(rng), str(rng.choice(CHARGES[:3]))
    constraint = Constraint("rule", forbid=rule, charge=charge)
    specification = Specification("one", {"rule": constraint}, "", VOCABULARY)
    violation = specification.compiled["rule"].violation
    names = tuple(f"object_{index}" for index in range(objects))
    watch, tracker, monitor = (
        Watch([violation], [], 1, objects),
        OnsetTracker(1, objects),
        Monitor(specification, names),
    )
    for step, values in enumerate(random_values(rng, 40, objects)):
        row = {k: v[None] if VOCABULARY[k].scope == "object" else v for k, v in values.items()}
        ((verdict,), _) = watch.update(row.__getitem__)
        charged = tracker.charge("rule", charge, verdict.possible, np.ones(1, bool)).any()
        (finding,) = monitor.update(
            {k: v if VOCABULARY[k].scope == "object" else float(v[0]) for k, v in values.items()}
        )
        possible = bool(verdict.possible.any())
        expected = "violated" if possible else "open" if verdict.open[0] else "satisfied"
        about = tuple(np.array(names)[verdict.possible[0]]) if verdict.possible.ndim > 1 and possible else ()
        assert (finding.status, finding.charged, finding.objects) == (expected, charged, about), (
            str(rule),
            step,
        )
        assert bool(finding.reason) == (possible and not verdict.violated.any())
        if rng.random() < 0.03:
            watch.reset(), tracker.reset(), monitor.reset()


@given(st.lists(st.booleans(), max_size=70))
def test_bits_and_back(truth: list[bool]) -> None:
    assert unpacked(bits(np.array(truth, bool)), len(truth)).tolist() == truth


@pytest.mark.parametrize(("x", "status"), [(0.0, "violated"), (2.0, "satisfied")])
def test_dividing_by_zero_is_no_error(x: float, status: str) -> None:
    rule = Constraint("rule", forbid="1 / x > 1")
    monitor = Monitor(Specification("one", {"rule": rule}, "", {"x": SignalInfo("x")}))
    assert monitor.update({"x": x})[0].status == status
    assert monitor.update({"x": 10**400})[0].reason == f"x is {10**400!r}, no number"
