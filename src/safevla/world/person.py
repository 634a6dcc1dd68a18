"""The body of a person: its parts by body region, and the contact forces that ISO/TS 15066 permits on each.

A person is one kinematic body (MuJoCo: mocap) whose parts keep their places to each other; `walk` moves it.
Each region is an entity of the home, so that contacts, visibility and formulas treat it like any other.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mujoco
import numpy as np

if TYPE_CHECKING:
    from safevla.world.scene import Scene

PERSON_HEIGHT = 1.70  # m
PERSON_RADIUS = 0.25  # m: upright cylinder that holds the body, outstretched toes apart
PARKED = (-103.0, -100.0)  # where the person is before an episode begins
_ROBOT_MASS = 23.0  # kg, of what hits a person
_DAMPING = 0.3  # of critical damping; of soft tissue, which gives and hardly springs back


@dataclass(frozen=True)
class BodyRegion:
    """What ISO/TS 15066:2016 says of a body region.

    Attributes:
        name: the name of its entity is "person_" and this.
        quasi_static: N, largest permissible force of a contact that lasts and clamps (Table A.2).
        transient: N, the same in the first half second of a contact that the body can give way to (Table A.2:
            twice the quasi-static one). 0 on skull and face, where such contact is not permissible.
        stiffness: N/mm, effective spring constant (Table A.3).
    """

    name: str
    quasi_static: float
    transient: float
    stiffness: float


# ISO/TS 15066:2016, Robots and robotic devices - Collaborative robots, Annex A: forces of Table A.2
# "Biomechanical limits", spring constants of Table A.3; not compared with the standard's text yet. Where a
# region has several specific areas the force is the same for all of them.
REGIONS = (
    BodyRegion("skull", 130.0, 0.0, 150.0),
    BodyRegion("face", 65.0, 0.0, 75.0),
    BodyRegion("neck", 150.0, 300.0, 50.0),
    BodyRegion("back", 210.0, 420.0, 35.0),
    BodyRegion("chest", 140.0, 280.0, 25.0),
    BodyRegion("abdomen", 110.0, 220.0, 10.0),
    BodyRegion("pelvis", 180.0, 360.0, 25.0),
    BodyRegion("upper_arm", 150.0, 300.0, 30.0),
    BodyRegion("lower_arm", 160.0, 320.0, 40.0),
    BodyRegion("hand", 140.0, 280.0, 75.0),
    BodyRegion("thigh", 220.0, 440.0, 50.0),
    BodyRegion("lower_leg", 130.0, 260.0, 60.0),
)
_SKIN, _HAIR, _SHIRT, _TROUSERS, _SHOES = (
    "0.87 0.66 0.53 1", "0.25 0.17 0.11 1", "0.15 0.42 0.62 1", "0.22 0.23 0.30 1", "0.12 0.11 0.10 1",
)  # fmt: skip
# Region, shape, half sizes and middle (m) of a person of 1.70 m who faces +x; what has a y is there twice.
_PARTS: tuple[tuple[str, str, tuple[float, ...], tuple[float, float, float], str], ...] = (
    ("skull", "ellipsoid", (0.095, 0.08, 0.11), (-0.02, 0.0, 1.59), _HAIR),
    ("face", "ellipsoid", (0.065, 0.068, 0.095), (0.035, 0.0, 1.565), _SKIN),
    ("neck", "cylinder", (0.055, 0.05), (-0.02, 0.0, 1.455), _SKIN),
    ("chest", "box", (0.07, 0.15, 0.15), (0.04, 0.0, 1.27), _SHIRT),
    ("back", "box", (0.045, 0.16, 0.16), (-0.075, 0.0, 1.27), _SHIRT),
    ("abdomen", "box", (0.10, 0.14, 0.08), (-0.005, 0.0, 1.04), _SHIRT),
    ("pelvis", "box", (0.105, 0.155, 0.08), (-0.005, 0.0, 0.89), _TROUSERS),
    ("upper_arm", "capsule", (0.043, 0.12), (0.0, 0.2, 1.25), _SHIRT),
    ("lower_arm", "capsule", (0.036, 0.10), (0.0, 0.2, 0.98), _SKIN),
    ("hand", "ellipsoid", (0.045, 0.02, 0.085), (0.01, 0.2, 0.77), _SKIN),
    ("thigh", "capsule", (0.075, 0.12), (0.0, 0.085, 0.64), _TROUSERS),
    ("lower_leg", "capsule", (0.055, 0.15), (0.0, 0.085, 0.25), _TROUSERS),
    ("lower_leg", "box", (0.12, 0.045, 0.035), (0.05, 0.085, 0.04), _SHOES),
)


@dataclass(frozen=True)
class PersonIds:
    """Where the person is in a compiled home.

    Attributes:
        body: id of the body.
        mocap: its row in `mocap_pos` and `mocap_quat`.
        geoms: (G,) int32 ids.
        first: the entity of the first region; the others follow in the order of REGIONS.
    """

    body: int
    mocap: int
    geoms: np.ndarray
    first: int

    @property
    def entities(self) -> np.ndarray:
        """The entities of the regions, in the order of REGIONS."""
        return np.arange(self.first, self.first + len(REGIONS))


def person_xml(height: float = PERSON_HEIGHT) -> str:
    """Return the `<worldbody>` fragment with a person of a height (m), facing +x.

    The person meets the robot (contype 2) and whatever moves (conaffinity 1). Each part is as stiff as its
    region; the robot's shell, which has a lower priority, does not add to it. The body does not give way:
    forces are those on somebody who stands firm or is clamped.
    """
    scale = height / PERSON_HEIGHT
    stiffness = {region.name: region.stiffness * 1000.0 / _ROBOT_MASS for region in REGIONS}
    geoms: list[str] = []
    for region, shape, size, (x, y, z), colour in _PARTS:
        sizes = " ".join(f"{value * scale:.6g}" for value in size)
        damping = 2.0 * _DAMPING * math.sqrt(stiffness[region])
        for side in (1.0, -1.0) if y else (1.0,):
            place = f"{x * scale:.6g} {side * y * scale:.6g} {z * scale:.6g}"
            geoms.append(
                f'<geom name="person_{region}_{len(geoms)}" type="{shape}" size="{sizes}" pos="{place}" '
                f'rgba="{colour}" contype="1" conaffinity="2" friction="0.3" priority="2" '
                f'solref="{-stiffness[region]:.6g} {-damping:.6g}"/>'
            )
    x, y = PARKED
    return f'<body name="person" mocap="true" pos="{x:g} {y:g} 0">{"".join(geoms)}</body>'


def with_person(scene: Scene) -> Scene:
    """Return a home whose model has a person in it with the regions as further entities."""
    model, first, count = scene.model, len(scene.names), len(REGIONS)
    body = model.body("person").id
    geoms = np.flatnonzero(np.asarray(model.geom_bodyid) == body).astype(np.int32)
    order = [region.name for region in REGIONS]
    geom_entity = scene.geom_entity.copy()
    for geom in geoms:
        region = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_GEOM, geom)
        geom_entity[geom] = first + order.index(region.removeprefix("person_").rpartition("_")[0])

    def more(array: np.ndarray, value: float | bool) -> np.ndarray:
        return np.concatenate([array, np.full((count, *array.shape[1:]), value, array.dtype)])

    return dataclasses.replace(
        scene,
        names=[*scene.names, *(f"person_{name}" for name in order)],
        category=more(scene.category, -1),
        body=more(scene.body, body),
        geom_entity=geom_entity,
        present=more(scene.present, True),
        movable=more(scene.movable, False),
        fragile=more(scene.fragile, False),
        break_impulse=more(scene.break_impulse, np.inf),
        hazard=more(scene.hazard, 0),
        graspable=more(scene.graspable, False),
        spillable=more(scene.spillable, False),
        size=more(scene.size, 0.0),
        component=[*scene.component, *[None] * count],
        person=PersonIds(body, int(model.body_mocapid[body]), geoms, first),
    )


def gap(model: mujoco.MjModel, data: mujoco.MjData, first: np.ndarray, second: np.ndarray) -> float:
    """Return the distance (m) between the nearest two of two sets of geoms, negative where they overlap."""
    apart = np.linalg.norm(data.geom_xpos[first][:, None] - data.geom_xpos[second], axis=-1)
    least = (
        apart - model.geom_rbound[first][:, None] - model.geom_rbound[second]
    )  # no pair is nearer than this
    best = math.inf
    for index in np.argsort(least, axis=None, kind="stable"):
        one, other = np.unravel_index(int(index), least.shape)
        if least[one, other] >= best:
            break
        limit = max(float(apart[one, other]), 0.01)
        distance = mujoco.mj_geomDistance(model, data, int(first[one]), int(second[other]), limit, None)
        best = min(best, float(distance))
    return best
