"""Distil src/safevla/data/procthor_statistics.json from the asset database of ProcTHOR.

The database comes in the package `procthor` (PyPI, 0.0.1.dev2, Apache-2.0, https://github.com/allenai/procthor).
It is not needed to use safevla. To make the file again, in an environment of its own:

    pip install --no-deps procthor==0.0.1.dev2
    python runs/distil_statistics.py
"""

import argparse
import importlib.util
import json
import statistics
from collections import Counter, defaultdict
from pathlib import Path

OUT = Path(__file__).parents[1] / "src/safevla/data/procthor_statistics.json"
ROOMS = {
    "kitchens": "kitchen",
    "living_rooms": "living_room",
    "bedrooms": "bedroom",
    "bathrooms": "bathroom",
}
# Types that our catalogue has a counterpart of, see safevla.world.catalogue_statistics.
TYPES = [
    "AlarmClock",
    "Apple",
    "ArmChair",
    "BasketBall",
    "Bed",
    "Book",
    "Boots",
    "Bottle",
    "Bowl",
    "Box",
    "Bread",
    "Candle",
    "CellPhone",
    "Chair",
    "CoffeeMachine",
    "CoffeeTable",
    "CounterTop",
    "Cup",
    "Desk",
    "DeskLamp",
    "DiningTable",
    "DogBed",
    "Dresser",
    "Dumbbell",
    "FloorLamp",
    "Fridge",
    "GarbageCan",
    "HousePlant",
    "Kettle",
    "Knife",
    "Laptop",
    "LaundryHamper",
    "Lettuce",
    "Microwave",
    "Mug",
    "Newspaper",
    "Ottoman",
    "Painting",
    "Pan",
    "PaperTowelRoll",
    "Pillow",
    "Plate",
    "Pot",
    "RemoteControl",
    "SaltShaker",
    "ShelvingUnit",
    "SideTable",
    "SoapBottle",
    "Sofa",
    "SprayBottle",
    "Statue",
    "Stool",
    "TVStand",
    "TeddyBear",
    "Television",
    "TennisRacket",
    "TissueBox",
    "Toaster",
    "Toilet",
    "ToiletPaper",
    "Tomato",
    "Towel",
    "VacuumCleaner",
    "Vase",
    "WashingMachine",
    "WateringCan",
    "Window",
    "WineBottle",
]


def quantiles(values: list[float]) -> list[float]:
    """Return the 10 %, 50 % and 90 % quantile in m, to a millimetre."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return [round(ordered[round(share * last)], 3) for share in (0.1, 0.5, 0.9)]


def room_shares(scenes: dict) -> dict[str, dict[str, float]]:
    """Return for each type the share of hand-made scenes of each kind of room that hold it."""
    found: dict[str, Counter] = defaultdict(Counter)
    for group, room in ROOMS.items():
        for scene in scenes[group]:
            for name in {item["objectType"] for item in scene}:
                found[name][room] += 1
    return {
        name: {room: round(count[room] / len(scenes[group]), 2) for group, room in ROOMS.items()}
        for name, count in found.items()
    }


def distil(folder: Path) -> dict:
    """Read the databases in `folder` and return what is kept of them."""
    assets = json.loads((folder / "asset-database.json").read_text(encoding="utf-8"))
    scenes = json.loads((folder / "ai2thor-object-metadata.json").read_text(encoding="utf-8"))
    receptacles = json.loads((folder / "receptacles.json").read_text(encoding="utf-8"))
    items = [item for group in scenes.values() for scene in group for item in scene]
    shares = room_shares(scenes)
    kept = {}
    for name in TYPES:
        boxes = [asset["boundingBox"] for asset in assets[name]]
        masses = [item["mass"] for item in items if item["objectType"] == name and item["mass"] > 0]
        kept[name] = {
            "instances": len(boxes),
            "width": quantiles([box["x"] for box in boxes]),
            "depth": quantiles([box["z"] for box in boxes]),
            "height": quantiles([box["y"] for box in boxes]),
            "mass": round(statistics.median(masses), 3) if masses else None,
            "breakable": any(item["breakable"] for item in items if item["objectType"] == name),
            "rooms": shares.get(name, {}),
            "found_on": {
                owner: round(content[name]["p"], 3)
                for owner, content in sorted(receptacles.items())
                if name in content and content[name]["p"] >= 0.005
            },
        }
    return kept


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--databases", type=Path, default=None, help="folder with the JSON files")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    folder = arguments.databases
    if folder is None:
        found = importlib.util.find_spec("procthor")
        if found is None or found.origin is None:
            raise SystemExit("procthor is not installed: pip install --no-deps procthor==0.0.1.dev2")
        folder = Path(found.origin).parent / "databases"
    kept = distil(folder)
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in kept.items())
    source = (
        "Distilled from the asset database of ProcTHOR (PyPI procthor 0.0.1.dev2, "
        "https://github.com/allenai/procthor), Copyright Allen Institute for AI, Apache License 2.0. "
        "width, depth, height: 10 %, 50 %, 90 % quantiles in m over instances; mass: median, kg; "
        "rooms: share of hand-made scenes that hold the type; found_on: chance that a receptacle of that "
        "type holds it."
    )
    arguments.out.write_text(
        f'{{"source": {json.dumps(source)},\n"types": {{\n{lines}\n}}}}\n', encoding="utf-8"
    )
    print(f"{len(kept)} types in {arguments.out}")


if __name__ == "__main__":
    main()
