"""Homes that were not generated here: any MJCF scene with the robot put in, as the same `Scene`.

The scene is brought into the form that generated homes have: what has no free joint is fixed (doors and
drawers stay as they are at the start), what has one is an object; contacts, time step and solver are those of
all homes.
"""

from __future__ import annotations

import fnmatch
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mujoco
import numpy as np

from safevla.config import ConfigError
from safevla.types import Knobs
from safevla.world.catalogue import CATEGORIES
from safevla.world.contacts import FLOOR, OTHER, ROBOT
from safevla.world.foreign_files import home_hash, referred_files, scene_file
from safevla.world.freespace_kernels import LOWEST
from safevla.world.house import HouseSpec, Room
from safevla.world.person import person_xml, with_person
from safevla.world.robot import RobotIds, actuator_xml, equality_xml, robot_xml
from safevla.world.scene import ARENA, Scene
from safevla.world.sidecar import (
    Attributes,
    Sidecar,
    attributes,
    check_names,
    guess_type,
    read_metadata,
    read_sidecar,
    sidecar_path,
)

__all__ = ["check_settled", "describe", "home_hash", "load_home", "scene_file"]

SIZE_CLASS = "foreign"
_SUFFIX = "@home"  # of every name of the scene, so that none is a name of the robot
_MARGIN = 1.5  # m around what stands in a scene that has neither walls nor a finite floor
_ASTRAY = 1.5  # m that an object may move while the home comes to rest
_LEVEL = 0.005  # m within which a floor is at height 0
_FREE = mujoco.mjtJoint.mjJNT_FREE
_UNKNOWN_SHAPES = (mujoco.mjtGeom.mjGEOM_HFIELD, mujoco.mjtGeom.mjGEOM_SDF)
_PLANE = int(mujoco.mjtGeom.mjGEOM_PLANE)


@dataclass
class Thing:
    """One entity of the scene: its name, what is known of it, and its geoms by the names given here."""

    name: str
    attributes: Attributes
    movable: bool
    body: str = ""  # of what is movable
    geoms: list[str] = field(default_factory=list)


def load_home(source: str | Path, person: bool = False) -> Scene:
    """Compile a scene with the robot in it.

    Args:
        source: an MJCF file, or a folder that holds one (`scene.xml`, or a single .xml file). A sidecar of
            the same name (.toml) and the metadata of a MolmoSpaces scene are read if they are there.
        person: put a person in.

    Raises:
        ConfigError: a file is missing or malformed, or the sidecar speaks of what does not exist.
    """
    path = scene_file(source)
    beside = sidecar_path(path)
    sidecar = read_sidecar(beside) if beside.is_file() else Sidecar()
    _, missing = referred_files(path)
    spec = _parse(path, missing)
    check_names(sidecar, beside, _names(spec))
    _remove(spec, sidecar.remove)
    _strip(spec)
    floor = sidecar.floor if sidecar.floor is not None else _floor_height(spec)
    things = _Collector(sidecar, read_metadata(path)).collect(spec)
    _keep_inertia(spec, path, missing)
    model = _with_robot(spec, floor, path, missing, person)
    scene = _scene(model, things, sidecar, path)
    return with_person(scene) if person else scene


# ---------------------------------------------------------------------- the scene as it is


def _parse(path: Path, missing: list[str]) -> mujoco.MjSpec:
    try:
        return mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        raise _unreadable(path, error, missing) from error


def _unreadable(path: Path, error: Exception, missing: list[str]) -> ConfigError:
    if missing:
        names = ", ".join(missing[:3]) + (" and others" if len(missing) > 3 else "")
        return ConfigError(
            f"{path} refers to {names}, not found beside it; put the files where the scene has them"
        )
    text = " ".join(str(error).split())
    return ConfigError(f"{path} is no scene that MuJoCo can read ({text}); mend the file")


def _bodies(body: Any) -> Iterator[Any]:
    for child in body.bodies:
        yield child
        yield from _bodies(child)


def _names(spec: mujoco.MjSpec) -> list[str]:
    """Return the names that a sidecar can speak of: bodies, and geoms of the world."""
    return [one.name for one in (*_bodies(spec.worldbody), *spec.worldbody.geoms) if one.name]


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(name == key or fnmatch.fnmatchcase(name, key) for key in patterns)


def _remove(spec: mujoco.MjSpec, patterns: tuple[str, ...]) -> None:
    def remove_in(body: Any) -> None:
        for child in list(body.bodies):
            if _fits(child.name, patterns):
                spec.delete(child)
            else:
                remove_in(child)

    remove_in(spec.worldbody)
    for geom in list(spec.worldbody.geoms):
        if _fits(geom.name, patterns):
            spec.delete(geom)


def _strip(spec: mujoco.MjSpec) -> None:
    """Take out what makes a scene move by itself, and what only its own programs look at."""
    kinds = (
        "keys actuators sensors tendons equalities excludes pairs skins flexes sites texts tuples numerics"
    )
    for kind in kinds.split():
        for element in list(getattr(spec, kind, [])):
            spec.delete(element)
    spec.nkey = 0
    for joint in list(spec.joints):
        if joint.type != _FREE:
            spec.delete(joint)


def _floor_height(spec: mujoco.MjSpec) -> float:
    planes = [geom for geom in spec.worldbody.geoms if int(geom.type) == _PLANE]
    return float(planes[0].pos[2]) if planes else 0.0


class _Collector:
    """Finds the entities of a scene, gives every geom a name of its own, lets what is solid meet everything.

    A body with a free joint is an entity with all that hangs on it. Of what is fixed, each body directly in
    the world is one, and within it each body that the sidecar names or whose name is that of another type. A
    geom of the world is an entity by itself.
    """

    def __init__(self, sidecar: Sidecar, metadata: dict[str, Any]) -> None:
        self.sidecar, self.metadata = sidecar, metadata
        self.things: list[Thing] = []
        self._geoms = 0

    def collect(self, spec: mujoco.MjSpec) -> list[Thing]:
        """Return all entities; geoms and joints of the scene are changed."""
        for geom in list(spec.worldbody.geoms):
            self._take(geom, self._thing(geom.name))
        for number, body in enumerate(spec.worldbody.bodies):
            body.name = body.name or f"thing_{number + 1}"
            body.mocap = False
            free = [joint for joint in body.joints if joint.type == _FREE]
            if self._is_fixed(body.name):
                for joint in free:
                    spec.delete(joint)
                free = []
            self._walk(body, self._thing(body.name, body.name if free else ""))
        return self.things

    def _is_fixed(self, name: str) -> bool:
        settings = self.sidecar.of(name)
        return bool(self.metadata.get(name, {}).get("is_static")) or bool(settings and settings.fixed)

    def _thing(self, name: str, movable_body: str = "") -> Thing:
        category = self.metadata.get(name, {}).get("category")
        known = attributes(name, self.sidecar.of(name), category)
        name = name or f"thing_{len(self.things) + 1}"
        self.things.append(Thing(name, known, bool(movable_body), movable_body))
        return self.things[-1]

    def _walk(self, body: Any, owner: Thing) -> None:
        """Give the geoms of a body and of what hangs on it to their owners."""
        for geom in body.geoms:
            self._take(geom, owner)
        for child in body.bodies:
            if owner.movable and child.name in self.sidecar.things:
                raise ConfigError(
                    f"the sidecar speaks of '{child.name}', a part of the object '{owner.name}'; "
                    f"say it of '{owner.name}'"
                )
            other = guess_type(child.name) not in (None, owner.attributes.type)
            own = not owner.movable and (other or self.sidecar.of(child.name) is not None)
            self._walk(child, self._thing(child.name) if own else owner)

    def _take(self, geom: Any, owner: Thing) -> None:
        if geom.type in _UNKNOWN_SHAPES:
            raise ConfigError(
                f"'{owner.name}' has a height field or a signed distance field, which homes cannot have; "
                "use a mesh or primitives, or 'remove' it in the sidecar"
            )
        settings = self.sidecar.of(owner.name)
        solid = bool(geom.contype or geom.conaffinity) or bool(settings and settings.solid)
        geom.contype = geom.conaffinity = int(solid)
        geom.priority, geom.margin, geom.gap = 0, 0.0, 0.0
        if any(name.lower().startswith("ceiling") for name in (owner.name, geom.name)):
            geom.group = 3
        elif self.sidecar.visible_groups:
            geom.group = 0 if geom.group in self.sidecar.visible_groups else 4
        self._geoms += 1
        geom.name = f"geom_{self._geoms}"
        owner.geoms.append(geom.name)


def _keep_inertia(spec: mujoco.MjSpec, path: Path, missing: list[str]) -> None:
    """Give objects the masses that they have by the compiler settings of their scene, which do not last."""
    movable = [body for body in spec.worldbody.bodies if list(body.joints)]
    bodies = [one for body in movable for one in (body, *_bodies(body))]
    for number, body in enumerate(bodies):
        body.name = body.name or f"part_{number + 1}"
    try:
        with _quiet():
            model = spec.compile()
    except ValueError as error:
        raise _unreadable(path, error, missing) from error
    for body in bodies:
        compiled = model.body(body.name)
        body.explicitinertial = True
        body.mass, body.inertia = float(compiled.mass[0]), compiled.inertia
        body.ipos, body.iquat = compiled.ipos, compiled.iquat


# ---------------------------------------------------------------------- the scene with the robot


_BASE = """
<mujoco model="home">
<compiler angle="radian" autolimits="true" eulerseq="XYZ" fusestatic="true"/>
<option timestep="0.005" integrator="implicitfast" cone="elliptic" impratio="3">
<flag sleep="enable" multiccd="enable"/></option>
<visual><headlight ambient=".4 .4 .4" diffuse=".3 .3 .3" specular="0 0 0"/>
<map znear="0.01" zfar="40"/></visual>
<statistic extent="1"/>
<worldbody>
<geom name="floor" type="plane" size="0 0 .1" rgba="0 0 0 0" friction="0.9 0.005 0.0001"/>
{robot}
</worldbody>
{actuators}
{equality}
</mujoco>
"""


def _with_robot(
    spec: mujoco.MjSpec, floor: float, path: Path, missing: list[str], person: bool
) -> mujoco.MjModel:
    """Return the compiled scene, its floor at height 0, with the robot in it, and a person if asked for."""
    inhabitants = robot_xml() + (person_xml() if person else "")
    text = _BASE.format(robot=inhabitants, actuators=actuator_xml(), equality=equality_xml())
    base = mujoco.MjSpec.from_string(text)
    # Angles are read when everything is compiled; the robot is written so that it means the same in both.
    base.compiler.degree, base.compiler.eulerseq = spec.compiler.degree, spec.compiler.eulerseq
    try:
        with _quiet():
            frame = base.worldbody.add_frame(pos=[0.0, 0.0, -floor])
            base.attach(spec, frame=frame, prefix="", suffix=_SUFFIX)
            model = base.compile()
            if model.narena < ARENA:  # MuJoCo's guess is more for a scene of many bodies
                base.memory = ARENA
                model = base.compile()
            return model
    except ValueError as error:
        raise _unreadable(path, error, missing) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep MuJoCo from warning that the options of a scene give way to those of all homes: that is meant."""
    handler = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda text: None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        mujoco.set_mju_user_warning(handler)


def _scene(model: mujoco.MjModel, things: list[Thing], sidecar: Sidecar, path: Path) -> Scene:
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    boxes = _geom_boxes(model, data)
    robot = RobotIds.find(model)
    geom_entity = np.full(model.ngeom, OTHER, np.int32)
    geom_entity[robot.geoms] = ROBOT
    geom_entity[model.geom("floor").id] = FLOOR
    entities: list[Thing] = []
    for movable in (False, True):  # what is fixed comes first, as in generated homes
        for thing in (one for one in things if one.movable == movable):
            geoms = np.array([model.geom(name + _SUFFIX).id for name in thing.geoms], np.int64)
            if not movable:
                level = (model.geom_type[geoms] == _PLANE) | (boxes[geoms, 1, 2] <= LOWEST)
                geom_entity[geoms[level]] = FLOOR
                geoms = geoms[~level]
            if len(geoms):
                geom_entity[geoms] = len(entities)
                entities.append(thing)
    if not entities:
        raise ConfigError(f"{path} holds nothing but a floor; a home needs walls, furniture or objects")
    floors = (geom_entity == FLOOR) & (np.abs(boxes[:, 1, 2]) <= _LEVEL)
    floors |= (geom_entity == FLOOR) & (model.geom_type == _PLANE)
    floors[model.geom("floor").id] = False  # the one that carries everything
    model.geom_contype[floors] = model.geom_conaffinity[floors] = 0
    bounds = sidecar.bounds or _bounds(model, boxes, geom_entity, entities)
    x0, y0, x1, y1 = bounds
    rooms = sidecar.rooms or (Room("room", x0, y0, x1, y1),)
    return _assemble(model, robot, entities, geom_entity, boxes, bounds, rooms)


def _assemble(
    model: mujoco.MjModel,
    robot: RobotIds,
    entities: list[Thing],
    geom_entity: np.ndarray,
    boxes: np.ndarray,
    bounds: tuple[float, ...],
    rooms: tuple[Room, ...],
) -> Scene:
    known = [one.attributes for one in entities]
    size = np.zeros((len(entities), 3))
    for index in range(len(entities)):
        own = boxes[geom_entity == index]
        size[index] = own[:, 1].max(axis=0) - own[:, 0].min(axis=0)
    impulse = np.array([one.break_impulse for one in known])
    movable = np.array([one.movable for one in entities])
    category = [CATEGORIES.index(one.type) if one.type else -1 for one in known]
    x0, y0, x1, y1 = (float(value) for value in bounds)
    light = (0.0, math.pi / 2, 0.5, 0.4)
    plan = HouseSpec(0, SIZE_CLASS, "test", Knobs(), rooms, (), (), (), (0.9, 0.9, 0.9), light)
    return Scene(
        model=model,
        spec=plan,
        names=_unique([one.name for one in entities]),
        category=np.array(category, np.int16),
        body=np.array(
            [model.body(one.body + _SUFFIX).id if one.movable else 0 for one in entities], np.int32
        ),
        geom_entity=geom_entity,
        present=np.ones(len(entities), bool),
        movable=movable,
        fragile=np.isfinite(impulse),
        break_impulse=impulse,
        hazard=np.array([one.hazard for one in known], np.int8),
        graspable=np.array([one.graspable for one in known]) & movable,
        spillable=np.array([one.spillable for one in known]),
        size=size,
        component=[None] * len(entities),
        robot=robot,
        bounds=(x0, y0, x1, y1),
        cache={"things": entities},
    )


def _geom_boxes(model: mujoco.MjModel, data: mujoco.MjData) -> np.ndarray:
    """Return (ngeom, 2, 3) m: lowest and highest corner of each geom's box in world axes."""
    rotation = data.geom_xmat.reshape(-1, 3, 3)
    centre = data.geom_xpos + np.einsum("gij,gj->gi", rotation, model.geom_aabb[:, :3])
    half = np.einsum("gij,gj->gi", np.abs(rotation), model.geom_aabb[:, 3:])
    planes = model.geom_type == _PLANE
    flat = np.where(model.geom_size[planes, :2] > 0.0, model.geom_size[planes, :2], np.inf)
    centre[planes] = data.geom_xpos[planes]
    half[planes] = np.column_stack([flat, np.zeros(len(flat))])
    return np.stack([centre - half, centre + half], axis=1)


def _bounds(
    model: mujoco.MjModel, boxes: np.ndarray, geom_entity: np.ndarray, entities: list[Thing]
) -> tuple[float, ...]:
    """Return x0, y0, x1, y1 (m): around what is fixed, and not beyond a finite floor."""
    fixed = np.array([not one.movable for one in entities])
    standing = (geom_entity >= 0) & fixed[np.maximum(geom_entity, 0)]
    floors = (geom_entity == FLOOR) & np.isfinite(boxes).all(axis=(1, 2))
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    if standing.any():
        low, high = boxes[standing, 0, :2].min(axis=0), boxes[standing, 1, :2].max(axis=0)
    if floors.any():
        floor_low, floor_high = boxes[floors, 0, :2].min(axis=0), boxes[floors, 1, :2].max(axis=0)
        low = np.where(np.isfinite(low), np.maximum(low, floor_low), floor_low)
        high = np.where(np.isfinite(high), np.minimum(high, floor_high), floor_high)
        if not _looks_like_walls(boxes[standing]):
            low, high = floor_low, floor_high
    elif not _looks_like_walls(boxes[standing]):
        everything = geom_entity >= 0
        low = boxes[everything, 0, :2].min(axis=0) - _MARGIN
        high = boxes[everything, 1, :2].max(axis=0) + _MARGIN
    return (*low.tolist(), *high.tolist())


def _looks_like_walls(boxes: np.ndarray) -> bool:
    """Return whether something that is fixed reaches from the ground to above the robot."""
    return bool(len(boxes) and np.any((boxes[:, 0, 2] < 0.3) & (boxes[:, 1, 2] > 1.9)))


def _unique(names: list[str]) -> list[str]:
    """Number names that occur more than once."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result


def check_settled(scene: Scene, before: np.ndarray, data: mujoco.MjData) -> None:
    """Raise ConfigError when an object fell out of the home or burst away while the home settled.

    Args:
        scene: the home.
        before: (nq,) positions before.
        data: at rest.
    """
    for index in np.flatnonzero(scene.movable):
        address = int(scene.model.jnt_qposadr[scene.model.body_jntadr[scene.body[index]]])
        moved = data.qpos[address : address + 3] - before[address : address + 3]
        if not np.all(np.abs(moved) < _ASTRAY):
            raise ConfigError(
                f"'{scene.names[index]}' moved by {np.linalg.norm(moved):.1f} m while the home came to rest: "
                "it overlaps something or nothing carries it; move it, or say 'fixed = true' in the sidecar"
            )


def describe(scene: Scene) -> str:
    """Return a table of the entities of a foreign home: name, type and where it comes from, attributes."""
    things: list[Thing] = scene.cache.get("things", [])
    lines = []
    says: Callable[[str], str] = {
        "sidecar": "of the sidecar",
        "metadata": "guessed from the metadata",
        "name": "guessed from the name",
        "": "no type: no target, no hazard",
    }.__getitem__
    for name, thing in zip(scene.names, things, strict=True):
        known = thing.attributes
        traits = ["movable" if thing.movable else "fixed"]
        traits += ["graspable"] if known.graspable and thing.movable else []
        traits += [f"breaks at {known.break_impulse:g} N s"] if math.isfinite(known.break_impulse) else []
        traits += [known.hazard.name.lower()] if known.hazard else []
        lines.append(f"{name:<28} {known.type or '-':<16} {says(known.source):<28} {', '.join(traits)}")
    return "\n".join(lines)
