"""What a kind of thing in a home is: shape from primitives, physics, hazards, where it belongs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

Colour = tuple[float, float, float]

MAX_PARTS = 8  # geoms of one entity slot
SHAPES = ("box", "cylinder", "sphere", "ellipsoid", "capsule")
MATERIALS = ("plain", "wood", "fabric", "tile", "metal", "glass", "foliage")
# What an instance can be made of instead of a part's own material; the last one is for val and test alone.
FINISHES: dict[str, tuple[str, ...]] = {
    "wood": ("wood", "plain", "wicker"),
    "fabric": ("fabric", "stripes", "checks"),
    "tile": ("tile", "metal", "marble"),
}
MORE_MATERIALS = ("wicker", "stripes", "checks", "marble")  # that homes of class S do not have
ROOM_KINDS = ("kitchen", "living_room", "bedroom", "bathroom", "hall")


class Hazard(IntEnum):
    """Why a robot should not touch something."""

    NONE = 0
    HOT = 1
    SHARP = 2
    ELECTRICAL = 3
    CHEMICAL = 4
    FLAMMABLE = 5


@dataclass(frozen=True)
class Part:
    """One primitive of an entity, in the entity's frame: origin at the middle of its underside, z up.

    Attributes:
        shape: one of SHAPES.
        size: half extents (m) as MuJoCo takes them: box and ellipsoid (x, y, z), cylinder and capsule
            (radius, half height, 0), sphere (radius, 0, 0).
        pos: centre (m).
        euler: rotation (deg) about x, y, z.
        colour: RGB, or "main" / "accent" for the instance's palette.
        material: one of MATERIALS; its name tells the rasteriser which texture to draw.
        collide: False for decoration that nothing can touch.
        density: share of the entity's mass per volume, relative to its other parts.
    """

    shape: str
    size: tuple[float, float, float]
    pos: tuple[float, float, float]
    euler: tuple[float, float, float] = (0.0, 0.0, 0.0)
    colour: Colour | str = "main"
    material: str = "plain"
    collide: bool = True
    density: float = 1.0

    @property
    def volume(self) -> float:
        """Volume in m3."""
        x, y, z = self.size
        if self.shape == "box":
            return 8 * x * y * z
        if self.shape == "cylinder":
            return 2 * math.pi * x * x * y
        if self.shape == "capsule":
            return 2 * math.pi * x * x * y + 4 / 3 * math.pi * x**3
        if self.shape == "sphere":
            return 4 / 3 * math.pi * x**3
        return 4 / 3 * math.pi * x * y * z


Surface = tuple[float, float, float, float, float]  # x, y, z, half_x, half_y of a support rectangle (m)


@dataclass(frozen=True)
class EntityType:
    """A kind of object or furniture.

    Attributes:
        name: snake_case identifier, also the perception label.
        noun: what an instruction calls it.
        synonyms: other words for it.
        kind: "object" or "furniture".
        movable: True for a free body, False for what is fixed to the world.
        parts: 1 to MAX_PARTS primitives. Furniture faces -y and has its back at +y.
        size: nominal width (x), depth (y), height (z) in m.
        scale_range: smallest and largest instance relative to nominal.
        mass: kg, of the nominal instance.
        fragile: True if an impact can break it.
        break_impulse: N s; the momentum that one impact must transfer to break it (inf when not fragile).
        hazard: why it should not be touched.
        spillable: True if tipping it spills something.
        graspable: True if the gripper can lift it.
        rooms: kinds of rooms that it belongs in.
        found_on: names of the furniture that carries it, or "floor".
        colours: palette of (main, accent) RGB pairs.
        surfaces: support rectangles that other things can stand on, in its own frame.
        placement: "wall", "corner", "centre", "around_table" or "high" (hung on a wall) for furniture, else
            None.
    """

    name: str
    noun: str
    kind: str
    parts: tuple[Part, ...]
    size: tuple[float, float, float]
    mass: float
    colours: tuple[tuple[Colour, Colour], ...]
    rooms: tuple[str, ...] = ROOM_KINDS
    found_on: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    movable: bool = True
    scale_range: tuple[float, float] = (0.9, 1.1)
    fragile: bool = False
    break_impulse: float = math.inf
    hazard: Hazard = Hazard.NONE
    spillable: bool = False
    graspable: bool = False
    surfaces: tuple[Surface, ...] = ()
    placement: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.parts) <= MAX_PARTS:
            raise ValueError(f"type {self.name} has {len(self.parts)} parts, expected 1 to {MAX_PARTS}")
        if self.fragile != math.isfinite(self.break_impulse):
            raise ValueError(f"type {self.name}: break_impulse must be finite exactly when it is fragile")


def box(
    width: float, depth: float, height: float, x: float = 0, y: float = 0, z: float = 0, **rest: Any
) -> Part:
    """Return a box of full extents `width` x `depth` x `height` whose underside is at height `z`."""
    return Part("box", (width / 2, depth / 2, height / 2), (x, y, z + height / 2), **rest)


def cylinder(radius: float, height: float, x: float = 0, y: float = 0, z: float = 0, **rest: Any) -> Part:
    """Return an upright cylinder whose underside is at height `z`."""
    return Part("cylinder", (radius, height / 2, 0.0), (x, y, z + height / 2), **rest)


def rod(radius: float, length: float, pos: tuple[float, float, float], axis: str, **rest: Any) -> Part:
    """Return a cylinder of `length` centred at `pos` that lies along `axis` "x" or "y"."""
    euler = (0.0, 90.0, 0.0) if axis == "x" else (90.0, 0.0, 0.0)
    return Part("cylinder", (radius, length / 2, 0.0), pos, euler, **rest)


def ball(radius: float, x: float = 0, y: float = 0, z: float = 0, **rest: Any) -> Part:
    """Return a sphere whose lowest point is at height `z`."""
    return Part("sphere", (radius, 0.0, 0.0), (x, y, z + radius), **rest)


def oval(
    width: float, depth: float, height: float, x: float = 0, y: float = 0, z: float = 0, **rest: Any
) -> Part:
    """Return an ellipsoid of full extents whose lowest point is at height `z`."""
    return Part("ellipsoid", (width / 2, depth / 2, height / 2), (x, y, z + height / 2), **rest)
