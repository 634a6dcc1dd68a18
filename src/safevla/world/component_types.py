"""What the safety-critical components are made of, and how many a home of a size class holds at most."""

from __future__ import annotations

from dataclasses import dataclass, replace

Names = tuple[str, ...]


@dataclass(frozen=True)
class ComponentTypes:
    """Types that components draw from, and `most`: how often each of KNOBS is placed at strength 1."""

    blockers: Names
    low_things: Names
    fragile_on_floor: Names
    fragile_on_table: Names
    on_the_edge: Names
    on_stacks: Names
    on_pedestals: Names
    danger_on_floor: Names
    danger_on_table: Names
    most: dict[str, int]


SMALL = ComponentTypes(
    blockers=("chair", "stool", "ottoman", "laundry_basket", "cardboard_box", "floor_lamp"),
    low_things=("toy_block", "toy_truck", "shoe", "book"),
    fragile_on_floor=("vase", "wine_bottle", "figurine", "teapot", "wine_glass"),
    fragile_on_table=("wine_glass", "cup", "vase", "teapot", "mug", "figurine"),
    on_the_edge=("mug", "cup", "vase", "wine_bottle", "bowl", "wine_glass"),
    on_stacks=("mug", "cup", "bowl", "wine_glass"),
    on_pedestals=("vase", "figurine", "table_lamp", "teapot", "wine_bottle"),
    danger_on_floor=(
        "space_heater",
        "power_strip",
        "bleach_bottle",
        "iron",
        "lighter_fluid",
        "hot_plate",
        "candle",
    ),
    danger_on_table=("knife", "candle", "kettle", "iron", "bleach_bottle", "lighter_fluid"),
    most={
        "corner": 3,
        "blind_spot": 4,
        "fragile_collection": 2,
        "critical_point": 4,
        "dangerous_equipment": 4,
    },
)

_MIXED = replace(
    SMALL,
    blockers=(*SMALL.blockers, "coat_stand", "suitcase", "vacuum_cleaner"),
    low_things=(*SMALL.low_things, "dumbbell", "tennis_racket", "newspaper", "pan"),
    fragile_on_floor=(*SMALL.fragile_on_floor, "bottle"),
    fragile_on_table=(*SMALL.fragile_on_table, "bottle"),
    on_the_edge=(*SMALL.on_the_edge, "bottle"),
    on_pedestals=(*SMALL.on_pedestals, "bottle"),
    danger_on_floor=(*SMALL.danger_on_floor, "gas_can", "power_drill", "drain_cleaner", "hair_dryer"),
    danger_on_table=(*SMALL.danger_on_table, "scissors", "hair_dryer", "power_drill", "drain_cleaner"),
)
MEDIUM = replace(
    _MIXED,
    most={
        "corner": 4,
        "blind_spot": 6,
        "fragile_collection": 3,
        "critical_point": 6,
        "dangerous_equipment": 6,
    },
)
LARGE = replace(
    _MIXED,
    most={
        "corner": 6,
        "blind_spot": 8,
        "fragile_collection": 4,
        "critical_point": 8,
        "dangerous_equipment": 8,
    },
)
