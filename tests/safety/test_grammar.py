"""The text of formulas: precedence, round trip, and errors that point at the place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_formulas import random_formula

from safevla.safety.formula import Number, Operation, Signal, Window, any_object, quantity, signal
from safevla.safety.grammar import FormulaError, parse


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_is_written_is_read(seed: int) -> None:
    formula = random_formula(np.random.default_rng(seed), 5)
    assert parse(str(formula)) == formula


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("a and b or c and not d", "(a and b) or (c and (not d))"),
        ("a or b implies c implies d", "(a or b) implies (c implies d)"),
        ("a -> b", "a implies b"),
        ("not x > 3", "not (x > 3)"),
        ("once a and b", "(once a) and b"),
        ("a since b and c", "(a since b) and c"),
        ("x - y - z > 1", "((x - y) - z) > 1"),
        ("x - -2 * y / z > 1", "(x - (((-2) * y) / z)) > 1"),
        ("any object that is a or b: c and d", "any object that is (a or b): (c and d)"),
        ("a and any object: b or c", "a and (any object: (b or c))"),
        ("always every object: a", "always (every object: a)"),
        ("once[5 s] a", "once[0 s, 5 s] a"),
        ("eventually[1, 5 s] a", "eventually[1 s, 5s] a"),
        ("(a and b) and c", "a and b and c"),
        ("  a\n  and\tb ", "a and b"),
        ("min(x, y) + abs(-x) > sqrt(z)", "(min(x, y) + abs((-x))) > sqrt(z)"),
        ("x > .5e1 N s", "x > 5 N s"),
        ("a iff b", "a iff (b)"),
        ("arm.speed > 2 m / s", "arm.speed > 2 m / s"),
        ("sense > 1 and minute and annoy and until_now", "(sense > 1) and minute and annoy and until_now"),
    ],
)
def test_how_it_binds(text: str, same: str) -> None:
    assert parse(text) == parse(same)
    assert parse(str(parse(text))) == parse(text)


def test_the_tree() -> None:
    parsed = parse("any object that is sharp: gap < 10 cm and once[2 steps, end] moving")
    once = Operation("once", (Signal("moving"),), Window(Number(2.0, "steps"), None))
    near = signal("gap") < quantity(10, "cm")
    assert parsed == any_object(near & once, that_is=signal("sharp"))
    assert parse("true") == Number(True) and parse("x > 5 N s").operands[1] == Number(5.0, "N s")


@pytest.mark.parametrize(
    ("text", "column", "says"),
    [
        ("", None, "expected a formula, found the end"),
        ("a and", 6, "expected a formula, found the end"),
        ("a b", 3, "a comparison or the end, found 'b'"),
        ("a > > b", 5, "expected a number or a signal, found '>'"),
        ("(a and b", 9, "expected ')', found the end"),
        ("force > 5 NN", 11, "unknown unit 'NN'; did you mean 'N'?"),
        ("any object that fragile: x", 17, "expected 'is', found 'fragile'"),
        ("any thing: x", 5, "expected 'object', found 'thing'"),
        ("once[0, x] a", 9, "expected 'end' or a number, found 'x'"),
        ("once[0, 3 a", 11, "expected ']', found 'a'"),
        ("min(a) > 3", 1, "'min' takes 2 arguments, got 1"),
        ("previous[3] a", 1, "'previous' has no window"),
        ("a # b", 3, "unexpected character '#'"),
        ("a and\nb or or c", 6, "line 2, column 6: a and b or <HERE>or c"),
        (f"{'much and ' * 8}or c", 73, f"line 1, column 73: ... and {'much and ' * 6}<HERE>or c"),
    ],
)
def test_errors_point_at_the_place(text: str, column: int | None, says: str) -> None:
    with pytest.raises(FormulaError) as error:
        parse(text)
    assert says in str(error.value) and "\n" not in str(error.value)
    assert column is None or f"column {column}:" in str(error.value)
