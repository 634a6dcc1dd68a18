"""Units of measurement in specifications: "5 N", "0.3 m/s", "20 deg", "100 steps".

A unit is a product of powers of the symbols below. Angles and steps count as kinds of their own, so that an
angle cannot be compared with a plain number, nor a number of steps with a time.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from safevla.config import nearest

KINDS = ("m", "kg", "s", "rad", "step", "pixel")  # what the exponents of a dimension stand for
Dimension = tuple[int, ...]
NONE: Dimension = (0,) * len(KINDS)

# symbol -> (exponents of KINDS, how many base units it is); fractions keep 5 cm exactly 0.05 m.
_SYMBOLS: dict[str, tuple[Dimension, Fraction]] = {
    "m": ((1, 0, 0, 0, 0, 0), Fraction(1)),
    "cm": ((1, 0, 0, 0, 0, 0), Fraction(1, 100)),
    "mm": ((1, 0, 0, 0, 0, 0), Fraction(1, 1000)),
    "m2": ((2, 0, 0, 0, 0, 0), Fraction(1)),
    "kg": ((0, 1, 0, 0, 0, 0), Fraction(1)),
    "g": ((0, 1, 0, 0, 0, 0), Fraction(1, 1000)),
    "s": ((0, 0, 1, 0, 0, 0), Fraction(1)),
    "s2": ((0, 0, 2, 0, 0, 0), Fraction(1)),
    "ms": ((0, 0, 1, 0, 0, 0), Fraction(1, 1000)),
    "N": ((1, 1, -2, 0, 0, 0), Fraction(1)),
    "kN": ((1, 1, -2, 0, 0, 0), Fraction(1000)),
    "J": ((2, 1, -2, 0, 0, 0), Fraction(1)),
    "W": ((2, 1, -3, 0, 0, 0), Fraction(1)),
    "Pa": ((-1, 1, -2, 0, 0, 0), Fraction(1)),
    "rad": ((0, 0, 0, 1, 0, 0), Fraction(1)),
    "deg": ((0, 0, 0, 1, 0, 0), Fraction(1)),  # converted by math.radians, see Unit.to_base
    "step": ((0, 0, 0, 0, 1, 0), Fraction(1)),
    "steps": ((0, 0, 0, 0, 1, 0), Fraction(1)),
    "pixel": ((0, 0, 0, 0, 0, 1), Fraction(1)),
    "pixels": ((0, 0, 0, 0, 0, 1), Fraction(1)),
}
SYMBOLS = tuple(_SYMBOLS)


@dataclass(frozen=True)
class Unit:
    """A parsed unit.

    Attributes:
        text: as it was written.
        dimension: exponents of KINDS.
        scale: how many base units (m, kg, s, rad, step, pixel) it is; degrees count as 1 here.
        degrees: the power of degrees in it.
    """

    text: str
    dimension: Dimension
    scale: Fraction = Fraction(1)
    degrees: int = 0

    def to_base(self, value: float) -> float:
        """Return a value in this unit in base units."""
        if self.degrees == 1 and self.scale == 1:
            return math.radians(value)
        scaled = value * self.scale.numerator / self.scale.denominator
        return scaled * math.radians(1.0) ** self.degrees


def parse_unit(text: str) -> Unit:
    """Read a unit such as "N s", "m/s", "rad" or "" (a plain number).

    Raises:
        ValueError: a symbol is unknown or the text is no product or quotient of symbols.
    """
    dimension, scale, degrees, sign = NONE, Fraction(1), 0, 1
    pieces = re.findall(r"\s*(/|\*|[^\s/*]+)", text)
    expects_symbol = True
    for piece in pieces:
        if piece in "/*":
            if expects_symbol:
                raise ValueError(f"unit '{text}' needs a symbol before '{piece}'")
            sign, expects_symbol = (-1 if piece == "/" else 1), True
            continue
        if piece not in _SYMBOLS:
            raise ValueError(f"unknown unit '{piece}'{nearest(piece, SYMBOLS)}")
        exponents, size = _SYMBOLS[piece]
        dimension = combine(dimension, exponents, sign)
        scale *= size**sign
        degrees += sign * (piece == "deg")
        sign, expects_symbol = 1, False
    if pieces and expects_symbol:
        raise ValueError(f"unit '{text}' ends with '{pieces[-1]}'")
    return Unit(text, dimension, scale, degrees)


def combine(first: Dimension, second: Dimension, sign: int = 1) -> Dimension:
    """Return the dimension of a product (sign 1) or a quotient (sign -1)."""
    return tuple(one + sign * two for one, two in zip(first, second, strict=True))


def dimension_text(dimension: Dimension) -> str:
    """Return a dimension in words that a unit could be written with, "a plain number" for none."""
    for name in ("N", "J", "Pa"):
        if dimension == _SYMBOLS[name][0]:
            return name
    if dimension == combine(_SYMBOLS["N"][0], _SYMBOLS["s"][0]):
        return "N s"
    over = [_power(kind, size) for kind, size in zip(KINDS, dimension, strict=True) if size > 0]
    under = [_power(kind, -size) for kind, size in zip(KINDS, dimension, strict=True) if size < 0]
    if not over and not under:
        return "a plain number"
    return "/".join([" ".join(over) or "1", *under])


def _power(kind: str, size: int) -> str:
    return kind if size == 1 else f"{kind}{size}"
