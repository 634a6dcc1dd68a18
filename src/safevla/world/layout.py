"""The plan of a home, and a `Layout` that things are put into one by one.

Whatever stands on the floor is stamped into a map of clearances. `Layout.passable` floods it with the robot's
footprint and checks that every place of interest can still be reached; what cuts one off is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from safevla.world.catalogue import TYPES, EntityType
from safevla.world.component_types import SMALL, ComponentTypes
from safevla.world.freespace_kernels import CELL, CLEARANCE_CAP, descend, dijkstra, flood, stamp_box
from safevla.world.house import Placement, Room, Slots

PASSAGE = 0.27  # m: radius of the robot that must get through
DOOR_WIDTH, DOOR_HEIGHT = 0.9, 2.05
WALL_HEIGHT, WALL_THICKNESS = 2.4, 0.1
REACH = (0.38, 0.80)  # m from the robot's axis: where it can stand to grasp something
_AIR = 0.015  # m left above what stands in a shelf
# Heading (rad) from a cell to a neighbour, by the steps along x and y: 0, 1, -1.
_HEADINGS = np.array([[math.atan2(y, x) for y in (0, 1, -1)] for x in (0, 1, -1)])
_GAP = 0.0005  # m between a thing and what it stands on, closed while it settles

_PAIRS = (
    ("living_room", "kitchen"),
    ("living_room", "bedroom"),
    ("bedroom", "bathroom"),
    ("kitchen", "living_room"),
    ("living_room", "bathroom"),
    ("kitchen", "bedroom"),
)
_SINGLES = ("living_room", "bedroom", "kitchen")
_WOOD_FLOORS = ((0.72, 0.56, 0.4), (0.55, 0.4, 0.28), (0.8, 0.7, 0.56), (0.6, 0.52, 0.45))
_TILE_FLOORS = ((0.82, 0.82, 0.8), (0.62, 0.66, 0.68), (0.78, 0.72, 0.62))
_CARPETS = ((0.6, 0.58, 0.55), (0.5, 0.52, 0.6), (0.68, 0.62, 0.52))
_WALLS = (
    (0.9, 0.88, 0.83),
    (0.84, 0.88, 0.9),
    (0.88, 0.84, 0.76),
    (0.8, 0.86, 0.8),
    (0.9, 0.82, 0.8),
    (0.86, 0.86, 0.88),
)


Wall = tuple[float, float, float, float, float, float]  # centre x, y, z and half extents (m)


class LayoutFailed(Exception):
    """What must be in a room did not fit; draw another home."""


@dataclass(frozen=True)
class Plan:
    """Rooms and walls before anything stands in them. `anchor` is a point that stays free (m)."""

    rooms: tuple[Room, ...]
    walls: tuple[Wall, ...]
    keep_free: tuple[tuple[float, float, float, float], ...]  # x0, y0, x1, y1 in front of doors
    anchor: tuple[float, float]
    wall_colour: tuple[float, float, float]
    light: tuple[float, float, float, float]


@dataclass(frozen=True)
class Support:
    """A horizontal rectangle that things can stand on, in the world.

    Attributes:
        owner: type that it belongs to.
        room: index of the room.
        x: centre, m; likewise y; z is the height of the surface.
        half_x: half extents along its own axes, which are turned by `yaw`; likewise half_y.
        edges: outward directions, in its own frame, of the edges that the robot can stand at.
        headroom: m of air above it; infinite unless it is a shelf or under a table.
    """

    owner: str
    room: int
    x: float
    y: float
    z: float
    half_x: float
    half_y: float
    yaw: float
    edges: tuple[tuple[int, int], ...]
    headroom: float = math.inf

    def takes(self, kind: EntityType, scale: tuple[float, ...]) -> bool:
        """Return whether an instance of a type is low enough to stand here."""
        return kind.size[2] * scale[2] + _AIR <= self.headroom

    def at(self, u: float, v: float) -> tuple[float, float]:
        """Return world x, y of a point given along its own axes."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return self.x + c * u - s * v, self.y + s * u + c * v

    def local(self, x: float, y: float) -> tuple[float, float]:
        """Return a point of the world along its own axes, the inverse of `at`."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return c * (x - self.x) + s * (y - self.y), c * (y - self.y) - s * (x - self.x)


class Instance(NamedTuple):
    """How an instance of a type differs from others: scale factors, index of its colours, of its finish."""

    scale: tuple[float, float, float]
    colour: int
    finish: int = 0


@dataclass
class Standing:
    """A placed object's outline as a disc, to keep others off it."""

    x: float
    y: float
    z: float
    radius: float
    kind: EntityType
    room: int
    support: Support | None = None
    component: str | None = None
    top: float = 0.0  # m above the floor

    @property
    def place(self) -> tuple[float, float]:
        """Return x, y (m)."""
        return self.x, self.y


def draw_plan(rng: np.random.Generator) -> Plan:
    """Draw one or two rooms, their walls with a doorway, colours and light."""
    count = 1 if rng.random() < 0.3 else 2
    kinds = (_SINGLES[rng.integers(len(_SINGLES))],) if count == 1 else _PAIRS[rng.integers(len(_PAIRS))]
    depth = rounded(rng.uniform(3.7, 4.5) if "bathroom" not in kinds else rng.uniform(3.6, 4.1))
    widths = [
        rounded(rng.uniform(2.7, 3.1) if kind == "bathroom" else rng.uniform(3.7, 4.5)) for kind in kinds
    ]
    upright = count == 2 and rng.random() < 0.5
    rooms, x = [], 0.0
    for kind, width in zip(kinds, widths, strict=True):
        rooms.append(Room(kind, x, 0.0, rounded(x + width), depth, draw_floor(kind, rng)))
        x = rounded(x + width + WALL_THICKNESS)
    total = rounded(x - WALL_THICKNESS)
    half, height = WALL_THICKNESS / 2, WALL_HEIGHT / 2
    walls = [
        (total / 2, -half, height, total / 2 + WALL_THICKNESS, half, height),
        (total / 2, depth + half, height, total / 2 + WALL_THICKNESS, half, height),
        (-half, depth / 2, height, half, depth / 2, height),
        (total + half, depth / 2, height, half, depth / 2, height),
    ]
    if count == 2:
        door = rounded(rng.uniform(0.75, depth - 0.75))
        middle = widths[0] + half
        low, high = door - DOOR_WIDTH / 2, door + DOOR_WIDTH / 2
        over = (WALL_HEIGHT - DOOR_HEIGHT) / 2
        walls += [
            (middle, low / 2, height, half, low / 2, height),
            (middle, (high + depth) / 2, height, half, (depth - high) / 2, height),
            (middle, door, DOOR_HEIGHT + over, half, DOOR_WIDTH / 2, over),
        ]
        keep = [(middle - 0.85, low + 0.05, middle + 0.85, high - 0.05)]
        anchor = (middle, door)
    else:
        anchor = (rounded(rng.uniform(0.6, total - 0.6)), 0.5)
        keep = [(anchor[0] - 0.4, 0.0, anchor[0] + 0.4, 0.9)]
    if upright:
        rooms = [replace(room, x0=room.y0, y0=room.x0, x1=room.y1, y1=room.x1) for room in rooms]
        walls = [(b, a, c, e, d, f) for a, b, c, d, e, f in walls]
        keep = [(b, a, d, c) for a, b, c, d in keep]
        anchor = (anchor[1], anchor[0])
    return finish_plan(rooms, walls, keep, anchor, rng)


def finish_plan(
    rooms: list[Room],
    walls: list[Wall],
    keep_free: list[tuple[float, float, float, float]],
    anchor: tuple[float, float],
    rng: np.random.Generator,
) -> Plan:
    """Draw light and the colour of the walls, and round all numbers."""
    light = (
        rng.uniform(0, 2 * math.pi),
        rng.uniform(0.9, 1.35),
        rng.uniform(0.45, 0.6),
        rng.uniform(0.4, 0.5),
    )
    return Plan(
        tuple(rooms),
        tuple(tuple(rounded(value) for value in wall) for wall in walls),  # type: ignore[misc]
        tuple(keep_free),
        anchor,
        _WALLS[rng.integers(len(_WALLS))],
        tuple(rounded(value) for value in light),  # type: ignore[arg-type]
    )


def draw_floor(kind: str, rng: np.random.Generator) -> tuple[str, float, float, float]:
    """Draw material and colour of the floor of a kind of room."""
    if kind in ("kitchen", "bathroom"):
        return ("tile", *_TILE_FLOORS[rng.integers(len(_TILE_FLOORS))])
    if rng.random() < 0.3:
        return ("carpet", *_CARPETS[rng.integers(len(_CARPETS))])
    return ("wood", *_WOOD_FLOORS[rng.integers(len(_WOOD_FLOORS))])


def rounded(value: float) -> float:
    """Return the value to a tenth of a millimetre, so that specs are short and exact in JSON."""
    return round(float(value), 4)


@dataclass
class Interest:
    """Cells (k, 2) of which the robot must reach at least `need`."""

    cells: np.ndarray
    need: int


@dataclass
class Layout:
    """A home being filled.

    Attributes:
        plan: rooms and walls.
        slots: how many things fit.
        held_out: True for val and test, which also have colours that train does not.
        components: what its safety-critical components are made of.
        furniture: fixed things so far.
        objects: movable things so far.
        supports: surfaces that objects can be put on.
        standing: outlines of objects so far.
        interests: places that must stay reachable.
        boxes: x0, y0, x1, y1 (m) of each piece of furniture.
        routes: x, y (m), heading (rad) of points on the ways between places of interest.
    """

    plan: Plan
    slots: Slots
    held_out: bool
    components: ComponentTypes = SMALL
    furniture: list[Placement] = field(default_factory=list)
    objects: list[Placement] = field(default_factory=list)
    supports: list[Support] = field(default_factory=list)
    standing: list[Standing] = field(default_factory=list)
    interests: list[Interest] = field(default_factory=list)
    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)  # of furniture
    routes: np.ndarray | None = None  # (k, 3), found once, when the first component asks

    def __post_init__(self) -> None:
        high_x = max(room.x1 for room in self.plan.rooms)
        high_y = max(room.y1 for room in self.plan.rooms)
        shape = (math.ceil(high_x / CELL), math.ceil(high_y / CELL))
        self.clearance = np.full(shape, CLEARANCE_CAP, np.float32)
        for wall in self.plan.walls:
            if wall[2] - wall[5] < 1.5:  # not a lintel
                stamp_box(self.clearance, 0.0, 0.0, wall[0], wall[1], wall[3], wall[4], 0.0)
        corners = [(self.cell(room.x0, room.y0), self.cell(room.x1, room.y1)) for room in self.plan.rooms]
        self._rooms = [(slice(a, c), slice(b, d)) for (a, b), (c, d) in corners]

    def cell(self, x: float, y: float) -> tuple[int, int]:
        """Return the grid cell of a point (m)."""
        nx, ny = self.clearance.shape
        return min(max(int(x / CELL), 0), nx - 1), min(max(int(y / CELL), 0), ny - 1)

    def room_of(self, x: float, y: float) -> int:
        """Return the index of the room that holds a point (m), or -1."""
        return next((k for k, room in enumerate(self.plan.rooms) if room.holds(x, y)), -1)

    def reached(self, clearance: np.ndarray) -> np.ndarray:
        """Return (nx, ny) bool: where the middle of the robot can get to from the anchor."""
        return flood(clearance < PASSAGE, *self.cell(*self.plan.anchor))

    def passable(self, clearance: np.ndarray) -> bool:
        """Return whether the robot still gets to every room and every place of interest."""
        reached = self.reached(clearance)
        for cells in self._rooms:
            if np.count_nonzero(reached[cells]) < 360:  # 0.9 m2 for the robot's centre
                return False
        return all(
            np.count_nonzero(reached[place.cells[:, 0], place.cells[:, 1]]) >= place.need
            for place in self.interests
        )

    def stamped(self, kind: EntityType, placement: Placement) -> np.ndarray:
        """Return the clearances with one more thing on the floor."""
        clearance = self.clearance.copy()
        half_x = kind.size[0] * placement.scale[0] / 2
        half_y = kind.size[1] * placement.scale[1] / 2
        x, y, _ = placement.position
        stamp_box(clearance, 0.0, 0.0, x, y, half_x, half_y, placement.yaw)
        return clearance

    def draw_instance(self, kind: EntityType, rng: np.random.Generator) -> Instance:
        """Draw scale factors and a colour for one instance of a type."""
        low, high = kind.scale_range
        if kind.kind == "furniture" and not kind.movable:
            scale = (rng.uniform(low, high), rng.uniform(low, high), rng.uniform(0.97, 1.03))
        else:
            both = rng.uniform(low, high)
            scale = (both, both, both)
        colours = len(kind.colours) if self.held_out else max(1, len(kind.colours) - 1)
        factors = (rounded(scale[0]), rounded(scale[1]), rounded(scale[2]))
        return Instance(factors, int(rng.integers(colours)))

    def place(
        self,
        name: str,
        x: float,
        y: float,
        z: float,
        yaw: float,
        instance: Instance,
        component: str | None = None,
    ) -> Placement:
        """Return a placement with rounded numbers; movable things get a hair's breadth of air below."""
        z = z + _GAP if TYPES[name].movable else z
        yaw = math.remainder(yaw, 2 * math.pi)
        place = (rounded(x), rounded(y), rounded(z))
        return Placement(
            name, place, rounded(yaw), instance.scale, instance.colour, component, instance.finish
        )

    def crowded(self, x: float, y: float, radius: float, support: Support | None, gap: float = 0.03) -> bool:
        """Return whether a disc on a support (None: the floor) is nearer than `gap` to what stands there."""
        for other in self.standing:
            same = other.support is support
            if same and math.hypot(other.x - x, other.y - y) < radius + other.radius + gap:
                return True
        return False

    def meets(self, placement: Placement) -> bool:
        """Return whether something that juts out over an edge would be inside what stands beside it.

        Never looked at in homes of class S, which stay as they are.
        """
        return False

    def commit(
        self, placement: Placement, support: Support | None, clearance: np.ndarray | None = None
    ) -> None:
        """Take a placement of an object into the home."""
        kind = TYPES[placement.type]
        x, y, z = placement.position
        self.objects.append(placement)
        radius, top = radius_of(kind, placement.scale), z + kind.size[2] * placement.scale[2]
        self.standing.append(Standing(x, y, z, radius, kind, self.room_of(x, y), support, top=top))
        if clearance is not None:
            self.clearance = clearance

    def mark(self) -> tuple[np.ndarray, int, int]:
        """Return what `restore` needs to undo objects that are placed from now on."""
        return self.clearance, len(self.objects), len(self.interests)

    def restore(self, mark: tuple[np.ndarray, int, int]) -> None:
        """Take away the objects placed since `mark`."""
        self.clearance = mark[0]
        del self.objects[mark[1] :], self.standing[mark[1] :], self.interests[mark[2] :]

    @property
    def room_left(self) -> int:
        """Return how many more objects fit."""
        return self.slots.objects - len(self.objects)

    def try_on_floor(
        self,
        name: str,
        x: float,
        y: float,
        yaw: float,
        rng: np.random.Generator,
        component: str | None = None,
        gap: float = 0.02,
    ) -> bool:
        """Put an object on the floor unless it would overlap something or cut the robot off."""
        kind = TYPES[name]
        if self.room_left < 1 or self.room_of(x, y) < 0:
            return False
        instance = self.draw_instance(kind, rng)
        radius = radius_of(kind, instance[0])
        if self.clearance[self.cell(x, y)] < radius + gap:
            return False
        placement = self.place(name, x, y, 0.0, yaw, instance, component)
        clearance = self.stamped(kind, placement)
        if not self.passable(clearance):
            return False
        self.commit(placement, None, clearance)
        return True

    def add_interest(self, x: float, y: float, need: int = 4) -> bool:
        """Ask that the robot can stand within reach of a point in the same room; False if it cannot now."""
        room = self.room_of(x, y)
        if room < 0:
            return False
        cells = self.ring(x, y, room)
        reached = self.reached(self.clearance)
        if np.count_nonzero(reached[cells[:, 0], cells[:, 1]]) < need:
            return False
        self.interests.append(Interest(cells, need))
        return True

    def ring(self, x: float, y: float, room: int, reach: tuple[float, float] = REACH) -> np.ndarray:
        """Return the cells (k, 2) of a room whose distance (m) from a point is within `reach`."""
        bounds = self.plan.rooms[room]
        first = self.cell(max(bounds.x0, x - reach[1]), max(bounds.y0, y - reach[1]))
        last = self.cell(min(bounds.x1, x + reach[1]), min(bounds.y1, y + reach[1]))
        i, j = np.meshgrid(np.arange(first[0], last[0] + 1), np.arange(first[1], last[1] + 1), indexing="ij")
        distance = np.hypot((i + 0.5) * CELL - x, (j + 0.5) * CELL - y)
        near = (distance >= reach[0]) & (distance <= reach[1])
        return np.stack([i[near], j[near]], axis=1)

    def route(self, goal: tuple[float, float], field_to_start: np.ndarray) -> np.ndarray:
        """Follow a distance field from a point (m) to its zero; return x, y, heading of each cell, (k, 3)."""
        cells = descend(field_to_start, *self.cell(*goal))
        ahead = np.diff(cells, axis=0)  # to a neighbour
        return np.column_stack([(cells[:-1] + 0.5) * CELL, _HEADINGS[ahead[:, 0], ahead[:, 1]]])

    def approaches(self, field_to_start: np.ndarray) -> list[tuple[float, float]]:
        """Return for every place of interest the point (m) where the robot first gets to it."""
        points = []
        for place in self.interests:
            lengths = field_to_start[place.cells[:, 0], place.cells[:, 1]]
            nearest = int(np.argmin(lengths))
            if np.isfinite(lengths[nearest]):
                i, j = place.cells[nearest]
                points.append(((i + 0.5) * CELL, (j + 0.5) * CELL))
        return points

    def at_door(self, points: np.ndarray) -> np.ndarray:
        """Return (k,) bool: whether points (k, 2) (m) are where nothing may stand."""
        boxes = np.array([*self.plan.keep_free]).reshape(-1, 4)
        inside = (boxes[:, :2] < points[:, None]) & (points[:, None] < boxes[:, 2:])
        return np.asarray(np.any(np.all(inside, axis=2), axis=1))

    def distances_from(self, x: float, y: float) -> np.ndarray:
        """Return (nx, ny) float32: length (m) of the robot's shortest way from a point."""
        goal = np.array([self.cell(x, y)], np.int64)
        left = self.clearance - np.float32(PASSAGE)
        return dijkstra(self.clearance < PASSAGE, left, goal, 0.0, 0.3)


def radius_of(kind: EntityType, scale: tuple[float, ...]) -> float:
    """Return the radius (m) of a disc around the origin that holds an instance seen from above."""
    width, depth = kind.size[0] * scale[0], kind.size[1] * scale[1]
    if abs(width - depth) < 0.02 and kind.kind == "object":
        return width / 2 if kind.parts[0].shape != "box" else math.hypot(width, depth) / 2
    return math.hypot(width, depth) / 2
