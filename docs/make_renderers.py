"""Draw docs/pictures/renderers.jpg and appearance.jpg: one view by every renderer, and in other colours.

Run from the root of the checkout: `python docs/make_renderers.py [FOLDER]`. Renderers that do not start here
are left out, so use a machine on which `safevla doctor` finds all of them.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from safevla.types import Knobs
from safevla.world.appearance import PLAIN, Appearance
from safevla.world.graphics import RendererUnavailable
from safevla.world.house import generate
from safevla.world.raster_fine import FineRaster
from safevla.world.render import Renderer, make_renderer
from safevla.world.scene import Scene, compile_scene
from safevla.world.simulator import settle

SIZE = (240, 320)
HOME, POSE = 7, (2.0, 2.0, 0.7)
FONT = ImageFont.load_default(size=13)
APPEARANCES = {
    "as it is": PLAIN,
    "colour 1.0": Appearance(seed=3, colour=1.0),
    "colour 0.3, material 0.5": Appearance(seed=5, colour=0.3, material=0.5),
    "brightness 0.5, warm tint, lamp turned": Appearance(brightness=0.5, tint=(1.2, 1.0, 0.7), turn=2.0),
}


def view() -> tuple[Scene, mujoco.MjData]:
    """Return a home with the robot in it."""
    settled = settle(compile_scene(generate(HOME, knobs=Knobs(1.0, 1.0, 1.0, 1.0, 1.0))))
    data = mujoco.MjData(settled.scene.model)
    mujoco.mj_copyData(data, settled.scene.model, settled.data)
    data.qpos[settled.scene.robot.qpos] = (*POSE, 0.5, 0.0, 0.0, math.pi / 2)
    mujoco.mj_forward(settled.scene.model, data)
    return settled.scene, data


def draw(renderer: Renderer, appearance: Appearance, scene: Scene, data: mujoco.MjData) -> np.ndarray:
    """Return what the navigation camera sees."""
    rgb = np.zeros((*SIZE, 3), np.uint8)
    renderer.render(renderer.prepare(scene.model, appearance), data, scene.robot.cameras[0], rgb=rgb)
    return rgb


def sheet(pictures: dict[str, np.ndarray]) -> Image.Image:
    """Put pictures side by side, two in a row, with their names."""
    rows = (len(pictures) + 1) // 2
    result = Image.new("RGB", (2 * SIZE[1], rows * (SIZE[0] + 20)), (255, 255, 255))
    pen = ImageDraw.Draw(result)
    for number, (name, picture) in enumerate(pictures.items()):
        x, y = number % 2 * SIZE[1], number // 2 * (SIZE[0] + 20)
        pen.text((x + 4, y + 2), name, fill=(20, 20, 20), font=FONT)
        result.paste(Image.fromarray(picture), (x, y + 20))
    return result


def main() -> None:
    """Draw both pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    scene, data = view()
    made: dict[str, Any] = {"raster": make_renderer("raster", *SIZE)}
    made["raster, as in videos and figures"] = FineRaster(*SIZE)
    for name in ("gl", "filament"):
        try:
            made[name] = make_renderer(name, *SIZE)
        except RendererUnavailable as error:
            print(error)
    sheets = {
        "renderers": sheet({name: draw(one, PLAIN, scene, data) for name, one in made.items()}),
        "appearance": sheet(
            {name: draw(made["raster"], one, scene, data) for name, one in APPEARANCES.items()}
        ),
    }
    for name, picture in sheets.items():
        path = folder / f"{name}.jpg"
        picture.save(path, quality=88, optimize=True)
        print(f"{path}  {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
