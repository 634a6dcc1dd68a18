"""Furniture. It faces -y; its back (+y) goes to the wall.

Sizes follow the medians of ProcTHOR's asset database (https://github.com/allenai/procthor, Apache-2.0);
masses are those of real pieces.
"""

from __future__ import annotations

from typing import Any

from safevla.world.entity_type import Colour, EntityType, Part, Surface, box, cylinder

BLACK: Colour = (0.08, 0.08, 0.09)
DARK: Colour = (0.2, 0.2, 0.22)
STEEL: Colour = (0.72, 0.74, 0.77)
WHITE: Colour = (0.94, 0.94, 0.93)
WOODS: tuple[tuple[Colour, Colour], ...] = (
    ((0.62, 0.43, 0.26), (0.45, 0.3, 0.17)),
    ((0.45, 0.29, 0.18), (0.3, 0.19, 0.11)),
    ((0.8, 0.66, 0.47), (0.62, 0.48, 0.32)),
    ((0.9, 0.89, 0.86), (0.7, 0.55, 0.38)),
    ((0.33, 0.22, 0.16), (0.6, 0.55, 0.45)),
)
CLOTHS: tuple[tuple[Colour, Colour], ...] = (
    ((0.36, 0.42, 0.55), (0.85, 0.78, 0.6)),
    ((0.55, 0.53, 0.5), (0.75, 0.35, 0.25)),
    ((0.3, 0.45, 0.38), (0.9, 0.88, 0.8)),
    ((0.7, 0.6, 0.48), (0.3, 0.35, 0.45)),
    ((0.6, 0.25, 0.25), (0.85, 0.8, 0.75)),
)


def piece(
    name: str,
    parts: tuple[Part, ...],
    size: tuple[float, float, float],
    mass: float,
    colours: tuple[tuple[Colour, Colour], ...],
    rooms: tuple[str, ...],
    placement: str,
    **rest: Any,
) -> EntityType:
    """Return a furniture type, fixed to the world unless `movable` says otherwise."""
    options: dict[str, Any] = {"movable": False, "noun": name.replace("_", " "), **rest}
    return EntityType(
        name=name,
        kind="furniture",
        parts=parts,
        size=size,
        mass=mass,
        colours=colours,
        rooms=rooms,
        placement=placement,
        **options,
    )


def _table(width: float, depth: float, height: float, leg: float = 0.05) -> tuple[Part, ...]:
    """Return a table top on four legs."""
    x, y = width / 2 - leg, depth / 2 - leg
    legs = tuple(
        box(leg, leg, height - 0.04, i * x, j * y, colour="accent", material="wood")
        for i in (-1, 1)
        for j in (-1, 1)
    )
    return (box(width, depth, 0.04, z=height - 0.04, material="wood"), *legs)


def top(width: float, depth: float, height: float, x: float = 0.0, y: float = 0.0) -> Surface:
    """Return the support rectangle of a top of the given full extents."""
    return (x, y, height, width / 2, depth / 2)


def _chair_parts() -> tuple[Part, ...]:
    legs = tuple(
        box(0.035, 0.035, 0.43, i * 0.18, j * 0.18, material="wood") for i in (-1, 1) for j in (-1, 1)
    )
    return (
        box(0.42, 0.42, 0.03, z=0.43, colour="accent", material="fabric"),
        *legs,
        box(0.035, 0.03, 0.42, x=-0.18, y=0.19, z=0.46, material="wood", density=0.5),
        box(0.035, 0.03, 0.42, x=0.18, y=0.19, z=0.46, material="wood", density=0.5),
        box(0.34, 0.022, 0.2, y=0.19, z=0.66, material="wood", density=0.5),
    )


FIXED = (
    piece(
        "sofa",
        (
            box(1.9, 0.85, 0.31, material="fabric"),
            box(1.9, 0.22, 0.5, y=0.315, z=0.3, material="fabric"),
            box(0.2, 0.85, 0.32, x=-0.85, z=0.28, material="fabric"),
            box(0.2, 0.85, 0.32, x=0.85, z=0.28, material="fabric"),
            box(0.74, 0.6, 0.13, x=-0.375, y=-0.11, z=0.31, material="fabric"),
            box(0.74, 0.6, 0.13, x=0.375, y=-0.11, z=0.31, material="fabric"),
            Part("box", (0.19, 0.06, 0.19), (-0.55, 0.15, 0.62), (-15, 0, 0), "accent", "fabric"),
            Part("box", (0.19, 0.06, 0.19), (0.55, 0.15, 0.62), (-15, 0, 0), "accent", "fabric"),
        ),
        (1.9, 0.85, 0.8),
        45.0,
        CLOTHS,
        ("living_room",),
        "wall",
        synonyms=("couch",),
    ),
    piece(
        "armchair",
        (
            box(0.8, 0.8, 0.31, material="fabric"),
            box(0.8, 0.2, 0.55, y=0.3, z=0.3, material="fabric"),
            box(0.17, 0.8, 0.3, x=-0.315, z=0.28, material="fabric"),
            box(0.17, 0.8, 0.3, x=0.315, z=0.28, material="fabric"),
            box(0.45, 0.55, 0.13, y=-0.1, z=0.31, colour="accent", material="fabric"),
        ),
        (0.8, 0.8, 0.85),
        25.0,
        CLOTHS,
        ("living_room", "bedroom"),
        "corner",
    ),
    piece(
        "coffee_table",
        (*_table(1.0, 0.55, 0.42), box(0.9, 0.45, 0.02, z=0.12, colour="accent", material="wood")),
        (1.0, 0.55, 0.42),
        15.0,
        WOODS,
        ("living_room",),
        "centre",
        surfaces=(top(1.0, 0.55, 0.42),),
    ),
    piece(
        "tv_stand",
        (
            box(1.2, 0.4, 0.46, z=0.04, material="wood"),
            box(1.22, 0.42, 0.03, z=0.5, colour="accent", material="wood"),
            box(0.56, 0.008, 0.38, x=-0.3, y=-0.203, z=0.08, colour="accent", material="wood", collide=False),
            box(0.56, 0.008, 0.38, x=0.3, y=-0.203, z=0.08, colour="accent", material="wood", collide=False),
            box(1.1, 0.34, 0.04, colour=BLACK),
            box(0.02, 0.02, 0.12, x=-0.05, y=-0.215, z=0.22, colour=STEEL, collide=False),
            box(0.02, 0.02, 0.12, x=0.05, y=-0.215, z=0.22, colour=STEEL, collide=False),
        ),
        (1.22, 0.42, 0.53),
        30.0,
        WOODS,
        ("living_room", "bedroom"),
        "wall",
        scale_range=(0.95, 1.1),
        surfaces=(top(0.18, 0.42, 0.53, x=-0.52), top(0.18, 0.42, 0.53, x=0.52)),
    ),
    piece(
        "television",
        (
            box(0.3, 0.18, 0.02, colour=DARK),
            box(0.06, 0.04, 0.08, z=0.02, colour=DARK),
            box(0.8, 0.05, 0.5, z=0.08, colour=BLACK),
            box(0.76, 0.006, 0.45, y=-0.026, z=0.105, colour="main", collide=False),
            box(0.76, 0.004, 0.15, y=-0.03, z=0.105, colour="accent", collide=False),
        ),
        (0.8, 0.18, 0.58),
        9.0,
        (
            ((0.2, 0.35, 0.6), (0.2, 0.45, 0.25)),
            ((0.12, 0.14, 0.18), (0.18, 0.2, 0.25)),
            ((0.6, 0.4, 0.3), (0.25, 0.2, 0.3)),
        ),
        ("living_room", "bedroom"),
        "wall",
        scale_range=(0.9, 1.0),
        synonyms=("TV", "TV set"),
    ),
    piece(
        "dining_table",
        _table(1.3, 0.8, 0.75, 0.06),
        (1.3, 0.8, 0.75),
        28.0,
        WOODS,
        ("kitchen",),
        "centre",
        synonyms=("table",),
        surfaces=(top(1.3, 0.8, 0.75),),
    ),
    piece(
        "desk",
        (
            box(1.2, 0.6, 0.035, z=0.705, material="wood"),
            box(0.04, 0.56, 0.705, x=-0.57, colour="accent", material="wood"),
            box(0.4, 0.56, 0.6, x=0.39, z=0.105, colour="accent", material="wood"),
            box(0.4, 0.5, 0.105, x=0.39, colour=DARK),
            box(0.36, 0.008, 0.16, x=0.39, y=-0.282, z=0.5, material="wood", collide=False),
            box(0.36, 0.008, 0.3, x=0.39, y=-0.282, z=0.16, material="wood", collide=False),
            box(0.12, 0.015, 0.015, x=0.39, y=-0.29, z=0.57, colour=STEEL, collide=False),
            box(0.12, 0.015, 0.015, x=0.39, y=-0.29, z=0.3, colour=STEEL, collide=False),
        ),
        (1.2, 0.6, 0.74),
        32.0,
        WOODS,
        ("bedroom", "living_room"),
        "wall",
        surfaces=(top(1.2, 0.6, 0.74),),
    ),
    piece(
        "bed",
        (
            box(1.4, 1.95, 0.3, material="wood"),
            box(1.36, 1.9, 0.2, z=0.3, colour=WHITE, material="fabric"),
            box(1.42, 1.3, 0.06, y=-0.33, z=0.46, colour="accent", material="fabric"),
            box(1.45, 0.06, 0.95, y=0.96, material="wood"),
            Part("ellipsoid", (0.29, 0.19, 0.09), (-0.34, 0.68, 0.56), (0, 0, 0), WHITE, "fabric"),
            Part("ellipsoid", (0.29, 0.19, 0.09), (0.34, 0.68, 0.56), (0, 0, 0), WHITE, "fabric"),
        ),
        (1.45, 1.98, 0.95),
        60.0,
        (
            ((0.5, 0.34, 0.2), (0.35, 0.45, 0.65)),
            ((0.35, 0.24, 0.16), (0.65, 0.3, 0.3)),
            ((0.85, 0.82, 0.78), (0.45, 0.6, 0.5)),
            ((0.6, 0.5, 0.4), (0.75, 0.65, 0.4)),
        ),
        ("bedroom",),
        "wall",
        synonyms=("mattress",),
        scale_range=(0.92, 1.05),
        surfaces=(top(1.3, 1.1, 0.52, y=-0.38),),
    ),
    piece(
        "nightstand",
        (
            box(0.44, 0.38, 0.5, z=0.05, material="wood"),
            box(0.46, 0.4, 0.025, z=0.55, colour="accent", material="wood"),
            box(0.38, 0.008, 0.2, y=-0.193, z=0.3, colour="accent", material="wood", collide=False),
            box(0.38, 0.008, 0.2, y=-0.193, z=0.07, colour="accent", material="wood", collide=False),
            cylinder(0.014, 0.014, y=-0.2, z=0.39, colour=STEEL, collide=False),
            cylinder(0.014, 0.014, y=-0.2, z=0.16, colour=STEEL, collide=False),
            box(0.4, 0.34, 0.05, colour=DARK),
        ),
        (0.46, 0.4, 0.575),
        14.0,
        WOODS,
        ("bedroom",),
        "wall",
        synonyms=("bedside table",),
        surfaces=(top(0.46, 0.4, 0.575),),
    ),
    piece(
        "dresser",
        (
            box(1.0, 0.45, 0.8, material="wood"),
            box(1.02, 0.47, 0.03, z=0.8, colour="accent", material="wood"),
            *(
                box(
                    0.94,
                    0.008,
                    0.21,
                    y=-0.228,
                    z=0.09 + 0.235 * i,
                    colour="accent",
                    material="wood",
                    collide=False,
                )
                for i in range(3)
            ),
            *(
                box(0.2, 0.02, 0.02, y=-0.238, z=0.185 + 0.235 * i, colour=STEEL, collide=False)
                for i in range(3)
            ),
        ),
        (1.02, 0.47, 0.83),
        40.0,
        WOODS,
        ("bedroom",),
        "wall",
        synonyms=("chest of drawers",),
        surfaces=(top(1.02, 0.47, 0.83),),
    ),
    piece(
        "wardrobe",
        (
            box(1.0, 0.55, 1.9, material="wood"),
            box(
                0.48, 0.01, 1.78, x=-0.248, y=-0.278, z=0.07, colour="accent", material="wood", collide=False
            ),
            box(0.48, 0.01, 1.78, x=0.248, y=-0.278, z=0.07, colour="accent", material="wood", collide=False),
            box(0.02, 0.02, 0.2, x=-0.04, y=-0.288, z=0.9, colour=STEEL, collide=False),
            box(0.02, 0.02, 0.2, x=0.04, y=-0.288, z=0.9, colour=STEEL, collide=False),
        ),
        (1.0, 0.57, 1.9),
        80.0,
        WOODS,
        ("bedroom",),
        "corner",
        synonyms=("closet",),
    ),
    piece(
        "bookshelf",
        (
            box(0.03, 0.3, 1.7, x=-0.435, material="wood"),
            box(0.03, 0.3, 1.7, x=0.435, material="wood"),
            box(0.84, 0.02, 1.7, y=0.14, colour="accent", material="wood"),
            box(0.84, 0.28, 0.03, z=0.06, material="wood"),
            box(0.84, 0.28, 0.03, z=0.5, material="wood"),
            box(0.84, 0.28, 0.03, z=0.94, material="wood"),
            box(0.84, 0.28, 0.03, z=1.67, material="wood"),
            box(0.6, 0.18, 0.26, x=-0.08, y=0.04, z=0.53, colour=(0.55, 0.25, 0.22), material="fabric"),
        ),
        (0.9, 0.3, 1.7),
        35.0,
        WOODS,
        ("living_room", "bedroom"),
        "wall",
        synonyms=("bookcase", "shelf"),
        surfaces=(top(0.8, 0.26, 0.97, y=-0.01),),
    ),
    piece(
        "side_table",
        (
            cylinder(0.24, 0.03, z=0.52, material="wood"),
            cylinder(0.03, 0.5, z=0.02, colour="accent", material="wood"),
            cylinder(0.16, 0.02, colour="accent", material="wood"),
        ),
        (0.48, 0.48, 0.55),
        8.0,
        WOODS,
        ("living_room", "bedroom", "kitchen"),
        "corner",
        synonyms=("end table",),
        surfaces=(top(0.32, 0.32, 0.55),),
    ),
    piece(
        "rug",
        (
            box(1.7, 1.2, 0.004, material="fabric", collide=False),
            box(1.5, 1.0, 0.001, z=0.004, colour="accent", material="fabric", collide=False),
        ),
        (1.7, 1.2, 0.005),
        3.0,
        CLOTHS,
        ("living_room", "bedroom"),
        "centre",
        synonyms=("carpet",),
    ),
)

MOVABLE = (
    piece(
        "chair",
        _chair_parts(),
        (0.42, 0.42, 0.88),
        5.0,
        WOODS,
        ("kitchen", "bedroom", "living_room"),
        "around_table",
        movable=True,
        scale_range=(0.95, 1.05),
        synonyms=("seat",),
    ),
    piece(
        "stool",
        (
            cylinder(0.17, 0.04, z=0.42, colour="accent", material="wood"),
            *(
                box(0.035, 0.035, 0.42, i * 0.1, j * 0.1, material="wood", density=1.5)
                for i in (-1, 1)
                for j in (-1, 1)
            ),
            box(0.19, 0.02, 0.02, z=0.2, material="wood"),
        ),
        (0.34, 0.34, 0.46),
        3.2,
        WOODS,
        ("kitchen", "bathroom", "bedroom", "living_room"),
        "corner",
        movable=True,
        surfaces=(top(0.24, 0.24, 0.46),),
    ),
    piece(
        "ottoman",
        (
            box(0.5, 0.5, 0.3, z=0.05, material="fabric"),
            box(0.51, 0.51, 0.08, z=0.34, colour="accent", material="fabric"),
            box(0.42, 0.42, 0.05, colour=DARK),
        ),
        (0.51, 0.51, 0.42),
        7.0,
        CLOTHS,
        ("living_room", "bedroom"),
        "centre",
        movable=True,
        synonyms=("pouf", "footstool"),
    ),
    piece(
        "floor_lamp",
        (
            cylinder(0.14, 0.03, density=14.0, material="metal"),
            cylinder(0.014, 1.35, z=0.03, material="metal"),
            cylinder(0.17, 0.26, z=1.32, colour="accent", material="fabric", density=0.15),
        ),
        (0.34, 0.34, 1.58),
        5.0,
        ((DARK, (0.95, 0.9, 0.75)), ((0.7, 0.55, 0.25), (0.9, 0.88, 0.82)), (STEEL, (0.85, 0.9, 0.95))),
        ("living_room", "bedroom"),
        "corner",
        movable=True,
        synonyms=("standing lamp",),
    ),
    piece(
        "plant_stand",
        (
            box(0.26, 0.26, 0.03, z=0.67, material="wood"),
            box(0.06, 0.06, 0.64, z=0.03, colour="accent", material="wood"),
            box(0.28, 0.28, 0.03, colour="accent", material="wood", density=5.0),
        ),
        (0.28, 0.28, 0.7),
        5.0,
        WOODS,
        ("living_room", "bedroom", "kitchen", "bathroom"),
        "corner",
        movable=True,
        synonyms=("pedestal",),
        scale_range=(0.95, 1.1),
        surfaces=(top(0.26, 0.26, 0.7),),
    ),
    piece(
        "laundry_basket",
        (
            box(0.42, 0.3, 0.4, material="fabric"),
            box(0.45, 0.33, 0.04, z=0.4, colour="accent"),
            box(0.4, 0.28, 0.03, z=0.425, colour=(0.8, 0.85, 0.95), material="fabric", collide=False),
        ),
        (0.45, 0.33, 0.455),
        2.5,
        (((0.75, 0.65, 0.5), (0.6, 0.5, 0.35)), ((0.9, 0.9, 0.9), (0.4, 0.55, 0.7))),
        ("bathroom", "bedroom"),
        "corner",
        movable=True,
        synonyms=("hamper",),
    ),
)
