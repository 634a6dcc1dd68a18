"""What a thing's colour is called, judged by what can be seen of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

# Hues (degrees in OKLCh) that a colour's name covers. What lies between two of them is given no name.
_HUES = {
    "red": (8.0, 37.0),
    "orange": (43.0, 62.0),
    "yellow": (80.0, 108.0),
    "green": (120.0, 170.0),
    "blue": (225.0, 275.0),
    "purple": (290.0, 335.0),
}
# Lightness that a name without hue covers.
_GREYS = {"black": (0.0, 0.32), "grey": (0.38, 0.8), "white": (0.87, 1.0)}
_BROWN = ((38.0, 80.0), (0.3, 0.62), (0.045, 0.1))  # hue, lightness, chroma
_GREYEST, _COLOURFUL = 0.02, 0.065  # chroma: below the first nothing has a hue, from the second on it has
_VIVID, _BRIGHT = 0.12, 0.55  # chroma and lightness from which it is orange, not brown
COLOURS = (*_HUES, "brown", *_GREYS)

COLOUR_SHARE = 0.55  # of what is seen of a thing that its colour covers
# Degrees, as from a camera at 1.4 m that is 1 to 3 m away; _RAYS x _RAYS rays from each direction.
_AZIMUTHS, _ELEVATIONS, _RAYS = (45.0, 135.0, 225.0, 315.0), (15.0, 35.0), 9

_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)


def colour_name(rgb: Sequence[float] | np.ndarray) -> str | None:
    """Return the one of COLOURS that a colour surely is, None if people might call it something else.

    Args:
        rgb: red, green and blue, 0 to 1, as they are shown (sRGB).
    """
    shown = np.asarray(rgb, dtype=np.float64)
    linear = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    lightness, a, b = _TO_LAB @ np.cbrt(_TO_LMS @ linear)
    chroma, hue = math.hypot(a, b), math.degrees(math.atan2(b, a)) % 360.0

    def within(value: float, bounds: tuple[float, float]) -> bool:
        return bounds[0] <= value <= bounds[1]

    if chroma < _GREYEST:
        return next((name for name, bounds in _GREYS.items() if within(lightness, bounds)), None)
    if all(map(within, (hue, lightness, chroma), _BROWN)):
        return "brown"
    if chroma < _COLOURFUL:
        return None
    name = next((name for name, bounds in _HUES.items() if within(hue, bounds)), None)
    if name in ("orange", "yellow") and (chroma < _VIVID or lightness < _BRIGHT):
        return None
    return name


def dominant_colour(colours: Sequence[np.ndarray | None], shares: np.ndarray) -> str | None:
    """Return the name of the colour that a thing has, None where no one name clearly covers it.

    Args:
        colours: (P,) RGB of its parts, None for one that has many.
        shares: (P,) of what is seen of it, see `seen_shares`.
    """
    total: dict[str | None, float] = {}
    for colour, share in zip(colours, shares, strict=True):
        name = None if colour is None else colour_name(colour)
        total[name] = total.get(name, 0.0) + float(share)
    best = max(total, key=lambda name: total[name], default=None)
    return best if best is not None and total[best] >= COLOUR_SHARE * float(shares.sum()) else None


def seen_shares(
    shapes: Sequence[str], sizes: np.ndarray, positions: np.ndarray, rotations: np.ndarray
) -> np.ndarray:
    """Return (P,) in how many of some hundred looks at a thing from around and above each part is hit.

    Args:
        shapes: P names of MuJoCo's primitive shapes.
        sizes: (P, 3) m, as MuJoCo has them.
        positions: (P, 3) m.
        rotations: (P, 3, 3).
    """
    import mujoco  # here, so that policies that run without a simulator can read instructions

    kinds = [int(getattr(mujoco.mjtGeom, f"mjGEOM_{shape.upper()}")) for shape in shapes]
    parts = list(zip(positions, rotations.reshape(-1, 9), sizes, kinds, strict=True))
    middle = positions.mean(axis=0)
    radius = float((np.linalg.norm(sizes, axis=1) + np.linalg.norm(positions - middle, axis=1)).max())
    hits = np.zeros(len(parts))
    for start, ahead in _looks(middle, radius):
        distance = [mujoco.mju_rayGeom(at, turn, size, start, ahead, kind) for at, turn, size, kind in parts]
        nearest = np.where(np.array(distance) < 0.0, np.inf, distance)
        hits[int(nearest.argmin())] += np.isfinite(nearest).any()
    return hits


def _looks(middle: np.ndarray, radius: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield start and direction of parallel rays toward a ball, from around and above."""
    across = np.linspace(-0.9 * radius, 0.9 * radius, _RAYS)
    for azimuth in np.radians(_AZIMUTHS):
        side = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0])
        for elevation in np.radians(_ELEVATIONS):
            level = math.cos(elevation)
            ahead = -np.array([level * math.cos(azimuth), level * math.sin(azimuth), math.sin(elevation)])
            up = np.cross(side, ahead)
            for right in across:
                for high in across:
                    yield middle - 2.0 * radius * ahead + right * side + high * up, ahead
