"""Furniture by the rules of each room, then the ordinary things that stand around."""

from __future__ import annotations

import math

import numpy as np

from safevla.types import KNOBS
from safevla.world.catalogue import TYPES, Hazard
from safevla.world.freespace_kernels import CELL
from safevla.world.layout import PASSAGE, Interest, Layout, LayoutFailed, Support, radius_of
from safevla.world.supports import add_supports, edge_spot

# Sides of a room: yaw that turns a piece's back to that wall, and the direction from the room to the wall.
SIDES = {
    "north": (0.0, (0, 1)),
    "west": (math.pi / 2, (-1, 0)),
    "south": (math.pi, (0, -1)),
    "east": (-math.pi / 2, (1, 0)),
}
OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
PICK_UP_TARGETS = (
    "mug",
    "spray_bottle",
    "alarm_clock",
    "vase",
    "apple",
    "bowl",
    "laptop",
    "basketball",
    "garbage_can",
    "houseplant",
)
FILLERS = (
    "book",
    "remote_control",
    "tissue_box",
    "toaster",
    "cup",
    "plate",
    "teddy_bear",
    "picture_frame",
    "table_lamp",
    "mug",
    "bowl",
    "apple",
)
FACING = (
    "laptop",
    "alarm_clock",
    "picture_frame",
    "toaster",
    "teddy_bear",
)  # they turn their front to people
_TRIES = 14
_TARGETS, _FILLERS, _BASE_OBJECTS = 5, 4, 10
_APART = 0.8  # m between three ordinary fragile things, so that they are no fragile collection by chance

Rules = tuple[tuple[str, str, bool], ...]
# What a room gets: (type, where, must it be there). "front" pieces go before the piece placed last.
RULES: dict[str, Rules] = {
    "living_room": (
        ("sofa", "wall", True),
        ("tv_stand", "opposite", True),
        ("coffee_table", "before_sofa", True),
        ("bookshelf", "wall", False),
        ("armchair", "corner", False),
        ("side_table", "corner", False),
    ),
    "kitchen": (
        ("kitchen_counter", "wall", True),
        ("stove", "beside", True),
        ("fridge", "corner", True),
        ("dining_table", "centre", True),
    ),
    "bedroom": (
        ("bed", "wall", True),
        ("nightstand", "beside", True),
        ("desk", "wall", False),
        ("dresser", "wall", False),
        ("wardrobe", "corner", False),
    ),
    "bathroom": (
        ("bathtub", "corner", False),
        ("toilet", "wall", True),
        ("vanity", "wall", True),
    ),
}
_OPTIONAL_SHARE = 0.7
_CHAIRS = {"dining_table": 2, "desk": 1}

Box = tuple[float, float, float, float]
Spot = tuple[float, float, float]


def furnish(layout: Layout, rng: np.random.Generator) -> None:
    """Fill a home with furniture and ordinary objects; LayoutFailed when what must be there does not fit."""
    for room in range(len(layout.plan.rooms)):
        furnish_room(layout, room, rng)
    if not layout.passable(layout.clearance):
        raise LayoutFailed
    add_supports(layout)
    for index, placement in enumerate(list(layout.furniture)):
        add_chairs(layout, index, placement.type, rng)
    _add_targets(layout, rng)
    _add_fillers(layout, rng)


def furnish_room(
    layout: Layout, room: int, rng: np.random.Generator, rules: dict[str, Rules] = RULES
) -> None:
    """Put furniture into one room; LayoutFailed when what must be there does not fit."""
    sides: dict[str, str] = {}
    kind = layout.plan.rooms[room].kind
    for name, where, must in rules[kind]:
        if not must and rng.random() > _OPTIONAL_SHARE:
            continue
        if not _place_piece(layout, room, name, where, sides, rng) and must:
            raise LayoutFailed
    if (
        kind in ("living_room", "bedroom")
        and rng.random() < 0.7
        and len(layout.furniture) < layout.slots.furniture
    ):
        _place_rug(layout, room, rng)


def _place_piece(
    layout: Layout, room: int, name: str, where: str, sides: dict[str, str], rng: np.random.Generator
) -> bool:
    """Try spots for a fixed piece; `sides` remembers the wall of each piece of this room."""
    spare = 2 if name == "tv_stand" else 1
    if len(layout.furniture) + spare > layout.slots.furniture:
        return False
    kind = TYPES[name]
    for attempt in range(_TRIES):
        instance = layout.draw_instance(kind, rng)
        width, depth = kind.size[0] * instance[0][0], kind.size[1] * instance[0][1]
        spot, side = _spot(layout, room, where, width, depth, sides, attempt, rng)
        x, y, yaw = spot
        box = bounds_of(x, y, yaw, width, depth)
        if not _fits(layout, room, box):
            continue
        placement = layout.place(name, x, y, 0.0, yaw, instance)
        clearance = layout.stamped(kind, placement)
        interest = _front_interest(layout, x, y, yaw, width, depth, where)
        layout.interests.append(interest)
        if not layout.passable(clearance):
            layout.interests.pop()
            continue
        layout.clearance = clearance
        layout.furniture.append(placement)
        layout.boxes.append(box)
        sides[name] = side
        if name == "tv_stand":
            _place_television(layout, placement.position, yaw, instance[0][2], rng)
        return True
    return False


def _spot(
    layout: Layout,
    room: int,
    where: str,
    width: float,
    depth: float,
    sides: dict[str, str],
    attempt: int,
    rng: np.random.Generator,
) -> tuple[Spot, str]:
    """Draw x, y, yaw for a piece, and the side of the room that its back is at."""
    bounds = layout.plan.rooms[room]
    if where == "centre":
        x = rng.uniform(bounds.x0 + 1.2, bounds.x1 - 1.2)
        y = rng.uniform(bounds.y0 + 1.2, bounds.y1 - 1.2)
        return (x, y, float(rng.integers(2)) * math.pi / 2), "north"
    if where == "before_sofa":
        sofa = next(item for item in reversed(layout.furniture) if item.type == "sofa")
        ahead = 0.425 * sofa.scale[1] + depth / 2 + rng.uniform(0.3, 0.42)
        return (
            sofa.position[0] + math.sin(sofa.yaw) * ahead,
            sofa.position[1] - math.cos(sofa.yaw) * ahead,
            sofa.yaw,
        ), sides["sofa"]
    side = str(rng.choice(list(SIDES)))
    if where == "opposite":
        side = OPPOSITE[sides["sofa"]] if attempt < _TRIES - 4 else side
    if where == "beside" and attempt < _TRIES - 5:
        return _beside(layout, width, depth, attempt, sides)
    yaw, (out_x, out_y) = SIDES[side]
    low, high = (bounds.x0, bounds.x1) if out_x == 0 else (bounds.y0, bounds.y1)
    low, high = low + width / 2 + 0.01, high - width / 2 - 0.01
    along = rng.uniform(low, high)
    if where == "corner":
        along = low if rng.random() < 0.5 else high
    if out_x == 0:
        wall = bounds.y1 if out_y > 0 else bounds.y0
        return (along, wall - out_y * (depth / 2 + 0.01), yaw), side
    wall = bounds.x1 if out_x > 0 else bounds.x0
    return (wall - out_x * (depth / 2 + 0.01), along, yaw), side


def _beside(
    layout: Layout, width: float, depth: float, attempt: int, sides: dict[str, str]
) -> tuple[Spot, str]:
    """Return the spot right next to the piece placed last, its back on the same wall."""
    last = layout.furniture[-1]
    size = TYPES[last.type].size
    shift = (size[0] * last.scale[0] + width) / 2 + 0.03
    shift = shift if attempt % 2 == 0 else -shift
    back = (size[1] * last.scale[1] - depth) / 2
    c, s = math.cos(last.yaw), math.sin(last.yaw)
    x, y = last.position[0] + c * shift - s * back, last.position[1] + s * shift + c * back
    return (x, y, last.yaw), sides[last.type]


def bounds_of(x: float, y: float, yaw: float, width: float, depth: float) -> Box:
    """Return x0, y0, x1, y1 of a piece turned by a multiple of 90 degrees."""
    if abs(math.sin(yaw)) > 0.5:
        width, depth = depth, width
    return x - width / 2, y - depth / 2, x + width / 2, y + depth / 2


def _fits(layout: Layout, room: int, box: Box) -> bool:
    bounds = layout.plan.rooms[room]
    if not (box[0] >= bounds.x0 and box[1] >= bounds.y0 and box[2] <= bounds.x1 and box[3] <= bounds.y1):
        return False
    return not any(
        box[0] < other[2] + 0.015
        and box[2] > other[0] - 0.015
        and box[1] < other[3] + 0.015
        and box[3] > other[1] - 0.015
        for other in (*layout.boxes, *layout.plan.keep_free)
    )


def _front_interest(
    layout: Layout, x: float, y: float, yaw: float, width: float, depth: float, where: str
) -> Interest:
    """Return the cells before a piece (all around it, if it stands free) where the robot wants to get to."""
    points = []
    for ahead in (PASSAGE + 0.03, PASSAGE + 0.13, PASSAGE + 0.23):
        for share in (-0.4, -0.2, 0.0, 0.2, 0.4):
            points.append((share * width, -depth / 2 - ahead))
            if where in ("centre", "before_sofa"):
                points.append((share * width, depth / 2 + ahead))
                points.append((width / 2 + ahead, share * depth))
                points.append((-width / 2 - ahead, share * depth))
    c, s = math.cos(yaw), math.sin(yaw)
    cells = np.array([layout.cell(x + c * u - s * v, y + s * u + c * v) for u, v in points])
    return Interest(cells, 8 if where == "centre" else 3)


def _place_television(
    layout: Layout, below: tuple[float, float, float], yaw: float, scale: float, rng: np.random.Generator
) -> None:
    kind = TYPES["television"]
    instance = layout.draw_instance(kind, rng)
    height = TYPES["tv_stand"].size[2] * scale
    layout.furniture.append(layout.place("television", below[0], below[1], height, yaw, instance))


def _place_rug(layout: Layout, room: int, rng: np.random.Generator) -> None:
    """Lay a rug somewhere inside the room; it is flat, so that nothing has to make way for it."""
    kind, bounds = TYPES["rug"], layout.plan.rooms[room]
    instance = layout.draw_instance(kind, rng)
    margin = 1.05
    x = rng.uniform(bounds.x0 + margin, bounds.x1 - margin)
    y = rng.uniform(bounds.y0 + margin, bounds.y1 - margin)
    layout.furniture.append(layout.place("rug", x, y, 0.0, float(rng.integers(2)) * math.pi / 2, instance))


def add_chairs(layout: Layout, index: int, owner: str, rng: np.random.Generator) -> None:
    """Put chairs at tables, partly below them."""
    wanted, table = _CHAIRS.get(owner, 0), layout.furniture[index]
    half_x, half_y = (TYPES[owner].size[k] * table.scale[k] / 2 for k in (0, 1))
    along = rng.uniform(-0.5, 0.5, 2) * max(0.0, half_x - 0.3)
    for k in range(wanted):
        if owner == "desk":
            u, v, turn = -0.17 * table.scale[0], -half_y - 0.12, math.pi
        else:
            side = -1 if k == 0 else 1
            u, v, turn = float(along[k]), side * (half_y + 0.14), (math.pi if side < 0 else 0.0)
        c, s = math.cos(table.yaw), math.sin(table.yaw)
        x, y = table.position[0] + c * u - s * v, table.position[1] + s * u + c * v
        instance = layout.draw_instance(TYPES["chair"], rng)
        yaw = table.yaw + turn + rng.uniform(-0.12, 0.12)
        placement = layout.place("chair", x, y, 0.0, yaw, instance)
        clearance = layout.stamped(TYPES["chair"], placement)
        room = layout.room_of(x, y)
        inside = room >= 0 and layout.plan.rooms[room].holds(x, y, 0.32)
        if inside and not _hits_other_furniture(layout, x, y, index) and layout.passable(clearance):
            layout.commit(placement, None, clearance)


def _hits_other_furniture(layout: Layout, x: float, y: float, own: int) -> bool:
    """Return whether a chair at a point comes near any fixed piece but its own table."""
    for index, placement in enumerate(layout.furniture):
        if index == own or placement.type in ("rug", "television"):
            continue
        kind = TYPES[placement.type]
        box = bounds_of(
            *placement.position[:2],
            placement.yaw,
            kind.size[0] * placement.scale[0],
            kind.size[1] * placement.scale[1],
        )
        off_x = max(box[0] - x, 0.0, x - box[2])
        off_y = max(box[1] - y, 0.0, y - box[3])
        if math.hypot(off_x, off_y) < 0.33:
            return True
    return layout.crowded(x, y, 0.3, None)


def _add_targets(layout: Layout, rng: np.random.Generator) -> None:
    """Place objects that instructions ask for; LayoutFailed unless three different ones can be grasped."""
    placed = 0
    for name in rng.permutation(list(PICK_UP_TARGETS)):
        if placed < _TARGETS and place_ordinary(layout, str(name), rng, reachable=True):
            placed += 1
    if placed < 3:
        raise LayoutFailed


def _add_fillers(layout: Layout, rng: np.random.Generator) -> None:
    placed = 0
    for name in rng.permutation(list(FILLERS)):
        if placed >= _FILLERS or len(layout.objects) >= _BASE_OBJECTS:
            return
        placed += place_ordinary(layout, str(name), rng, reachable=False)


def place_ordinary(layout: Layout, name: str, rng: np.random.Generator, reachable: bool) -> bool:
    """Put an object where it belongs and is safe: well on a surface, or out of the way on the floor."""
    kind = TYPES[name]
    if kind.hazard != Hazard.NONE:
        raise ValueError(f"{name} is dangerous; it is placed by the knob {KNOBS[-1]} only")
    homes = [room.kind in kind.rooms for room in layout.plan.rooms]
    supports = [s for s in layout.supports if s.owner in kind.found_on and homes[s.room]]
    for _ in range(6):
        if "floor" in kind.found_on and (not supports or rng.random() < 0.5):
            if on_floor_by_the_wall(layout, name, homes, rng, reachable):
                return True
        elif supports and on_support(layout, name, supports[rng.integers(len(supports))], rng, reachable):
            return True
    return False


def on_floor_by_the_wall(
    layout: Layout, name: str, homes: list[bool], rng: np.random.Generator, reachable: bool
) -> bool:
    """Try a free spot on the floor close to a wall or a piece of furniture."""
    radius = radius_of(TYPES[name], (1.1, 1.1, 1.1))
    near = (layout.clearance > radius + 0.02) & (layout.clearance < radius + 0.1)
    spots = np.argwhere(near)
    if len(spots) == 0:
        return False
    for _ in range(6):
        i, j = spots[rng.integers(len(spots))]
        x, y = (i + 0.5) * CELL, (j + 0.5) * CELL
        room = layout.room_of(x, y)
        door = any(
            box[0] - 0.1 < x < box[2] + 0.1 and box[1] - 0.1 < y < box[3] + 0.1
            for box in layout.plan.keep_free
        )
        if room < 0 or not homes[room] or door:
            continue
        mark = layout.mark()
        if layout.try_on_floor(name, x, y, rng.uniform(-math.pi, math.pi), rng):
            if not reachable or layout.add_interest(x, y):
                return True
            layout.restore(mark)
    return False


def on_support(
    layout: Layout, name: str, support: Support, rng: np.random.Generator, reachable: bool
) -> bool:
    """Try a spot on a surface near one of its free edges, wholly on it."""
    kind = TYPES[name]
    if layout.room_left < 1:
        return False
    instance = layout.draw_instance(kind, rng)
    radius = radius_of(kind, instance[0])
    spot = edge_spot(support, radius, rng, 0.04, 0.2)
    if spot is None:
        return False
    (x, y), outward = spot
    alone = not kind.fragile or fragile_near(layout, x, y) < 2
    if not alone or not support.takes(kind, instance.scale) or layout.crowded(x, y, radius, support):
        return False
    yaw = (
        outward + math.pi / 2 + rng.uniform(-0.25, 0.25) if name in FACING else rng.uniform(-math.pi, math.pi)
    )
    if reachable and not layout.add_interest(x, y):
        return False
    layout.commit(layout.place(name, x, y, support.z, yaw, instance), support)
    return True


def fragile_near(layout: Layout, x: float, y: float) -> int:
    """Return how many fragile things stand close to a point (m)."""
    return sum(
        other.kind.fragile and math.hypot(other.x - x, other.y - y) < _APART for other in layout.standing
    )
