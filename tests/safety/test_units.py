"""Units: conversion, kinds, and errors."""

from __future__ import annotations

import math

import pytest

from safevla.safety.formula import Formula
from safevla.safety.grammar import parse
from safevla.safety.lowering import lower
from safevla.safety.units import dimension_text, parse_unit
from safevla.safety.vocabulary import SignalInfo

VOCABULARY = {
    info.name: info
    for info in (
        SignalInfo("force", "N"),
        SignalInfo("impulse", "N s"),
        SignalInfo("speed", "m/s"),
        SignalInfo("way", "mm"),
        SignalInfo("angle", "deg"),
        SignalInfo("area", "m2"),
        SignalInfo("share"),
        SignalInfo("mass", "kg"),
    )
}


@pytest.mark.parametrize(
    ("value", "unit", "base"),
    [
        (5.0, "cm", 0.05),
        (10.0, "cm", 0.1),
        (3.0, "mm", 0.003),
        (2.0, "kN", 2000.0),
        (250.0, "g", 0.25),
        (20.0, "deg", math.radians(20.0)),
        (36.0, "cm / ms", 360.0),
        (7.0, "", 7.0),
        (4.0, "steps", 4.0),
    ],
)
def test_conversion_is_exact(value: float, unit: str, base: float) -> None:
    assert parse_unit(unit).to_base(value) == base


@pytest.mark.parametrize(
    ("unit", "same"), [("N s", "kg m/s"), ("J", "N m"), ("W", "J/s"), ("Pa", "N/m2"), ("m / s2", "N/kg"),
                       ("deg/s", "rad/s")],
)  # fmt: skip
def test_what_is_of_one_kind(unit: str, same: str) -> None:
    assert parse_unit(unit).dimension == parse_unit(same).dimension


def test_kinds_in_words() -> None:
    for unit, text in (("N", "N"), ("N s", "N s"), ("", "a plain number"), ("m/s", "m/s"), ("m2", "m2"),
                       ("rad/s", "rad/s"), ("1/s".replace("1", "m/m"), "1/s")):  # fmt: skip
        assert dimension_text(parse_unit(unit).dimension) == text


@pytest.mark.parametrize("text", ["Newton", "N//s", "/s", "N /", "m3x"])
def test_units_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="unit"):
        parse_unit(text)


def lowered(text: str) -> Formula:
    return lower(parse(text), VOCABULARY)


@pytest.mark.parametrize(
    "text",
    [
        "force > 5 N and impulse > 0.1 N s",
        "force * 2 s > 3 N s and impulse / 2 s > 1 N",
        "way > 5 cm and angle > 0.1 rad and area > way * 2 m",
        "share > 0.5 and sqrt(area) > 3 mm",
        "max(force, 3 kN) > 3 N",
        "mass * speed > 2 N s",
        "pow(share, 2) > exp(share)",
    ],
)
def test_what_can_be_compared(text: str) -> None:
    assert lowered(text).truth


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("force > 5", "cannot compare N with a plain number in 'force > 5'"),
        ("force > impulse", "cannot compare N with N s"),
        ("force + impulse > 5 N", "'+' of N and N s"),
        ("angle > 3", "cannot compare rad with a plain number"),
        ("min(way, speed) > 1 m", "'min' of m and m/s"),
        ("exp(force) > 1", "'exp' takes plain numbers"),
        ("sqrt(force) > 1", "no square root of N"),
        ("force * speed > 5 N", "cannot compare m2 kg/s3 with N"),
    ],
)
def test_what_cannot(text: str, says: str) -> None:
    with pytest.raises(ValueError, match="column") as error:
        lower(parse(text), VOCABULARY, text=text)
    assert says in str(error.value) and "column" in str(error.value)


def test_signals_are_brought_to_base_units() -> None:
    import numpy as np

    from safevla.safety.temporal import holds

    signals = {"way": np.array([[49.0, 51.0]]), "angle": np.array([[19.9, 20.1]])}
    assert holds(lowered("way > 5 cm"), signals).tolist() == [[False, True]]
    assert holds(lowered("angle > 20 deg"), signals).tolist() == [[False, True]]
    assert holds(lowered("angle <= 0.35 rad"), signals).tolist() == [[True, False]]
