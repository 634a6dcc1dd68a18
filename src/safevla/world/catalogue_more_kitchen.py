"""Things of the kitchen that homes of class M and L have besides those of class S.

Sizes, masses and what can break follow ProcTHOR's asset database, see `catalogue_statistics`.
"""

from __future__ import annotations

from safevla.world.catalogue_objects import BLACK, DARK, GREEN, STEEL, WHITE, item
from safevla.world.entity_type import Colour, Part, ball, box, cylinder, oval

COUNTERS = ("kitchen_counter", "dining_table")
BREAD: Colour = (0.78, 0.55, 0.3)

KITCHEN = (
    item(
        "pot",
        (
            cylinder(0.115, 0.12, material="metal"),
            cylinder(0.118, 0.012, z=0.12, colour="accent", material="metal"),
            cylinder(0.06, 0.012, z=0.132, colour="accent", material="metal", collide=False),
            ball(0.018, z=0.142, colour=BLACK, collide=False),
            box(0.05, 0.05, 0.015, x=0.13, z=0.09, colour=BLACK, collide=False),
            box(0.05, 0.05, 0.015, x=-0.13, z=0.09, colour=BLACK, collide=False),
        ),
        (0.3, 0.24, 0.16),
        0.9,
        ((STEEL, (0.55, 0.57, 0.6)), ((0.75, 0.2, 0.15), STEEL), ((0.2, 0.35, 0.5), STEEL)),
        synonyms=("cooking pot", "saucepan"),
        rooms=("kitchen",),
        found_on=("kitchen_counter", "dining_table", "shelving_unit"),
        graspable=True,
    ),
    item(
        "pan",
        (
            cylinder(0.1, 0.03, y=-0.09),
            cylinder(0.125, 0.015, y=-0.09, z=0.03),
            cylinder(0.11, 0.002, y=-0.09, z=0.044, colour="accent", collide=False),
            box(0.028, 0.21, 0.018, y=0.12, z=0.026, colour=BLACK, density=0.2),
        ),
        (0.25, 0.45, 0.05),
        0.9,
        (
            ((0.16, 0.16, 0.17), (0.28, 0.28, 0.3)),
            ((0.7, 0.2, 0.12), (0.2, 0.2, 0.2)),
            (STEEL, (0.5, 0.5, 0.52)),
        ),
        synonyms=("frying pan",),
        rooms=("kitchen",),
        found_on=COUNTERS,
        graspable=True,
    ),
    item(
        "bread",
        (
            box(0.12, 0.24, 0.075),
            Part("ellipsoid", (0.064, 0.122, 0.045), (0, 0, 0.078), collide=False),
            *(box(0.09, 0.012, 0.004, y=y, z=0.12, colour="accent", collide=False) for y in (-0.06, 0, 0.06)),
            box(0.105, 0.004, 0.07, y=-0.121, z=0.005, colour=(0.95, 0.86, 0.66), collide=False),
        ),
        (0.13, 0.25, 0.124),
        0.7,
        ((BREAD, (0.55, 0.33, 0.15)), ((0.6, 0.38, 0.2), (0.4, 0.22, 0.1))),
        synonyms=("loaf of bread",),
        rooms=("kitchen",),
        found_on=COUNTERS,
        graspable=True,
    ),
    item(
        "tomato",
        (
            oval(0.09, 0.09, 0.078),
            *(
                Part("box", (0.02, 0.005, 0.002), (0, 0, 0.078), (0, 0, angle), GREEN, collide=False)
                for angle in (0, 60, 120)
            ),
            cylinder(0.004, 0.014, z=0.076, colour=GREEN, collide=False),
        ),
        (0.09, 0.09, 0.088),
        0.12,
        (((0.85, 0.12, 0.06), GREEN), ((0.92, 0.35, 0.08), GREEN), ((0.7, 0.08, 0.1), GREEN)),
        rooms=("kitchen",),
        found_on=COUNTERS,
        graspable=True,
    ),
    item(
        "lettuce",
        (
            ball(0.075, material="foliage"),
            Part(
                "ellipsoid",
                (0.085, 0.06, 0.05),
                (0.02, 0.02, 0.07),
                (0, 25, 0),
                material="foliage",
                collide=False,
            ),
            Part(
                "ellipsoid",
                (0.06, 0.088, 0.05),
                (-0.02, 0.01, 0.08),
                (25, 0, 0),
                "accent",
                "foliage",
                collide=False,
            ),
            cylinder(0.025, 0.012, colour=(0.9, 0.92, 0.75)),
        ),
        (0.15, 0.16, 0.15),
        0.47,
        (
            ((0.45, 0.72, 0.25), (0.6, 0.82, 0.4)),
            ((0.35, 0.62, 0.28), (0.55, 0.75, 0.35)),
            ((0.5, 0.3, 0.4), (0.5, 0.7, 0.35)),
        ),
        synonyms=("head of lettuce",),
        rooms=("kitchen",),
        found_on=COUNTERS,
        graspable=True,
    ),
    item(
        "salt_shaker",
        (
            cylinder(0.03, 0.075),
            cylinder(0.0305, 0.03, z=0.075, colour="accent", material="metal"),
            cylinder(0.018, 0.004, z=0.105, colour=BLACK, collide=False),
        ),
        (0.061, 0.061, 0.109),
        0.2,
        ((WHITE, STEEL), ((0.2, 0.2, 0.22), STEEL), ((0.6, 0.4, 0.25), (0.4, 0.25, 0.15))),
        synonyms=("shaker",),
        rooms=("kitchen",),
        found_on=COUNTERS,
        graspable=True,
    ),
    item(
        "bottle",
        (
            cylinder(0.042, 0.16, material="glass"),
            Part("ellipsoid", (0.042, 0.042, 0.035), (0, 0, 0.16), material="glass", collide=False),
            cylinder(0.016, 0.06, z=0.18, material="glass"),
            cylinder(0.018, 0.02, z=0.236, colour="accent", collide=False),
            cylinder(0.0425, 0.07, z=0.05, colour="accent", collide=False),
        ),
        (0.084, 0.084, 0.256),
        0.6,
        (
            ((0.7, 0.85, 0.92), (0.15, 0.4, 0.8)),
            ((0.55, 0.8, 0.55), (0.95, 0.95, 0.9)),
            ((0.75, 0.4, 0.15), (0.9, 0.2, 0.15)),
        ),
        1.1,
        synonyms=("water bottle",),
        rooms=("kitchen", "living_room", "bedroom"),
        found_on=(*COUNTERS, "coffee_table", "desk", "shelving_unit"),
        graspable=True,
        spillable=True,
    ),
    item(
        "coffee_machine",
        (
            box(0.22, 0.3, 0.03, colour="accent"),
            box(0.22, 0.12, 0.3, y=0.09, z=0.03),
            box(0.22, 0.3, 0.08, z=0.3),
            cylinder(0.06, 0.1, y=-0.06, z=0.035, colour=(0.2, 0.12, 0.08), material="glass"),
            box(0.015, 0.05, 0.07, x=0.075, y=-0.06, z=0.05, colour=BLACK, collide=False),
            box(0.12, 0.004, 0.03, y=-0.152, z=0.32, colour=(0.3, 0.7, 0.9), collide=False),
            cylinder(0.03, 0.03, y=-0.06, z=0.27, colour="accent", collide=False),
        ),
        (0.22, 0.3, 0.38),
        5.0,
        (((0.15, 0.15, 0.17), STEEL), ((0.7, 0.12, 0.1), DARK), (STEEL, DARK)),
        9.0,
        synonyms=("coffee maker",),
        rooms=("kitchen",),
        found_on=("kitchen_counter",),
    ),
    item(
        "microwave",
        (
            box(0.48, 0.33, 0.28),
            box(
                0.34,
                0.006,
                0.22,
                x=-0.06,
                y=-0.166,
                z=0.03,
                colour=(0.1, 0.11, 0.13),
                material="glass",
                collide=False,
            ),
            box(0.1, 0.006, 0.24, x=0.18, y=-0.166, z=0.02, colour="accent", collide=False),
            box(0.07, 0.004, 0.035, x=0.18, y=-0.17, z=0.2, colour=(0.3, 0.95, 0.5), collide=False),
            *(
                box(0.06, 0.004, 0.025, x=0.18, y=-0.17, z=z, colour=DARK, collide=False)
                for z in (0.05, 0.09, 0.13)
            ),
            box(0.018, 0.02, 0.2, x=0.1, y=-0.175, z=0.04, colour=STEEL, collide=False),
        ),
        (0.48, 0.34, 0.28),
        7.0,
        ((WHITE, (0.8, 0.8, 0.8)), ((0.2, 0.2, 0.22), (0.35, 0.35, 0.37)), (STEEL, (0.5, 0.5, 0.52))),
        synonyms=("microwave oven",),
        rooms=("kitchen",),
        found_on=("kitchen_counter",),
    ),
    item(
        "paper_towel_roll",
        (
            cylinder(0.06, 0.012, colour="accent"),
            cylinder(0.055, 0.215, z=0.012),
            cylinder(0.012, 0.04, z=0.227, colour="accent", collide=False),
            box(0.004, 0.05, 0.2, x=0.0545, y=-0.02, z=0.02, colour=(0.85, 0.85, 0.83), collide=False),
        ),
        (0.12, 0.12, 0.267),
        0.22,
        ((WHITE, (0.6, 0.42, 0.26)), ((0.93, 0.95, 0.97), STEEL)),
        synonyms=("kitchen roll",),
        rooms=("kitchen", "bathroom"),
        found_on=("kitchen_counter", "vanity", "washing_machine"),
        graspable=True,
    ),
    item(
        "soap_bottle",
        (
            cylinder(0.036, 0.13),
            cylinder(0.012, 0.045, z=0.13, colour=STEEL, density=0.5),
            box(0.016, 0.055, 0.014, y=-0.018, z=0.172, colour=STEEL, collide=False),
            cylinder(0.0365, 0.05, z=0.035, colour="accent", collide=False),
        ),
        (0.073, 0.09, 0.186),
        0.4,
        (((0.85, 0.6, 0.75), WHITE), ((0.6, 0.85, 0.75), WHITE), ((0.95, 0.9, 0.7), (0.3, 0.45, 0.35))),
        synonyms=("soap dispenser",),
        rooms=("bathroom", "kitchen"),
        found_on=("vanity", "kitchen_counter", "washing_machine"),
        graspable=True,
        spillable=True,
    ),
)
