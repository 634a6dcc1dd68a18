"""From a `HouseSpec` to a MuJoCo model whose structure is the same for every home of a size class.

Walls and fixed furniture are geoms of the world body; every object slot is a free body with MAX_PARTS geoms.
What a home does not use is parked: transparent, without contacts, far below the floor and asleep.

Friction cones are elliptic, and `multiccd` is on: with a single contact point a mug on a table never comes to
rest, so that it could not sleep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np

from safevla.world.catalogue import CATEGORIES, TYPES, Hazard
from safevla.world.contacts import FLOOR, OTHER, ROBOT
from safevla.world.entity_type import FINISHES, MATERIALS, MAX_PARTS, MORE_MATERIALS, EntityType, Part
from safevla.world.house import SLOTS, SOLIDS, HouseSpec, Placement, Slots
from safevla.world.layout import WALL_HEIGHT
from safevla.world.person import PERSON_HEIGHT, PersonIds, person_xml, with_person
from safevla.world.robot import RobotIds, actuator_xml, equality_xml, robot_xml

# Bytes for contacts and constraints of one state; a home touches less than 1 MB of them. From 32 MiB on the C
# library maps memory on its own and gives it back with the state. Less comes from the heap, at another place
# for each new home, and what was touched of it stays with the process: memory would creep up.
ARENA = 33 << 20
_PARKED_DEPTH = -20.0  # m
_CATEGORY = {name: index for index, name in enumerate(CATEGORIES)}
_S_MATERIALS = (*MATERIALS, "wall", "carpet")
_MATERIALS = {"S": _S_MATERIALS, "M": (*_S_MATERIALS, *MORE_MATERIALS), "L": (*_S_MATERIALS, *MORE_MATERIALS)}
_PARKED_GEOM = (
    '<geom type="sphere" size=".001" rgba="0 0 0 0" contype="0" conaffinity="0" mass="0" group="4"/>'
)

_UNTOUCHABLE = 'contype="0" conaffinity="0"'
_COUNTED = 'contype="4" conaffinity="0"'  # meets nothing either, but MuJoCo counts it as solid


@dataclass
class Scene:
    """A compiled home and what is known about its entities (E slots: walls, furniture, objects).

    Attributes:
        model: MuJoCo model; copy it before writing to it.
        spec: the home.
        names: E names such as "mug_2", "" where the slot is parked.
        category: (E,) int16, index in CATEGORIES, -1 for walls and parked slots.
        body: (E,) int32 body ids, 0 (the world) for what is fixed.
        geom_entity: (ngeom,) int32 entity of each geom, or FLOOR, ROBOT, OTHER.
        present: (E,) bool, False for parked slots.
        movable: (E,) bool.
        fragile: (E,) bool.
        break_impulse: (E,) float64 N s, inf where nothing breaks.
        hazard: (E,) int8, values of Hazard.
        graspable: (E,) bool.
        spillable: (E,) bool.
        size: (E, 3) float64 width, depth, height in m.
        component: E names of the knob that placed it, or None.
        robot: where the robot is in the model.
        bounds: x0, y0, x1, y1 (m), outer walls included.
        person: where the person is in the model, None in a home without one. Its body regions are entities
            too, after all others.
        cache: what other modules derive from the home and keep.
    """

    model: mujoco.MjModel
    spec: HouseSpec
    names: list[str]
    category: np.ndarray
    body: np.ndarray
    geom_entity: np.ndarray
    present: np.ndarray
    movable: np.ndarray
    fragile: np.ndarray
    break_impulse: np.ndarray
    hazard: np.ndarray
    graspable: np.ndarray
    spillable: np.ndarray
    size: np.ndarray
    component: list[str | None]
    robot: RobotIds
    bounds: tuple[float, float, float, float]
    person: PersonIds | None = None
    cache: dict[str, Any] = field(default_factory=dict, repr=False)


def compile_scene(
    spec: HouseSpec, person: bool = False, height: float = PERSON_HEIGHT, uniform: bool = False
) -> Scene:
    """Compile a home.

    Args:
        spec: the home.
        person: put a person in, which makes another model.
        height: of the person, m.
        uniform: lay out homes of class S alike, so that `mujoco.batch` takes their models together; those of
            M and L always are. What happens in them is the same, see tests/world/test_uniform.py.

    Raises:
        ValueError: the spec has more walls, furniture or objects than its class has slots, or unknown types.
    """
    slots = SLOTS[spec.size_class]
    _check(spec, slots)
    text = scene_xml(spec, uniform)
    if person:  # after everything else, whose places stay the same
        text = text.replace("</worldbody>", f"{person_xml(height)}</worldbody>")
    parsed = mujoco.MjSpec.from_string(text)
    parsed.memory = ARENA  # the text, of which hashes are kept, has an older size
    model = parsed.compile()
    robot = RobotIds.find(model)
    placements: list[Placement | None] = [None] * slots.entities
    start = slots.walls
    placements[start : start + len(spec.furniture)] = spec.furniture
    start += slots.furniture
    placements[start : start + len(spec.objects)] = spec.objects
    types = [TYPES[item.type] if item else None for item in placements]
    body = np.zeros(slots.entities, np.int32)
    body[start:] = [model.body(f"object_{k}").id for k in range(slots.objects)]
    present = np.array([kind is not None for kind in types])
    present[: len(spec.walls)] = True
    scene = Scene(
        model=model,
        spec=spec,
        names=_names(spec, types),
        category=np.array([_CATEGORY[kind.name] if kind else -1 for kind in types], np.int16),
        body=body,
        geom_entity=_geom_entity(model, robot, slots, body, present),
        present=present,
        movable=np.array([bool(kind and kind.movable) for kind in types]),
        fragile=np.array([bool(kind and kind.fragile) for kind in types]),
        break_impulse=np.array([kind.break_impulse if kind else math.inf for kind in types]),
        hazard=np.array([kind.hazard if kind else Hazard.NONE for kind in types], np.int8),
        graspable=np.array([bool(kind and kind.graspable) for kind in types]),
        spillable=np.array([bool(kind and kind.spillable) for kind in types]),
        size=_sizes(spec, types, placements),
        component=[item.component if item else None for item in placements],
        robot=robot,
        bounds=spec.bounds,
    )
    return with_person(scene) if person else scene


def _check(spec: HouseSpec, slots: Slots) -> None:
    for what, count, limit in (
        ("walls", len(spec.walls), slots.walls),
        ("furniture", len(spec.furniture), slots.furniture),
        ("objects", len(spec.objects), slots.objects),
        ("rooms", len(spec.rooms), slots.rooms),
    ):
        if count > limit:
            raise ValueError(f"the home has {count} {what}, class {spec.size_class} has room for {limit}")
    for placement in (*spec.furniture, *spec.objects):
        if placement.type not in TYPES:
            raise ValueError(f"the home has a {placement.type!r}, which is not in the catalogue")


def _names(spec: HouseSpec, types: list[EntityType | None]) -> list[str]:
    """Number the entities of each type from 1."""
    counts: dict[str, int] = {}
    names = []
    for index, kind in enumerate(types):
        if kind is None:
            names.append(f"wall_{index + 1}" if index < len(spec.walls) else "")
            continue
        counts[kind.name] = counts.get(kind.name, 0) + 1
        names.append(f"{kind.name}_{counts[kind.name]}")
    return names


def _sizes(spec: HouseSpec, types: list[EntityType | None], placements: list[Placement | None]) -> np.ndarray:
    size = np.zeros((len(types), 3))
    for index, (kind, placement) in enumerate(zip(types, placements, strict=True)):
        if kind and placement:
            size[index] = np.array(kind.size) * placement.scale
    for index, wall in enumerate(spec.walls):
        size[index] = 2 * np.array(wall[3:])
    return size


def _geom_entity(
    model: mujoco.MjModel, robot: RobotIds, slots: Slots, body: np.ndarray, present: np.ndarray
) -> np.ndarray:
    """Map geoms to entities by the fixed order in which `scene_xml` writes them."""
    entity = np.full(model.ngeom, OTHER, np.int32)
    floors = 1 + slots.rooms
    entity[:floors] = FLOOR
    first_wall = floors + 1  # the ceiling comes between
    entity[first_wall : first_wall + slots.walls] = np.arange(slots.walls)
    first = first_wall + slots.walls
    fixed = slots.furniture * MAX_PARTS
    entity[first : first + fixed] = slots.walls + np.arange(fixed) // MAX_PARTS
    entity[robot.geoms] = ROBOT
    for index in range(slots.walls + slots.furniture, slots.entities):
        entity[model.geom_bodyid == body[index]] = index
    hidden = np.asarray(model.geom_rgba)[:, 3] == 0
    entity[hidden & (entity >= 0)] = OTHER
    missing = (entity >= 0) & ~present[np.maximum(entity, 0)]
    entity[missing] = OTHER
    return entity


def scene_xml(spec: HouseSpec, uniform: bool = False) -> str:
    """Return the home as MJCF text; `uniform` as in `compile_scene`."""
    text = _home_xml(spec)
    return _level(text, spec) if uniform or spec.size_class != "S" else text


def _level(text: str, spec: HouseSpec) -> str:
    """Make MuJoCo lay out the state of all homes of a class alike, so that `mujoco.batch` takes their models.

    A tree of bounding volumes has two nodes for each solid geom of a body, less one: parked geoms are counted
    as solid until the nodes of a full home are reached, those of parked bodies last. A balanced body takes
    less of the inertia matrix than others do, so parked bodies are put off balance.
    """
    parked = SLOTS[spec.size_class].objects - len(spec.objects)
    solid = text.count("<geom ") - text.count(_UNTOUCHABLE)
    nodes = 2 * (SOLIDS[spec.size_class] - solid) - parked
    counted = _PARKED_GEOM.replace(_UNTOUCHABLE, _COUNTED)
    weight = _PARKED_GEOM.replace('mass="0"', 'mass="0.1"')
    end = text.index(weight) if weight in text else len(text)
    first, bodies = text[:end], text[end:]
    geoms = min(nodes // 2, first.count(_PARKED_GEOM))
    left = nodes - 2 * geoms
    weights = -(-left // (2 * MAX_PARTS - 1))  # the first solid geom of a body makes one node
    weights += (left - weights) % 2
    if geoms < 0 or weights > parked:
        most = SOLIDS[spec.size_class]
        raise ValueError(f"the home has {solid} solid parts, class {spec.size_class} has room for {most}")
    tilted = weight.replace("<geom ", '<geom pos=".001 .002 .003" ')
    bodies = bodies.replace(_PARKED_GEOM, counted, (left - weights) // 2)
    bodies = bodies.replace(weight, tilted.replace(_UNTOUCHABLE, _COUNTED), weights).replace(weight, tilted)
    return first.replace(_PARKED_GEOM, counted, geoms) + bodies


def _home_xml(spec: HouseSpec) -> str:
    slots = SLOTS[spec.size_class]
    materials = "".join(
        f'<material name="{name}" specular=".1" shininess=".1"/>' for name in _MATERIALS[spec.size_class]
    )
    parts = [*_shell(spec, slots)]
    furniture: list[Placement | None] = [*spec.furniture]
    furniture += [None] * (slots.furniture - len(furniture))
    for item in furniture:
        parts.append(_fixed(item))
    parts.append(robot_xml())
    objects: list[Placement | None] = [*spec.objects]
    objects += [None] * (slots.objects - len(objects))
    for index, item in enumerate(objects):
        parts.append(_free(index, item))
    azimuth, elevation, strength, ambient = spec.light
    direction = _text(
        -math.cos(azimuth) * math.cos(elevation),
        -math.sin(azimuth) * math.cos(elevation),
        -math.sin(elevation),
    )
    return f"""<mujoco model="home">
<compiler angle="radian" autolimits="true" eulerseq="XYZ"/>
<size memory="8M"/>
<option timestep="0.005" integrator="implicitfast" cone="elliptic" impratio="3">
<flag sleep="enable" multiccd="enable"/></option>
<visual><headlight ambient="{_text(ambient, ambient, ambient)}" diffuse=".3 .3 .3" specular="0 0 0"/>
<map znear="0.01" zfar="40"/></visual>
<statistic extent="1" center="{_text(*_middle(spec), 1.0)}"/>
<asset>{materials}</asset>
<worldbody>
<light type="directional" pos="0 0 4" dir="{direction}" diffuse="{_text(strength, strength, strength)}"/>
{"".join(parts)}
</worldbody>
{actuator_xml()}
{equality_xml()}
</mujoco>"""


def _text(*values: float) -> str:
    return " ".join([f"{value:.6g}" for value in values])


def _middle(spec: HouseSpec) -> tuple[float, float]:
    x0, y0, x1, y1 = spec.bounds
    return (x0 + x1) / 2, (y0 + y1) / 2


def _shell(spec: HouseSpec, slots: Slots) -> list[str]:
    """Return floor, ceiling and walls. The colliding floor is an unseen plane, each room shows a box."""
    x0, y0, x1, y1 = spec.bounds
    x, y = _middle(spec)
    half = (x1 - x0) / 2, (y1 - y0) / 2
    unseen = 'contype="0" conaffinity="0"'
    lines = [
        f'<geom name="floor" type="plane" size="{_text(*half, 0.1)}" pos="{_text(x, y, 0)}" rgba="0 0 0 0" '
        'friction="0.9 0.005 0.0001"/>'
    ]
    for index in range(slots.rooms):
        if index >= len(spec.rooms):
            lines.append(_PARKED_GEOM)
            continue
        room = spec.rooms[index]
        # Rooms meet in the middle of the wall between them, so that there is floor in the doorway.
        size = ((room.x1 - room.x0) / 2 + 0.05, (room.y1 - room.y0) / 2 + 0.05, 0.01)
        middle = ((room.x0 + room.x1) / 2, (room.y0 + room.y1) / 2, -0.01)
        material, *colour = room.floor
        lines.append(
            f'<geom name="floor_{index}" type="box" size="{_text(*size)}" pos="{_text(*middle)}" '
            f'material="{material}" rgba="{_text(*colour, 1)}" {unseen}/>'
        )
    lines.append(
        f'<geom name="ceiling" type="box" size="{_text(*half, 0.02)}" '
        f'pos="{_text(x, y, WALL_HEIGHT + 0.02)}" rgba=".93 .93 .92 1" group="3" {unseen}/>'
    )
    for wall in spec.walls:
        lines.append(
            f'<geom type="box" size="{_text(*wall[3:])}" pos="{_text(*wall[:3])}" material="wall" '
            f'rgba="{_text(*spec.wall_colour, 1)}"/>'
        )
    lines += [_PARKED_GEOM] * (slots.walls - len(spec.walls))
    return lines


def _fixed(placement: Placement | None) -> str:
    """Return the geoms of a furniture slot, in a frame of the world body."""
    if placement is None:
        return _PARKED_GEOM * MAX_PARTS
    kind = TYPES[placement.type]
    geoms = "".join(_geom(part, kind, placement, 0.0) for part in kind.parts)
    geoms += _PARKED_GEOM * (MAX_PARTS - len(kind.parts))
    x, y, z = placement.position
    return f'<frame pos="{_text(x, y, z)}" euler="0 0 {placement.yaw:.6g}">{geoms}</frame>'


def _free(index: int, placement: Placement | None) -> str:
    """Return the free body of an object slot."""
    name = f'name="object_{index}"'
    if placement is None:
        pos = _text(0.1 * index, 0, _PARKED_DEPTH)
        parked = _PARKED_GEOM * (MAX_PARTS - 1)
        weight = _PARKED_GEOM.replace('mass="0"', 'mass="0.1"')
        return f'<body {name} pos="{pos}" sleep="init"><freejoint/>{weight}{parked}</body>'
    kind = TYPES[placement.type]
    volume = sum(part.volume * part.density for part in kind.parts if part.collide)
    mass = kind.mass * math.prod(placement.scale)
    geoms = "".join(_geom(part, kind, placement, mass / volume) for part in kind.parts)
    geoms += _PARKED_GEOM * (MAX_PARTS - len(kind.parts))
    pose = f'pos="{_text(*placement.position)}" euler="0 0 {placement.yaw:.6g}"'
    return f"<body {name} {pose}><freejoint/>{geoms}</body>"


def _geom(part: Part, kind: EntityType, placement: Placement, mass_per_volume: float) -> str:
    """Return one part, scaled and coloured. Turned parts and round ones scale evenly in all directions."""
    scale = placement.scale
    even = (scale[0] + scale[1]) / 2
    size = part.size
    if any(part.euler):
        mean = (scale[0] + scale[1] + scale[2]) / 3
        sizes = [value * mean for value in size]
    elif part.shape in ("cylinder", "capsule"):
        sizes = [size[0] * even, size[1] * scale[2]]
    else:
        sizes = [value * factor for value, factor in zip(size, scale, strict=True)]
    if part.shape == "sphere":
        sizes = [size[0] * even]
    elif part.shape in ("cylinder", "capsule"):
        sizes = sizes[:2]
    pos = [value * factor for value, factor in zip(part.pos, scale, strict=True)]
    main, accent = kind.colours[placement.colour]
    colour = main if part.colour == "main" else accent if part.colour == "accent" else part.colour
    finishes = FINISHES.get(part.material, (part.material,))
    material = finishes[placement.finish % len(finishes)]
    text = f'<geom type="{part.shape}" size="{_text(*sizes)}" pos="{_text(*pos)}" material="{material}" '
    text += f'rgba="{_text(*colour, 1)}" '  # type: ignore[misc]
    if any(part.euler):
        text += f'euler="{_text(*(math.radians(angle) for angle in part.euler))}" '
    if not part.collide:
        return text + 'contype="0" conaffinity="0" mass="0"/>'
    if kind.movable:
        text += f'mass="{part.volume * part.density * mass_per_volume:.6g}" '
        if part.shape != "box":  # what can roll loses speed while it does
            text += 'condim="6" friction="0.8 0.01 0.004"/>'
            return text
    return text + 'friction="0.8 0.01 0.002"/>'
