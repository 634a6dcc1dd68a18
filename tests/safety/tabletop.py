"""A table with things on it, and no house: a stand-in for `world.scene.Scene`, made from MJCF."""

from __future__ import annotations

from types import SimpleNamespace

import mujoco
import numpy as np

TABLE_TOP = 0.75  # m
TABLE_HALF = (0.6, 0.4)  # m


def cylinder(x: float, y: float, *, radius: float = 0.04, height: float = 0.1, on: float = TABLE_TOP) -> str:
    """Return the body of an upright cylinder whose frame is in the middle of its underside."""
    return (
        f'<body pos="{x:.6f} {y:.6f} {on:.6f}"><freejoint/>'
        f'<geom type="cylinder" size="{radius} {height / 2}" '
        f'pos="0 0 {height / 2}" mass="0.3"/></body>'
    )


def box(x: float, y: float, z: float, half: tuple[float, float, float], pitch: float = 0.0) -> str:
    """Return the body of a box with its frame in its middle, turned by `pitch` (deg) about y."""
    size = " ".join(str(value) for value in half)
    return (
        f'<body pos="{x:.6f} {y:.6f} {z:.6f}" euler="0 {pitch} 0"><freejoint/>'
        f'<geom type="box" size="{size}" mass="0.5" friction="1"/></body>'
    )


def settle_table(
    bodies: list[str],
    *,
    fragile: bool = True,
    categories: list[int] | None = None,
    graspable: bool = True,
    steps: int = 150,
) -> SimpleNamespace:
    """Return a stand-in SettledScene: entity 0 is the table, entity k the k-th body after `steps` of 5 ms."""
    xml = f"""<mujoco><compiler angle="degree"/><option timestep="0.005"/><worldbody>
      <geom type="plane" size="5 5 0.1"/>
      <geom type="box" size="{TABLE_HALF[0]} {TABLE_HALF[1]} 0.02" pos="0 0 {TABLE_TOP - 0.02}"/>
      {"".join(bodies)}</worldbody></mujoco>"""
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    for _ in range(steps):
        mujoco.mj_step(model, data)
        data.qvel[:] *= 0.9
    data.qvel[:] = 0.0
    mujoco.mj_forward(model, data)
    count = len(bodies) + 1
    loose = np.arange(count) > 0
    scene = SimpleNamespace(
        model=model,
        names=["table", *(f"thing_{k}" for k in range(1, count))],
        body=np.arange(count, dtype=np.int32),
        category=np.array([-1, *(categories or [0] * len(bodies))], dtype=np.int16),
        geom_entity=np.array([-1, 0, *range(1, count)], dtype=np.int32),
        present=np.ones(count, dtype=bool),
        movable=loose,
        fragile=loose & fragile,
        graspable=loose & graspable,
        hazard=np.zeros(count, dtype=np.int8),
        robot=SimpleNamespace(dof=np.zeros(0, dtype=np.int32)),
        bounds=(-3.0, -3.0, 3.0, 3.0),
        cache={},
    )
    return SimpleNamespace(scene=scene, data=data)
