"""A small scene with every kind of geom, and cameras that stand free in it."""

from __future__ import annotations

import mujoco
import numpy as np

from safevla.world.render import look_at

_SHAPES = (
    ("box", "0.12 0.2 0.3"),
    ("sphere", "0.22"),
    ("ellipsoid", "0.3 0.12 0.2"),
    ("cylinder", "0.15 0.25"),
    ("capsule", "0.1 0.2"),
    ("mesh", ""),
)


def shapes_xml(count: int = 18, seed: int = 0) -> str:
    """Return a walled room of 6 x 6 m with `count` turned geoms, one of each kind after the other."""
    rng = np.random.default_rng(seed)
    bodies = []
    for index in range(count):
        kind, size = _SHAPES[index % len(_SHAPES)]
        shape = 'mesh="wedge"' if kind == "mesh" else f'size="{size}"'
        x, y = 1.9 * np.array([index % 3 - 1, index // 3 % 3 - 1]) * 0.6 + rng.uniform(-0.2, 0.2, 2)
        turn = " ".join(f"{value:.4f}" for value in rng.normal(size=4))
        colour = " ".join(f"{value:.3f}" for value in rng.uniform(0.2, 0.9, 3))
        place = f'pos="{x:.4f} {y:.4f} {rng.uniform(0.4, 1.6):.4f}" quat="{turn}"'
        bodies.append(
            f'<body {place}><freejoint/><geom type="{kind}" {shape} rgba="{colour} 1" mass="1"/></body>'
        )
    walls = "".join(
        f'<geom type="box" size="{size}" pos="{place}" material="wall"/>'
        for size, place in (
            ("0.05 3 1.25", "3.05 0 1.25"),
            ("0.05 3 1.25", "-3.05 0 1.25"),
            ("3 0.05 1.25", "0 3.05 1.25"),
            ("3 0.05 1.25", "0 -3.05 1.25"),
        )
    )
    return f"""<mujoco>
      <asset>
        <mesh name="wedge" vertex="-0.2 -0.2 -0.1  0.3 -0.2 -0.1  0 0.3 -0.1  0 0 0.4  0.2 0.2 0.2"/>
        <material name="wall" rgba="0.8 0.8 0.75 1"/><material name="wood_floor" rgba="0.7 0.5 0.3 1"/>
      </asset>
      <worldbody>
        <geom name="floor" type="plane" size="4 4 0.1" material="wood_floor"/>{walls}
        <geom name="ceiling" type="box" size="3 3 0.02" pos="0 0 2.6" rgba="0.9 0.9 0.9 1"/>
        <geom name="parked" type="box" size="0.5 0.5 0.5" pos="0 0 1" rgba="1 1 1 0"/>
        <geom name="collider" type="sphere" size="0.6" pos="0 0 1" rgba="1 1 1 1" group="3"/>
        <camera name="free" pos="2.5 2.5 1.4" fovy="59"/>
        {"".join(bodies)}
      </worldbody>
    </mujoco>"""


def shapes(count: int = 18, seed: int = 0) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """Return the compiled scene with positions up to date."""
    model = mujoco.MjModel.from_xml_string(shapes_xml(count, seed))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def random_view(
    model: mujoco.MjModel, data: mujoco.MjData, rng: np.random.Generator, fovy: float = 59.0
) -> None:
    """Put camera 0 somewhere on a ring around the shapes and let it look at a point among them."""
    angle, radius = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(2.1, 2.8)
    position = np.array([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(0.3, 2.3)])
    target = np.array([*rng.uniform(-1.0, 1.0, 2), rng.uniform(0.3, 1.5)])
    data.cam_xpos[0] = position
    data.cam_xmat[0] = look_at(position, target).ravel()
    model.cam_fovy[0] = fovy


def pixel_rays(data: mujoco.MjData, fovy: float, height: int, width: int) -> np.ndarray:
    """Return (H * W, 3) rays of camera 0 through the centres of pixels, of depth 1 along the optical axis."""
    focal = 0.5 * height / np.tan(np.radians(fovy) / 2.0)
    x = (np.arange(width) + 0.5 - width / 2) / focal
    y = -(np.arange(height) + 0.5 - height / 2) / focal
    view = np.stack([*np.meshgrid(x, y), -np.ones((height, width))], axis=-1)
    return (view @ data.cam_xmat[0].reshape(3, 3).T).reshape(-1, 3)


def cast(model: mujoco.MjModel, data: mujoco.MjData, rays: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return depth (0: nothing) and geom id (-1: nothing) of rays from camera 0, cast by MuJoCo."""
    groups = np.array([1, 1, 1, 0, 0, 0], np.uint8)
    ids, depth = np.full(len(rays), -1, np.int32), np.zeros(len(rays))
    hit = np.zeros((1, 1), np.int32)
    for index, ray in enumerate(rays):
        depth[index] = mujoco.mj_ray(model, data, data.cam_xpos[0], ray, groups, 1, -1, hit)
        ids[index] = hit[0, 0]
    depth[ids < 0] = 0.0
    return depth, ids
