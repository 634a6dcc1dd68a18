"""Agreement with RTAMT (Nickovic and Yamaguchi), the reference monitor for signal temporal logic, to 1e-9.

Skipped where it is not installed; `make test-rtamt` runs it in an environment of its own. Where its semantics
differ from ours, and why, is tested in `test_known_differences` and said in docs/specification.md.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from random_formulas import NAMES, VOCABULARY, random_formula, random_traces, run_along

from safevla.safety.formula import COMPARISONS, Formula, Number, Operation, Signal
from safevla.safety.grammar import parse
from safevla.safety.lowering import delayed, horizon, lower
from safevla.safety.online import Program
from safevla.safety.temporal import robustness

rtamt = pytest.importorskip("rtamt")
TERMS = ("+", "-", "*", "abs", "sqrt", "exp", "pow")
CASES, BATCHES = 1500, 15


def to_rtamt(formula: Formula) -> str:
    """Write a formula in the language of rtamt, every part in parentheses."""
    if isinstance(formula, Number):
        return f"({formula.value})" if formula.value >= 0 else f"(0 - {-formula.value})"
    if isinstance(formula, Signal):
        return formula.name
    parts = [to_rtamt(part) for part in formula.operands]
    kind = {"previous": "s_prev", "next": "s_next"}.get(formula.kind, formula.kind)
    if kind in ("abs", "sqrt", "exp", "pow"):
        return f"{kind}({','.join(parts)})"
    window = formula.window
    kind += "" if window is None else f"[{window.low.value:g}:{window.high.value:g}]"
    if len(parts) == 1:
        return f"({kind} ({parts[0]}))"
    return f"({f' {kind} '.join(f'({part})' for part in parts)})"


def judge(text: str, trace: dict[str, np.ndarray]) -> np.ndarray:
    """Return the robustness of one trace at every step, as rtamt computes it."""
    specification = rtamt.StlDiscreteTimeOfflineSpecification()
    for name in NAMES:
        specification.declare_var(name, "float")
    specification.spec = text
    specification.parse()
    steps = len(trace["x"])
    dataset = {"time": list(range(steps)), **{name: trace[name].tolist() for name in NAMES}}
    return np.array([value for _, value in specification.evaluate(dataset)])


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_formulas_and_traces(batch: int) -> None:
    """1,500 formulas over traces of 2 to 45 steps: windows of one step, beyond the trace, without end.

    rtamt takes no trace of one step.
    """
    rng = np.random.default_rng(batch)
    kinds: set[str] = set()
    for _ in range(CASES // BATCHES):
        formula = random_formula(rng, int(rng.integers(1, 5)), terms=TERMS)
        steps = int(rng.choice([2, 3, int(rng.integers(4, 46))]))
        signals = random_traces(rng, 1, steps)
        node = lower(formula, VOCABULARY)
        ours = robustness(node, signals)[0]
        theirs = judge(to_rtamt(formula), {name: values[0] for name, values in signals.items()})
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9, err_msg=str(formula))
        tensors = {name: torch.from_numpy(values) for name, values in signals.items()}
        learned = robustness(node, tensors)[0].numpy()
        np.testing.assert_allclose(learned, theirs, rtol=1e-9, atol=1e-9, err_msg=str(formula))
        late = horizon(node)
        if late is not None:  # it can be judged while the trace goes on
            along = run_along(delayed(node), signals, truth=False)[0, late:]
            np.testing.assert_allclose(
                along, theirs[: len(along)], rtol=1e-9, atol=1e-9, err_msg=str(formula)
            )
        kinds |= set(_kinds(formula))
    temporal = {"once", "historically", "since", "eventually", "always", "until", "previous", "next"}
    assert temporal | {"not", "and", "or", "implies", *TERMS} <= kinds


def _kinds(formula: Formula) -> list[str]:
    if not isinstance(formula, Operation):
        return []
    return [formula.kind, *(kind for part in formula.operands for kind in _kinds(part))]


@pytest.mark.parametrize(
    "text",
    [
        "eventually[0, 50] always[0, 20] y > 0",
        "always[2, 10] y <= 0",
        "(x > -1) until[1, 7] (y > 0.5)",
        "historically[0, 4] x > 0 or (y > 0) since[1, 3] (z > 0)",
    ],
)
def test_running_along_is_their_monitor(text: str) -> None:
    """Their online monitor, after their pastify, against ours.

    rtamt 0.4.10's pastify delays a comparison that stands beside a future operator ("x > 0 implies eventually
    ...") twice, so its online monitor differs there from its own offline evaluation; such formulas are left
    out here. Ours is the same as both evaluations of the whole trace, see test_temporal.py.
    """
    node, signals = lower(parse(text), VOCABULARY), random_traces(np.random.default_rng(7), 4, 200)
    late = horizon(node)
    program = Program([delayed(node)], 4, 0, truth=False)
    ours = np.stack(
        [program.update(lambda name, t=t: signals[name][:, t])[0] for t in range(200)], axis=1
    )[:, late:]  # fmt: skip
    for home in range(4):
        specification = rtamt.StlDiscreteTimeOnlineSpecification()
        for name in NAMES:
            specification.declare_var(name, "float")
        specification.spec = to_rtamt(parse(text))
        specification.parse()
        specification.pastify()
        theirs = [
            specification.update(t, [(name, float(signals[name][home, t])) for name in NAMES])
            for t in range(200)
        ][late:]
        np.testing.assert_allclose(ours[home], theirs, rtol=1e-9, atol=1e-9)


def test_known_differences() -> None:
    trace = {"x": np.array([3.0, 3.0]), "y": np.array([5.0, 5.0]), "z": np.zeros(2)}
    signals = {name: values[None] for name, values in trace.items()}

    def ours(text: str) -> list[float]:
        return robustness(lower(parse(text), VOCABULARY), signals)[0].tolist()

    # Both sides are true, so "iff" is: the lesser of the two margins. rtamt: minus their distance, as if
    # false.
    assert ours("x > 0 iff y > 0") == [3.0, 3.0]
    assert judge("(x > 0) iff (y > 0)", trace).tolist() == [-2.0, -2.0]
    assert ours("x > 0 xor y > 0") == [-3.0, -3.0]
    assert judge("(x > 0) xor (y > 0)", trace).tolist() == [2.0, 2.0]
    # "previous" is false in the first step and "next" in the last, like rtamt's s_prev and s_next; rtamt's
    # prev and next are true there, which ours says as "not previous not".
    assert ours("previous x > 0") == [-math.inf, 3.0]
    assert ours("not previous not x > 0") == [math.inf, 3.0] == judge("prev (x > 0)", trace).tolist()
    assert ours("not next not x > 0") == [3.0, math.inf] == judge("next (x > 0)", trace).tolist()
    # Their rise and fall have no operators here; they are written out.
    assert ours("x > 0 and not previous x > 0") == judge("rise (x > 0)", trace).tolist()
    assert ours("not x > 4 and not previous not x > 4") == judge("fall (x > 4)", trace).tolist()


def test_every_comparison() -> None:
    rng = np.random.default_rng(3)
    signals = random_traces(rng, 1, 30)
    trace = {name: values[0] for name, values in signals.items()}
    for sign in COMPARISONS:
        ours = robustness(lower(parse(f"x {sign} y"), VOCABULARY), signals)[0]
        theirs = judge(f"x {'!==' if sign == '!=' else sign} y", trace)
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9, err_msg=sign)
