"""How a home is painted and lit, apart from how it is built: nothing here touches its physics.

The same home can be drawn in other colours, materials and light without being compiled again. All renderers
take an `Appearance` when they prepare a model; the default one changes nothing.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

import mujoco
import numpy as np

from safevla.world.lighting import Lighting

_UNSET_COLOUR = np.array([0.5, 0.5, 0.5, 1.0], dtype=np.float32)  # MuJoCo: this rgba means "ask the material"
_DARKEST, _BRIGHTEST = 0.08, 0.95  # of a drawn colour, so that shading can still be seen


@dataclass(frozen=True)
class Appearance:
    """What to change of the way a home looks.

    What has one colour and belongs to one body keeps one colour. The robot stays as it is.

    Attributes:
        seed: draws the colours and materials.
        colour: 0 to 1, how far every colour is taken from its own toward a drawn one.
        material: 0 to 1, share of the surfaces that get another material of the home.
        brightness: factor on all light.
        ambient: further factor on the light that comes from everywhere; less means deeper shade.
        turn: rad by which the lamp is turned about the vertical axis.
        tint: factors on the red, green and blue of the light.
    """

    seed: int = 0
    colour: float = 0.0
    material: float = 0.0
    brightness: float = 1.0
    ambient: float = 1.0
    turn: float = 0.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        for name in ("colour", "material"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(
                    f"appearance: {name} is {getattr(self, name)}, expected a number from 0 to 1"
                )
        for name, value in (
            ("brightness", self.brightness),
            ("ambient", self.ambient),
            ("tint", min(self.tint)),
            ("seed", self.seed),
        ):
            if not value >= 0:
                raise ValueError(f"appearance: {name} is {value}, expected 0 or more")

    @property
    def repaints(self) -> bool:
        """Whether surfaces change, not only light."""
        return self.colour > 0.0 or self.material > 0.0

    def light(self, lighting: Lighting) -> Lighting:
        """Return the lighting of a picture as this appearance has it."""
        if replace(self, seed=0, colour=0.0, material=0.0) == PLAIN:
            return lighting
        x, y, z = lighting.direction
        cosine, sine = math.cos(self.turn), math.sin(self.turn)
        red, green, blue = (own * factor for own, factor in zip(lighting.tint, self.tint, strict=True))
        return replace(
            lighting,
            direction=(cosine * x - sine * y, sine * x + cosine * y, z),
            directional=lighting.directional * self.brightness,
            head=lighting.head * self.brightness,
            ambient=lighting.ambient * self.brightness * self.ambient,
            tint=(red, green, blue),
        )


PLAIN = Appearance()


def drawn(rng: np.random.Generator) -> Appearance:
    """Draw colours and materials from mild to strong, in the home's own light."""
    return Appearance(int(rng.integers(2**31)), colour=rng.uniform(0.1, 0.6), material=rng.uniform(0.0, 0.3))


def surface_colours(model: mujoco.MjModel) -> np.ndarray:
    """Return (ngeom, 4) float32: the geom's own colour, or its material's where it has none."""
    if model.nmat == 0:
        return np.array(model.geom_rgba)
    unset = (model.geom_matid >= 0) & (model.geom_rgba == _UNSET_COLOUR).all(axis=1)
    colours: np.ndarray = np.where(unset[:, None], model.mat_rgba[model.geom_matid], model.geom_rgba)
    return colours


def painted(model: mujoco.MjModel, appearance: Appearance) -> mujoco.MjModel:
    """Return a copy of a model in the colours and materials of an appearance, itself if none changes."""
    if not appearance.repaints:
        return model
    result = copy.copy(model)
    colours = surface_colours(model)
    robot = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, "base")
    geoms = np.flatnonzero((colours[:, 3] > 0.0) & (model.body_rootid[model.geom_bodyid] != max(robot, 0)))
    if robot < 0:
        geoms = np.flatnonzero(colours[:, 3] > 0.0)
    surfaces = np.column_stack([model.geom_bodyid[geoms], np.round(255 * colours[geoms, :3])])
    _, surface = np.unique(surfaces.astype(np.int64), axis=0, return_inverse=True)
    surface = surface.reshape(-1)
    count = int(surface.max(initial=-1)) + 1
    generator = np.random.default_rng([appearance.seed, 3])
    drawn = generator.uniform(_DARKEST, _BRIGHTEST, (count, 3))
    changes = generator.random(count) < appearance.material
    materials = generator.integers(max(model.nmat, 1), size=count)
    own = colours[geoms, :3]
    result.geom_rgba[geoms, :3] = own + appearance.colour * (drawn[surface] - own)
    result.geom_rgba[geoms, 3] = colours[geoms, 3]
    changed = changes[surface] & (model.geom_matid[geoms] >= 0)
    result.geom_matid[geoms[changed]] = materials[surface][changed]
    return result


def lit(model: mujoco.MjModel, appearance: Appearance) -> mujoco.MjModel:
    """Return a copy of a model in the light of an appearance, for renderers that read it there."""
    result = copy.copy(model)
    tint = np.asarray(appearance.tint)
    head = result.vis.headlight
    for light in (result.light_diffuse, result.light_specular, head.diffuse, head.specular):
        light[:] = light * (appearance.brightness * tint)
    for light in (result.light_ambient, head.ambient):
        light[:] = light * (appearance.brightness * appearance.ambient * tint)
    cosine, sine = math.cos(appearance.turn), math.sin(appearance.turn)
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    lamps = np.flatnonzero(result.light_bodyid == 0)
    result.light_dir[lamps] = result.light_dir[lamps] @ turn.T
    return result
