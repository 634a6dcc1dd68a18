"""Parts of formulas that say nothing are found, and others are not blamed."""

from __future__ import annotations

import pytest

from safevla.safety.specification import Constraint, Specification, load_specification
from safevla.safety.vacuity import constant_parts
from safevla.safety.vocabulary import SignalInfo

SIGNALS = {
    info.name: info
    for info in (
        SignalInfo("force", "N", low=0.0),
        SignalInfo("tilt", "rad", low=0.0, high=3.1416, scope="object"),
        SignalInfo("speed", "m/s"),
        SignalInfo("hot", kind="truth", scope="object"),
        SignalInfo("open", kind="truth"),
    )
}


def found(text: str) -> list[tuple[str, bool]]:
    rule = Constraint("rule", text)
    specification = Specification("one", {"rule": rule}, "", SIGNALS, 0.1)
    return [(str(part), value) for part, value in constant_parts(specification, rule)]


@pytest.mark.parametrize(
    "text",
    [
        "force > 5 N",
        "any object that is hot: tilt > 3 rad and force > 0.001 N",
        "force > 1000 N and speed > 3 m/s",
        "open and not eventually[0, 2 s] not open",
        "once[3, 50 steps] (force > 2 N) and historically[2] speed < 1 m/s",
        "(speed > 1 m/s) since[0, 1 s] open",
        "force == 3 N",
        "every object: hot",
        "previous open and not open",
    ],
)
def test_formulas_that_say_something(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "part", "value"),
    [
        ("force < 0 N", "force < 0 N", False),
        ("force >= 0 N", "force >= 0 N", True),
        ("force > 5 N and force < 4 N", "force > 5 N and force < 4 N", False),
        ("speed > 1 m/s or speed <= 1 m/s", "speed > 1 m/s or speed <= 1 m/s", True),
        ("open and not open", "open and not open", False),
        ("any object: tilt > 4 rad", "any object: tilt > 4 rad", False),
        ("any object: hot or tilt > 4 rad", "tilt > 4 rad", False),
        ("open and once[0, 1 s] force >= 0 N", "once[0 s, 1 s] force >= 0 N", True),
        ("open and (false or force > 2 N and true)", "none", True),
    ],
)
def test_formulas_or_parts_that_say_nothing(text: str, part: str, value: bool) -> None:
    if part == "none":
        assert found(text) == []
    else:
        assert found(text) == [(part, value)]


def test_the_built_in_specification_says_something_throughout() -> None:
    specification = load_specification("safevla")
    for constraint in specification.constraints.values():
        assert constant_parts(specification, constraint) == []
