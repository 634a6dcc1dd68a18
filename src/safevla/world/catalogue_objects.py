"""Small things of a home.

Sizes, masses, what can break and what is found on what follow the asset database of ProcTHOR
(https://github.com/allenai/procthor, Apache-2.0): median bounding boxes and masses per type, rounded,
and corrected where a game engine's placeholder mass is far from the real thing.

A break impulse is about mass x speed after a fall of 0.2 to 0.5 m onto a hard floor.
"""

from __future__ import annotations

import math
from typing import Any

from safevla.world.entity_type import Colour, EntityType, Part, ball, box, cylinder, oval, rod

BLACK: Colour = (0.08, 0.08, 0.09)
DARK: Colour = (0.2, 0.2, 0.22)
STEEL: Colour = (0.72, 0.74, 0.77)
WHITE: Colour = (0.95, 0.95, 0.93)
GREEN: Colour = (0.16, 0.48, 0.18)
TABLES = ("dining_table", "coffee_table", "desk", "side_table", "kitchen_counter", "dresser")
LOW = ("coffee_table", "nightstand", "side_table", "desk", "dresser", "tv_stand")
CHINA: tuple[tuple[Colour, Colour], ...] = (
    ((0.93, 0.93, 0.9), (0.25, 0.35, 0.6)),
    ((0.8, 0.25, 0.2), (0.95, 0.9, 0.85)),
    ((0.2, 0.45, 0.7), (0.9, 0.9, 0.9)),
    ((0.95, 0.8, 0.3), (0.5, 0.35, 0.1)),
    ((0.35, 0.6, 0.45), (0.95, 0.95, 0.9)),
    ((0.55, 0.35, 0.6), (0.9, 0.85, 0.95)),
)


def item(
    name: str,
    parts: tuple[Part, ...],
    size: tuple[float, float, float],
    mass: float,
    colours: tuple[tuple[Colour, Colour], ...],
    break_impulse: float = math.inf,
    **rest: Any,
) -> EntityType:
    """Return an object type; its noun is its name with spaces, a finite break impulse makes it fragile."""
    fragile = math.isfinite(break_impulse)
    noun = name.replace("_", " ")
    return EntityType(
        name, noun, "object", parts, size, mass, colours, fragile=fragile, break_impulse=break_impulse, **rest
    )


TARGET_OBJECTS = (
    item(
        "mug",
        (
            cylinder(0.042, 0.1),
            cylinder(0.036, 0.002, z=0.1, colour=(0.3, 0.18, 0.1), collide=False),
            box(0.012, 0.012, 0.06, x=0.062, z=0.02, colour="accent", collide=False),
            box(0.024, 0.012, 0.012, x=0.05, z=0.075, colour="accent", collide=False),
            box(0.024, 0.012, 0.012, x=0.05, z=0.015, colour="accent", collide=False),
            cylinder(0.0425, 0.02, z=0.04, colour="accent", collide=False),
        ),
        (0.12, 0.085, 0.1),
        0.35,
        CHINA,
        0.8,
        synonyms=("coffee mug", "coffee cup"),
        rooms=("kitchen", "living_room", "bedroom"),
        found_on=(*TABLES, "nightstand"),
        graspable=True,
        spillable=True,
    ),
    item(
        "spray_bottle",
        (
            cylinder(0.038, 0.15),
            cylinder(0.016, 0.05, z=0.15, density=0.5),
            box(0.03, 0.085, 0.035, y=-0.02, z=0.195, colour="accent", density=0.3),
            box(0.014, 0.014, 0.05, y=-0.045, z=0.15, colour="accent", collide=False),
            cylinder(0.0385, 0.06, z=0.04, colour="accent", collide=False),
        ),
        (0.076, 0.1, 0.23),
        0.4,
        (
            ((0.2, 0.55, 0.85), (0.95, 0.3, 0.2)),
            ((0.9, 0.9, 0.92), (0.15, 0.35, 0.75)),
            ((0.3, 0.75, 0.4), (0.95, 0.95, 0.95)),
            ((0.95, 0.75, 0.2), (0.15, 0.15, 0.15)),
        ),
        synonyms=("atomizer", "spray"),
        rooms=("kitchen", "bathroom", "living_room", "bedroom"),
        found_on=("kitchen_counter", "vanity", "side_table", "dresser", "desk", "nightstand", "dining_table"),
        graspable=True,
        spillable=True,
    ),
    item(
        "alarm_clock",
        (
            rod(0.065, 0.055, (0, 0, 0.085), "y"),
            rod(0.055, 0.004, (0, -0.029, 0.085), "y", colour=WHITE, collide=False),
            box(0.006, 0.004, 0.04, y=-0.033, z=0.085, colour=BLACK, collide=False),
            box(0.03, 0.004, 0.006, x=0.013, y=-0.033, z=0.083, colour=BLACK, collide=False),
            ball(0.026, x=-0.045, z=0.13, colour="accent", collide=False),
            ball(0.026, x=0.045, z=0.13, colour="accent", collide=False),
            box(0.012, 0.012, 0.035, z=0.15, colour="accent", collide=False),
            box(0.11, 0.055, 0.03, colour="accent"),
        ),
        (0.14, 0.06, 0.185),
        0.5,
        (
            ((0.85, 0.15, 0.15), (0.85, 0.75, 0.3)),
            ((0.15, 0.4, 0.75), (0.8, 0.8, 0.82)),
            ((0.1, 0.1, 0.12), (0.8, 0.65, 0.2)),
            ((0.3, 0.7, 0.65), (0.9, 0.9, 0.9)),
        ),
        synonyms=("clock",),
        rooms=("bedroom", "living_room", "kitchen"),
        found_on=(
            "nightstand",
            "desk",
            "dresser",
            "side_table",
            "coffee_table",
            "dining_table",
            "kitchen_counter",
        ),
        graspable=True,
    ),
    item(
        "vase",
        (
            cylinder(0.045, 0.02, colour="accent"),
            oval(0.15, 0.15, 0.17, z=0.01),
            cylinder(0.028, 0.06, z=0.16),
            cylinder(0.042, 0.012, z=0.215, colour="accent"),
            cylinder(0.0755, 0.012, z=0.09, colour="accent", collide=False),
        ),
        (0.15, 0.15, 0.23),
        0.9,
        CHINA,
        1.6,
        synonyms=("flower vase",),
        rooms=("living_room", "bedroom", "kitchen"),
        found_on=(*TABLES, "nightstand"),
        graspable=True,
    ),
    item(
        "apple",
        (
            ball(0.038),
            cylinder(0.004, 0.022, z=0.072, colour=(0.3, 0.2, 0.1), collide=False),
            oval(0.03, 0.014, 0.006, x=0.015, z=0.085, colour=GREEN, collide=False),
        ),
        (0.076, 0.076, 0.09),
        0.18,
        (
            ((0.78, 0.1, 0.1), GREEN),
            ((0.5, 0.72, 0.15), GREEN),
            ((0.88, 0.3, 0.15), GREEN),
            ((0.85, 0.75, 0.2), GREEN),
        ),
        synonyms=("piece of fruit",),
        rooms=("kitchen", "living_room", "bedroom"),
        found_on=(*TABLES, "nightstand"),
        graspable=True,
    ),
    item(
        "bowl",
        (
            cylinder(0.045, 0.015, colour="accent"),
            cylinder(0.065, 0.025, z=0.015),
            cylinder(0.085, 0.03, z=0.04),
            cylinder(0.075, 0.002, z=0.07, colour="accent", collide=False),
        ),
        (0.17, 0.17, 0.072),
        0.45,
        CHINA,
        1.0,
        synonyms=("soup bowl",),
        rooms=("kitchen", "living_room"),
        found_on=TABLES,
        graspable=True,
        spillable=True,
    ),
    item(
        "laptop",
        (
            box(0.34, 0.23, 0.02),
            box(0.3, 0.11, 0.002, y=0.03, z=0.02, colour=BLACK, collide=False),
            box(0.1, 0.06, 0.002, y=-0.07, z=0.02, colour="accent", collide=False),
            Part("box", (0.17, 0.006, 0.11), (0, 0.14, 0.125), (-15, 0, 0), density=0.4),
            Part(
                "box",
                (0.155, 0.003, 0.095),
                (0, 0.134, 0.125),
                (-15, 0, 0),
                (0.25, 0.45, 0.75),
                collide=False,
            ),
        ),
        (0.34, 0.29, 0.24),
        1.8,
        (
            ((0.7, 0.71, 0.74), (0.55, 0.56, 0.6)),
            ((0.22, 0.22, 0.25), (0.4, 0.4, 0.42)),
            ((0.85, 0.75, 0.68), (0.7, 0.6, 0.55)),
        ),
        3.5,
        synonyms=("notebook computer",),
        rooms=("living_room", "bedroom", "kitchen"),
        found_on=("desk", "coffee_table", "dining_table", "dresser"),
        scale_range=(0.92, 1.05),
        graspable=True,
    ),
    item(
        "basketball",
        (
            ball(0.12),
            cylinder(0.1205, 0.006, z=0.117, colour=BLACK, collide=False),
            rod(0.1205, 0.006, (0, 0, 0.12), "y", colour=BLACK, collide=False),
            rod(0.1205, 0.006, (0, 0, 0.12), "x", colour=BLACK, collide=False),
        ),
        (0.24, 0.24, 0.24),
        0.6,
        (((0.87, 0.42, 0.1), BLACK), ((0.75, 0.33, 0.12), BLACK), ((0.93, 0.5, 0.2), BLACK)),
        synonyms=("ball",),
        rooms=("living_room", "bedroom"),
        found_on=("floor",),
        scale_range=(0.95, 1.0),
        graspable=True,
    ),
    item(
        "garbage_can",
        (
            cylinder(0.12, 0.3),
            cylinder(0.13, 0.03, z=0.3, colour="accent"),
            cylinder(0.1, 0.004, z=0.33, colour=BLACK, collide=False),
            box(0.1, 0.05, 0.02, y=-0.12, colour="accent", collide=False),
        ),
        (0.26, 0.26, 0.33),
        1.2,
        (
            ((0.55, 0.57, 0.6), (0.3, 0.3, 0.32)),
            ((0.25, 0.27, 0.3), (0.6, 0.6, 0.62)),
            ((0.85, 0.85, 0.82), (0.5, 0.5, 0.5)),
            ((0.2, 0.4, 0.3), (0.15, 0.3, 0.2)),
        ),
        synonyms=("trash can", "waste bin"),
        found_on=("floor",),
        graspable=True,
    ),
    item(
        "houseplant",
        (
            cylinder(0.1, 0.2, density=2.0),
            cylinder(0.115, 0.03, z=0.19, colour="accent"),
            cylinder(0.095, 0.004, z=0.22, colour=(0.25, 0.16, 0.1), collide=False),
            cylinder(0.012, 0.2, z=0.22, colour=(0.35, 0.25, 0.12), collide=False),
            oval(0.3, 0.3, 0.3, z=0.34, colour=GREEN, material="foliage", collide=False),
            oval(
                0.2,
                0.2,
                0.2,
                x=0.1,
                y=0.05,
                z=0.28,
                colour=(0.22, 0.58, 0.22),
                material="foliage",
                collide=False,
            ),
            oval(
                0.2,
                0.2,
                0.18,
                x=-0.08,
                y=-0.07,
                z=0.3,
                colour=(0.2, 0.52, 0.2),
                material="foliage",
                collide=False,
            ),
            oval(
                0.16,
                0.16,
                0.2,
                x=-0.02,
                y=0.06,
                z=0.5,
                colour=(0.3, 0.62, 0.25),
                material="foliage",
                collide=False,
            ),
        ),
        (0.36, 0.36, 0.68),
        3.0,
        (
            ((0.7, 0.36, 0.22), (0.6, 0.3, 0.18)),
            ((0.9, 0.9, 0.88), (0.75, 0.75, 0.72)),
            ((0.25, 0.3, 0.38), (0.2, 0.24, 0.3)),
            ((0.55, 0.5, 0.4), (0.45, 0.4, 0.32)),
        ),
        synonyms=("potted plant", "plant"),
        rooms=("living_room", "bedroom", "kitchen"),
        found_on=("floor",),
        graspable=True,
    ),
)
