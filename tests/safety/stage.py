"""Scripted scenes: a hand-made room, a robot that does what it is told, and what that costs."""

from __future__ import annotations

import numpy as np
from oracle import FUNCTIONS, Oracle

from safevla.safety.measures import MEASURES
from safevla.safety.signals import SafetyState, SignalTracker, stack
from safevla.safety.specification import OnsetTracker, load_specification
from safevla.safety.vocabulary import home_signal
from safevla.types import ACTION_ID, Event, Knobs
from safevla.world.catalogue import TYPES
from safevla.world.house import HouseSpec, Placement, Room
from safevla.world.person import PERSON_HEIGHT
from safevla.world.raster import Raster
from safevla.world.raster_mesh import RasterMesh
from safevla.world.scene import compile_scene
from safevla.world.simulator import Home, settle
from safevla.world.walk import Walk

SIZE = 5.0  # m, the room is [0, 5] x [0, 5]
Wall = tuple[float, float, float, float, float, float]


def thing(name: str, x: float, y: float, z: float = 0.0, yaw: float = 0.0, scale: float = 1.0) -> Placement:
    """Place an instance of a type; z is the height of what it stands on."""
    gap = 0.0005 if TYPES[name].movable else 0.0
    return Placement(name, (x, y, z + gap), yaw, (scale, scale, scale), 0)


def wall(x0: float, y0: float, x1: float, y1: float) -> Wall:
    """Return a wall over a rectangle of floor."""
    return ((x0 + x1) / 2, (y0 + y1) / 2, 1.2, (x1 - x0) / 2, (y1 - y0) / 2, 1.2)


def room(*things: Placement, walls: tuple[Wall, ...] = ()) -> HouseSpec:
    """Return a room of 5 x 5 m with these things in it and up to four more walls."""
    outer = (
        wall(-0.1, -0.1, SIZE + 0.1, 0.0),
        wall(-0.1, SIZE, SIZE + 0.1, SIZE + 0.1),
        wall(-0.1, 0.0, 0.0, SIZE),
        wall(SIZE, 0.0, SIZE + 0.1, SIZE),
    )
    return HouseSpec(
        seed=0,
        size_class="S",
        split="train",
        knobs=Knobs(),
        rooms=(Room("living_room", 0.0, 0.0, SIZE, SIZE),),
        walls=(*outer, *walls),
        furniture=tuple(item for item in things if not TYPES[item.type].movable),
        objects=tuple(item for item in things if TYPES[item.type].movable),
        wall_colour=(0.9, 0.9, 0.85),
        light=(0.5, 1.0, 0.5, 0.5),
    )


class Stage:
    """One episode in a hand-made room, judged by a specification that begins with the five of `safevla`.

    Attributes:
        states: one SafetyState (N = 1) per step.
        costs: one (5,) row per step.
        events: what was violated, in order.
    """

    def __init__(
        self,
        spec: HouseSpec,
        start: tuple[float, float, float],
        target: str | None = None,
        specification: str = "safevla",
        person: tuple[float, float, float] | None = None,
        height: float = PERSON_HEIGHT,
    ) -> None:
        """Begin an episode; `person` is x, y, yaw of somebody of a height (m) who stands there."""
        self.scene = compile_scene(spec, person is not None, height)
        settled = settle(self.scene)
        self.home = Home()
        self.home.reset(settled, start)
        if person is not None:
            self.walk(*person)
        self.specification = load_specification(specification)
        self.signals = SignalTracker(settled, target, MEASURES)
        self._raster, self._mesh = Raster(112, 112), RasterMesh.from_model(self.scene.model)
        self.signals.see(self.look())
        self.latches = OnsetTracker(1, len(self.scene.names))
        self.oracle = Oracle(1, len(self.scene.names))
        self.states: list[SafetyState] = []
        self.costs: list[np.ndarray] = []
        self.events: list[Event] = []

    def walk(self, x: float, y: float, yaw: float, way: tuple[tuple[float, float], ...] = ()) -> None:
        """Let the person stand somewhere for good, or go a way at 0.8 m/s."""
        self.home.walk = Walk(x, y, yaw, 0.8, way, pause=0 if way else 10**6)
        self.home._show_person()

    def look(self) -> np.ndarray:
        """Return (2, 112, 112) geom ids of both cameras."""
        ids = np.empty((2, 112, 112), dtype=np.int32)
        for picture, camera in zip(ids, self.scene.robot.cameras, strict=True):
            self._raster.render(self._mesh, self.home.data, camera, ids=picture)
        return ids

    def act(self, *actions: str) -> Stage:
        """Carry out actions, given as "move_ahead" or "move_ahead*3"."""
        for action in actions:
            name, _, times = action.partition("*")
            for _ in range(int(times or 1)):
                record = self.home.act(ACTION_ID[name])
                state = stack([self.signals.update(record, self.look(), self.home)])
                costs, events = self.specification.evaluate(state, self.latches)
                expected = self.oracle.evaluate(state, np.ones(1, dtype=bool))
                five = [[event for event in row if event.predicate in FUNCTIONS] for row in events]
                assert np.array_equal(costs[:, :5], expected[0]) and five == expected[1]
                self.states.append(state)
                self.costs.append(costs[0])
                self.events += events[0]
        return self

    def entity(self, name: str) -> int:
        """Return the index of an entity, by a name such as "vase_1"."""
        return self.scene.names.index(name)

    def charged(self, constraint: str) -> list[tuple[int, tuple[str, ...]]]:
        """Return step and bodies of each violation of a constraint."""
        return [(event.step, event.bodies) for event in self.events if event.predicate == constraint]

    def signal(self, name: str, entity: str | None = None) -> list[float]:
        """Return a signal over the steps, of one entity or of the home."""
        rows = [home_signal(state, name)[0] for state in self.states]
        return [row if entity is None else row[self.entity(entity)] for row in rows]
