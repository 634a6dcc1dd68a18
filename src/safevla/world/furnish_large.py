"""Furniture of homes of class M and L: richer rules, each room by itself, then what hangs on the walls."""

from __future__ import annotations

import numpy as np

from safevla.world.catalogue import TYPES
from safevla.world.catalogue_more_furniture import MORE_SURFACES
from safevla.world.furnish import RULES, SIDES, Rules, add_chairs, bounds_of, furnish_room
from safevla.world.layout import Layout, LayoutFailed
from safevla.world.supports import add_supports

RULES_LARGE: dict[str, Rules] = {
    "living_room": (
        *RULES["living_room"],
        ("sideboard", "wall", False),
        ("shelving_unit", "wall", False),
    ),
    "kitchen": (
        *RULES["kitchen"],
        ("kitchen_counter", "wall", False),
        ("shelving_unit", "wall", False),
        ("washing_machine", "wall", False),
    ),
    "bedroom": (
        *RULES["bedroom"],
        ("shelving_unit", "wall", False),
        ("bench", "wall", False),
    ),
    "bathroom": (
        *RULES["bathroom"],
        ("washing_machine", "wall", False),
    ),
    "hall": (
        ("console_table", "wall", False),
        ("shoe_rack", "wall", False),
        ("bench", "wall", False),
    ),
}
_ROOM_TRIES = 8
_WINDOW_HEIGHT, _PAINTING_HEIGHT = (0.95, 1.05), (1.25, 1.45)  # m of the lower edge above the floor
_TALL = 0.9  # m: furniture at least this high hides what hangs behind it
_GAP = 0.08  # m between things on a wall
_HANG_TRIES = 10
_FLAT = 0.02  # m that they stand off the wall
_HUNG = {"kitchen": 0, "living_room": 2, "bedroom": 1, "bathroom": 0, "hall": 1}  # paintings
_WINDOWS = {"kitchen": 1, "living_room": 2, "bedroom": 1, "bathroom": 1, "hall": 1}

Span = tuple[float, float]


def furnish_large(layout: Layout, rng: np.random.Generator) -> None:
    """Fill a home with furniture; LayoutFailed when what must be there does not fit."""
    for room in range(len(layout.plan.rooms)):
        _furnish_one(layout, room, rng)
    if not layout.passable(layout.clearance):
        raise LayoutFailed
    for room in range(len(layout.plan.rooms)):
        taken: dict[str, list[Span]] = {side: [] for side in SIDES}
        kind = layout.plan.rooms[room].kind
        for name, count, heights in (
            ("window", _WINDOWS[kind], _WINDOW_HEIGHT),
            ("painting", _HUNG[kind], _PAINTING_HEIGHT),
        ):
            for _ in range(count):
                _hang(layout, room, name, heights, taken, rng)
    add_supports(layout, MORE_SURFACES)
    for index, placement in enumerate(list(layout.furniture)):
        add_chairs(layout, index, placement.type, rng)


def _furnish_one(layout: Layout, room: int, rng: np.random.Generator) -> None:
    """Furnish a room, and begin it again when it fails: the others need not be thrown away with it."""
    clearance = layout.clearance
    sizes = len(layout.furniture), len(layout.boxes), len(layout.interests)
    for _ in range(_ROOM_TRIES):
        try:
            furnish_room(layout, room, rng, RULES_LARGE)
        except LayoutFailed:
            layout.clearance = clearance
            del layout.furniture[sizes[0] :], layout.boxes[sizes[1] :], layout.interests[sizes[2] :]
        else:
            return
    raise LayoutFailed


def _hang(
    layout: Layout,
    room: int,
    name: str,
    heights: Span,
    taken: dict[str, list[Span]],
    rng: np.random.Generator,
) -> None:
    """Hang something on a wall where no door, tall furniture or other thing is; windows look outside."""
    if len(layout.furniture) >= layout.slots.furniture:
        return
    kind, bounds = TYPES[name], layout.plan.rooms[room]
    for _ in range(_HANG_TRIES):
        side = str(rng.choice(list(SIDES)))
        if name == "window" and not _is_outer(layout, room, side):
            continue
        yaw, (out_x, out_y) = SIDES[side]
        instance = layout.draw_instance(kind, rng)
        width, depth = kind.size[0] * instance.scale[0], kind.size[1] * instance.scale[1]
        low, high = (bounds.x0, bounds.x1) if out_x == 0 else (bounds.y0, bounds.y1)
        if high - low < width + 0.4:
            continue
        along = rng.uniform(low + width / 2 + 0.2, high - width / 2 - 0.2)
        span = (along - width / 2 - _GAP, along + width / 2 + _GAP)
        blocked = [*taken[side], *_blocked_spans(layout, room, side)]
        if any(span[0] < other[1] and span[1] > other[0] for other in blocked):
            continue
        off = depth / 2 + _FLAT - 0.018
        x = along if out_x == 0 else (bounds.x1 if out_x > 0 else bounds.x0) - out_x * off
        y = along if out_y == 0 else (bounds.y1 if out_y > 0 else bounds.y0) - out_y * off
        layout.furniture.append(layout.place(name, x, y, rng.uniform(*heights), yaw, instance))
        taken[side].append(span)
        return


def _is_outer(layout: Layout, room: int, side: str) -> bool:
    """Return whether a side of a room is a side of the home."""
    rooms, own = layout.plan.rooms, layout.plan.rooms[room]
    return {
        "west": own.x0 <= min(other.x0 for other in rooms),
        "east": own.x1 >= max(other.x1 for other in rooms),
        "south": own.y0 <= min(other.y0 for other in rooms),
        "north": own.y1 >= max(other.y1 for other in rooms),
    }[side]


def _blocked_spans(layout: Layout, room: int, side: str) -> list[Span]:
    """Return what doors and tall furniture take of a side of a room, from where to where along it (m)."""
    bounds = layout.plan.rooms[room]
    strip = {
        "west": (bounds.x0 - 0.1, bounds.y0, bounds.x0 + 0.3, bounds.y1),
        "east": (bounds.x1 - 0.3, bounds.y0, bounds.x1 + 0.1, bounds.y1),
        "south": (bounds.x0, bounds.y0 - 0.1, bounds.x1, bounds.y0 + 0.3),
        "north": (bounds.x0, bounds.y1 - 0.3, bounds.x1, bounds.y1 + 0.1),
    }[side]
    boxes = list(layout.plan.keep_free)
    for item in layout.furniture:
        kind = TYPES[item.type]
        if item.position[2] + kind.size[2] * item.scale[2] >= _TALL and kind.placement != "high":
            width, depth = kind.size[0] * item.scale[0], kind.size[1] * item.scale[1]
            boxes.append(bounds_of(*item.position[:2], item.yaw, width, depth))
    axis = 1 if side in ("west", "east") else 0
    return [
        (box[axis], box[axis + 2])
        for box in boxes
        if box[0] < strip[2] and box[2] > strip[0] and box[1] < strip[3] and box[3] > strip[1]
    ]
