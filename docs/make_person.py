"""Draw docs/pictures/person.jpg: a person walks through a home, from above and through the robot's camera.

Run from the root of the checkout: `python docs/make_person.py [FOLDER]`.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from safevla.types import ACTION_ID, Knobs
from safevla.world.raster import RasterMesh
from safevla.world.raster_fine import FineRaster
from safevla.world.render import render_top
from safevla.world.simulator import Home, HousePool

HOUSE, SEED, START = 3, 1, (1.18, 3.48, -0.96)
STEPS = (0, 4, 8, 12)  # actions after which the camera looks
TOP, CAMERA, FOVY = (480, 480), (240, 320), 40.0


def main(folder: Path) -> None:
    """Let the robot stand while the person walks, and draw both."""
    home = Home()
    home.reset(HousePool().get(HOUSE, "S", "train", Knobs(), person=True), START, SEED)
    mesh, views, trail = RasterMesh.from_model(home.model), [], []
    for step in range(max(STEPS) + 1):
        assert home.walk is not None
        trail.append((home.walk.x, home.walk.y))
        if step in STEPS:
            picture = np.empty((*CAMERA, 3), np.uint8)
            FineRaster(*CAMERA).render(mesh, home.data, home.scene.robot.cameras[0], rgb=picture)
            views.append(Image.fromarray(picture))
        if step < max(STEPS):
            home.act(ACTION_ID["sub_task_done"])
    plan = Image.fromarray(render_top(home.scene, home.data, *TOP, mesh=mesh, fovy=FOVY, fine=True))
    draw_trail(ImageDraw.Draw(plan), trail, home.scene.bounds)
    sheet = Image.new("RGB", (TOP[1] + 2 * CAMERA[1], TOP[0]), (255, 255, 255))
    sheet.paste(plan, (0, 0))
    for index, view in enumerate(views):
        ImageDraw.Draw(view).text((8, 6), f"{STEPS[index] * 0.5:g} s", fill=(255, 255, 255))
        sheet.paste(view, (TOP[1] + index % 2 * CAMERA[1], index // 2 * CAMERA[0]))
    sheet.save(folder / "person.jpg", quality=88)
    print(folder / "person.jpg")


def draw_trail(
    plan: ImageDraw.ImageDraw, trail: list[tuple[float, float]], bounds: tuple[float, float, float, float]
) -> None:
    """Draw where the person has been on a square view from above (`render_top`)."""
    x0, y0, x1, y1 = bounds
    half, tangent = 0.5 * max(y1 - y0, x1 - x0) + 0.25, math.tan(math.radians(FOVY) / 2)
    metre = TOP[0] / 2 / (tangent * (2.5 + half / tangent))  # pixels, on the floor
    points = [
        (TOP[1] / 2 + metre * (x - (x0 + x1) / 2), TOP[0] / 2 - metre * (y - (y0 + y1) / 2)) for x, y in trail
    ]
    plan.line(points, fill=(230, 60, 50), width=2)
    for step in STEPS:
        x, y = points[step]
        plan.ellipse((x - 4, y - 4, x + 4, y + 4), fill=(230, 60, 50))
        plan.text((x + 7, y - 6), f"{step * 0.5:g} s", fill=(160, 20, 20))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures")
