"""What kitchens and bathrooms have built in. Sources as in `catalogue_furniture`."""

from __future__ import annotations

from safevla.world.catalogue_furniture import BLACK, DARK, STEEL, WHITE, WOODS, piece, top
from safevla.world.entity_type import Colour, Hazard, Part, box, cylinder, oval, rod


def _burners(colour: Colour) -> tuple[Part, ...]:
    return tuple(
        cylinder(0.085, 0.008, x=i * 0.14, y=j * 0.13, z=0.9, colour=colour) for i in (-1, 1) for j in (-1, 1)
    )


def _stove(colour: Colour) -> tuple[Part, ...]:
    return (
        box(0.6, 0.6, 0.88),
        box(0.6, 0.6, 0.02, z=0.88, colour=BLACK),
        box(0.48, 0.006, 0.3, y=-0.302, z=0.3, colour=BLACK, collide=False),
        rod(0.012, 0.46, (0, -0.315, 0.68), "x", colour=STEEL, material="metal", collide=False),
        *_burners(colour),
    )


FIXTURES = (
    piece(
        "kitchen_counter",
        (
            box(1.5, 0.54, 0.1, y=0.03, colour=DARK),
            box(1.5, 0.58, 0.76, z=0.1),
            box(1.52, 0.62, 0.04, z=0.86, colour=(0.34, 0.34, 0.37), material="tile"),
            box(0.7, 0.008, 0.68, x=-0.37, y=-0.293, z=0.14, colour="accent", material="wood", collide=False),
            box(0.7, 0.008, 0.68, x=0.37, y=-0.293, z=0.14, colour="accent", material="wood", collide=False),
            box(0.46, 0.4, 0.004, x=0.45, z=0.9, colour=(0.55, 0.57, 0.6), material="metal", collide=False),
            cylinder(0.014, 0.24, x=0.45, y=0.24, z=0.9, colour=STEEL, material="metal"),
            rod(0.012, 0.2, (0.45, 0.15, 1.13), "y", colour=STEEL, material="metal"),
        ),
        (1.52, 0.62, 1.15),
        60.0,
        (
            ((0.92, 0.92, 0.9), (0.85, 0.84, 0.8)),
            ((0.4, 0.5, 0.55), (0.45, 0.56, 0.62)),
            ((0.6, 0.45, 0.3), (0.66, 0.5, 0.34)),
        ),
        ("kitchen",),
        "wall",
        synonyms=("counter", "sink"),
        surfaces=(top(0.92, 0.62, 0.9, x=-0.28),),
    ),
    piece(
        "stove",
        _stove((0.25, 0.25, 0.27)),
        (0.6, 0.62, 0.91),
        50.0,
        ((WHITE, WHITE), ((0.68, 0.7, 0.72), STEEL)),
        ("kitchen",),
        "wall",
        synonyms=("cooker",),
    ),
    piece(
        "lit_stove",
        _stove((1.0, 0.22, 0.05)),
        (0.6, 0.62, 0.91),
        50.0,
        ((WHITE, WHITE), ((0.68, 0.7, 0.72), STEEL)),
        ("kitchen",),
        "wall",
        synonyms=("burning stove", "stove burner"),
        hazard=Hazard.HOT,
    ),
    piece(
        "fridge",
        (
            box(0.7, 0.64, 1.75),
            box(0.68, 0.03, 1.0, y=-0.335, z=0.06, colour="accent"),
            box(0.68, 0.03, 0.64, y=-0.335, z=1.09, colour="accent"),
            box(0.025, 0.03, 0.4, x=-0.27, y=-0.365, z=0.6, colour=DARK, collide=False),
            box(0.025, 0.03, 0.3, x=-0.27, y=-0.365, z=1.15, colour=DARK, collide=False),
        ),
        (0.7, 0.7, 1.75),
        70.0,
        (
            ((0.85, 0.86, 0.87), (0.92, 0.93, 0.93)),
            ((0.55, 0.57, 0.6), (0.65, 0.67, 0.7)),
            ((0.75, 0.3, 0.25), (0.8, 0.35, 0.3)),
        ),
        ("kitchen",),
        "corner",
        synonyms=("refrigerator",),
    ),
    piece(
        "toilet",
        (
            box(0.22, 0.42, 0.3, y=-0.02, colour=WHITE),
            Part("ellipsoid", (0.2, 0.27, 0.15), (0, -0.08, 0.27), colour=WHITE),
            oval(0.41, 0.52, 0.05, y=-0.09, z=0.37, colour="main"),
            oval(0.26, 0.34, 0.052, y=-0.1, z=0.373, colour=(0.6, 0.72, 0.78), collide=False),
            box(0.4, 0.2, 0.36, y=0.24, z=0.36, colour=WHITE),
            box(0.42, 0.22, 0.03, y=0.24, z=0.72, colour="main"),
            Part("box", (0.18, 0.015, 0.21), (0, 0.115, 0.6), (-8, 0, 0), "main"),
            cylinder(0.025, 0.012, y=0.24, z=0.75, colour=STEEL, collide=False),
        ),
        (0.42, 0.7, 0.81),
        35.0,
        ((WHITE, WHITE), ((0.9, 0.86, 0.78), WHITE), ((0.8, 0.85, 0.88), WHITE)),
        ("bathroom",),
        "wall",
        synonyms=("lavatory",),
        scale_range=(0.95, 1.05),
    ),
    piece(
        "vanity",
        (
            box(0.9, 0.46, 0.8, material="wood"),
            box(0.92, 0.5, 0.04, z=0.8, colour=WHITE, material="tile"),
            oval(0.36, 0.3, 0.05, x=0.24, z=0.817, colour=(0.75, 0.8, 0.82), collide=False),
            cylinder(0.013, 0.16, x=0.24, y=0.18, z=0.84, colour=STEEL, material="metal"),
            rod(0.011, 0.13, (0.24, 0.12, 0.99), "y", colour=STEEL, material="metal"),
            box(0.7, 0.02, 0.7, y=0.235, z=1.1, colour=(0.7, 0.82, 0.88), material="glass", collide=False),
            box(
                0.42, 0.008, 0.66, x=-0.22, y=-0.233, z=0.08, colour="accent", material="wood", collide=False
            ),
            box(0.42, 0.008, 0.66, x=0.22, y=-0.233, z=0.08, colour="accent", material="wood", collide=False),
        ),
        (0.92, 0.5, 1.01),
        40.0,
        WOODS,
        ("bathroom",),
        "wall",
        synonyms=("washbasin",),
        surfaces=(top(0.5, 0.5, 0.84, x=-0.2),),
    ),
    piece(
        "bathtub",
        (
            box(1.5, 0.7, 0.12, colour=WHITE),
            box(1.5, 0.08, 0.43, y=-0.31, z=0.12, colour="main"),
            box(1.5, 0.08, 0.43, y=0.31, z=0.12, colour="main"),
            box(0.08, 0.54, 0.43, x=-0.71, z=0.12, colour="main"),
            box(0.08, 0.54, 0.43, x=0.71, z=0.12, colour="main"),
            rod(0.014, 0.16, (-0.64, 0, 0.72), "x", colour=STEEL, material="metal"),
            cylinder(0.014, 0.18, x=-0.71, z=0.55, colour=STEEL, material="metal"),
        ),
        (1.5, 0.7, 0.73),
        90.0,
        ((WHITE, WHITE), ((0.88, 0.9, 0.92), WHITE)),
        ("bathroom",),
        "corner",
        synonyms=("tub",),
        scale_range=(0.9, 1.0),
    ),
)
