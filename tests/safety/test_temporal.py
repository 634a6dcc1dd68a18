"""Temporal operators: their definition written out in loops is the oracle of the three evaluators."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_formulas import VOCABULARY, random_formula, random_traces, run_along

from safevla.safety.formula import Formula, Number, Signal
from safevla.safety.grammar import parse
from safevla.safety.lowering import delayed, horizon, lower
from safevla.safety.online import Program
from safevla.safety.temporal import holds, robustness
from safevla.safety.vocabulary import SignalInfo

seeds = st.integers(0, 2**32 - 1)


def number(formula: Formula, trace: dict[str, np.ndarray], t: int) -> float:
    """Return a term at step t of one trace."""
    if isinstance(formula, Number):
        return float(formula.value)
    if isinstance(formula, Signal):
        return float(trace[formula.name][t])
    parts = [number(part, trace, t) for part in formula.operands]
    return {
        "+": lambda: parts[0] + parts[1],
        "-": lambda: parts[0] - parts[1],
        "*": lambda: parts[0] * parts[1],
        "abs": lambda: abs(parts[0]),
        "min": lambda: min(parts),
        "max": lambda: max(parts),
    }[formula.kind]()


def define(formula: Formula, trace: dict[str, np.ndarray], t: int, steps: int) -> float:
    """Return the robustness at step t by the definition of each operator, word for word."""
    kind, parts = formula.kind, formula.operands

    def at(part: Formula, step: int) -> float:
        return define(part, trace, step, steps)

    if kind in ("<", "<=", ">", ">="):
        left, right = (number(part, trace, t) for part in parts)
        return left - right if kind in (">", ">=") else right - left
    if kind == "not":
        return -at(parts[0], t)
    if kind == "and":
        return min(at(part, t) for part in parts)
    if kind == "or":
        return max(at(part, t) for part in parts)
    if kind == "implies":
        return max(-at(parts[0], t), at(parts[1], t))
    if kind == "previous":
        return at(parts[0], t - 1) if t > 0 else -math.inf
    if kind == "next":
        return at(parts[0], t + 1) if t + 1 < steps else -math.inf
    low = 0 if formula.window is None else int(formula.window.low.value)
    high = steps if formula.window is None else int(formula.window.high.value)
    if kind in ("once", "historically", "since"):
        window = range(max(t - high, 0), t - low + 1)
    else:
        window = range(t + low, min(t + high, steps - 1) + 1)
    if kind in ("once", "eventually"):
        return max((at(parts[0], step) for step in window), default=-math.inf)
    if kind in ("historically", "always"):
        return min((at(parts[0], step) for step in window), default=math.inf)
    found = -math.inf
    for step in window:
        between = range(step + 1, t + 1) if kind == "since" else range(t, step)
        found = max(found, min([at(parts[1], step), *(at(parts[0], other) for other in between)]))
    return found


@settings(max_examples=150, deadline=None)
@given(seed=seeds, steps=st.integers(1, 12))
def test_the_batch_is_what_the_definition_says(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    formula, signals = random_formula(rng, 3), random_traces(rng, 2, steps)
    node = lower(formula, VOCABULARY)
    expected = [
        [define(formula, {k: v[n] for k, v in signals.items()}, t, steps) for t in range(steps)]
        for n in range(2)
    ]
    assert np.array_equal(robustness(node, signals), expected), formula


@settings(max_examples=200, deadline=None)
@given(seed=seeds, steps=st.integers(1, 40))
def test_numpy_torch_and_truth_agree(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    formula, signals = random_formula(rng, 4), random_traces(rng, 3, steps)
    node = lower(formula, VOCABULARY)
    tensors = {name: torch.from_numpy(values) for name, values in signals.items()}
    for end in ("cut", "false", "true"):
        by_how_much, true = robustness(node, signals, end=end), holds(node, signals, end=end)
        assert np.array_equal(robustness(node, tensors, end=end).numpy(), by_how_much), formula
        assert np.array_equal(holds(node, tensors, end=end).numpy(), true), formula
        assert true[by_how_much > 0].all() and not true[by_how_much < 0].any(), formula
    assert np.array_equal(robustness(node, signals, start=True), robustness(node, signals)[:, 0])


@settings(max_examples=200, deadline=None)
@given(seed=seeds, steps=st.integers(1, 60))
def test_step_by_step_is_the_same_as_the_whole_trace(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    formula, signals = random_formula(rng, 4, future=False), random_traces(rng, 3, steps)
    node = lower(formula, VOCABULARY)
    assert np.array_equal(run_along(node, signals, truth=False), robustness(node, signals)), formula
    assert np.array_equal(run_along(node, signals, truth=True), holds(node, signals)), formula


@settings(max_examples=150, deadline=None)
@given(seed=seeds, steps=st.integers(1, 60))
def test_looking_ahead_is_looking_back_with_a_delay(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    formula = random_formula(rng, 3, endless=False)
    signals, node = random_traces(rng, 2, steps), lower(formula, VOCABULARY)
    late = horizon(node)
    for truth, offline in ((False, robustness(node, signals)), (True, holds(node, signals))):
        online = run_along(delayed(node), signals, truth=truth)
        assert np.array_equal(online[:, late:], offline[:, : max(steps - late, 0)]), formula


@settings(max_examples=100, deadline=None)
@given(seed=seeds)
def test_homes_that_stand_still_or_begin_anew_do_not_disturb_the_others(seed: int) -> None:
    """Each home has its own clock; what it says is what it would say alone."""
    rng = np.random.default_rng(seed)
    formula = random_formula(rng, 3, endless=False, mixed=False)
    node, homes = delayed(lower(formula, VOCABULARY)), 4
    signals = random_traces(rng, homes, 60)
    program = Program([node], homes, 0, truth=False)
    alone = [Program([node], 1, 0, truth=False) for _ in range(homes)]
    for t in range(60):
        active = rng.random(homes) < 0.8
        ended = rng.random(homes) < 0.05
        together = program.update(lambda name, t=t: signals[name][:, t], active)[0]
        program.reset(ended)
        for home in np.flatnonzero(active):
            own = alone[home].update(lambda name, t=t, home=home: signals[name][[home], t])[0]
            assert own[0] == together[home], formula
        for home in np.flatnonzero(ended):
            alone[home].reset()


@settings(max_examples=60, deadline=None)
@given(seed=seeds, cut=st.integers(1, 25))
def test_what_is_certain_of_a_beginning_stays_true_of_every_continuation(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    formula, signals = random_formula(rng, 4), random_traces(rng, 3, 40)
    node = lower(formula, VOCABULARY)
    beginning = {name: values[:, :cut] for name, values in signals.items()}
    low, high = (robustness(node, beginning, end=end) for end in ("false", "true"))
    whole = robustness(node, signals)[:, :cut]
    # The whole trace is itself cut at its end: what it does there no continuation has to do.
    inside = robustness(node, signals, end="false")[:, :cut] == robustness(node, signals, end="true")[:, :cut]
    assert (low <= whole)[inside].all() and (whole <= high)[inside].all(), formula


def test_gradients_reach_the_signals_and_smooth_values_come_near_the_exact_ones() -> None:
    rng = np.random.default_rng(0)
    node = lower(parse("always (x > 0 implies eventually[0, 5] y > 0.5) and x since[0, 4] y > 0"
                       .replace("x since", "(x > -1) since")), VOCABULARY)  # fmt: skip
    signals = {k: torch.from_numpy(v).requires_grad_() for k, v in random_traces(rng, 8, 30).items()}
    exact = robustness(node, signals, start=True)
    exact.sum().backward()
    touched = (signals["x"].grad != 0) | (signals["y"].grad != 0)
    assert (touched.sum(dim=1) >= 1).all(), "one value decides, and has the gradient"
    smooth = robustness(node, signals, smooth=0.01, start=True)
    assert (smooth - exact).abs().max() < 0.05
    signals["y"].grad = None
    smooth.sum().backward()
    assert torch.isfinite(signals["y"].grad).all() and (signals["y"].grad != 0).sum() > 8


def test_gradient_is_that_of_finite_differences() -> None:
    rng = np.random.default_rng(1)
    node = lower(parse("(x > 0) until[1, 6] (y > 0) and historically[0, 3] z < 2"), VOCABULARY)
    signals = {k: torch.from_numpy(rng.normal(size=(2, 9))).requires_grad_() for k in VOCABULARY}
    function = lambda *values: robustness(node, dict(zip(VOCABULARY, values, strict=True)), smooth=0.3)  # noqa: E731
    assert torch.autograd.gradcheck(function, tuple(signals.values()))


def test_unknown_values_are_assumed_as_asked() -> None:
    vocabulary = {"x": SignalInfo("x", unknown="sometimes")}
    signals = {"x": np.array([[np.nan, 1.0, -1.0]])}
    for text, expected in (
        ("x > 0", {"cut": [0, 1, 0], "false": [0, 1, 0], "true": [1, 1, 0]}),
        ("not x > 0", {"cut": [1, 0, 1], "false": [0, 0, 1], "true": [1, 0, 1]}),
    ):
        node = lower(parse(text), vocabulary)
        for end, truth in expected.items():
            assert holds(node, signals, end=end).tolist() == [[bool(value) for value in truth]]
        for assume in (False, True):
            program = Program([node], 1, 0, assume=[assume])
            values = [program.update(lambda _, t=t: signals["x"][:, t])[0][0] for t in range(3)]
            assert values == [bool(value) for value in expected["true" if assume else "false"]]


def test_objects_are_quantified_over_and_home_signals_spread() -> None:
    vocabulary = {
        "near": SignalInfo("near", scope="object"),
        "sharp": SignalInfo("sharp", kind="truth", scope="object"),
        "speed": SignalInfo("speed"),
    }
    rng = np.random.default_rng(2)
    signals = {
        "near": rng.normal(size=(5, 20, 3)),
        "sharp": rng.random((5, 20, 3)) < 0.5,
        "speed": rng.normal(size=(5, 20)),
    }
    bad = (signals["near"] < 0.1) & (signals["speed"] > 0)[:, :, None]
    for text, expected in (
        ("any object that is sharp: near < 0.1 and speed > 0", (signals["sharp"] & bad).any(axis=2)),
        ("every object that is sharp: near < 0.1 and speed > 0", (~signals["sharp"] | bad).all(axis=2)),
        (
            "any object: previous near < 0.1",
            np.pad(signals["near"] < 0.1, ((0, 0), (1, 0), (0, 0)))[:, :-1].any(2),
        ),
    ):
        node = lower(parse(text), vocabulary)
        assert np.array_equal(holds(node, signals), expected), text
        program = Program([node], 5, 3)
        online = [program.update(lambda n, t=t: signals[n][:, t])[0] for t in range(20)]
        assert np.array_equal(np.stack(online, axis=1), expected), text
        tensors = {name: torch.from_numpy(values) for name, values in signals.items()}
        assert np.array_equal(holds(node, tensors).numpy(), expected), text
        assert np.array_equal(robustness(node, tensors).numpy(), robustness(node, signals)), text
    empty = {name: values[..., :0] if values.ndim == 3 else values for name, values in signals.items()}
    assert not holds(lower(parse("any object: near < 9"), vocabulary), empty).any()
    assert holds(lower(parse("every object: near < -9"), vocabulary), empty).all()


def test_arrays_that_do_not_fit_are_refused() -> None:
    node = lower(parse("x > 0 and y > 0"), VOCABULARY)
    with pytest.raises(ValueError, match="signal 'y' is missing"):
        holds(node, {"x": np.zeros((1, 3))})
    with pytest.raises(ValueError, match=r"signal 'y' has shape \(1, 4\)"):
        holds(node, {"x": np.zeros((1, 3)), "y": np.zeros((1, 4))})
    with pytest.raises(ValueError, match="needs torch"):
        robustness(node, {"x": np.zeros((1, 3)), "y": np.zeros((1, 3))}, smooth=0.1)
    with pytest.raises(ValueError, match="looks ahead"):
        Program([lower(parse("eventually x > 0"), VOCABULARY)], 1, 0)
    with pytest.raises(ValueError, match="without an end"):
        delayed(lower(parse("eventually x > 0"), VOCABULARY))


@pytest.mark.parametrize("truth", [False, True])
def test_memory_is_bounded_by_the_windows(truth: bool) -> None:
    text = (
        "x > 0 since[2, 9] y > 0 and historically[3] x < 1 and once y > 0 and previous eventually[0, 5] x > 1"
    )
    program = Program([delayed(lower(parse(text), VOCABULARY))], 4, 0, truth=truth)
    signals, sizes = random_traces(np.random.default_rng(0), 4, 400), []
    for t in range(400):
        program.update(lambda name, t=t: signals[name][:, t])
        arrays = [value for memory, *_ in program._memories for value in vars(memory).values()]
        sizes.append(sum(value.nbytes for value in arrays if isinstance(value, np.ndarray)))
        assert not any(isinstance(value, list | dict) for value in arrays)
    assert len(set(sizes)) == 1 and sizes[0] > 0
