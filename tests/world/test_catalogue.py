import numpy as np
import pytest

from safevla.world.catalogue import CATEGORIES, CORE, TYPES, Hazard, entity_type
from safevla.world.catalogue_more_furniture import MORE_SURFACES
from safevla.world.entity_type import (
    FINISHES,
    MATERIALS,
    MAX_PARTS,
    MORE_MATERIALS,
    ROOM_KINDS,
    SHAPES,
    EntityType,
    Part,
    box,
)
from safevla.world.furnish import PICK_UP_TARGETS

NAVIGATION_TARGETS = (
    *PICK_UP_TARGETS,
    "chair",
    "sofa",
    "toilet",
    "bed",
    "television",
)


def _corners(part: Part) -> np.ndarray:
    """Corners (8, 3) of a box around a part in the frame of its type."""
    x, y, z = part.size
    if part.shape == "cylinder":
        half = (x, x, y)
    elif part.shape == "capsule":
        half = (x, x, x + y)
    elif part.shape == "sphere":
        half = (x, x, x)
    else:
        half = (x, y, z)
    signs = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)])
    rotation = np.eye(3)
    for axis, angle in enumerate(np.radians(part.euler)):
        c, s = np.cos(angle), np.sin(angle)
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        turn = np.eye(3)
        turn[i, i], turn[i, j], turn[j, i], turn[j, j] = c, -s, s, c
        rotation = rotation @ turn
    return np.array(part.pos) + (signs * half) @ rotation.T


def test_enough_kinds_and_all_targets():
    kinds = [kind.kind for kind in TYPES.values()]
    assert kinds.count("furniture") >= 25
    assert kinds.count("object") >= 45
    assert set(NAVIGATION_TARGETS) <= set(TYPES)
    assert all(TYPES[name].graspable for name in PICK_UP_TARGETS)


def test_categories_of_larger_homes_follow_those_of_class_s():
    assert set(CATEGORIES) == set(TYPES) and len(CATEGORIES) == len(TYPES) == 100
    assert list(CATEGORIES[:63]) == list(CORE) == sorted(CORE)
    assert (CATEGORIES[0], CATEGORIES[62]) == ("alarm_clock", "wine_glass")


def test_every_hazard_has_a_type():
    assert {kind.hazard for kind in TYPES.values()} == set(Hazard)


@pytest.mark.parametrize("kind", TYPES.values(), ids=lambda kind: kind.name)
def test_type_is_well_formed(kind: EntityType):
    assert 1 <= len(kind.parts) <= MAX_PARTS
    assert all(part.shape in SHAPES and part.material in MATERIALS for part in kind.parts)
    assert kind.mass > 0 and kind.fragile == np.isfinite(kind.break_impulse)
    assert set(kind.rooms) <= set(ROOM_KINDS) and kind.rooms
    assert all(place == "floor" or place in TYPES for place in kind.found_on)
    assert len(kind.colours) >= 2
    if kind.movable:
        assert any(part.collide for part in kind.parts)


@pytest.mark.parametrize("kind", TYPES.values(), ids=lambda kind: kind.name)
def test_solid_parts_stay_within_the_size_and_on_the_ground(kind: EntityType):
    solid = [part for part in kind.parts if part.collide]
    if not solid:
        return
    corners = np.concatenate([_corners(part) for part in solid])
    assert -0.001 < corners[:, 2].min() < 0.02
    reach = np.abs(corners[:, :2]).max(axis=0)
    # the generator keeps things apart by their nominal size
    assert (reach <= np.array(kind.size[:2]) / 2 + 0.03).all(), reach
    assert corners[:, 2].max() <= kind.size[2] + 0.02


@pytest.mark.parametrize(
    "kind", [kind for kind in TYPES.values() if kind.surfaces], ids=lambda kind: kind.name
)
def test_surfaces_lie_on_top_of_a_solid_part(kind: EntityType):
    for x, y, z, half_x, half_y in kind.surfaces:
        below = [
            part
            for part in kind.parts
            if part.collide
            and abs(part.pos[2] + part.size[2 if part.shape == "box" else 1] - z) < 0.006
            and abs(x - part.pos[0]) + half_x <= part.size[0] + 0.006
            and abs(y - part.pos[1]) + half_y <= part.size[1 if part.shape == "box" else 0] + 0.016
        ]
        assert below, f"nothing carries the surface at {x}, {y}, {z}"


def test_finishes_are_materials_and_the_first_is_the_own_one():
    for material, finishes in FINISHES.items():
        assert finishes[0] == material and set(finishes) <= {*MATERIALS, *MORE_MATERIALS}


def test_surfaces_added_for_larger_homes_lie_on_a_solid_part():
    for name, surfaces in MORE_SURFACES.items():
        for x, y, z, half_x, half_y in surfaces:
            assert any(
                part.collide
                and abs(part.pos[2] + part.size[2] - z) < 0.006
                and abs(x - part.pos[0]) + half_x <= part.size[0] + 0.006
                and abs(y - part.pos[1]) + half_y <= part.size[1] + 0.016
                for part in TYPES[name].parts
            ), (name, x, y, z)


def test_unknown_type_names_the_nearest():
    with pytest.raises(ValueError, match="mug"):
        entity_type("mugg")


def test_a_type_with_too_many_parts_is_refused():
    with pytest.raises(ValueError, match="9 parts"):
        EntityType("x", "x", "object", (box(1, 1, 1),) * 9, (1, 1, 1), 1.0, (((1, 1, 1), (1, 1, 1)),))
