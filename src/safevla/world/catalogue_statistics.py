"""How large things are and what is found where, as counted in ProcTHOR's asset database.

`data/procthor_statistics.json` is distilled from the package `procthor` (0.0.1.dev2, Allen Institute for AI,
Apache License 2.0, https://github.com/allenai/procthor) by `runs/distil_statistics.py`.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources

FILE = "procthor_statistics.json"

# Our type -> theirs. Types that are not listed have no counterpart there.
SOURCES: dict[str, str] = {
    "alarm_clock": "AlarmClock",
    "apple": "Apple",
    "armchair": "ArmChair",
    "basketball": "BasketBall",
    "bed": "Bed",
    "book": "Book",
    "bottle": "Bottle",
    "bowl": "Bowl",
    "bread": "Bread",
    "candle": "Candle",
    "cardboard_box": "Box",
    "cell_phone": "CellPhone",
    "chair": "Chair",
    "coffee_machine": "CoffeeMachine",
    "coffee_table": "CoffeeTable",
    "cup": "Cup",
    "desk": "Desk",
    "desk_lamp": "DeskLamp",
    "dining_table": "DiningTable",
    "dog_bed": "DogBed",
    "dresser": "Dresser",
    "dumbbell": "Dumbbell",
    "figurine": "Statue",
    "floor_lamp": "FloorLamp",
    "fridge": "Fridge",
    "garbage_can": "GarbageCan",
    "houseplant": "HousePlant",
    "kettle": "Kettle",
    "kitchen_counter": "CounterTop",
    "knife": "Knife",
    "laptop": "Laptop",
    "laundry_basket": "LaundryHamper",
    "lettuce": "Lettuce",
    "microwave": "Microwave",
    "mug": "Mug",
    "newspaper": "Newspaper",
    "ottoman": "Ottoman",
    "painting": "Painting",
    "pan": "Pan",
    "paper_towel_roll": "PaperTowelRoll",
    "pillow": "Pillow",
    "plate": "Plate",
    "pot": "Pot",
    "remote_control": "RemoteControl",
    "salt_shaker": "SaltShaker",
    "shelving_unit": "ShelvingUnit",
    "shoe": "Boots",
    "side_table": "SideTable",
    "soap_bottle": "SoapBottle",
    "sofa": "Sofa",
    "spray_bottle": "SprayBottle",
    "stool": "Stool",
    "teddy_bear": "TeddyBear",
    "television": "Television",
    "tennis_racket": "TennisRacket",
    "tissue_box": "TissueBox",
    "toaster": "Toaster",
    "toilet": "Toilet",
    "toilet_paper": "ToiletPaper",
    "tomato": "Tomato",
    "towel": "Towel",
    "tv_stand": "TVStand",
    "vacuum_cleaner": "VacuumCleaner",
    "vase": "Vase",
    "washing_machine": "WashingMachine",
    "watering_can": "WateringCan",
    "window": "Window",
    "wine_bottle": "WineBottle",
}
# Furniture that carries things -> what stands for it there, where that differs from SOURCES.
RECEPTACLES: dict[str, str] = {
    "bookshelf": "ShelvingUnit",
    "console_table": "SideTable",
    "nightstand": "SideTable",
    "sideboard": "Dresser",
    "vanity": "CounterTop",
    "washing_machine": "CounterTop",
}
_NARROWEST, _WIDEST = (
    0.85,
    1.18,
)  # sizes farther from the nominal one would spoil shapes that are modelled once


@dataclass(frozen=True)
class Statistics:
    """What is known of one type of theirs.

    Attributes:
        instances: models that were measured.
        width: 10 %, 50 % and 90 % quantile in m, likewise depth and height.
        mass: median, kg; None where the engine has none.
        breakable: whether it can break there.
        rooms: share of hand-made rooms of each kind that hold it.
        found_on: chance that a receptacle holds it.
    """

    instances: int
    width: tuple[float, float, float]
    depth: tuple[float, float, float]
    height: tuple[float, float, float]
    mass: float | None
    breakable: bool
    rooms: dict[str, float]
    found_on: dict[str, float]

    def spread(self) -> tuple[tuple[float, float], ...]:
        """Return the 10 % and 90 % quantile of width, depth, height over the median, kept in bounds."""
        return tuple(
            (max(low / middle, _NARROWEST), min(high / middle, _WIDEST))
            for low, middle, high in (self.width, self.depth, self.height)
        )


@functools.cache
def all_statistics() -> dict[str, Statistics]:
    """Return the statistics by our type names."""
    text = (resources.files("safevla") / "data" / FILE).read_text(encoding="utf-8")
    theirs = {
        name: Statistics(
            entry["instances"],
            tuple(entry["width"]),
            tuple(entry["depth"]),
            tuple(entry["height"]),
            entry["mass"],
            entry["breakable"],
            entry["rooms"],
            entry["found_on"],
        )
        for name, entry in json.loads(text)["types"].items()
    }
    return {ours: theirs[name] for ours, name in SOURCES.items()}


@functools.cache
def found_on(name: str, owner: str) -> float:
    """Return the chance (0 to 1) that furniture `owner` carries a thing called `name`, 0 if unknown."""
    known = all_statistics().get(name)
    receptacle = RECEPTACLES.get(owner, SOURCES.get(owner, ""))
    return known.found_on.get(receptacle, 0.0) if known else 0.0
