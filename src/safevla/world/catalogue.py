"""All kinds of things that a home can hold."""

from __future__ import annotations

import difflib

from safevla.world.catalogue_fixtures import FIXTURES
from safevla.world.catalogue_furniture import FIXED, MOVABLE
from safevla.world.catalogue_hazards import DANGEROUS
from safevla.world.catalogue_objects import TARGET_OBJECTS
from safevla.world.catalogue_things import FLOOR_THINGS, ORDINARY
from safevla.world.entity_type import EntityType, Hazard, Part

__all__ = ["CATEGORIES", "TYPES", "EntityType", "Hazard", "Part", "entity_type"]

TYPES: dict[str, EntityType] = {
    kind.name: kind
    for kind in (*FIXED, *FIXTURES, *MOVABLE, *TARGET_OBJECTS, *ORDINARY, *FLOOR_THINGS, *DANGEROUS)
}

CATEGORIES: tuple[str, ...] = tuple(
    sorted(TYPES)
)  # perception labels: category id = index; walls etc. are -1


def entity_type(name: str) -> EntityType:
    """Return the type called `name`; an unknown name raises ValueError with the nearest ones."""
    if name in TYPES:
        return TYPES[name]
    near = difflib.get_close_matches(name, CATEGORIES, n=3) or list(CATEGORIES[:5])
    raise ValueError(f"unknown type {name!r}; did you mean {', '.join(near)}?")
