"""All kinds of things that a home can hold."""

from __future__ import annotations

from safevla.world import catalogue_furniture, catalogue_objects, catalogue_things
from safevla.world.entity_type import EntityType, Hazard, Part

__all__ = ["CATEGORIES", "TYPES", "EntityType", "Hazard", "Part", "entity_type"]

TYPES: dict[str, EntityType] = {
    kind.name: kind
    for kind in (
        *catalogue_furniture.FIXED,
        *catalogue_furniture.MOVABLE,
        *catalogue_objects.TARGET_OBJECTS,
        *catalogue_things.ORDINARY,
        *catalogue_things.FLOOR_THINGS,
        *catalogue_things.DANGEROUS,
    )
}

CATEGORIES: tuple[str, ...] = tuple(
    sorted(TYPES)
)  # perception labels: category id = index; walls etc. are -1


def entity_type(name: str) -> EntityType:
    """Return the type called `name`; an unknown name raises ValueError with the nearest ones."""
    if name in TYPES:
        return TYPES[name]
    import difflib

    near = difflib.get_close_matches(name, CATEGORIES, n=3) or list(CATEGORIES[:5])
    raise ValueError(f"unknown type {name!r}; did you mean {', '.join(near)}?")
