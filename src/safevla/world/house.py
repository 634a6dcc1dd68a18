"""A home as plain numbers: rooms, walls, and what stands where. `generate` draws one from a seed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from safevla.types import KNOBS, Knobs

SPLITS = ("train", "val", "test")
SIZE_CLASSES = ("S", "M", "L")
ROOMS = {"S": (1, 2), "M": (3, 4), "L": (5, 8)}  # fewest and most
_ATTEMPTS = 40


@dataclass(frozen=True)
class Slots:
    """How many entities of each kind every home of a size class has room for."""

    walls: int
    furniture: int
    objects: int
    rooms: int

    @property
    def entities(self) -> int:
        """Number of entity slots E: walls, then furniture, then objects."""
        return self.walls + self.furniture + self.objects


SLOTS = {
    "S": Slots(walls=8, furniture=14, objects=34, rooms=2),
    "M": Slots(walls=24, furniture=40, objects=96, rooms=4),
    "L": Slots(walls=46, furniture=72, objects=156, rooms=8),
}
# Geoms that something can touch, those of the robot included, that a home may have. Parked ones stand in for
# missing ones. (Homes of class S are left as they were before this was asked for, unless compiled `uniform`.)
SOLIDS = {"S": 210, "M": 460, "L": 760}


@dataclass(frozen=True)
class Placement:
    """One thing in a home.

    Attributes:
        type: name in `catalogue.TYPES`.
        position: x, y, z (m) of the middle of its underside.
        yaw: rad about z.
        scale: factors on width, depth and height.
        colour: index in the palette of the type.
        component: one of KNOBS if it was placed as a safety-critical component, else None.
        finish: index in the finishes of its materials, see `entity_type.FINISHES`.
    """

    type: str
    position: tuple[float, float, float]
    yaw: float
    scale: tuple[float, float, float]
    colour: int
    component: str | None = None
    finish: int = 0


@dataclass(frozen=True)
class Room:
    """A rectangle of floor between walls: x0 < x1, y0 < y1 in m. `floor` is (material, red, green, blue)."""

    kind: str
    x0: float
    y0: float
    x1: float
    y1: float
    floor: tuple[str, float, float, float] = ("wood", 0.7, 0.55, 0.4)

    def holds(self, x: float, y: float, margin: float = 0.0) -> bool:
        """Return whether a point (m) is in the room, at least `margin` from its edges."""
        inside_x = self.x0 + margin <= x <= self.x1 - margin
        return inside_x and self.y0 + margin <= y <= self.y1 - margin


@dataclass(frozen=True)
class HouseSpec:
    """Everything that a home is made from; the same spec compiles to the same model.

    Attributes:
        seed: that it was drawn from.
        size_class: one of SIZE_CLASSES.
        split: one of SPLITS.
        knobs: strength of the safety-critical components.
        rooms: as many as its class has, see ROOMS.
        walls: centre x, y, z and half extents x, y, z (m) of boxes; the lintel over a doorway is one too.
        furniture: what is fixed.
        objects: what can move, chairs included.
        wall_colour: RGB.
        light: azimuth (rad), elevation (rad), strength of the directional light, of the ambient light.
    """

    seed: int
    size_class: str
    split: str
    knobs: Knobs
    rooms: tuple[Room, ...]
    walls: tuple[tuple[float, float, float, float, float, float], ...]
    furniture: tuple[Placement, ...]
    objects: tuple[Placement, ...]
    wall_colour: tuple[float, float, float]
    light: tuple[float, float, float, float]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Return x0, y0, x1, y1 (m) of the home, outer walls included."""
        low_x = min(wall[0] - wall[3] for wall in self.walls)
        low_y = min(wall[1] - wall[4] for wall in self.walls)
        high_x = max(wall[0] + wall[3] for wall in self.walls)
        high_y = max(wall[1] + wall[4] for wall in self.walls)
        return low_x, low_y, high_x, high_y

    def to_json(self) -> str:
        """Return the spec as JSON text; `from_json` gives back an equal spec."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> HouseSpec:
        """Read the text of `to_json`; anything else raises ValueError."""
        try:
            data = json.loads(text)
            data["knobs"] = Knobs(**data["knobs"])
            data["rooms"] = tuple(Room(**_tuples(room)) for room in data["rooms"])
            data["furniture"] = tuple(Placement(**_tuples(item)) for item in data["furniture"])
            data["objects"] = tuple(Placement(**_tuples(item)) for item in data["objects"])
            data["walls"] = tuple(tuple(wall) for wall in data["walls"])
            return cls(**_tuples(data))
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(
                f"not the JSON of a house, make one with HouseSpec.to_json(): {error}"
            ) from error


def check_size_class(size_class: str) -> None:
    """Raise ValueError for a name that is no size class."""
    if size_class not in SIZE_CLASSES:
        raise ValueError(f"there are no homes of class {size_class!r}, use {' or '.join(SIZE_CLASSES)}")


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    """Turn the lists that JSON makes of tuples back into tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}


def generate(seed: int, size_class: str = "S", split: str = "train", knobs: Knobs | None = None) -> HouseSpec:
    """Draw a home.

    The plan, the furniture and the ordinary objects depend on seed, class and split alone. Each knob adds its
    components with random numbers of its own, so that turning it changes little else.

    Args:
        seed: 0 or more.
        size_class: one of SIZE_CLASSES.
        split: one of SPLITS.
        knobs: all 0 when left out.

    Raises:
        ValueError: an argument is none of those.
    """
    from safevla.world.components import place_components
    from safevla.world.layout import LayoutFailed
    from safevla.world.recipes import RECIPES

    knobs = knobs or Knobs()
    check_size_class(size_class)
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, use {', '.join(SPLITS)}")
    if seed < 0:
        raise ValueError(f"seed is {seed}, expected 0 or more")
    key = (seed, SPLITS.index(split), SIZE_CLASSES.index(size_class))
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng((*key, attempt))
        try:
            layout = RECIPES[size_class](rng, split != "train")
        except LayoutFailed:
            continue
        for index, name in enumerate(KNOBS):
            own = np.random.default_rng((*key, attempt, index + 1))
            place_components(layout, name, getattr(knobs, name), own)
        plan = layout.plan
        return HouseSpec(
            seed,
            size_class,
            split,
            knobs,
            plan.rooms,
            plan.walls,
            tuple(layout.furniture),
            tuple(layout.objects),
            plan.wall_colour,
            plan.light,
        )
    raise RuntimeError(f"no layout found for house seed {seed} in {_ATTEMPTS} attempts; report this seed")
