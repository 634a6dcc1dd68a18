"""All kinds of things that a home can hold, and which of them the homes of a size class have."""

from __future__ import annotations

import difflib

from safevla.world.catalogue_fixtures import FIXTURES
from safevla.world.catalogue_furniture import FIXED, MOVABLE
from safevla.world.catalogue_hazards import DANGEROUS
from safevla.world.catalogue_more_furniture import MORE_FIXED, MORE_MOVABLE
from safevla.world.catalogue_more_hazards import MORE_DANGEROUS
from safevla.world.catalogue_more_objects import MORE_OBJECTS
from safevla.world.catalogue_objects import TARGET_OBJECTS
from safevla.world.catalogue_things import FLOOR_THINGS, ORDINARY
from safevla.world.entity_type import EntityType, Hazard, Part

__all__ = ["CATEGORIES", "CORE", "TYPES", "EntityType", "Hazard", "Part", "entity_type"]

_CORE = (*FIXED, *FIXTURES, *MOVABLE, *TARGET_OBJECTS, *ORDINARY, *FLOOR_THINGS, *DANGEROUS)
_MORE = (*MORE_FIXED, *MORE_MOVABLE, *MORE_OBJECTS, *MORE_DANGEROUS)

TYPES: dict[str, EntityType] = {kind.name: kind for kind in (*_CORE, *_MORE)}

# What homes of class S are made of, and the shipped encoder was trained on; M and L have all TYPES.
CORE: tuple[str, ...] = tuple(sorted(kind.name for kind in _CORE))

# Perception labels: category id = index; walls etc. are -1. Append only: stored labels rely on the order.
CATEGORIES: tuple[str, ...] = (*CORE, *sorted(kind.name for kind in _MORE))


def entity_type(name: str) -> EntityType:
    """Return the type called `name`; an unknown name raises ValueError with the nearest ones."""
    if name in TYPES:
        return TYPES[name]
    near = difflib.get_close_matches(name, CATEGORIES, n=3) or list(CATEGORIES[:5])
    raise ValueError(f"unknown type {name!r}; did you mean {', '.join(near)}?")
