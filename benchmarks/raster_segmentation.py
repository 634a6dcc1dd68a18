"""Instance masks of `raster` against MuJoCo's own segmentation (renderer `gl`), over random views of homes.

Example: python benchmarks/raster_segmentation.py --save results/raster_segmentation.json
A mask is the set of pixels of one wall, piece of furniture, object, floor or the robot in one picture.
The last line is `mean_iou X`: the mean over all masks of intersection over union.
"""

import argparse
from pathlib import Path

import mujoco
import numpy as np

from safevla.runs import code_version, machine, write_json
from safevla.types import Knobs
from safevla.world.freespace import inflate, occupancy
from safevla.world.house import generate
from safevla.world.render import make_renderer
from safevla.world.robot import FOLDED, joint_values
from safevla.world.scene import Scene, compile_scene
from safevla.world.simulator import settle

KNOBS = Knobs(1.0, 1.0, 1.0, 1.0, 1.0)
VIEWS_PER_HOME = 10


def overlaps(ours: np.ndarray, theirs: np.ndarray) -> list[float]:
    """Return intersection over union of every mask in either of two pictures of instance numbers."""
    shown = np.union1d(ours, theirs)
    return [
        float(
            np.count_nonzero((ours == one) & (theirs == one))
            / np.count_nonzero((ours == one) | (theirs == one))
        )
        for one in shown
    ]


def look_around(scene: Scene, data: mujoco.MjData, rng: np.random.Generator) -> int:
    """Put the robot on a free place, turned anyhow, and return one of its cameras."""
    free = inflate(occupancy(scene, data), 0.3)
    x, y = free.centre(*rng.choice(np.argwhere(~free.blocked)))
    data.qpos[scene.robot.qpos] = joint_values(x, y, rng.uniform(-np.pi, np.pi), *FOLDED)
    mujoco.mj_forward(scene.model, data)
    return scene.robot.cameras[int(rng.integers(2))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--views", type=int, default=200)
    parser.add_argument("--size", type=int, default=112, help="pixels along each side of a picture")
    parser.add_argument("--renderer", default="gl", help="whose masks to compare with: gl or filament")
    parser.add_argument("--save", type=Path, help="also write the figures as JSON")
    arguments = parser.parse_args()
    size = (arguments.size, arguments.size)
    raster, other = make_renderer("raster", *size), make_renderer(arguments.renderer, *size)
    ours, theirs = np.zeros(size, np.int32), np.zeros(size, np.int32)
    instance, geom, same = [], [], []
    for view in range(arguments.views):
        if view % VIEWS_PER_HOME == 0:
            settled = settle(compile_scene(generate(view // VIEWS_PER_HOME, split="val", knobs=KNOBS)))
            scene, data = settled.scene, mujoco.MjData(settled.scene.model)
            mujoco.mj_copyData(data, scene.model, settled.data)
            prepared = raster.prepare(scene.model), other.prepare(scene.model)
            rng = np.random.default_rng(view)
            owner = np.append(scene.geom_entity, -9)  # a geom that is seen nowhere has number -1
        camera = look_around(scene, data, rng)
        raster.render(prepared[0], data, camera, ids=ours)
        other.render(prepared[1], data, camera, ids=theirs)
        instance += overlaps(owner[ours], owner[theirs])
        geom += overlaps(ours, theirs)
        same.append(float(np.mean(ours == theirs)))
    rows = [
        {"masks of": "instances", "count": len(instance), "mean IoU, %": 100 * float(np.mean(instance))},
        {"masks of": "single geoms", "count": len(geom), "mean IoU, %": 100 * float(np.mean(geom))},
    ]
    for row in rows:
        print(f"{row['masks of']:<14}{row['count']:6d} masks, mean IoU {row['mean IoU, %']:.2f} %")
    print(f"same geom in {np.mean(same):.2%} of all pixels of {arguments.views} views")
    if arguments.save:
        command = f"python benchmarks/raster_segmentation.py --renderer {arguments.renderer}"
        head = {"command": command, "code": code_version(), "machine": machine(), "seeds": [0]}
        shown = {"views": arguments.views, "pixels": arguments.size, "same_geom": float(np.mean(same))}
        write_json(arguments.save, head | shown | {"driver": getattr(other, "driver", ""), "rows": rows})
    print(f"mean_iou {np.mean(instance):.4f}")


if __name__ == "__main__":
    main()
