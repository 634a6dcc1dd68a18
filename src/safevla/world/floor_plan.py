"""Floor plans of three to eight rooms: two rows of rooms, a hall between them or not, a room across the end.

    top row     | bedroom | bathroom | kitchen |
    hall        |----------------------------- | living room (end)
    bottom row  | bedroom |      bedroom       |

A plan fills its rectangle. It is drawn with the hall along x, and may then be mirrored and turned.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from safevla.world.house import SLOTS, Room
from safevla.world.layout import (
    DOOR_HEIGHT,
    DOOR_WIDTH,
    WALL_HEIGHT,
    WALL_THICKNESS,
    LayoutFailed,
    Plan,
    Wall,
    draw_floor,
    finish_plan,
    rounded,
)

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Pattern:
    """Rooms of the top row, whether there is a hall, rooms of the bottom row, whether one crosses the end."""

    top: int
    hall: bool
    bottom: int
    end: bool

    @property
    def rooms(self) -> int:
        """Number of rooms, the hall included."""
        return self.top + self.hall + self.bottom + self.end


# Patterns for every split, and those that only val and test have.
PATTERNS: dict[str, tuple[tuple[Pattern, ...], tuple[Pattern, ...]]] = {
    "M": (
        (
            Pattern(2, False, 1, False),
            Pattern(1, True, 1, False),
            Pattern(1, False, 1, True),
            Pattern(2, True, 1, False),
            Pattern(2, False, 2, False),
            Pattern(1, True, 1, True),
        ),
        (Pattern(3, False, 0, False), Pattern(2, False, 1, True)),
    ),
    "L": (
        (
            Pattern(2, True, 2, False),
            Pattern(2, True, 1, True),
            Pattern(3, True, 2, False),
            Pattern(2, True, 2, True),
            Pattern(3, True, 3, False),
            Pattern(3, True, 3, True),
        ),
        (Pattern(2, False, 2, True), Pattern(3, True, 2, True), Pattern(4, True, 3, False)),
    ),
}
_KINDS: dict[int, tuple[tuple[str, ...], ...]] = {
    2: (("living_room", "kitchen"), ("living_room", "bedroom")),
    3: (
        ("living_room", "kitchen", "bedroom"),
        ("living_room", "kitchen", "bedroom"),
        ("living_room", "kitchen", "bathroom"),
        ("living_room", "bedroom", "bathroom"),
    ),
    4: (("living_room", "kitchen", "bedroom", "bathroom"),),
    5: (("living_room", "kitchen", "bedroom", "bathroom", "bedroom"),),
    6: (("living_room", "kitchen", "bedroom", "bathroom", "bedroom", "bathroom"),),
    7: (
        ("living_room", "kitchen", "bedroom", "bathroom", "bedroom", "bathroom", "bedroom"),
        ("living_room", "kitchen", "bedroom", "bathroom", "bedroom", "bathroom", "living_room"),
    ),
}
_NARROW, _WIDE, _DEEP, _HALL = (2.5, 3.0), (3.6, 4.5), (3.6, 4.2), (1.35, 1.6)  # m
_WIDEST = {"bathroom": 3.4, "living_room": 8.0}  # m; 6 for others
_JAMB = 0.65  # m from the middle of a door to the nearest corner
_ASIDE, _BEFORE = 0.4, 0.85  # m that stay free to both sides of a door's middle, and before it
_EXTRA_DOORS = 0.35  # chance of a door that is not needed
_TRIES = 60


@dataclass
class _Draft:
    """Rooms, walls and doors while they are drawn."""

    rooms: list[Room] = field(default_factory=list)
    walls: list[Wall] = field(default_factory=list)
    keep_free: list[Box] = field(default_factory=list)
    doors: list[tuple[float, float]] = field(default_factory=list)

    def add_wall(self, along_x: bool, at: float, start: float, end: float, doors: list[float]) -> None:
        """Add a wall with doorways.

        Args:
            along_x: whether it runs along x.
            at: m, its middle line on the other axis.
            start: m, where it begins.
            end: m, where it ends.
            doors: m, middles of its doorways.
        """
        edges = [start, *(d + s * DOOR_WIDTH / 2 for d in sorted(doors) for s in (-1, 1)), end]
        for low, high in zip(edges[::2], edges[1::2], strict=True):
            self._box(along_x, at, low, high, 0.0, WALL_HEIGHT)
        for door in doors:
            self._box(along_x, at, door - DOOR_WIDTH / 2, door + DOOR_WIDTH / 2, DOOR_HEIGHT, WALL_HEIGHT)
            free = (door - _ASIDE, at - _BEFORE, door + _ASIDE, at + _BEFORE)
            self.keep_free.append(free if along_x else _swap_box(free))
            self.doors.append((door, at) if along_x else (at, door))

    def _box(self, along_x: bool, at: float, low: float, high: float, bottom: float, top: float) -> None:
        half, middle = (high - low) / 2, (low + high) / 2
        z, half_z = (bottom + top) / 2, (top - bottom) / 2
        thick = WALL_THICKNESS / 2
        wall = (middle, at, z, half, thick, half_z) if along_x else (at, middle, z, thick, half, half_z)
        self.walls.append(wall)


def draw_floor_plan(rng: np.random.Generator, size_class: str, held_out: bool) -> Plan:
    """Draw a plan of class M or L; LayoutFailed if none was found.

    Args:
        rng: source of all choices.
        size_class: "M" or "L".
        held_out: whether patterns that training never sees may be drawn.
    """
    common, unseen = PATTERNS[size_class]
    patterns = (*common, *unseen) if held_out else common
    for _ in range(_TRIES):
        pattern = patterns[rng.integers(len(patterns))]
        draft = _draft(pattern, rng)
        if draft is not None and len(draft.walls) <= SLOTS[size_class].walls:
            return _oriented(draft, rng)
    raise LayoutFailed


def _draft(pattern: Pattern, rng: np.random.Generator) -> _Draft | None:
    """Draw rooms and doors of a pattern with the hall along x; None if they do not fit together."""
    top, bottom, end = _assign(pattern, rng)
    widths = _widths(top, bottom, rng)
    if widths is None:
        return None
    thick, draft = WALL_THICKNESS, _Draft()
    total = sum(widths[0]) + thick * (len(top) - 1)
    floor = rounded(rng.uniform(*_DEEP)) if bottom else -thick  # where the bottom row ends
    hall = floor + thick + rounded(rng.uniform(*_HALL)) if pattern.hall else floor
    high = hall + thick + rounded(rng.uniform(*_DEEP))
    _add_row(draft, bottom, widths[1], 0.0, floor, rng)
    if pattern.hall:
        draft.rooms.append(Room("hall", 0.0, floor + thick, total, hall, draw_floor("hall", rng)))
    _add_row(draft, top, widths[0], hall + thick, high, rng)
    if end is not None:
        width = rounded(rng.uniform(*_WIDE) + 0.3)
        draft.rooms.append(Room(end, total + thick, 0.0, total + thick + width, high, draw_floor(end, rng)))
    links = _hall_links(draft.rooms, rng) if pattern.hall else _open_links(draft.rooms, rng)
    if links is None:
        return None
    _add_inner_walls(draft, links, pattern, total, rng)
    _add_outer_walls(draft)
    return draft


def _assign(pattern: Pattern, rng: np.random.Generator) -> tuple[list[str], list[str], str | None]:
    """Draw which kind of room is where: top row, bottom row, end."""
    count = pattern.rooms - pattern.hall
    sets = _KINDS[count]
    kinds = list(sets[rng.integers(len(sets))])
    end = None
    if pattern.end:
        end = "living_room"
        kinds.remove(end)
    order = [kinds[index] for index in rng.permutation(len(kinds))]
    return order[: pattern.top], order[pattern.top :], end


def _widths(
    top: list[str], bottom: list[str], rng: np.random.Generator
) -> tuple[list[float], list[float]] | None:
    """Draw the widths (m) of both rows, equally long in all; None if a room would be too wide."""
    rows = [
        [rng.uniform(*(_NARROW if kind == "bathroom" else _WIDE)) for kind in row] for row in (top, bottom)
    ]
    lengths = [sum(row) + WALL_THICKNESS * (len(row) - 1) for row in rows]
    total = max(lengths)
    for row, kinds, length in zip(rows, (top, bottom), lengths, strict=True):
        growing = [index for index, kind in enumerate(kinds) if kind != "bathroom"] or list(range(len(row)))
        if not row:
            continue
        for index in growing:
            row[index] += (total - length) / len(growing)
        if any(width > _WIDEST.get(kind, 6.0) for width, kind in zip(row, kinds, strict=True)):
            return None
        row[:] = [rounded(width) for width in row]
        row[growing[0]] = rounded(
            row[growing[0]] + rounded(total) - sum(row) - WALL_THICKNESS * (len(row) - 1)
        )
    return rows[0], rows[1]


def _add_row(
    draft: _Draft, kinds: list[str], widths: list[float], y0: float, y1: float, rng: np.random.Generator
) -> None:
    x = 0.0
    for kind, width in zip(kinds, widths, strict=True):
        draft.rooms.append(Room(kind, x, y0, x + width, y1, draw_floor(kind, rng)))
        x += width + WALL_THICKNESS


def _shared(a: Room, b: Room) -> tuple[bool, float, float, float] | None:
    """Return whether the wall between two rooms runs along x, its middle line, and from where to where."""
    for along_x, (low, high) in ((True, (a, b)), (True, (b, a)), (False, (a, b)), (False, (b, a))):
        edge, other = (low.y1, high.y0) if along_x else (low.x1, high.x0)
        if abs(other - edge - WALL_THICKNESS) > 1e-6:
            continue
        spans = ((low.x0, low.x1), (high.x0, high.x1)) if along_x else ((low.y0, low.y1), (high.y0, high.y1))
        start, end = max(spans[0][0], spans[1][0]), min(spans[0][1], spans[1][1])
        if end - start >= 2 * _JAMB:
            return along_x, edge + WALL_THICKNESS / 2, start, end
    return None


def _hall_links(rooms: list[Room], rng: np.random.Generator) -> list[tuple[int, int]]:
    """Link every room with the hall, and the kitchen with a living room now and then."""
    hall = next(index for index, room in enumerate(rooms) if room.kind == "hall")
    links = [(index, hall) for index in range(len(rooms)) if index != hall]
    for a in range(len(rooms)):
        for b in range(a):
            pair = {rooms[a].kind, rooms[b].kind}
            if pair == {"kitchen", "living_room"} and _shared(rooms[a], rooms[b]) and rng.random() < 0.5:
                links.append((a, b))
    return links


def _open_links(rooms: list[Room], rng: np.random.Generator) -> list[tuple[int, int]] | None:
    """Link rooms that share a wall until all hang together; bathrooms have one door. None if that fails."""
    pairs = [(a, b) for a in range(len(rooms)) for b in range(a) if _shared(rooms[a], rooms[b])]
    pairs = [pairs[index] for index in rng.permutation(len(pairs))]
    group = list(range(len(rooms)))
    links: list[tuple[int, int]] = []
    for dry in (True, False):  # first without bathrooms, so that no way leads through one
        for a, b in pairs:
            wet = "bathroom" in (rooms[a].kind, rooms[b].kind)
            if wet == dry:
                continue
            if group[a] != group[b]:
                joined, gone = group[a], group[b]
                group = [joined if number == gone else number for number in group]
                links.append((a, b))
            elif not wet and rng.random() < _EXTRA_DOORS:
                links.append((a, b))
    doors = [
        sum(index in link for link in links) for index, room in enumerate(rooms) if room.kind == "bathroom"
    ]
    return links if len(set(group)) == 1 and all(count == 1 for count in doors) else None


def _add_inner_walls(
    draft: _Draft, links: list[tuple[int, int]], pattern: Pattern, total: float, rng: np.random.Generator
) -> None:
    """Add the walls between rooms: along x over the whole row, along y between neighbours."""
    doors: dict[tuple[bool, float], list[float]] = {}
    for a, b in links:
        shared = _shared(draft.rooms[a], draft.rooms[b])
        assert shared is not None
        along_x, at, start, end = shared
        middle = (
            rounded(rng.uniform(start + _JAMB, end - _JAMB)) if end - start > 2 * _JAMB else (start + end) / 2
        )
        doors.setdefault((along_x, round(at, 4)), []).append(middle)
    half = WALL_THICKNESS / 2
    rows = sorted({room.y1 for room in draft.rooms if room.x0 < total})[:-1]
    for y in rows:
        draft.add_wall(True, y + half, 0.0, total, doors.get((True, round(y + half, 4)), []))
    for room in draft.rooms:
        if room.x0 > 0.0:
            at, (low, high) = room.x0 - half, (room.y0, room.y1)
            found = [y for y in doors.get((False, round(at, 4)), []) if low < y < high]
            draft.add_wall(False, at, low, high, found)


def _add_outer_walls(draft: _Draft) -> None:
    x1, y1 = max(room.x1 for room in draft.rooms), max(room.y1 for room in draft.rooms)
    half, out = WALL_THICKNESS / 2, WALL_THICKNESS
    draft.add_wall(True, -half, -out, x1 + out, [])
    draft.add_wall(True, y1 + half, -out, x1 + out, [])
    draft.add_wall(False, -half, 0.0, y1, [])
    draft.add_wall(False, x1 + half, 0.0, y1, [])


def _swap_box(box: Box) -> Box:
    return box[1], box[0], box[3], box[2]


def _oriented(draft: _Draft, rng: np.random.Generator) -> Plan:
    """Mirror and turn a draft at random, and finish it. The anchor is the middle of a doorway."""
    rooms, walls, keep = draft.rooms, draft.walls, draft.keep_free
    anchor = draft.doors[rng.integers(len(draft.doors))]
    x1, y1 = max(room.x1 for room in rooms), max(room.y1 for room in rooms)
    if rng.random() < 0.5:
        rooms = [replace(room, x0=x1 - room.x1, x1=x1 - room.x0) for room in rooms]
        walls = [(x1 - a, *rest) for a, *rest in walls]  # type: ignore[misc]
        keep = [(x1 - c, b, x1 - a, d) for a, b, c, d in keep]
        anchor = (x1 - anchor[0], anchor[1])
    if rng.random() < 0.5:
        rooms = [replace(room, y0=y1 - room.y1, y1=y1 - room.y0) for room in rooms]
        walls = [(a, y1 - b, c, d, e, f) for a, b, c, d, e, f in walls]
        keep = [(a, y1 - d, c, y1 - b) for a, b, c, d in keep]
        anchor = (anchor[0], y1 - anchor[1])
    if rng.random() < 0.5:
        rooms = [replace(room, x0=room.y0, y0=room.x0, x1=room.y1, y1=room.x1) for room in rooms]
        walls = [(b, a, c, e, d, f) for a, b, c, d, e, f in walls]
        keep = [_swap_box(box) for box in keep]
        anchor = (anchor[1], anchor[0])
    exact = [
        replace(room, x0=rounded(room.x0), y0=rounded(room.y0), x1=rounded(room.x1), y1=rounded(room.y1))
        for room in rooms
    ]
    return finish_plan(exact, walls, keep, anchor, rng)
