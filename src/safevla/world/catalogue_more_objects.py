"""Small things that homes of class M and L have besides those of class S.

Sizes, masses and what can break follow ProcTHOR's asset database, see `catalogue_statistics`.
"""

from __future__ import annotations

from safevla.world.catalogue_more_kitchen import KITCHEN
from safevla.world.catalogue_objects import BLACK, DARK, STEEL, WHITE, item
from safevla.world.entity_type import Colour, Part, box, cylinder

LINEN: tuple[tuple[Colour, Colour], ...] = (
    ((0.9, 0.88, 0.82), (0.35, 0.5, 0.65)),
    ((0.45, 0.6, 0.7), (0.9, 0.9, 0.88)),
    ((0.75, 0.45, 0.4), (0.95, 0.9, 0.8)),
    ((0.5, 0.58, 0.45), (0.85, 0.8, 0.65)),
)

HOUSEHOLD = (
    item(
        "pillow",
        (
            box(0.35, 0.25, 0.07, material="fabric"),
            Part("ellipsoid", (0.19, 0.14, 0.055), (0, 0, 0.065), material="fabric", collide=False),
            *(
                Part("capsule", (0.012, 0.11, 0), (x, 0, 0.04), (90, 0, 0), "accent", collide=False)
                for x in (-0.175, 0.175)
            ),
            *(
                Part("capsule", (0.012, 0.16, 0), (0, y, 0.04), (0, 90, 0), "accent", collide=False)
                for y in (-0.125, 0.125)
            ),
        ),
        (0.38, 0.28, 0.12),
        0.7,
        LINEN,
        synonyms=("cushion",),
        rooms=("bedroom", "living_room"),
        found_on=("bed", "sofa", "armchair", "bench"),
        graspable=True,
    ),
    item(
        "towel",
        (
            box(0.3, 0.2, 0.03, material="fabric"),
            box(0.29, 0.19, 0.028, z=0.03, material="fabric"),
            box(0.301, 0.04, 0.0585, y=-0.03, colour="accent", material="fabric", collide=False),
            box(0.3, 0.004, 0.006, y=-0.099, z=0.026, colour=(0.35, 0.33, 0.3), collide=False),
        ),
        (0.3, 0.2, 0.058),
        0.57,
        LINEN,
        synonyms=("folded towel",),
        rooms=("bathroom", "bedroom"),
        found_on=("vanity", "washing_machine", "shelving_unit", "dresser", "bed"),
        graspable=True,
    ),
    item(
        "toilet_paper",
        (
            cylinder(0.055, 0.1),
            cylinder(0.021, 0.001, z=0.1, colour=(0.5, 0.4, 0.3), collide=False),
            box(0.003, 0.07, 0.098, x=0.0545, y=-0.02, z=0.001, colour="accent", collide=False),
        ),
        (0.11, 0.11, 0.101),
        0.2,
        ((WHITE, (0.88, 0.88, 0.86)), ((0.95, 0.88, 0.88), (0.88, 0.8, 0.8))),
        synonyms=("toilet roll",),
        rooms=("bathroom",),
        found_on=("vanity", "washing_machine", "floor", "shelving_unit"),
        graspable=True,
    ),
    item(
        "newspaper",
        (
            box(0.3, 0.2, 0.016),
            box(0.26, 0.03, 0.001, y=0.07, z=0.016, colour=BLACK, collide=False),
            box(0.12, 0.1, 0.001, x=-0.07, y=-0.01, z=0.016, colour="accent", collide=False),
            *(
                box(0.11, 0.012, 0.001, x=0.075, y=y, z=0.016, colour=(0.4, 0.4, 0.4), collide=False)
                for y in (0.03, 0.0, -0.03)
            ),
            box(0.26, 0.012, 0.001, y=-0.08, z=0.016, colour=(0.4, 0.4, 0.4), collide=False),
        ),
        (0.3, 0.2, 0.017),
        0.2,
        (((0.88, 0.87, 0.82), (0.5, 0.52, 0.55)), ((0.93, 0.85, 0.75), (0.55, 0.45, 0.4))),
        rooms=("living_room", "kitchen", "hall"),
        found_on=("coffee_table", "dining_table", "sideboard", "console_table", "sofa"),
        graspable=True,
    ),
    item(
        "cell_phone",
        (
            box(0.075, 0.15, 0.01),
            box(0.066, 0.132, 0.001, z=0.01, colour=(0.12, 0.25, 0.45), material="glass", collide=False),
            *(
                box(0.012, 0.012, 0.001, x=x, y=0.03, z=0.011, colour="accent", collide=False)
                for x in (-0.02, 0, 0.02)
            ),
            *(
                box(0.012, 0.012, 0.001, x=x, y=-0.01, z=0.011, colour=WHITE, collide=False)
                for x in (-0.02, 0, 0.02)
            ),
        ),
        (0.075, 0.15, 0.012),
        0.16,
        (
            (BLACK, (0.3, 0.9, 0.5)),
            ((0.85, 0.85, 0.87), (0.95, 0.5, 0.2)),
            ((0.75, 0.25, 0.35), (0.95, 0.85, 0.3)),
        ),
        0.35,
        synonyms=("mobile phone", "smartphone"),
        rooms=("living_room", "bedroom", "hall", "kitchen"),
        found_on=("nightstand", "desk", "coffee_table", "sideboard", "console_table", "dresser"),
        graspable=True,
    ),
    item(
        "watering_can",
        (
            cylinder(0.075, 0.15),
            cylinder(0.055, 0.02, z=0.15, colour="accent", collide=False),
            Part("capsule", (0.013, 0.09, 0), (0, -0.12, 0.13), (50, 0, 0), collide=False),
            Part("cylinder", (0.028, 0.006, 0), (0, -0.2, 0.195), (50, 0, 0), "accent", collide=False),
            Part("capsule", (0.011, 0.05, 0), (0, 0.13, 0.11), colour="accent", collide=False),
            Part("capsule", (0.011, 0.035, 0), (0, 0.1, 0.165), (90, 0, 0), "accent", collide=False),
            Part("capsule", (0.011, 0.03, 0), (0, 0.1, 0.06), (90, 0, 0), "accent", collide=False),
        ),
        (0.15, 0.3, 0.2),
        1.0,
        (((0.2, 0.55, 0.35), (0.85, 0.75, 0.2)), ((0.3, 0.5, 0.75), STEEL), ((0.8, 0.4, 0.3), STEEL)),
        rooms=("living_room", "hall", "bathroom"),
        found_on=("floor", "sideboard", "washing_machine"),
        graspable=True,
        spillable=True,
    ),
    item(
        "dumbbell",
        (
            Part("cylinder", (0.06, 0.035, 0), (0, -0.1, 0.06), (90, 0, 0)),
            Part("cylinder", (0.06, 0.035, 0), (0, 0.1, 0.06), (90, 0, 0)),
            Part("cylinder", (0.016, 0.07, 0), (0, 0, 0.06), (90, 0, 0), STEEL, "metal", density=2.0),
            Part("cylinder", (0.045, 0.045, 0), (0, -0.1, 0.06), (90, 0, 0), "accent", collide=False),
            Part("cylinder", (0.045, 0.045, 0), (0, 0.1, 0.06), (90, 0, 0), "accent", collide=False),
            box(0.06, 0.27, 0.012, colour=DARK),
        ),
        (0.13, 0.29, 0.12),
        4.54,
        (
            ((0.15, 0.15, 0.17), (0.5, 0.5, 0.52)),
            ((0.2, 0.4, 0.7), (0.12, 0.12, 0.14)),
            ((0.8, 0.25, 0.45), (0.2, 0.2, 0.2)),
        ),
        synonyms=("weight",),
        rooms=("bedroom", "living_room"),
        found_on=("floor",),
    ),
    item(
        "vacuum_cleaner",
        (
            box(0.28, 0.16, 0.07, y=-0.05, density=3.0),
            cylinder(0.075, 0.34, y=0.04, z=0.07, density=0.7),
            cylinder(0.06, 0.05, y=0.04, z=0.41, colour="accent", collide=False),
            Part("capsule", (0.016, 0.28, 0), (0, 0.09, 0.66), (-7, 0, 0), STEEL, "metal", density=0.2),
            Part("capsule", (0.02, 0.05, 0), (0, 0.14, 0.97), (60, 0, 0), BLACK, collide=False),
            cylinder(0.0755, 0.1, y=0.04, z=0.2, colour=(0.75, 0.8, 0.85), material="glass", collide=False),
            box(0.282, 0.02, 0.02, y=-0.13, colour=BLACK, collide=False),
        ),
        (0.28, 0.28, 1.0),
        6.8,
        (((0.75, 0.15, 0.15), DARK), ((0.35, 0.25, 0.55), STEEL), ((0.15, 0.45, 0.6), DARK)),
        synonyms=("hoover",),
        rooms=("hall", "bedroom", "living_room"),
        found_on=("floor",),
        scale_range=(0.95, 1.05),
    ),
    item(
        "tennis_racket",
        (
            box(0.16, 0.24, 0.02, y=-0.16, density=0.2),
            Part("ellipsoid", (0.125, 0.165, 0.014), (0, -0.16, 0.014), collide=False),
            Part(
                "ellipsoid",
                (0.108, 0.148, 0.0165),
                (0, -0.16, 0.014),
                (0, 0, 0),
                (0.93, 0.93, 0.85),
                "tile",
                collide=False,
            ),
            Part("box", (0.007, 0.06, 0.008), (0.02, 0.03, 0.014), (0, 0, 18), collide=False),
            Part("box", (0.007, 0.06, 0.008), (-0.02, 0.03, 0.014), (0, 0, -18), collide=False),
            box(0.026, 0.26, 0.026, y=0.2, colour="accent"),
        ),
        (0.25, 0.66, 0.03),
        0.31,
        (
            ((0.8, 0.15, 0.15), BLACK),
            ((0.15, 0.3, 0.7), (0.2, 0.2, 0.22)),
            ((0.2, 0.6, 0.3), (0.9, 0.9, 0.85)),
        ),
        synonyms=("racket",),
        rooms=("bedroom", "hall"),
        found_on=("floor", "bed"),
        graspable=True,
    ),
    item(
        "desk_lamp",
        (
            cylinder(0.085, 0.02, density=6.0),
            Part("capsule", (0.01, 0.12, 0), (0, 0.02, 0.14), (-15, 0, 0), "main"),
            Part("capsule", (0.01, 0.09, 0), (0, 0.0, 0.31), (45, 0, 0), "main", collide=False),
            Part("cylinder", (0.06, 0.04, 0), (0, -0.09, 0.34), (35, 0, 0), "accent", density=0.1),
            Part("ellipsoid", (0.03, 0.03, 0.03), (0, -0.115, 0.3), colour=(1.0, 0.95, 0.7), collide=False),
        ),
        (0.18, 0.27, 0.4),
        2.06,
        (
            ((0.15, 0.15, 0.17), (0.15, 0.15, 0.17)),
            ((0.8, 0.2, 0.15), (0.8, 0.2, 0.15)),
            (STEEL, (0.85, 0.86, 0.88)),
        ),
        rooms=("bedroom", "living_room"),
        found_on=("desk", "nightstand", "side_table"),
    ),
    item(
        "dog_bed",
        (
            box(0.6, 0.46, 0.06, colour="accent", material="fabric"),
            box(0.68, 0.09, 0.14, y=0.23, material="fabric"),
            box(0.09, 0.46, 0.14, x=-0.3, material="fabric"),
            box(0.09, 0.46, 0.14, x=0.3, material="fabric"),
            box(0.2, 0.09, 0.06, y=-0.22, material="fabric"),
            Part("capsule", (0.016, 0.05, 0), (0.05, 0, 0.075), (0, 90, 30), WHITE, collide=False),
            Part("ellipsoid", (0.03, 0.03, 0.02), (0.1, 0.03, 0.075), colour=WHITE, collide=False),
            Part("ellipsoid", (0.03, 0.03, 0.02), (0.0, -0.03, 0.075), colour=WHITE, collide=False),
        ),
        (0.7, 0.56, 0.14),
        0.98,
        (
            ((0.5, 0.4, 0.32), (0.85, 0.8, 0.7)),
            ((0.35, 0.4, 0.5), (0.8, 0.8, 0.82)),
            ((0.6, 0.3, 0.3), (0.9, 0.85, 0.8)),
        ),
        synonyms=("pet bed",),
        rooms=("living_room", "hall"),
        found_on=("floor",),
    ),
    item(
        "suitcase",
        (
            box(0.42, 0.23, 0.56, z=0.04),
            *(box(0.03, 0.236, 0.5, x=x, z=0.07, colour="accent", collide=False) for x in (-0.12, 0.12)),
            box(0.16, 0.02, 0.02, z=0.66, colour=BLACK, collide=False),
            *(box(0.02, 0.02, 0.07, x=x, z=0.6, colour=BLACK, collide=False) for x in (-0.07, 0.07)),
            *(box(0.05, 0.23, 0.04, x=x, colour=BLACK) for x in (-0.16, 0.16)),
        ),
        (0.42, 0.24, 0.6),
        6.0,
        (
            ((0.2, 0.35, 0.5), (0.75, 0.6, 0.35)),
            ((0.55, 0.2, 0.2), (0.85, 0.8, 0.7)),
            ((0.45, 0.32, 0.2), (0.25, 0.17, 0.1)),
        ),
        synonyms=("trolley case",),
        rooms=("hall", "bedroom"),
        found_on=("floor",),
    ),
)

MORE_OBJECTS = (*KITCHEN, *HOUSEHOLD)
