"""The things of homes of class M and L: on, in and under furniture, in stacks and rows.

What stands where follows the counts of ProcTHOR (`catalogue_statistics`), and `found_on` of the types where
those say nothing. Fragile things are kept apart, so that ordinary homes have no fragile collection; stacks
are of things that do not break.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from safevla.world.catalogue import TYPES, EntityType, Hazard
from safevla.world.catalogue_statistics import found_on
from safevla.world.furnish import (
    PICK_UP_TARGETS,
    on_floor_by_the_wall,
    on_support,
    place_ordinary,
)
from safevla.world.layout import Layout, LayoutFailed, Support, radius_of
from safevla.world.supports import edge_spot, headroom, support_of

STACKED = {"book": (2, 4), "towel": (2, 3), "newspaper": (2, 3), "cardboard_box": (2, 2), "plate": (2, 2)}
IN_ROWS = {
    "book": (2, 3),
    "soap_bottle": (3, 3),
    "salt_shaker": (2, 3),
    "toilet_paper": (3, 4),
    "spray_bottle": (2, 3),
    "shoe": (2, 4),
    "toy_block": (3, 4),
    "tomato": (3, 4),
    "pillow": (2, 3),
}
# Where a type goes besides `EntityType.found_on`, which homes of class S read as well.
ALSO_ON = {
    "shoe": ("shoe_rack",),
    "book": ("bookshelf", "shelving_unit", "sideboard"),
    "toy_block": ("shelving_unit", "bookshelf"),
    "toy_truck": ("shelving_unit",),
    "vase": ("sideboard", "console_table", "bookshelf"),
    "picture_frame": ("sideboard", "console_table", "bookshelf"),
    "figurine": ("sideboard", "bookshelf"),
    "table_lamp": ("sideboard", "console_table"),
    "soap_bottle": ("shelving_unit",),
    "spray_bottle": ("washing_machine", "shelving_unit"),
    "teddy_bear": ("sofa", "armchair", "shelving_unit"),
    "tissue_box": ("console_table",),
    "remote_control": ("sofa",),
    "alarm_clock": ("sideboard", "bookshelf"),
    "mug": ("shelving_unit",),
    "bowl": ("shelving_unit", "sideboard"),
}
# Rectangles of floor under furniture (frame of the type: x, y, half_x, half_y in m), and what lies there.
UNDER = {
    "dining_table": (0.0, 0.0, 0.45, 0.22),
    "desk": (-0.2, 0.05, 0.28, 0.18),
    "bench": (0.0, 0.0, 0.4, 0.12),
}
LIES_UNDER = ("shoe", "toy_block", "toy_truck", "cardboard_box", "garbage_can", "basketball", "dumbbell")
ON_FLOOR = (
    "coat_stand",
    "suitcase",
    "dog_bed",
    "vacuum_cleaner",
    "watering_can",
    "dumbbell",
    "tennis_racket",
    "floor_lamp",
    "ottoman",
    "stool",
    "laundry_basket",
    "cardboard_box",
    "shoe",
    "toy_truck",
    "garbage_can",
    "houseplant",
    "basketball",
)
_ON_FLOOR_SHARE = 0.16  # of the ordinary things
_TRIES = 12
_LEAST_TARGETS = 4


@dataclass(frozen=True)
class Stock:
    """How much there is: targets within reach, stacks, rows, things under furniture, free things in all."""

    targets: int
    stacks: int
    rows: int
    under: int
    least: int
    most: int


def stock(layout: Layout, rng: np.random.Generator, amounts: Stock) -> None:
    """Put ordinary things into a furnished home; LayoutFailed when too little fits."""
    _add_targets(layout, amounts.targets, rng)
    for count, place in ((amounts.stacks, _stack), (amounts.rows, _row), (amounts.under, _under)):
        for _ in range(count):
            _try(layout, place, rng)
    wanted = int(rng.integers(amounts.least + 2, amounts.most + 1))
    misses = 0
    while len(layout.objects) < wanted and misses < 60:
        place = _on_the_floor if rng.random() < _ON_FLOOR_SHARE else _on_furniture
        misses += not place(layout, rng)
    if len(layout.objects) < amounts.least:
        raise LayoutFailed


def _try(
    layout: Layout, place: Callable[[Layout, np.random.Generator], bool], rng: np.random.Generator
) -> bool:
    """Try to place something until it fits; undo what did not."""
    for _ in range(_TRIES):
        mark = layout.mark()
        if place(layout, rng):
            return True
        layout.restore(mark)
    return False


def _add_targets(layout: Layout, wanted: int, rng: np.random.Generator) -> None:
    """Place objects that instructions ask for within reach of the arm, each kind once before any twice."""
    placed: set[str] = set()
    count = 0
    for name in (*rng.permutation(list(PICK_UP_TARGETS)), *rng.permutation(list(PICK_UP_TARGETS))):
        if count < wanted and place_ordinary(layout, str(name), rng, reachable=True):
            placed.add(str(name))
            count += 1
    if len(placed) < _LEAST_TARGETS:
        raise LayoutFailed


@cache
def _suited(owner: str, room: str) -> dict[str, float]:
    """Return the types that stand on a piece of furniture in a kind of room, and how likely, 0 to 1."""
    return {
        name: max(found_on(name, owner), 0.06)
        for name, kind in TYPES.items()
        if kind.hazard == Hazard.NONE
        and kind.kind != "furniture"
        and (owner in kind.found_on or owner in ALSO_ON.get(name, ()))
        and (room in kind.rooms or room == "hall")
    }


def suited(support: Support, layout: Layout) -> dict[str, float]:
    """Return the types that stand on a support, and how likely, 0 to 1."""
    return _suited(support.owner, layout.plan.rooms[support.room].kind)


def _draw_support(layout: Layout, rng: np.random.Generator) -> Support:
    """Draw a surface, large ones and those in rooms with few things more often."""
    counts = np.bincount([max(item.room, 0) for item in layout.standing], minlength=len(layout.plan.rooms))
    weights = [math.sqrt(item.half_x * item.half_y) / (2.0 + counts[item.room]) for item in layout.supports]
    return layout.supports[rng.choice(len(weights), p=np.array(weights) / sum(weights))]


def _on_furniture(layout: Layout, rng: np.random.Generator) -> bool:
    """Put one ordinary thing on a surface, types that are there already less often."""
    if not layout.supports:
        return False
    support = _draw_support(layout, rng)
    there = Counter(item.kind.name for item in layout.standing)
    likely = suited(support, layout)
    if not likely:
        return False
    weights = np.array([likelihood / (1 + there[name]) ** 2 for name, likelihood in likely.items()])
    name = [*likely][rng.choice(len(likely), p=weights / weights.sum())]
    return any(on_support(layout, name, support, rng, reachable=False) for _ in range(4))


def _on_the_floor(layout: Layout, rng: np.random.Generator) -> bool:
    """Put one thing on the floor by a wall, in a room where it belongs."""
    there = Counter(item.kind.name for item in layout.standing)
    weights = np.array([1 / (1 + there[name]) ** 2 for name in ON_FLOOR])
    name = ON_FLOOR[rng.choice(len(ON_FLOOR), p=weights / weights.sum())]
    homes = [room.kind in TYPES[name].rooms for room in layout.plan.rooms]
    return any(homes) and on_floor_by_the_wall(layout, name, homes, rng, reachable=False)


def _stack(layout: Layout, rng: np.random.Generator) -> bool:
    """Pile a few things of a kind: on a surface well away from its edge, boxes on the floor."""
    name = str(rng.choice(list(STACKED)))
    kind, count = TYPES[name], int(rng.integers(STACKED[name][0], STACKED[name][1] + 1))
    if layout.room_left < count:
        return False
    if "floor" in kind.found_on:
        homes = [room.kind in kind.rooms for room in layout.plan.rooms]
        if not on_floor_by_the_wall(layout, name, homes, rng, reachable=False):
            return False
    else:
        supports = [item for item in layout.supports if name in suited(item, layout)]
        if not supports:
            return False
        support = supports[rng.integers(len(supports))]
        instance = layout.draw_instance(kind, rng)
        if count * kind.size[2] * 1.2 > support.headroom - 0.02:
            return False
        radius = radius_of(kind, instance.scale)
        spot = edge_spot(support, radius, rng, 0.05, 0.3)
        if spot is None or layout.crowded(*spot[0], radius, support):
            return False
        if kind.fragile and any(
            math.dist(item.place, spot[0]) < 0.9 and item.kind.fragile for item in layout.standing
        ):
            return False
        yaw = support.yaw + rng.uniform(-0.2, 0.2)
        layout.commit(layout.place(name, *spot[0], support.z, yaw, instance), support)
    for _ in range(count - 1):
        below = layout.objects[-1]
        x, y, z = below.position
        instance = layout.draw_instance(kind, rng)
        if any(a > b for a, b in zip(instance.scale[:2], below.scale[:2], strict=True)):
            instance = instance._replace(scale=below.scale)
        top = z + _top(kind) * below.scale[2]
        pile = Support(name, layout.room_of(x, y), x, y, top, 0.05, 0.05, 0.0, ())
        turn = below.yaw + rng.uniform(-0.12, 0.12)
        layout.commit(layout.place(name, x, y, top, turn, instance), pile)
    return True


def _top(kind: EntityType) -> float:
    """Return the height (m) of the highest solid part of a type made of boxes and upright cylinders."""
    return max(
        part.pos[2] + (part.size[2] if part.shape == "box" else part.size[1])
        for part in kind.parts
        if part.collide
    )


def _row(layout: Layout, rng: np.random.Generator) -> bool:
    """Line up a few things of a kind along the back of a surface."""
    name = str(rng.choice(list(IN_ROWS)))
    kind, count = TYPES[name], int(rng.integers(IN_ROWS[name][0], IN_ROWS[name][1] + 1))
    supports = [item for item in layout.supports if name in suited(item, layout)]
    if not supports or layout.room_left < count:
        return False
    support = supports[rng.integers(len(supports))]
    instance = layout.draw_instance(kind, rng)
    width, depth = kind.size[0] * instance.scale[0], kind.size[1] * instance.scale[1]
    pitch = width + 0.035
    length = pitch * (count - 1)
    if (
        length / 2 + width / 2 > support.half_x - 0.02
        or depth / 2 > support.half_y
        or not support.takes(kind, instance.scale)
    ):
        return False
    slack = support.half_x - 0.02 - length / 2 - width / 2
    first = rng.uniform(-slack, slack) - length / 2
    v = support.half_y - depth / 2 - rng.uniform(0.0, min(0.05, 2 * support.half_y - depth))
    for index in range(count):
        x, y = support.at(first + pitch * index, v)
        if any(
            other.support is support
            and math.dist(other.place, (x, y)) < other.radius + max(width, depth) / 2 + 0.01
            for other in layout.standing[: len(layout.standing) - index]
        ):
            return False
        own = instance._replace(colour=layout.draw_instance(kind, rng).colour)
        layout.commit(layout.place(name, x, y, support.z, support.yaw, own), support)
    return True


def _under(layout: Layout, rng: np.random.Generator) -> bool:
    """Put something on the floor below a table, a desk or a bench."""
    owners = [item for item in layout.furniture if item.type in UNDER]
    if not owners or layout.room_left < 1:
        return False
    owner = owners[rng.integers(len(owners))]
    u, v, half_x, half_y = UNDER[owner.type]
    surface = (u, v, 0.0, half_x, half_y)
    support = support_of(layout, owner, surface, headroom(TYPES[owner.type], surface) * owner.scale[2])
    name = str(rng.choice(LIES_UNDER))
    kind = TYPES[name]
    room = layout.plan.rooms[support.room].kind if support.room >= 0 else ""
    instance = layout.draw_instance(kind, rng)
    radius = radius_of(kind, instance.scale)
    if (room not in kind.rooms and room != "hall") or not support.takes(kind, instance.scale):
        return False
    if radius > max(half_x, half_y) or min(kind.size[:2]) / 2 > min(half_x, half_y):
        return False
    reach_x, reach_y = max(0.0, half_x - radius), max(0.0, half_y - radius)
    x, y = support.at(rng.uniform(-reach_x, reach_x), rng.uniform(-reach_y, reach_y))
    if any(
        item.z < 0.05 and math.dist(item.place, (x, y)) < item.radius + radius + 0.02
        for item in layout.standing
    ):
        return False
    layout.commit(layout.place(name, x, y, 0.0, support.yaw, instance), support)
    return True
