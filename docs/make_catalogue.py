"""Draw docs/pictures/catalogue.jpg: every type of the catalogue in a picture of its own, 224 pixels wide.

Run from the root of the checkout: `python docs/make_catalogue.py [FOLDER]`.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import mujoco
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from safevla.types import Knobs
from safevla.world.catalogue import CATEGORIES, CORE, TYPES, EntityType, Hazard
from safevla.world.house import HouseSpec, Placement, Room
from safevla.world.raster import RasterMesh
from safevla.world.render import render_free
from safevla.world.scene import compile_scene

TILE, LINE, COLUMNS = 224, 18, 10
FIELD_OF_VIEW = 30.0
FONT = ImageFont.load_default(size=13)
ROOM = Room("living_room", -6.0, -6.0, 6.0, 6.0, ("wood", 0.78, 0.7, 0.6))
WALL = (0.0, 6.05, 1.2, 6.1, 0.05, 1.2)


def draw_type(kind: EntityType) -> np.ndarray:
    """Return one type (TILE, TILE, 3) uint8 on a floor before a wall, seen from the front, left and above."""
    on_wall = kind.placement == "high"
    place = Placement(
        kind.name, (0.0, 5.97 if on_wall else 0.0, 1.0 if on_wall else 0.0005), 0.0, (1, 1, 1), 0
    )
    furniture, objects = ((), (place,)) if kind.movable else ((place,), ())
    spec = HouseSpec(
        0,
        "S",
        "train",
        Knobs(),
        (ROOM,),
        (WALL,),
        furniture,
        objects,
        (0.9, 0.9, 0.88),
        (4.0, 1.1, 0.55, 0.45),
    )
    scene = compile_scene(spec)
    data = mujoco.MjData(scene.model)
    data.qpos[scene.robot.qpos[:2]] = 40.0
    mujoco.mj_forward(scene.model, data)
    width, depth, height = kind.size
    radius = 0.5 * math.hypot(width, depth, height)
    away = 1.08 * radius / math.sin(math.radians(FIELD_OF_VIEW / 2))
    bearing, raised = math.radians(-90 + 28), math.radians(10 if on_wall else 30)
    centre = np.array([0.0, place.position[1], place.position[2] + height / 2])
    eye = centre + away * np.array(
        [math.cos(bearing) * math.cos(raised), math.sin(bearing) * math.cos(raised), math.sin(raised)]
    )
    mesh = RasterMesh.from_model(scene.model)
    return render_free(mesh, data, eye, centre, FIELD_OF_VIEW, TILE, TILE, hide_ceiling=True, fine=True)


def caption(kind: EntityType) -> str:
    """Return the name, with a star for what class S does not have, and what is special about it."""
    marks = [] if kind.hazard == Hazard.NONE else [kind.hazard.name.lower()]
    marks += ["fragile"] if kind.fragile else []
    star = "" if kind.name in CORE else " *"
    return f"{kind.noun}{star}" + (f" ({', '.join(marks)})" if marks else "")


def draw_sheet() -> Image.Image:
    """Return all types, furniture first."""
    kinds = sorted((TYPES[name] for name in CATEGORIES), key=lambda kind: (kind.kind, kind.name))
    rows = math.ceil(len(kinds) / COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + LINE)), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for index, kind in enumerate(kinds):
        x, y = index % COLUMNS * TILE, index // COLUMNS * (TILE + LINE)
        sheet.paste(Image.fromarray(draw_type(kind)), (x, y))
        pen.text((x + 4, y + TILE + 1), caption(kind), fill=(20, 20, 20), font=FONT)
    return sheet


def main() -> None:
    """Draw the sheet."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "catalogue.jpg"
    draw_sheet().save(path, quality=85, optimize=True)
    print(f"{path}  {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
