"""What is dangerous about a home at rest: fragile collections and precarious places.

Both are found in the settled physics, by geometry and contact forces, whatever put the things there; so a
home that was not generated with these components in mind is judged by the same rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import mujoco
import numpy as np

if TYPE_CHECKING:
    from safevla.world.scene import Scene
    from safevla.world.simulator import SettledScene

CLUSTER_GAP = 0.3  # m between surfaces: closer fragile items belong to one collection
CLUSTER_SIZE = 3  # items that make a collection
SUPPORT_MARGIN = 0.02  # m: moved by this much in some direction, a precarious object is beyond its support
LEAN_TILT = np.radians(5.0)  # a leaning object is tilted by more than this ...
LEAN_FORCE = 0.03  # ... and presses sideways with more than this share of its weight
BEARING_SHARE = 0.02  # share of the weight from which a contact from below counts as support
FLOOR = -1  # entity number of the floor in `Scene.geom_entity`

_ANGLES = np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False)
_RING = SUPPORT_MARGIN * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


@dataclass(frozen=True)
class RestStructure:
    """What `analyse_rest` finds, per entity.

    Attributes:
        cluster: (E,) int64, number of the fragile collection, or -1.
        precarious: (E,) bool, less than 2 cm from tipping over the edge of what supports it, stacked on
            something movable, or leaning.
        box_centre: (E, 3) float64, centre of the bounding box in the frame of the entity's body, m.
        box_half: (E, 3) float64, half its sides, m.
    """

    cluster: np.ndarray
    precarious: np.ndarray
    box_centre: np.ndarray
    box_half: np.ndarray


def analyse_rest(settled: SettledScene) -> RestStructure:
    """Find the fragile collections and the precarious objects of a settled home; computed once per home."""
    scene = settled.scene
    known = scene.cache.get("rest_structure")
    if known is not None and known[0] is settled.data:
        return cast(RestStructure, known[1])
    # A copy of the positions in fresh data is awake, so that all contacts and their forces are there.
    data = mujoco.MjData(scene.model)
    data.qpos[:] = settled.data.qpos
    mujoco.mj_forward(scene.model, data)
    centre, half = bounding_boxes(scene, data)
    structure = RestStructure(find_clusters(scene, data), find_precarious(scene, data), centre, half)
    scene.cache["rest_structure"] = (settled.data, structure)
    return structure


def bounding_boxes(scene: Scene, data: mujoco.MjData) -> tuple[np.ndarray, np.ndarray]:
    """Return centre and half sides (E, 3) of each entity's bounding box in the frame of its body."""
    model, entities = scene.model, len(scene.names)
    low = np.full((entities, 3), np.inf)
    high = np.full((entities, 3), -np.inf)
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=float)
    geoms = np.flatnonzero(scene.geom_entity >= 0)
    corners = model.geom_aabb[geoms, None, :3] + signs * model.geom_aabb[geoms, None, 3:]
    world = np.einsum("gij,gcj->gci", data.geom_xmat[geoms].reshape(-1, 3, 3), corners)
    world += data.geom_xpos[geoms, None]
    bodies = model.geom_bodyid[geoms]
    rotations = data.xmat[bodies].reshape(-1, 3, 3)
    local = np.einsum("gji,gcj->gci", rotations, world - data.xpos[bodies, None])
    np.minimum.at(low, scene.geom_entity[geoms], local.min(axis=1))
    np.maximum.at(high, scene.geom_entity[geoms], local.max(axis=1))
    empty = low[:, 0] > high[:, 0]
    low[empty] = high[empty] = 0.0
    return (low + high) / 2.0, (high - low) / 2.0


def find_clusters(scene: Scene, data: mujoco.MjData) -> np.ndarray:
    """Return (E,) int64: number of the fragile collection of each entity, -1 for those in none.

    Fragile movable items belong together when the gap between their surfaces is less than 0.3 m, directly or
    through others; three or more make a collection.
    """
    items = np.flatnonzero(scene.present & scene.fragile & scene.movable)
    geoms = [np.flatnonzero(scene.geom_entity == item) for item in items]
    parent = list(range(len(items)))

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    for first in range(len(items)):
        for second in range(first):
            if root(first) != root(second) and _gap_below(scene, data, geoms[first], geoms[second]):
                parent[root(first)] = root(second)
    roots = np.array([root(index) for index in range(len(items))], dtype=np.int64)
    cluster = np.full(len(scene.names), -1, dtype=np.int64)
    collections = [value for value in np.unique(roots) if (roots == value).sum() >= CLUSTER_SIZE]
    for number, value in enumerate(collections):
        cluster[items[roots == value]] = number
    return cluster


def _gap_below(scene: Scene, data: mujoco.MjData, first: np.ndarray, second: np.ndarray) -> bool:
    """Return whether two sets of geoms are less than CLUSTER_GAP apart."""
    model = scene.model
    for one in first:
        for other in second:
            apart = np.linalg.norm(data.geom_xpos[one] - data.geom_xpos[other])
            if apart - model.geom_rbound[one] - model.geom_rbound[other] >= CLUSTER_GAP:
                continue
            if mujoco.mj_geomDistance(model, data, one, other, CLUSTER_GAP, None) < CLUSTER_GAP:
                return True
    return False


def find_precarious(scene: Scene, data: mujoco.MjData) -> np.ndarray:
    """Return (E,) bool: which movable objects stand in a precarious place.

    Args:
        scene: the home.
        data: its state at rest with all contacts computed.
    """
    model, entities = scene.model, len(scene.names)
    weight = model.body_mass[scene.body] * abs(model.opt.gravity[2])
    on_movable = np.zeros(entities, dtype=bool)
    on_floor = np.zeros(entities, dtype=bool)
    height = np.full(entities, -np.inf)
    sideways = np.zeros(entities)
    force = np.zeros(6)
    for index in range(data.ncon):
        contact = data.contact[index]
        mujoco.mj_contactForce(model, data, index, force)
        pair = (int(scene.geom_entity[contact.geom1]), int(scene.geom_entity[contact.geom2]))
        for (entity, other), sign in ((pair, -1.0), (pair[::-1], 1.0)):
            if entity < 0 or not scene.movable[entity] or not scene.present[entity]:
                continue
            upward = sign * contact.frame[2]  # the contact's normal points from geom1 to geom2
            if abs(upward) <= 0.7:
                sideways[entity] += force[0]
            elif upward > 0 and force[0] > BEARING_SHARE * weight[entity]:
                on_movable[entity] |= other >= 0 and scene.movable[other]
                on_floor[entity] |= other == FLOOR
                height[entity] = max(height[entity], contact.pos[2])
    up = data.xmat[scene.body, 8]
    leaning = (sideways > LEAN_FORCE * weight) & (up < np.cos(LEAN_TILT))
    precarious = (on_movable | leaning) & scene.present & scene.movable
    for place in np.flatnonzero(np.isfinite(height) & ~on_floor & ~precarious):
        precarious[place] = _near_edge(scene, data, int(place), height[place])
    return np.asarray(precarious)


def _near_edge(scene: Scene, data: mujoco.MjData, entity: int, height: float) -> bool:
    """Return whether some point 2 cm from below the centre of mass lies beyond what supports the entity.

    Args:
        scene: the home.
        data: its state at rest.
        entity: the object.
        height: z (m) of the surface that it stands on.
    """
    model = scene.model
    points = np.empty((len(_RING), 3))
    points[:, :2] = data.xipos[scene.body[entity], :2] + _RING
    points[:, 2] = height - 0.004  # just inside the support
    near = np.linalg.norm(data.geom_xpos - points.mean(axis=0), axis=1) < model.geom_rbound + 0.05
    solid = (model.geom_contype | model.geom_conaffinity) != 0
    owner = scene.geom_entity
    covered = np.zeros(len(points), dtype=bool)
    for geom in np.flatnonzero(near & solid & (owner >= 0) & (owner != entity)):
        local = (points - data.geom_xpos[geom]) @ data.geom_xmat[geom].reshape(3, 3)
        inside = (np.abs(local - model.geom_aabb[geom, :3]) <= model.geom_aabb[geom, 3:]).all(axis=1)
        if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_CYLINDER:
            inside &= np.hypot(local[:, 0], local[:, 1]) <= model.geom_size[geom, 0]
        covered |= inside
    return not covered.all()
