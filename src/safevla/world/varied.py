"""A `Layout` whose instances differ in proportion and finish as well as in size and colour."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from safevla.world.catalogue import TYPES, EntityType
from safevla.world.catalogue_statistics import all_statistics
from safevla.world.entity_type import FINISHES
from safevla.world.house import Placement
from safevla.world.layout import Instance, Layout, radius_of, rounded

_FINISHES = max(len(finishes) for finishes in FINISHES.values())
_PROPORTION = 0.06  # share by which an object's width, depth and height differ from an even scale
_TOUCHING = 0.01  # m: what stands on a thing does not meet it
_ANY = ((0.9, 1.1), (0.9, 1.1), (0.97, 1.03))


@dataclass
class VariedLayout(Layout):
    """Sizes of furniture follow ProcTHOR's instances; the last colours and finishes are for val and test."""

    def meets(self, placement: Placement) -> bool:
        """Return whether something that juts out over an edge would be inside what stands beside it."""
        kind = TYPES[placement.type]
        x, y, bottom = placement.position
        top, radius = bottom + kind.size[2] * placement.scale[2], radius_of(kind, placement.scale)
        return any(
            item.z < top
            and item.top > bottom + _TOUCHING
            and math.hypot(item.x - x, item.y - y) < radius + item.radius
            for item in self.standing
        )

    def draw_instance(self, kind: EntityType, rng: np.random.Generator) -> Instance:
        """Draw scale factors, colours and finish for one instance of a type."""
        low, high = kind.scale_range
        if kind.kind == "furniture" and not kind.movable:
            known = all_statistics().get(kind.name)
            spread = known.spread() if known else _ANY
            # Heights stay close to the nominal one: tables have to stay within the arm's reach.
            bounds = (spread[0], spread[1], (0.96, 1.04))
            scale = [rng.uniform(max(a, low - 0.05), min(b, high + 0.05)) for a, b in bounds]
        else:
            even = rng.uniform(low, high)
            scale = [even * rng.uniform(1 - _PROPORTION, 1 + _PROPORTION) for _ in range(3)]
            if kind.surfaces or any(
                part.shape in ("sphere", "capsule") for part in kind.parts if part.collide
            ):
                scale = [even] * 3  # stands keep their proportions, round things stay round
        held_out = 0 if self.held_out else 1
        colour = int(rng.integers(max(1, len(kind.colours) - held_out)))
        finish = int(rng.integers(_FINISHES - held_out))
        return Instance((rounded(scale[0]), rounded(scale[1]), rounded(scale[2])), colour, finish)
