"""What sets one thing apart from others of its type: "red mug", "mug in the kitchen", "mug on a desk".

A description is text, as `Scenario.which` holds it: `colour:red`, `size:small`, `in:kitchen`, `on:desk`; ""
describes nothing. Here is what can be said; `tasks.matching` says of which things in a home it is true.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from safevla.config import nearest
from safevla.tasks.colours import COLOURS, dominant_colour, seen_shares
from safevla.world.catalogue import TYPES
from safevla.world.entity_type import ROOM_KINDS

KINDS = ("colour", "size", "in", "on")
SIZES = ("small", "big")
CONTRAST = 1.15  # a big one is at least this much larger along its sides than a small one


def parse(which: str) -> tuple[str, str]:
    """Return kind and value of a description; anything that is none raises ValueError."""
    kind, _, value = which.partition(":")
    known = {"colour": COLOURS, "size": SIZES, "in": ROOM_KINDS, "on": tuple(TYPES)}
    if kind not in known:
        raise ValueError(
            f"{which!r} describes nothing; write it like colour:red, size:small, in:kitchen or on:desk"
        )
    if value not in known[kind]:
        raise ValueError(f"{which!r}: unknown {kind} {value!r}{nearest(value, known[kind])}")
    return kind, value


def noun_phrase(noun: str) -> str:
    """Return the noun with its indefinite article: "a mug", "an apple".

    Args:
        noun: a noun or the name of a type; underscores are read as spaces.
    """
    words = noun.replace("_", " ").strip()
    if not words:
        raise ValueError("the noun of an instruction is empty")
    return f"{'an' if words[0].lower() in 'aeiou' else 'a'} {words}"


def described(noun: str, which: str) -> str:
    """Return a noun with a description: "red mug", "mug in the kitchen", "mug on a desk".

    Args:
        noun: a noun or the name of a type; underscores are read as spaces.
        which: a description, "" for none.
    """
    noun = noun.replace("_", " ")
    if not which:
        return noun
    kind, value = parse(which)
    if kind == "in":
        return f"{noun} in the {value.replace('_', ' ')}"
    if kind == "on":
        return f"{noun} on {noun_phrase(TYPES[value].noun)}"
    return f"{value} {noun}"


@cache
def descriptions(target: str) -> tuple[str, ...]:
    """Return every description that instructions use for a type, in a fixed order.

    Its colours, rooms and furniture are those that the catalogue gives it; sizes are told apart where its
    instances can differ enough for it.
    """
    kind = TYPES[target]
    seen = palette(target)
    low, high = kind.scale_range
    return (
        *(f"colour:{name}" for name in COLOURS if name in seen),
        *(f"size:{name}" for name in SIZES if high / low >= CONTRAST),
        *(f"in:{name}" for name in ROOM_KINDS if name in kind.rooms and len(kind.rooms) > 1),
        *(f"on:{name}" for name in sorted(kind.found_on) if name != "floor"),
    )


@cache
def palette(target: str) -> tuple[str | None, ...]:
    """Return what an instance of a type is called in each colour of its palette, None where by no name."""
    kind = TYPES[target]
    shares = seen_shares(
        [part.shape for part in kind.parts],
        np.array([part.size for part in kind.parts], dtype=np.float64),
        np.array([part.pos for part in kind.parts], dtype=np.float64),
        np.array([_rotation(*part.euler) for part in kind.parts]),
    )
    names = []
    for main, accent in kind.colours:
        colours = [
            main if part.colour == "main" else accent if part.colour == "accent" else part.colour
            for part in kind.parts
        ]
        names.append(dominant_colour([np.array(colour) for colour in colours], shares))
    return tuple(names)


def _rotation(x: float, y: float, z: float) -> np.ndarray:
    """Return the matrix (3, 3) of turns about x, then the new y, then the new z, in degrees."""
    matrix = np.eye(3)
    for axis, angle in enumerate(map(math.radians, (x, y, z))):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[second, first], turn[first, second] = math.sin(angle), -math.sin(angle)
        matrix = matrix @ turn
    return matrix
