"""Surfaces that things can stand on: on furniture, in shelves, under tables."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from safevla.world.catalogue import TYPES, EntityType
from safevla.world.entity_type import Surface
from safevla.world.house import Placement
from safevla.world.layout import PASSAGE, Layout, Support


def add_supports(layout: Layout, more: dict[str, tuple[Surface, ...]] | None = None) -> None:
    """Collect the surfaces of the furniture, with the edges that the robot can stand at.

    Args:
        layout: the home, furnished.
        more: surfaces of some types besides their own; with them, the air above shelves is measured.
    """
    reached = layout.reached(layout.clearance)
    for placement in layout.furniture:
        kind = TYPES[placement.type]
        surfaces = kind.surfaces if more is None else (*kind.surfaces, *more.get(kind.name, ()))
        for surface in surfaces:
            air = math.inf if more is None else headroom(kind, surface) * placement.scale[2]
            support = support_of(layout, placement, surface, air)
            edges = tuple(
                edge
                for edge in ((0, -1), (0, 1), (-1, 0), (1, 0))
                if _edge_is_reached(layout, support, kind, edge, reached)
            )
            if edges:
                layout.supports.append(replace(support, edges=edges))


def support_of(layout: Layout, placement: Placement, surface: Surface, air: float) -> Support:
    """Return a surface (in the frame of its type) of a piece of furniture as a rectangle in the world."""
    x, y, z = placement.position
    u, v, height, half_x, half_y = surface
    u, v = u * placement.scale[0], v * placement.scale[1]
    c, s = math.cos(placement.yaw), math.sin(placement.yaw)
    return Support(
        placement.type,
        layout.room_of(x, y),
        x + c * u - s * v,
        y + s * u + c * v,
        z + height * placement.scale[2],
        half_x * placement.scale[0],
        half_y * placement.scale[1],
        placement.yaw,
        (),
        air,
    )


def headroom(kind: EntityType, surface: Surface) -> float:
    """Return m from a surface of a type up to the next solid part above it; infinite if there is none."""
    u, v, height, half_x, half_y = surface
    above = [
        part.pos[2] - part.size[2] - height
        for part in kind.parts
        if part.collide
        and part.shape == "box"
        and part.pos[2] - part.size[2] > height - 0.005
        and abs(part.pos[0] - u) < part.size[0] + half_x - 0.03
        and abs(part.pos[1] - v) < part.size[1] + half_y - 0.03
    ]
    return min(above, default=math.inf)


def _edge_is_reached(
    layout: Layout, support: Support, kind: EntityType, edge: tuple[int, int], reached: np.ndarray
) -> bool:
    """Return whether the robot can stand right before most of one edge of a support."""
    if kind.placement != "centre" and edge != (0, -1) and kind.name != "bed":
        return False
    found = 0
    for share in (-0.6, -0.2, 0.2, 0.6):
        along = share * (support.half_x if edge[0] == 0 else support.half_y)
        for ahead in (PASSAGE + 0.04, PASSAGE + 0.12):
            u = along if edge[0] == 0 else edge[0] * (support.half_x + ahead)
            v = along if edge[1] == 0 else edge[1] * (support.half_y + ahead)
            x, y = support.at(u, v)
            if layout.room_of(x, y) == support.room and reached[layout.cell(x, y)]:
                found += 1
                break
    return found >= 3


def edge_spot(
    support: Support, radius: float, rng: np.random.Generator, nearest: float, farthest: float
) -> tuple[tuple[float, float], float] | None:
    """Draw a point for a disc of `radius` on a support, its rim `nearest` to `farthest` m in from an edge.

    Returns:
        World x, y and the direction (rad, world) out over the edge; None if the disc does not fit.
    """
    edge = support.edges[rng.integers(len(support.edges))]
    across = support.half_y if edge[0] == 0 else support.half_x
    length = support.half_x if edge[0] == 0 else support.half_y
    room = min(farthest, 2 * across - 2 * radius - 0.01)
    if length - radius - 0.01 < 0 or room < min(nearest, 0.02):
        return None
    inset = radius + rng.uniform(min(nearest, room), room)
    along = rng.uniform(-1, 1) * (length - radius - 0.01)
    out = across - inset
    u, v = (along, edge[1] * out) if edge[0] == 0 else (edge[0] * out, along)
    return support.at(u, v), support.yaw + math.atan2(edge[1], edge[0])
