"""Where things are in a home: bounding boxes, distances, the floor map. Shared by judging and the expert."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from safevla.tasks.planner import NavigationMap, build_map
from safevla.world import freespace
from safevla.world.catalogue import CATEGORIES, Hazard
from safevla.world.robot import FOOTPRINT_RADIUS

if TYPE_CHECKING:
    import mujoco

    from safevla.world.scene import Scene
    from safevla.world.simulator import Home

CLEARANCE = FOOTPRINT_RADIUS + 0.01  # m from the base's axis to the nearest obstacle on a planned path
KEEP_AWAY = 0.35  # m that paths keep from dangerous, fragile and precarious things if they can
OPAQUE_HEIGHT = 1.0  # m: static things at least this high hide what is behind them


@dataclass(frozen=True)
class EntityGeoms:
    """Geoms of the entities of a scene, sorted by entity, so that boxes are one reduction.

    Attributes:
        geoms: (G,) geom ids that belong to an entity.
        starts: (P,) where each of the P entities begins in `geoms`.
        entities: (P,) their entity indices.
    """

    geoms: np.ndarray
    starts: np.ndarray
    entities: np.ndarray

    @classmethod
    def find(cls, scene: Scene) -> EntityGeoms:
        """Sort the geoms of a scene's present entities."""
        owner = np.asarray(scene.geom_entity)
        known = np.flatnonzero(owner >= 0)
        known = known[np.asarray(scene.present)[owner[known]]]
        order = known[np.argsort(owner[known], kind="stable")]
        entities, starts = np.unique(owner[order], return_index=True)
        return cls(order, starts, entities)

    def boxes(self, model: mujoco.MjModel, data: mujoco.MjData, count: int) -> np.ndarray:
        """Return (E, 2, 3) m: lowest and highest corner of each entity's box in world axes, NaN if absent.

        Args:
            model: compiled model.
            data: with geom poses up to date.
            count: E.
        """
        result = np.full((count, 2, 3), np.nan)
        if len(self.geoms) == 0:
            return result
        rotation = data.geom_xmat[self.geoms].reshape(-1, 3, 3)
        local = model.geom_aabb[self.geoms]
        centre = data.geom_xpos[self.geoms] + np.einsum("gij,gj->gi", rotation, local[:, :3])
        half = np.einsum("gij,gj->gi", np.abs(rotation), local[:, 3:])
        result[self.entities, 0] = np.minimum.reduceat(centre - half, self.starts, axis=0)
        result[self.entities, 1] = np.maximum.reduceat(centre + half, self.starts, axis=0)
        return result


def entity_boxes(home: Home) -> np.ndarray:
    """Return (E, 2, 3) m, the boxes of a home's entities now; see `EntityGeoms.boxes`."""
    return EntityGeoms.find(home.scene).boxes(home.model, home.data, len(home.scene.names))


def target_entities(scene: Scene, target: str) -> np.ndarray:
    """Return (T,) indices of the present entities of a type; an unknown type raises ValueError."""
    if target not in CATEGORIES:
        raise ValueError(f"unknown target type {target!r}; see safevla.world.catalogue.TYPES")
    return np.flatnonzero(
        np.asarray(scene.present) & (np.asarray(scene.category) == CATEGORIES.index(target))
    )


def horizontal_distance(box: np.ndarray, x: float, y: float) -> float:
    """Return the distance in m, seen from above, from a point to the nearest point of a (2, 3) box."""
    dx = max(box[0, 0] - x, x - box[1, 0], 0.0)
    dy = max(box[0, 1] - y, y - box[1, 1], 0.0)
    return float(np.hypot(dx, dy))


def navigation_map(
    home: Home, boxes: np.ndarray, spare: np.ndarray, radius: float = CLEARANCE
) -> NavigationMap:
    """Build the map that paths are planned on.

    Args:
        home: as it is now.
        boxes: (E, 2, 3) of its entities.
        spare: (T,) entities that paths may come near: the targets.
        radius: m that must be free around the base's axis.
    """
    scene = home.scene
    ignore = (home.held,) if home.held >= 0 else ()
    grid = freespace.occupancy(scene, home.data, ignore=ignore)
    delicate = (np.asarray(scene.hazard) != Hazard.NONE) | np.asarray(scene.fragile)
    delicate |= np.array([component == "critical_point" for component in scene.component])
    delicate &= np.asarray(scene.present)
    delicate[spare] = False
    if home.held >= 0:
        delicate[home.held] = False
    keep = [(boxes[e, 0], boxes[e, 1]) for e in np.flatnonzero(delicate)]
    return build_map(grid.clearance, np.asarray(grid.origin, float), grid.cell, radius, keep, KEEP_AWAY)


def opaque_cells(home: Home, boxes: np.ndarray, floor: NavigationMap) -> np.ndarray:
    """Return (nx, ny) bool: cells under static things so high that the cameras cannot look over them."""
    scene = home.scene
    hidden = np.zeros(floor.clearance.shape, dtype=bool)
    tall = np.asarray(scene.present) & ~np.asarray(scene.movable) & (boxes[:, 1, 2] >= OPAQUE_HEIGHT)
    for entity in np.flatnonzero(tall):
        # Lintels above doorways hide nothing.
        if boxes[entity, 0, 2] < OPAQUE_HEIGHT:
            hidden |= floor.distance_to_box(boxes[entity, 0], boxes[entity, 1]) <= 0.0
    return hidden


def geodesic_distance(floor: NavigationMap, box: np.ndarray, within: float, x: float, y: float) -> float:
    """Return m of driving from a point to where a (2, 3) box is `within` m; inf if there is no way."""
    plain = NavigationMap(
        floor.origin, floor.cell, floor.clearance, np.ones_like(floor.step_cost), floor.radius
    )
    goals = plain.distance_to_box(box[0], box[1]) <= within
    return float(plain.field(goals)[plain.index(x, y)])
