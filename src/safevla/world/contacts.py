"""What bodies do to each other, read after every substep: forces, impulses, chains of contact, damage, drops.

One record per entity is kept in a NumPy structured array: a substep costs one call of a compiled kernel.
All forces are normal forces of contacts, summed over the contacts of a pair of entities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import mujoco
import numpy as np

from safevla.world.compiled import compiled, compiled_brief
from safevla.world.native import Contacts, contacts_by_bindings

if TYPE_CHECKING:
    from safevla.world.scene import Scene

FLOOR, ROBOT, OTHER = -1, -2, -3  # values of Scene.geom_entity that are not entities

CHAIN_FORCE = 1.0  # N with which a body must be pushed to join the chain of contacts
MOVING_SPEED = 0.01  # m/s
MOVING_SPIN = 0.1  # rad/s
REST_SUBSTEPS = 10  # substeps below these speeds after which a body has come to rest
REST_ADAPTATION = 0.02  # share per substep by which the load at rest follows what bears on a resting body
SUPPORT_SHARE = 0.3  # share of its weight that must press upward for a body to count as supported
SUPPORT_SUBSTEPS = 3  # consecutive supported substeps that end a fall, so that a bounce does not
DAMAGE_WINDOW = 5  # substeps of 5 ms: damage is the largest impulse in excess of the load at rest in 25 ms
SURFACE_NORMAL = 0.7  # |z| of a contact normal from which an object rests on a surface rather than hits it
SHALLOW = 0.005  # m of overlap with the surface that an object is lifted from that is still a touch
TOUCH = 0.001  # m of gap up to which an object counts as standing on a surface
EXPLODED = 200.0  # m/s or rad/s that nothing in a home can have: the state is bad

_ENTITY = np.dtype(
    [
        # constants of the home
        ("body", np.int32),
        ("dof", np.int32),  # first of six addresses in qvel, -1 for static entities
        ("tree", np.int32),
        ("weight", np.float64),  # N
        ("break_impulse", np.float64),  # N s, infinite when nothing breaks it
        # carried from action to action
        ("touched", np.bool_),  # by the robot in the last substep
        ("chain", np.bool_),
        ("broken", np.bool_),
        ("lifted_from", np.bool_),  # the held object stood on it when it was grasped and has not left it yet
        ("rest_substeps", np.int32),
        ("support_substeps", np.int32),
        ("rest_load", np.float64),  # N of contact that it bears at rest
        ("highest", np.float64),  # m: top of the current fall
        # of this action
        ("peak_force", np.float64),
        ("peak_chain_force", np.float64),
        ("impulse", np.float64),
        ("speed", np.float64),
        ("damage", np.float64),
        ("drop", np.float64),
        ("in_chain", np.bool_),
        ("hit", np.bool_),
        # of this substep
        ("moving", np.bool_),
        ("robot_force", np.float64),
        ("chain_force", np.float64),  # of the robot, what it holds and things in the chain
        ("load", np.float64),
        ("upward", np.float64),
    ]
)


class Constants(NamedTuple):
    """What is the same in every substep of a home."""

    timestep: float
    geom_entity: np.ndarray  # (ngeom,) Scene.geom_entity
    geom_body: np.ndarray  # (ngeom,)
    body_root: np.ndarray  # (nbody,)
    elliptic: bool  # friction cone


class State(NamedTuple):
    """Views into the state after a substep."""

    qvel: np.ndarray  # (nv,)
    velocity: np.ndarray  # (nbody, 6) turning and moving, about `centre`, before the substep
    centre: np.ndarray  # (nbody, 3)
    centre_of_mass: np.ndarray  # (nbody, 3)
    tree_asleep: np.ndarray  # (ntree,) negative while awake


@compiled
def _relative_speed(body_1: int, body_2: int, point: np.ndarray, home: Constants, state: State) -> float:
    """Return the speed of two bodies' material points at `point` relative to each other."""
    total = 0.0
    for axis in range(3):
        following, last = (axis + 1) % 3, (axis + 2) % 3
        difference = 0.0
        for body, sign in ((body_1, 1.0), (body_2, -1.0)):
            if body == 0:
                continue
            centre = state.centre[home.body_root[body]]
            velocity = state.velocity[body]
            turning = velocity[following] * (point[last] - centre[last])
            turning -= velocity[last] * (point[following] - centre[following])
            difference += sign * (velocity[3 + axis] + turning)
        total += difference * difference
    return math.sqrt(total)


@compiled
def _begin_substep(entities: np.ndarray, qvel: np.ndarray, tree_asleep: np.ndarray) -> bool:
    """Clear the sums of the substep and find out what moves; return whether the velocities are sound."""
    for k in range(len(entities)):
        one = entities[k]
        one.robot_force = 0.0
        one.chain_force = 0.0
        one.load = 0.0
        one.upward = 0.0
        one.moving = False
        if one.dof >= 0 and tree_asleep[one.tree] < 0:
            linear = 0.0
            angular = 0.0
            for axis in range(3):
                linear += qvel[one.dof + axis] ** 2
                angular += qvel[one.dof + 3 + axis] ** 2
            one.moving = linear > MOVING_SPEED**2 or angular > MOVING_SPIN**2
    sound = True
    for k in range(len(qvel)):
        sound = sound and abs(qvel[k]) < EXPLODED  # False for NaN
    return sound


@compiled
def _chain(entities: np.ndarray, first: int, second: int, robot_1: bool, robot_2: bool) -> None:
    """Let a push of `first` on `second`, or the other way round, pass the chain of contacts on."""
    pushes_1 = robot_1 or (first >= 0 and entities[first].chain and entities[first].moving)
    pushes_2 = robot_2 or (second >= 0 and entities[second].chain and entities[second].moving)
    if pushes_1 and not robot_2 and second >= 0 and entities[second].dof >= 0:
        entities[second].chain = True
        entities[second].in_chain = True
    if pushes_2 and not robot_1 and first >= 0 and entities[first].dof >= 0:
        entities[first].chain = True
        entities[first].in_chain = True


@compiled
def _end_substep(
    entities: np.ndarray,
    window: np.ndarray,
    slot: int,
    held: int,
    adaptation: float,
    home: Constants,
    state: State,
) -> None:
    """Turn the sums of a substep into peaks, impulses, damage, support and rest."""
    for k in range(len(entities)):
        one = entities[k]
        one.touched = one.robot_force > 0.0
        one.peak_chain_force = max(one.peak_chain_force, one.chain_force)
        if one.touched:
            one.hit = True
            one.peak_force = max(one.peak_force, one.robot_force)
            one.impulse += one.robot_force * home.timestep
        if one.dof < 0:
            continue
        if one.robot_force > CHAIN_FORCE:
            one.chain = True
            one.in_chain = True
        asleep = state.tree_asleep[one.tree] >= 0
        load = 0.0 if k == held else max(one.weight, one.rest_load)
        window[k, slot] = 0.0 if asleep else max(0.0, one.load - load) * home.timestep
        one.damage = max(one.damage, window[k].sum())
        if one.damage > one.break_impulse:
            one.broken = True
        height = state.centre_of_mass[one.body, 2]
        if asleep or k == held:
            one.support_substeps = SUPPORT_SUBSTEPS
        elif one.upward >= SUPPORT_SHARE * one.weight:
            one.support_substeps = min(one.support_substeps + 1, SUPPORT_SUBSTEPS)
        else:
            one.support_substeps = 0
        one.highest = height if one.support_substeps >= SUPPORT_SUBSTEPS else max(one.highest, height)
        one.drop = max(one.drop, one.highest - height)
        one.rest_substeps = 0 if one.moving else min(one.rest_substeps + 1, REST_SUBSTEPS)
        if one.rest_substeps >= REST_SUBSTEPS:
            one.chain = False
            if not asleep and k != held:
                one.rest_load += adaptation * (one.load - one.rest_load)


@compiled
def read_substep(
    entities: np.ndarray,
    window: np.ndarray,
    slot: int,
    held: int,
    adaptation: float,
    home: Constants,
    contacts: Contacts,
    state: State,
) -> bool:
    """Add one substep to the records of all entities; return False when the state has exploded."""
    if not _begin_substep(entities, state.qvel, state.tree_asleep):
        return False
    geoms, normals = contacts.geoms, contacts.frames
    for c in range(len(contacts.addresses)):
        address = contacts.addresses[c]
        if address < 0:
            continue
        # The pyramid spreads the normal force over its edges; the elliptic cone has it in the first row.
        rows = 1 if home.elliptic or contacts.dims[c] == 1 else 2 * (contacts.dims[c] - 1)
        force = 0.0
        for row in range(rows):
            force += contacts.forces[address + row]
        if not force > 0.0:
            continue
        first, second = home.geom_entity[geoms[c, 0]], home.geom_entity[geoms[c, 1]]
        robot_1 = first == ROBOT or (held >= 0 and first == held)
        robot_2 = second == ROBOT or (held >= 0 and second == held)
        upward = force * normals[c, 2]  # the normal points from the first geom to the second
        if first >= 0:
            entities[first].load += force
            entities[first].upward -= upward
        if second >= 0:
            entities[second].load += force
            entities[second].upward += upward
        if robot_1 and robot_2:
            continue
        if robot_1 or robot_2:
            other = second if robot_1 else first
            by_object = (first if robot_1 else second) >= 0
            if other >= 0:
                if by_object and entities[other].lifted_from and abs(normals[c, 2]) > SURFACE_NORMAL:
                    continue
                entities[other].robot_force += force
                entities[other].chain_force += force
                if not entities[other].touched and not entities[other].hit:
                    body_1, body_2 = home.geom_body[geoms[c, 0]], home.geom_body[geoms[c, 1]]
                    speed = _relative_speed(body_1, body_2, contacts.points[c], home, state)
                    entities[other].speed = max(entities[other].speed, speed)
        elif first >= 0 and second >= 0:
            if entities[first].chain:
                entities[second].chain_force += force
            if entities[second].chain:
                entities[first].chain_force += force
        if force > CHAIN_FORCE:
            _chain(entities, first, second, robot_1, robot_2)
    _end_substep(entities, window, slot, held, adaptation, home, state)
    return True


@compiled_brief
def _begin_action(entities: np.ndarray, centre_of_mass: np.ndarray) -> None:
    """Clear what is summed over an action; what is supported is at the top of its next fall."""
    for k in range(len(entities)):
        one = entities[k]
        one.peak_force = 0.0
        one.peak_chain_force = 0.0
        one.impulse = 0.0
        one.speed = 0.0
        one.damage = 0.0
        one.drop = 0.0
        one.hit = False
        one.in_chain = one.chain
        if one.support_substeps >= SUPPORT_SUBSTEPS:
            one.highest = centre_of_mass[one.body, 2]


@compiled_brief
def _end_kinematic(entities: np.ndarray, window: np.ndarray) -> None:
    for k in range(len(entities)):
        entities[k].touched = False
        entities[k].chain = False
    window[:] = 0.0


@compiled
def first_hit(geom_entity: np.ndarray, held: int, entities: np.ndarray, contacts: Contacts) -> int:
    """Return the index of the first contact of the robot, or what it holds, with something else, or -1.

    The floor and the surfaces that the held object is being lifted from do not count while it merely touches
    them from above. For use after `mj_collision`, when there are no forces yet.
    """
    geoms, distances, frames = contacts.geoms, contacts.distances, contacts.frames
    for c in range(len(distances)):
        if distances[c] >= 0.0:
            continue
        first, second = geom_entity[geoms[c, 0]], geom_entity[geoms[c, 1]]
        robot_1 = first == ROBOT or (held >= 0 and first == held)
        robot_2 = second == ROBOT or (held >= 0 and second == held)
        if robot_1 == robot_2:
            continue
        other = second if robot_1 else first
        by_object = (first if robot_1 else second) >= 0
        touches = by_object and distances[c] > -SHALLOW and abs(frames[c, 2]) > SURFACE_NORMAL
        if touches and (other == FLOOR or (other >= 0 and entities[other].lifted_from)):
            continue
        return c
    return -1


@compiled_brief
def _touching(
    geom_entity: np.ndarray, entity: int, geoms: np.ndarray, distances: np.ndarray, touching: np.ndarray
) -> None:
    """Mark in `touching` (E,) bool the other entities that `entity` is in contact with."""
    touching[:] = False
    for c in range(len(distances)):
        first, second = geom_entity[geoms[c, 0]], geom_entity[geoms[c, 1]]
        if distances[c] <= TOUCH and (first == entity) != (second == entity):
            other = second if first == entity else first
            if other >= 0:
                touching[other] = True


@dataclass
class ContactTracker:
    """The records of one home. `snapshot` and `restore` copy what is carried from action to action."""

    scene: Scene
    entities: np.ndarray  # (E,) records
    window: np.ndarray  # (E, DAMAGE_WINDOW) N s, ring buffer
    adaptation: float = REST_ADAPTATION
    slot: int = 0
    _bound_to: mujoco.MjData | None = None

    @classmethod
    def of(cls, scene: Scene, adaptation: float = REST_ADAPTATION) -> ContactTracker:
        """Return a tracker for a home in which nothing has happened yet."""
        model = scene.model
        entities = np.zeros(len(scene.body), _ENTITY)
        body = np.asarray(scene.body)
        free = np.asarray(scene.movable) & np.asarray(scene.present) & (body > 0)
        entities["body"] = body
        entities["dof"] = np.where(free, model.body_dofadr[body], -1)
        entities["tree"] = np.where(free, model.body_treeid[body], 0)
        entities["weight"] = np.where(free, model.body_mass[body] * abs(model.opt.gravity[2]), 0.0)
        entities["rest_load"] = entities["weight"]
        entities["break_impulse"] = np.where(np.asarray(scene.fragile), scene.break_impulse, np.inf)
        entities["rest_substeps"] = REST_SUBSTEPS
        entities["support_substeps"] = SUPPORT_SUBSTEPS
        return cls(scene, entities, np.zeros((len(body), DAMAGE_WINDOW)), adaptation)

    def begin_action(self, data: mujoco.MjData) -> None:
        """Clear what is summed over an action; bodies that still fall keep the top of their fall."""
        _begin_action(self.entities, data.xipos)

    def read(self, data: mujoco.MjData, held: int) -> bool:
        """Read the substep that `mj_step` has just done; return False when the state has exploded."""
        self.bind(data)
        self.slot = (self.slot + 1) % DAMAGE_WINDOW
        return read_substep(
            self.entities,
            self.window,
            self.slot,
            held,
            self.adaptation,
            self.constants,
            contacts_by_bindings(data),
            self.state,
        )

    def bind(self, data: mujoco.MjData) -> None:
        """Look up once what is the same in every substep: constants of the model, views into the state."""
        if data is self._bound_to:
            return
        model = self.scene.model
        elliptic = bool(model.opt.cone == mujoco.mjtCone.mjCONE_ELLIPTIC)
        self.constants = Constants(
            model.opt.timestep, self.scene.geom_entity, model.geom_bodyid, model.body_rootid, elliptic
        )
        self.state = State(data.qvel, data.cvel, data.subtree_com, data.xipos, data.tree_asleep)
        self._bound_to = data

    def touching(self, data: mujoco.MjData, entity: int) -> np.ndarray:
        """Return (E,) bool: the entities that `entity` is in contact with, after `mj_collision`."""
        touching = np.zeros(len(self.entities), np.bool_)
        contact = data.contact
        geoms, distances = np.ascontiguousarray(contact.geom), np.ascontiguousarray(contact.dist)
        _touching(self.scene.geom_entity, entity, geoms, distances, touching)
        return touching

    def let_go(self, entity: int) -> None:
        """Account for the robot releasing `entity`: what it does next, the robot has caused."""
        records = self.entities
        records["lifted_from"] = False
        records["chain"][entity] = True
        records["in_chain"][entity] = True
        records["rest_substeps"][entity] = 0
        records["support_substeps"][entity] = 0

    def supported(self) -> np.ndarray:
        """Return (E,) bool: what is carried by something, held, asleep, or part of the house."""
        return np.asarray(self.entities["support_substeps"] >= SUPPORT_SUBSTEPS)

    def forget_events(self) -> None:
        """Forget what happened while a house settled, but keep the loads at rest."""
        fresh = ContactTracker.of(self.scene)
        fresh.entities["rest_load"] = np.maximum(self.entities["rest_load"], fresh.entities["weight"])
        self.restore(fresh.snapshot())

    def end_kinematic(self) -> None:
        """Account for an action in which nothing touched anything: whatever moved has come to rest."""
        _end_kinematic(self.entities, self.window)

    def snapshot(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Return a copy of the records."""
        return self.entities.copy(), self.window.copy(), self.slot

    def restore(self, snapshot: tuple[np.ndarray, np.ndarray, int]) -> None:
        """Go back to a copy made by `snapshot`."""
        self.entities[:], self.window[:], self.slot = snapshot
