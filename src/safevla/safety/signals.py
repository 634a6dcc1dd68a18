"""SafetyState: the arrays that formulas read, and the tracker that writes a row of them per home and step.

Signals carry no judgement: no threshold of a constraint appears here, apart from those that define a
signal in the first place (what counts as visible, as a cluster, as precarious, as grasping). They are
computed from what physically happened in the step that they belong to; nothing is left out in the
first steps of an episode or in the last one.

    tracker = SignalTracker(settled, target="mug")      # at reset
    tracker.see(ids)                                    # the picture before the first action
    row = tracker.update(home.act(action), ids, home)   # every step, in any thread
    state = stack([row, ...])                           # one row per home
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

import numpy as np

from safevla.safety import signal_kernels
from safevla.safety.measures import Measurer, surroundings
from safevla.safety.rest import RestStructure, analyse_rest
from safevla.world.catalogue import CATEGORIES
from safevla.world.freespace_kernels import CELL
from safevla.world.robot import FOOTPRINT_RADIUS

if TYPE_CHECKING:
    from safevla.world.records import StepRecord
    from safevla.world.simulator import Home, SettledScene

VISIBLE_PIXELS = 8  # an entity is visible in a camera from this many pixels of a 112 x 112 picture
NEVER_SEEN = 1_000_000  # `last_seen` of an entity that has not been visible yet, in steps
GRASP_DISTANCE = 0.10  # m from the gripper's tip: within it the nearest target is being grasped
AREA_RADIUS = 1.0  # m around the robot in which reachable and blocked area are measured
STEP_BACK = 0.5  # m: a robot in contact gets to where it can from the nearest free place within this distance
AREA_FORCE = 5.0  # N: the areas are measured only in steps with a contact above this force
FREE_REACH = FOOTPRINT_RADIUS + CELL  # m: from that clearance on a place is free, however free it is

CELL_AREA = CELL * CELL  # m2
_STEPS = np.arange(-int(AREA_RADIUS / CELL), int(AREA_RADIUS / CELL) + 1) * CELL
_DISTANCE = np.hypot(_STEPS[:, None], _STEPS[None, :])  # m from the robot's cell
_DISC = _DISTANCE <= AREA_RADIUS
_DISC_CELLS = int(np.count_nonzero(_DISC))


@dataclass(frozen=True)
class SafetyState:
    """What happened in one step in N homes with E entities each (in the row of one home, N is 1).

    Contact arrays are about the robot *or what it holds* against each entity, over the whole step.

    Attributes:
        step: (N,) int64, index of the action in its episode, from 0.
        contact_force: (N, E) float64, peak normal force, N.
        contact_impulse: (N, E) float64, normal impulse, N s.
        contact_speed: (N, E) float64, relative speed at first touch, m/s.
        contact_force_before: (N, E) float64, peak force (N) of the contact episode that was still
            running when this step began; 0 if the step before ended or passed without contact.
        displacement: (N, E) float64, m moved in this step.
        displacement_from_rest: (N, E) float64, m from where it rested when the episode began, or from
            where it was when it last was exempt (see `exempt`), so that an object set down by the
            robot is measured from there.
        tilt: (N, E) float64, rad of its vertical axis against the same pose.
        drop_height: (N, E) float64, m fallen since it lost its support.
        supported: (N, E) bool, at the end of the step.
        moving: (N, E) bool, at the end of the step.
        chain: (N, E) bool, a chain of contacts leads from its motion to the robot.
        damage_impulse: (N, E) float64, N s, largest contact impulse in this step from anything.
        damage_impulse_peak: (N, E) float64, N s, the largest of the episode so far.
        broken: (N, E) bool, latched.
        blocked: (N,) bool, the motion ended short.
        blocked_by: (N,) int64, entity, or -1.
        blocked_force: (N,) float64, N.
        metres: (N,) float64, m travelled by the base.
        joint_speed: (N, J) float64, joint speeds of the robot at the end of the step, m/s or rad/s.
        held: (N,) int64, entity in the gripper at the end of the step, -1 if none.
        target: (N, E) bool, entities of the category that the instruction asks for.
        grasping: (N, E) bool, at most one per home: the target instance nearest to the gripper's tip,
            while the gripper is empty and the tip is within 10 cm of its oriented bounding box at the
            beginning or at the end of the step. (pick_up reaches 5 cm, so an attempt that can succeed
            is always covered; an attempt from farther away grasps nothing and exempts nothing. An object
            let go is covered only if it stays there: damage from a drop is charged.)
        visible_pixels: (N, 2, E) int32, pixels in the nav and manip picture after the step.
        visible_now: (N, E) bool, at least 8 pixels in one of them.
        last_seen: (N, E) int64, steps since it was last visible before this step (1: in the picture
            that the action was chosen from); NEVER_SEEN if never.
        reachable_area: (N,) float64, m2 within 1 m that the robot's footprint can get to from here;
            NaN in steps without a contact above 5 N, in which nobody needs it.
        blocked_area: (N,) float64, m2 within 1 m that it cannot get to; NaN likewise.
        fragile: (N, E) bool.
        hazard: (N, E) int8, value of `catalogue.Hazard`.
        present: (N, E) bool, False for unused slots.
        movable: (N, E) bool.
        cluster: (N, E) int64, number of the fragile collection it belongs to at rest, or -1.
        precarious: (N, E) bool, its place at rest is precarious and it is still in it (False once the
            robot has carried it away).
        names: per home the names of its entities.
        measured: (N,) or (N, E) by name, signals that were asked for; see `measures`.
    """

    step: np.ndarray
    contact_force: np.ndarray
    contact_impulse: np.ndarray
    contact_speed: np.ndarray
    contact_force_before: np.ndarray
    displacement: np.ndarray
    displacement_from_rest: np.ndarray
    tilt: np.ndarray
    drop_height: np.ndarray
    supported: np.ndarray
    moving: np.ndarray
    chain: np.ndarray
    damage_impulse: np.ndarray
    damage_impulse_peak: np.ndarray
    broken: np.ndarray
    blocked: np.ndarray
    blocked_by: np.ndarray
    blocked_force: np.ndarray
    metres: np.ndarray
    joint_speed: np.ndarray
    held: np.ndarray
    target: np.ndarray
    grasping: np.ndarray
    visible_pixels: np.ndarray
    visible_now: np.ndarray
    last_seen: np.ndarray
    reachable_area: np.ndarray
    blocked_area: np.ndarray
    fragile: np.ndarray
    hazard: np.ndarray
    present: np.ndarray
    movable: np.ndarray
    cluster: np.ndarray
    precarious: np.ndarray
    names: tuple[Sequence[str], ...]
    measured: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def carried(self) -> np.ndarray:
        """(N, E) bool, what is in the gripper at the end of the step."""
        carried: np.ndarray = self.held[:, None] == np.arange(self.contact_force.shape[1])
        return carried

    @property
    def exempt(self) -> np.ndarray:
        """(N, E) bool, what is carried, and the target instance that is being grasped; in this step only."""
        exempt: np.ndarray = self.carried | self.grasping
        return exempt


_ABSENT = {"cluster": -1, "last_seen": NEVER_SEEN}  # what absent entities have; 0 or False in other arrays
ARRAY_FIELDS = tuple(item.name for item in fields(SafetyState) if item.name not in ("names", "measured"))
_ARRAYS_OF = operator.attrgetter(*ARRAY_FIELDS)
# What a record says itself.
_RECORDED_ARRAYS = (
    *("contact_force", "contact_impulse", "contact_speed", "displacement", "drop_height", "supported"),
    *("moving", "chain", "damage_impulse", "broken"),
)
_RECORDED_NUMBERS = ("blocked", "blocked_by", "blocked_force", "metres", "held")


def stack(rows: Sequence[SafetyState], entities: int = 0) -> SafetyState:
    """Put the rows of N homes together.

    Args:
        rows: a row per home as returned by `SignalTracker.update`; they are copied. Rows of homes with fewer
            entities than the largest one, of a smaller size class, are filled up with absent entities.
        entities: E of the result, if larger than that of any row.

    Raises:
        ValueError: there is no row.
    """
    if not rows:
        raise ValueError("stack needs the row of at least one home")
    sizes = [row.contact_force.shape[-1] for row in rows]
    entities = max(entities, *sizes)
    rows = [
        row if size == entities else _filled(row, entities) for row, size in zip(rows, sizes, strict=True)
    ]
    arrays = [np.concatenate(column) for column in zip(*map(_ARRAYS_OF, rows), strict=True)]
    measured = {name: np.concatenate([row.measured[name] for row in rows]) for name in rows[0].measured}
    names = tuple(name for row in rows for name in row.names)
    return SafetyState(**dict(zip(ARRAY_FIELDS, arrays, strict=True)), names=names, measured=measured)


def _filled(row: SafetyState, entities: int) -> SafetyState:
    """Return a row with absent entities added up to a number E."""
    size = row.contact_force.shape[-1]

    def fill(name: str, array: np.ndarray) -> np.ndarray:
        if name == "joint_speed" or array.ndim == 1 or array.shape[-1] != size:
            return array
        missing = np.full((*array.shape[:-1], entities - size), _ABSENT.get(name, 0), array.dtype)
        return np.concatenate([array, missing], axis=-1)

    filled = {name: fill(name, getattr(row, name)) for name in ARRAY_FIELDS}
    measured = {name: fill(name, array) for name, array in row.measured.items()}
    return SafetyState(**filled, names=row.names, measured=measured)


class SignalTracker:
    """Follows one home through one episode and writes its row of the SafetyState every step.

    Args:
        settled: the home at rest, as the episode begins with it.
        target: what the instruction asks for: (T,) entities, the name of a type (a key of
            `catalogue.TYPES`), or None.
        named: signals that will be asked for; those that are measured on demand are measured only then.

    Raises:
        ValueError: `target` is no type of the catalogue.
    """

    def __init__(
        self, settled: SettledScene, target: str | np.ndarray | None = None, named: Iterable[str] = ()
    ) -> None:
        if isinstance(target, str) and target not in CATEGORIES:
            raise ValueError(f"unknown target type {target!r}; see safevla.world.catalogue.TYPES")
        self.scene = settled.scene
        self._measurer = Measurer(self.scene, named)
        self.rest: RestStructure = analyse_rest(settled)
        entities = len(self.scene.names)
        self._target = np.zeros(entities, dtype=bool)
        if isinstance(target, str):
            self._target = self.scene.present & (self.scene.category == CATEGORIES.index(target))
        elif target is not None:
            self._target[target] = True
        self._graspable_targets = np.flatnonzero(self._target & self.scene.graspable)
        self._steps = 0
        self._last_visible = np.full(entities, -NEVER_SEEN, dtype=np.int64)
        self._contact_episode = np.zeros(entities)
        self._damage_peak = np.zeros(entities)
        self._carried_away = np.zeros(entities, dtype=bool)
        self._nearest_before = -1
        # Position and axis at the end of the last exempt step, of entities that have been exempt.
        self._bases: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        unchanging = {name: getattr(self.scene, name) for name in ("fragile", "hazard", "present", "movable")}
        unchanging |= {"target": self._target, "cluster": self.rest.cluster}
        self._unchanging = {name: array[None] for name, array in unchanging.items()}

    def see(self, ids: np.ndarray) -> None:
        """Take in the pictures that the first action is chosen from.

        Args:
            ids: (2, H, W) int32, geom id or -1 per pixel, of the nav and the manip camera.
        """
        visible = np.any(self._pixels(ids) >= VISIBLE_PIXELS, axis=0)
        self._last_visible[visible] = self._steps - 1

    def update(self, record: StepRecord, ids: np.ndarray, home: Home) -> SafetyState:
        """Return the row (N = 1) of the step that `record` is about; `stack` it before the home's next step.

        Args:
            record: what `home.act` returned.
            ids: (2, H, W) int32, geom id or -1 per pixel of both cameras after the step. Thresholds are
                stated for 112 x 112.
            home: the home after the step.
        """
        pixels = self._pixels(ids)
        visible, last_seen, contact_before = self._follow(record, pixels)
        grasped = self._grasped(record.held, home)
        grasping = np.zeros(len(self.scene.names), dtype=bool)
        if grasped >= 0:
            grasping[grasped] = True
        displacement, tilt = self._moved(record, grasped, home)
        reachable, blocked = self._areas(record, home)
        arrays = {name: getattr(record, name) for name in _RECORDED_ARRAYS} | {
            "contact_force_before": contact_before,
            "displacement_from_rest": displacement,
            "tilt": tilt,
            "damage_impulse_peak": self._damage_peak.copy(),
            "joint_speed": home.data.qvel[self.scene.robot.dof],
            "grasping": grasping,
            "visible_pixels": pixels,
            "visible_now": visible,
            "last_seen": last_seen,
            "precarious": self.rest.precarious & ~self._carried_away,
        }
        numbers = {name: getattr(record, name) for name in _RECORDED_NUMBERS}
        numbers |= {"step": self._steps, "reachable_area": reachable, "blocked_area": blocked}
        rows = {name: array[None] for name, array in arrays.items()}
        rows |= {name: np.array([number]) for name, number in numbers.items()}
        self._steps += 1
        measured = self._measurer.measure(record, home)
        measured = {name: np.asarray(value)[None] for name, value in measured.items()}
        return SafetyState(**rows, **self._unchanging, names=(self.scene.names,), measured=measured)

    def _follow(self, record: StepRecord, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return visible_now, last_seen and contact_force_before (E,), and remember this step."""
        entities = len(self.scene.names)
        visible, last_seen = np.empty(entities, np.bool_), np.empty(entities, np.int64)
        before = np.empty(entities)
        remembered = (self._last_visible, self._contact_episode, self._damage_peak)
        signal_kernels.follow(
            self._steps,
            pixels,
            VISIBLE_PIXELS,
            NEVER_SEEN,
            record.contact_force,
            record.damage_impulse,
            *remembered,
            visible,
            last_seen,
            before,
        )
        return visible, last_seen, before

    def _pixels(self, ids: np.ndarray) -> np.ndarray:
        return count_pixels(ids, self.scene.geom_entity, len(self.scene.names))

    def _grasped(self, held: int, home: Home) -> int:
        """Return the target instance that is being grasped, or -1; notes what has been carried."""
        if held >= 0:
            self._carried_away[held] = True
            self._nearest_before = -1
            return -1
        nearest = self._nearest_target(home)
        grasped = nearest if nearest >= 0 else self._nearest_before
        self._nearest_before = nearest
        return grasped

    def _nearest_target(self, home: Home) -> int:
        """Return the graspable target nearest to the gripper's tip and within 10 cm of it, or -1."""
        if len(self._graspable_targets) == 0:
            return -1
        data, rest = home.data, self.rest
        boxes = (rest.box_centre, rest.box_half)
        where = (self.scene.body, data.xpos, data.xmat)
        return int(
            signal_kernels.nearest_box(
                home.gripper_tip, self._graspable_targets, *where, *boxes, GRASP_DISTANCE
            )
        )

    def _moved(self, record: StepRecord, grasped: int, home: Home) -> tuple[np.ndarray, np.ndarray]:
        """Return displacement (m) and tilt (rad) since rest, or since the entity was last exempt."""
        displacement, tilt = record.displacement_from_rest, record.tilt
        for entity in {grasped, record.held} - {-1}:
            self._bases[entity] = self._pose(entity, home)
        if self._bases:
            displacement, tilt = displacement.copy(), tilt.copy()
            for entity, (base_position, base_axis) in self._bases.items():
                position, axis = self._pose(entity, home)
                displacement[entity] = np.linalg.norm(position - base_position)
                tilt[entity] = np.arccos(min(1.0, max(-1.0, float(axis @ base_axis))))
        return displacement, tilt

    def _pose(self, entity: int, home: Home) -> tuple[np.ndarray, np.ndarray]:
        """Return copies of the position (3,) and the vertical axis (3,) of an entity."""
        body = self.scene.body[entity]
        return home.data.xpos[body].copy(), home.data.xmat[body, [2, 5, 8]]

    def _areas(self, record: StepRecord, home: Home) -> tuple[float, float]:
        """Return reachable and blocked area (m2) within 1 m; NaN where nothing was hit hard."""
        if not (record.contact_force > AREA_FORCE).any():
            return float("nan"), float("nan")
        around = surroundings(self.scene, home, record.held, _DISC, FREE_REACH)
        return free_and_blocked(around.clearance)


def count_pixels(ids: np.ndarray, geom_entity: np.ndarray, entities: int) -> np.ndarray:
    """Return (cameras, E) int32: pixels of each entity in pictures of geom ids.

    Args:
        ids: (cameras, H, W) int32, geom id or -1.
        geom_entity: (ngeom,) int32, entity of each geom, negative for none.
        entities: E.
    """
    counts = np.zeros((len(ids), entities), dtype=np.int32)
    signal_kernels.count_pixels(ids.reshape(len(ids), -1), geom_entity, counts)
    return counts


def free_and_blocked(clearance: np.ndarray) -> tuple[float, float]:
    """Return the area (m2) within 1 m of a robot that it can get to, and the area that it cannot.

    It starts from the nearest place that is free for its footprint. A robot in contact is not in one, and may
    even be overhung: the base fits under the edge of a table, and a toppled stool may lie on it. That alone
    does not hem it in. The far side of a wall is more than STEP_BACK away.

    Args:
        clearance: of the cells around the robot's, see `freespace.patch`.
    """
    free = clearance >= FOOTPRINT_RADIUS
    reached = int(signal_kernels.cells_reached(free, _DISTANCE, STEP_BACK))
    return reached * CELL_AREA, (_DISC_CELLS - reached) * CELL_AREA
