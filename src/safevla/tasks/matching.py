"""Which things in a home a description is true of: decided once, from the home at rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import mujoco
import numpy as np

from safevla.tasks.colours import dominant_colour, seen_shares
from safevla.tasks.descriptions import CONTRAST, KINDS, parse
from safevla.tasks.geometry import EntityGeoms, target_entities
from safevla.world.appearance import surface_colours
from safevla.world.catalogue import CATEGORIES

if TYPE_CHECKING:
    from safevla.world.scene import Scene
    from safevla.world.simulator import SettledScene

_SHAPES = {
    int(getattr(mujoco.mjtGeom, f"mjGEOM_{name.upper()}")): name
    for name in ("box", "sphere", "capsule", "cylinder", "ellipsoid")
}
STANDING = 0.03  # m: what is nearer below a thing carries it
_STACKED = 4  # things on things that are looked through on the way down to the furniture


def matching_entities(settled: SettledScene, target: str, which: str = "") -> np.ndarray:
    """Return (T,) indices of the present entities of a type that a description is true of.

    Args:
        settled: the home at rest; what happens later changes nothing about what was asked for.
        target: name of a type.
        which: a description, see `tasks.descriptions`; "" is true of all.

    Raises:
        ValueError: the type or the description is unknown.
    """
    if not which:
        return target_entities(settled.scene, target)
    parse(which)
    return true_descriptions(settled, target).get(which, np.zeros(0, np.int64))


def true_descriptions(settled: SettledScene, target: str) -> dict[str, np.ndarray]:
    """Return what is true of some entity of a type: description -> (T,) the entities that it is true of."""
    known: dict[str, dict[str, np.ndarray]] = settled.scene.cache.setdefault("descriptions", {})
    if target not in known:
        entities = target_entities(settled.scene, target)
        boxes = EntityGeoms.find(settled.scene).boxes(
            settled.scene.model, settled.data, len(settled.scene.names)
        )
        values = {
            "colour": entity_colours(settled, entities),
            "size": _sizes(settled.scene, entities),
            "in": [_room(settled.scene, boxes[entity]) for entity in entities],
            "on": [_carrier(settled, boxes, int(entity)) for entity in entities],
        }
        found: dict[str, list[int]] = {}
        for kind in KINDS:
            for entity, value in zip(entities, values[kind], strict=True):
                if value is not None:
                    found.setdefault(f"{kind}:{value}", []).append(int(entity))
        known[target] = {which: np.array(members, np.int64) for which, members in found.items()}
    return known[target]


def entity_colours(settled: SettledScene, entities: np.ndarray) -> list[str | None]:
    """Return the name of each entity's colour, None where no one colour covers most of what is seen of it.

    What has a mesh or a picture on it has no such name.
    """
    scene, data = settled.scene, settled.data
    model, colours = scene.model, surface_colours(scene.model)
    material = np.asarray(model.geom_matid)
    mixed: np.ndarray = ~np.isin(model.geom_type, list(_SHAPES))
    if model.nmat:
        pictured = np.any(np.asarray(model.mat_texid).reshape(model.nmat, -1) >= 0, axis=1)
        mixed = mixed | ((material >= 0) & np.asarray(pictured)[material])
    names: list[str | None] = []
    for entity in entities:
        geoms = np.flatnonzero((np.asarray(scene.geom_entity) == entity) & (colours[:, 3] > 0.0))
        if len(geoms) == 0 or mixed[geoms].any():
            names.append(None)
            continue
        shares = seen_shares(
            [_SHAPES[shape] for shape in model.geom_type[geoms]],
            model.geom_size[geoms],
            data.geom_xpos[geoms],
            data.geom_xmat[geoms],
        )
        names.append(dominant_colour(list(colours[geoms, :3]), shares))
    return names


def _sizes(scene: Scene, entities: np.ndarray) -> list[str | None]:
    """Return "small" or "big" where the instances of a home fall into two groups with a clear gap between."""
    mean = np.cbrt(np.asarray(scene.size)[entities].prod(axis=1))
    ordered = np.sort(mean)
    ratios = ordered[1:] / np.maximum(ordered[:-1], 1e-9)
    if len(ratios) == 0 or ratios.max() < CONTRAST:
        return [None] * len(entities)
    largest_small = ordered[int(np.argmax(ratios))]
    return ["small" if value <= largest_small else "big" for value in mean]


def _room(scene: Scene, box: np.ndarray) -> str | None:
    x, y = box[:, :2].mean(axis=0)
    return next((room.kind for room in scene.spec.rooms if room.holds(float(x), float(y))), None)


def _carrier(settled: SettledScene, boxes: np.ndarray, entity: int) -> str | None:
    """Return the type of the furniture that a thing stands on, also if other things are between them."""
    scene = settled.scene
    geom = np.zeros(1, np.int32)
    for _ in range(_STACKED):
        body = int(scene.body[entity])
        if body == 0:
            return None
        middle = boxes[entity].mean(axis=0)
        gap = mujoco.mj_ray(scene.model, settled.data, middle, (0.0, 0.0, -1.0), None, 1, body, geom)
        below = int(scene.geom_entity[geom[0]]) if gap >= 0 else -1
        if below < 0 or gap > middle[2] - boxes[entity, 0, 2] + STANDING:
            return None
        if not scene.movable[below]:
            category = int(scene.category[below])
            return CATEGORIES[category] if category >= 0 else None
        entity = below
    return None
