"""Furniture that homes of class M and L have besides that of class S, windows and paintings included.

Sizes and masses follow the medians of ProcTHOR's asset database, see `catalogue_statistics`.
"""

from __future__ import annotations

from safevla.world.catalogue_furniture import BLACK, DARK, STEEL, WHITE, WOODS, piece, top
from safevla.world.entity_type import Colour, Part, Surface, box, cylinder, rod

SKY: Colour = (0.62, 0.8, 0.95)
_PAINTINGS: tuple[tuple[Colour, Colour], ...] = (
    ((0.25, 0.45, 0.7), (0.35, 0.6, 0.3)),
    ((0.9, 0.7, 0.4), (0.7, 0.3, 0.2)),
    ((0.85, 0.85, 0.8), (0.2, 0.25, 0.4)),
    ((0.55, 0.3, 0.5), (0.9, 0.8, 0.4)),
)


def _upright(width: float, depth: float, height: float) -> tuple[Part, ...]:
    """Return the two sides of a shelf."""
    return tuple(box(0.03, depth, height, x=side * (width - 0.03) / 2, material="wood") for side in (-1, 1))


def _legs(width: float, depth: float, height: float, thick: float = 0.04) -> tuple[Part, ...]:
    x, y = width / 2 - thick, depth / 2 - thick
    return tuple(
        box(thick, thick, height, i * x, j * y, colour="accent", material="wood")
        for i in (-1, 1)
        for j in (-1, 1)
    )


MORE_FIXED = (
    piece(
        "shelving_unit",
        (
            *_upright(0.9, 0.34, 1.3),
            box(0.84, 0.34, 0.03, z=0.07, colour="accent", material="wood"),
            box(0.84, 0.34, 0.03, z=0.47, colour="accent", material="wood"),
            box(0.84, 0.34, 0.03, z=0.87, colour="accent", material="wood"),
            box(0.9, 0.34, 0.03, z=1.27, material="wood"),
            box(0.84, 0.012, 1.2, y=0.164, z=0.07, colour=WHITE, material="wood"),
        ),
        (0.9, 0.34, 1.3),
        22.0,
        WOODS,
        ("living_room", "bedroom", "kitchen", "hall"),
        "wall",
        synonyms=("open shelf", "shelving"),
        surfaces=(
            top(0.82, 0.3, 0.9, y=-0.01),
            top(0.82, 0.3, 0.5, y=-0.01),
            top(0.82, 0.3, 0.1, y=-0.01),
        ),
    ),
    piece(
        "washing_machine",
        (
            box(0.6, 0.58, 0.82, z=0.03),
            box(0.54, 0.5, 0.03, colour=DARK),
            box(0.56, 0.006, 0.11, y=-0.292, z=0.72, colour="accent", collide=False),
            rod(0.19, 0.02, (0, -0.293, 0.4), "y", colour=STEEL, material="metal", collide=False),
            rod(0.15, 0.03, (0, -0.293, 0.4), "y", colour=(0.16, 0.2, 0.28), material="glass", collide=False),
            rod(0.032, 0.02, (0.18, -0.296, 0.775), "y", colour=STEEL, material="metal", collide=False),
            box(0.16, 0.01, 0.07, x=-0.18, y=-0.293, z=0.74, colour=(0.8, 0.85, 0.9), collide=False),
        ),
        (0.6, 0.6, 0.85),
        65.0,
        (((0.94, 0.94, 0.94), (0.78, 0.79, 0.8)), ((0.5, 0.52, 0.55), BLACK), (WHITE, (0.55, 0.65, 0.75))),
        ("bathroom", "kitchen"),
        "wall",
        synonyms=("washer",),
        scale_range=(0.97, 1.05),
        surfaces=(top(0.58, 0.56, 0.85),),
    ),
    piece(
        "sideboard",
        (
            box(1.4, 0.4, 0.62, z=0.15, material="wood"),
            box(1.42, 0.43, 0.03, z=0.77, colour="accent", material="wood"),
            *(
                box(0.44, 0.01, 0.54, x=0.46 * i, y=-0.205, z=0.19, colour="accent", collide=False)
                for i in (-1, 0, 1)
            ),
            box(0.06, 0.36, 0.15, x=-0.6, colour=DARK),
            box(0.06, 0.36, 0.15, x=0.6, colour=DARK),
            box(1.2, 0.012, 0.012, y=-0.216, z=0.65, colour=STEEL, collide=False),
        ),
        (1.42, 0.43, 0.8),
        38.0,
        WOODS,
        ("living_room", "hall"),
        "wall",
        synonyms=("credenza", "cabinet"),
        surfaces=(top(1.42, 0.43, 0.8),),
    ),
    piece(
        "shoe_rack",
        (
            *_upright(0.8, 0.32, 0.5),
            box(0.74, 0.3, 0.02, z=0.06, colour="accent", material="wood"),
            box(0.74, 0.3, 0.02, z=0.26, colour="accent", material="wood"),
            box(0.8, 0.32, 0.03, z=0.47, material="wood"),
        ),
        (0.8, 0.32, 0.5),
        9.0,
        WOODS,
        ("hall", "bedroom"),
        "wall",
        surfaces=(
            top(0.78, 0.3, 0.5),
            top(0.72, 0.28, 0.28),
            top(0.72, 0.28, 0.08),
        ),
    ),
    piece(
        "bench",
        (
            box(1.0, 0.36, 0.04, z=0.4, material="wood"),
            *_legs(1.0, 0.36, 0.4),
            box(0.96, 0.33, 0.05, z=0.44, colour="accent", material="fabric"),
        ),
        (1.0, 0.36, 0.49),
        12.0,
        WOODS,
        ("hall", "bedroom"),
        "wall",
        synonyms=("hall bench",),
        surfaces=(top(0.94, 0.32, 0.49),),
    ),
    piece(
        "console_table",
        (
            box(0.95, 0.3, 0.035, z=0.765, material="wood"),
            *_legs(0.95, 0.3, 0.765),
            box(0.87, 0.25, 0.02, z=0.2, colour="accent", material="wood"),
            box(0.85, 0.02, 0.1, y=-0.12, z=0.665, material="wood"),
        ),
        (0.95, 0.3, 0.8),
        14.0,
        WOODS,
        ("hall", "living_room"),
        "wall",
        synonyms=("hall table",),
        surfaces=(top(0.95, 0.3, 0.8),),
    ),
    piece(
        "window",
        (
            box(1.2, 0.05, 0.07, material="wood", collide=False),
            box(1.2, 0.05, 0.07, z=1.08, material="wood", collide=False),
            box(0.07, 0.05, 1.15, x=-0.565, material="wood", collide=False),
            box(0.07, 0.05, 1.15, x=0.565, material="wood", collide=False),
            box(0.04, 0.045, 1.1, z=0.03, material="wood", collide=False),
            box(1.1, 0.02, 1.05, z=0.05, colour=SKY, material="glass", collide=False),
            box(1.1, 0.022, 0.3, z=0.05, colour="accent", material="foliage", collide=False),
            box(1.3, 0.14, 0.03, y=-0.03, z=-0.03, collide=False),
        ),
        (1.2, 0.06, 1.15),
        20.0,
        (
            ((0.95, 0.95, 0.94), (0.35, 0.55, 0.3)),
            ((0.5, 0.33, 0.2), (0.42, 0.6, 0.36)),
            ((0.3, 0.31, 0.33), (0.55, 0.6, 0.5)),
        ),
        ("kitchen", "living_room", "bedroom", "bathroom", "hall"),
        "high",
        scale_range=(0.8, 1.15),
    ),
    piece(
        "painting",
        (
            box(0.8, 0.03, 0.6, colour=DARK, material="wood", collide=False),
            box(0.72, 0.034, 0.52, z=0.04, collide=False),
            box(0.72, 0.036, 0.2, z=0.04, colour="accent", collide=False),
            Part(
                "ellipsoid", (0.1, 0.02, 0.1), (0.17, -0.004, 0.42), colour=(0.97, 0.85, 0.3), collide=False
            ),
            Part("ellipsoid", (0.16, 0.019, 0.13), (-0.16, -0.002, 0.25), colour="accent", collide=False),
        ),
        (0.8, 0.036, 0.6),
        3.0,
        _PAINTINGS,
        ("living_room", "bedroom", "hall"),
        "high",
        synonyms=("picture on the wall",),
        scale_range=(0.7, 1.15),
    ),
)

MORE_MOVABLE = (
    piece(
        "coat_stand",
        (
            cylinder(0.17, 0.03, density=16.0, material="wood"),
            cylinder(0.02, 1.6, z=0.03, material="wood"),
            rod(0.012, 0.34, (0, 0, 1.58), "x", material="wood", collide=False),
            rod(0.012, 0.34, (0, 0, 1.5), "y", material="wood", collide=False),
            Part(
                "ellipsoid",
                (0.11, 0.09, 0.42),
                (0.09, -0.04, 1.08),
                colour="accent",
                material="fabric",
                density=0.02,
            ),
            Part(
                "ellipsoid",
                (0.1, 0.08, 0.3),
                (-0.08, 0.06, 1.22),
                colour=(0.25, 0.28, 0.35),
                material="fabric",
                collide=False,
            ),
            cylinder(0.13, 0.02, x=-0.05, z=1.62, colour=(0.35, 0.25, 0.18), collide=False),
            cylinder(0.08, 0.1, x=-0.05, z=1.64, colour=(0.35, 0.25, 0.18), collide=False),
        ),
        (0.36, 0.36, 1.66),
        7.0,
        (
            ((0.45, 0.29, 0.18), (0.6, 0.25, 0.25)),
            ((0.2, 0.2, 0.22), (0.75, 0.68, 0.5)),
            ((0.8, 0.66, 0.47), (0.3, 0.42, 0.35)),
        ),
        ("hall", "bedroom"),
        "corner",
        movable=True,
        synonyms=("coat rack",),
        scale_range=(0.97, 1.03),
    ),
)

# Surfaces of types of class S that only larger homes use: seats, and the lower shelves of a bookshelf.
MORE_SURFACES: dict[str, tuple[Surface, ...]] = {
    "sofa": (top(0.66, 0.46, 0.44, x=-0.36, y=-0.15), top(0.66, 0.46, 0.44, x=0.36, y=-0.15)),
    "armchair": (top(0.42, 0.42, 0.44, y=-0.13),),
    "bookshelf": (top(0.8, 0.25, 0.09, y=-0.01), top(0.16, 0.24, 0.53, x=0.32, y=-0.01)),
}
