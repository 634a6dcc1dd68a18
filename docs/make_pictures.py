"""Draw docs/pictures/home_*.png: eight homes from above and through the robot's cameras, components labelled.

Run from the root of the checkout: `python docs/make_pictures.py [FOLDER]`.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import mujoco
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from safevla.types import KNOBS, Knobs
from safevla.world.catalogue import CATEGORIES
from safevla.world.freespace import inflate, occupancy
from safevla.world.house import SLOTS, generate
from safevla.world.raster import Raster, RasterMesh
from safevla.world.raster_fine import FineRaster
from safevla.world.render import Renderer, render_top
from safevla.world.scene import Scene, compile_scene

COLOURS = {
    "corner": (70, 120, 255),
    "blind_spot": (255, 190, 40),
    "fragile_collection": (230, 90, 230),
    "critical_point": (60, 220, 140),
    "dangerous_equipment": (255, 70, 60),
}
# What each picture shows: the knobs that are turned up, a home where they are well seen, and its size class.
HOMES: dict[str, tuple[tuple[str, ...], int, str]] = {
    "corner": (("corner",), 20, "S"),
    "blind_spot": (("blind_spot",), 4, "S"),
    "fragile_collection": (("fragile_collection",), 8, "S"),
    "critical_point": (("critical_point",), 12, "S"),
    "dangerous_equipment": (("dangerous_equipment",), 5, "S"),
    "all": (KNOBS, 7, "S"),
    "M": (KNOBS, 6, "M"),
    "L": (KNOBS, 5, "L"),
}
TOP = (480, 640)  # height, width of the view from above; the cameras share its height
CAMERA = (240, 320)
TOP_FIELD_OF_VIEW = 40.0
FONT = ImageFont.load_default(size=12)


def draw_home(components: tuple[str, ...], seed: int, size_class: str) -> Image.Image:
    """Return one picture: the plan on the left, navigation and manipulation camera on the right."""
    scene = compile_scene(generate(seed, size_class, knobs=Knobs(**dict.fromkeys(components, 1.0))))
    data = mujoco.MjData(scene.model)
    mesh = RasterMesh.from_model(scene.model)
    entities = [entity for entity, name in enumerate(scene.component) if name is not None]
    poses = best_poses(scene, data, mesh, entities)
    cameras = []
    for camera, pose in zip(scene.robot.cameras, poses, strict=True):
        place_robot(scene, data, pose)
        rgb, ids = look(scene, data, mesh, FineRaster(*CAMERA), camera)
        cameras.append(label_view(scene, Image.fromarray(rgb), ids, entities))
    place_robot(scene, data, poses[0])
    plan = label_plan(
        scene, data, Image.fromarray(render_top(scene, data, *TOP, mesh=mesh, fine=True)), entities
    )
    sheet = Image.new("RGB", (TOP[1] + CAMERA[1], TOP[0] + 24), (255, 255, 255))
    sheet.paste(plan, (0, 24))
    for row, view in enumerate(cameras):
        sheet.paste(view, (TOP[1], 24 + row * CAMERA[0]))
    write_legend(sheet, components, seed)
    return sheet


def place_robot(scene: Scene, data: mujoco.MjData, pose: tuple[float, float, float]) -> None:
    """Put the robot at x, y (m) and yaw (rad), its arm half way up."""
    data.qpos[scene.robot.qpos] = (*pose, 0.5, 0.0, 0.0, math.pi / 2)
    mujoco.mj_forward(scene.model, data)


def look(
    scene: Scene, data: mujoco.MjData, mesh: RasterMesh, raster: Renderer, camera: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the picture and the entity of every pixel (negative: none)."""
    size = (raster.height, raster.width)
    rgb, ids = np.zeros((*size, 3), np.uint8), np.zeros(size, np.int32)
    raster.render(mesh, data, camera, rgb=rgb, ids=ids)
    return rgb, np.where(ids >= 0, scene.geom_entity[ids], -9)


def best_poses(
    scene: Scene, data: mujoco.MjData, mesh: RasterMesh, entities: list[int]
) -> list[tuple[float, float, float]]:
    """Search free places for the pose from which each camera shows most of the components."""
    place_robot(scene, data, (-20.0, -20.0, 0.0))
    grid = occupancy(scene, data)
    free = inflate(grid, 0.3)
    spots = [free.centre(i, j) for i, j in np.argwhere(~free.blocked)]
    rooms = scene.spec.rooms
    spots = [spot for spot in spots if any(room.holds(*spot) for room in rooms)]
    places = [data.xpos[scene.body[entity]].copy() for entity in entities if scene.movable[entity]]
    rng, small = np.random.default_rng(0), Raster(60, 80)
    scored: list[list[tuple[int, tuple[float, float, float]]]] = [[], []]
    for index in rng.permutation(len(spots))[:150]:
        x, y = spots[index]
        target = places[rng.integers(len(places))]
        away = math.hypot(target[0] - x, target[1] - y)
        if not 0.8 < away < 1.8:
            continue
        bearing = math.atan2(target[1] - y, target[0] - x)
        for camera, turn in enumerate((0.0, math.pi / 2)):
            pose = (x, y, bearing + turn)
            place_robot(scene, data, pose)
            _, seen = look(scene, data, mesh, small, scene.robot.cameras[camera])
            sizes = [min(60, np.count_nonzero(seen == entity)) for entity in entities]
            scored[camera].append((sum(sizes), pose))
    return [max(views)[1] for views in scored]


def label_view(scene: Scene, picture: Image.Image, ids: np.ndarray, entities: list[int]) -> Image.Image:
    """Frame and name the components that a camera sees."""
    pen = ImageDraw.Draw(picture)
    for entity in entities:
        rows, columns = np.nonzero(ids == entity)
        if len(rows) >= 40:
            colour = COLOURS[str(scene.component[entity])]
            box = (columns.min(), rows.min(), columns.max(), rows.max())
            pen.rectangle(tuple(int(value) for value in box), outline=colour)
            write(pen, (int(box[0]), int(box[1]) - 13), noun(scene, entity), colour)
    return picture


def label_plan(scene: Scene, data: mujoco.MjData, picture: Image.Image, entities: list[int]) -> Image.Image:
    """Ring and name the components on the plan."""
    pen = ImageDraw.Draw(picture)
    x0, y0, x1, y1 = scene.bounds
    slope = math.tan(math.radians(TOP_FIELD_OF_VIEW) / 2)
    above = 2.5 + (0.5 * max(y1 - y0, (x1 - x0) * TOP[0] / TOP[1]) + 0.25) / slope
    for entity in entities:
        place = data.xpos[scene.body[entity]] if scene.movable[entity] else furniture_place(scene, entity)
        scale = 0.5 * TOP[0] / (slope * (above - place[2]))
        column = TOP[1] / 2 + scale * (place[0] - (x0 + x1) / 2)
        row = TOP[0] / 2 - scale * (place[1] - (y0 + y1) / 2)
        radius = max(7.0, 0.6 * scale * max(scene.size[entity][:2]))
        colour = COLOURS[str(scene.component[entity])]
        pen.ellipse((column - radius, row - radius, column + radius, row + radius), outline=colour, width=2)
    return picture


def furniture_place(scene: Scene, entity: int) -> np.ndarray:
    """Return the position of fixed furniture (m)."""
    return np.array(scene.spec.furniture[entity - SLOTS[scene.spec.size_class].walls].position)


def noun(scene: Scene, entity: int) -> str:
    """Return what an entity is called."""
    return CATEGORIES[scene.category[entity]].replace("_", " ")


def write(pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, colour: tuple[int, int, int]) -> None:
    """Write on a dark ground, inside the picture."""
    width = int(pen.textlength(text, font=FONT))
    x = min(max(place[0], 0), CAMERA[1] - width - 2)
    y = max(place[1], 0)
    pen.rectangle((x, y, x + width + 2, y + 14), fill=(20, 20, 20))
    pen.text((x + 1, y), text, fill=colour, font=FONT)


def write_legend(sheet: Image.Image, names: tuple[str, ...], seed: int) -> None:
    """Write on top what the colours mean."""
    pen = ImageDraw.Draw(sheet)
    x = 6.0
    for name in names:
        pen.ellipse((x, 7, x + 10, 17), fill=COLOURS[name])
        text = name.replace("_", " ")
        pen.text((x + 14, 4), text, fill=(20, 20, 20), font=FONT)
        x += 30 + pen.textlength(text, font=FONT)
    text = f"home {seed}; right: navigation camera, manipulation camera"
    width = pen.textlength(text, font=FONT)
    pen.text((sheet.width - width - 6, 4), text, fill=(90, 90, 90), font=FONT)


def main() -> None:
    """Draw all pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    for name, home in HOMES.items():
        sheet = draw_home(*home).quantize(256, Image.Quantize.MEDIANCUT)
        path = folder / f"home_{name}.png"
        sheet.save(path, optimize=True)
        print(f"{path}  {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
