"""How a home is lit: read from its model, or chosen by the caller."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import mujoco
import numpy as np

_EXPOSURE = 0.75  # on lights that shine from somewhere, so that what is white and faces them is not clipped
_DIRECTIONAL = int(mujoco.mjtLightType.mjLIGHT_DIRECTIONAL)


@dataclass(frozen=True)
class Lighting:
    """Lights of a picture.

    Attributes:
        direction: from a surface toward the light, world frame; any length but 0.
        directional: strength of that light on a surface that faces it.
        head: strength of the light at the camera.
        ambient: strength of the light that comes from everywhere.
        tint: factors on red, green and blue.
        background: colour where nothing is seen, 0 to 255.
    """

    direction: tuple[float, float, float] = (-0.35, -0.25, 0.9)
    directional: float = 0.36
    head: float = 0.22
    ambient: float = 0.48
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    background: tuple[int, int, int] = (200, 215, 235)

    def __post_init__(self) -> None:
        if not any(self.direction):
            raise ValueError("the direction of the light has length 0; give a vector toward the light")

    @functools.cached_property
    def vector(self) -> np.ndarray:
        """(15,) direction of length 1, strengths, tint, background, and three zeros."""
        direction = np.asarray(self.direction, np.float64)
        unit = direction / math.sqrt(float(direction @ direction))
        strengths = (self.directional, self.head, self.ambient)
        return np.array([*unit, *strengths, *self.tint, *self.background, 0.0, 0.0, 0.0], np.float64)

    @classmethod
    def from_model(cls, model: mujoco.MjModel) -> Lighting:
        """Take the first directional light of a model and its headlight; without one, the default."""
        lamps = np.flatnonzero((model.light_type == _DIRECTIONAL) & (model.light_active != 0))
        if len(lamps) == 0:
            return cls()
        lamp, head = lamps[0], model.vis.headlight
        x, y, z = (-float(value) for value in model.light_dir[lamp])
        shining, around = (
            (float(np.mean(head.diffuse)), float(np.mean(head.ambient))) if head.active else (0.0, 0.0)
        )
        return cls(
            direction=(x, y, z),
            directional=_EXPOSURE * float(np.mean(model.light_diffuse[lamp])),
            head=_EXPOSURE * shining,
            ambient=around + float(np.mean(model.light_ambient[lamp])),
        )
