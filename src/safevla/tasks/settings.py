"""Settings of the homes. No heavy imports: the command line reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from safevla.config import nearest
from safevla.world.renderers import RENDERERS

DEFAULT_RESOLUTION = 112  # pixels


def check_share(name: str, value: float) -> float:
    """Return a share from 0 to 1; any other number raises ValueError."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} is {value}, expected a share from 0 to 1")
    return float(value)


@dataclass(frozen=True)
class WorldSettings:
    """How homes are simulated and shown.

    Attributes:
        num_envs: homes stepped together in one process.
        num_threads: threads that step the homes of one process; results do not depend on it.
        resolution: pixels along each side of a picture; None: what the policy was made for, 112 without one.
        width: pixels across a picture where it is not square; resolution then is its height.
        horizon: steps after which an episode is cut off; None: those of the size class of its home, 200 in
            class S and 600 in the others (`tasks.env.HORIZONS`).
        renderer: raster, gl or filament: what draws the pictures; costs do not depend on it.
        repaint: share of the scenarios of the training split whose homes are shown in drawn colours and
            materials, so that a policy learns with what its encoder makes of homes that it does not know.
        person: a person walks through every home; see docs/environment.md.
    """

    num_envs: int = 16
    num_threads: int = 1
    resolution: int | None = None
    width: int | None = None
    horizon: int | None = None
    renderer: str = "raster"
    repaint: float = 0.0
    person: bool = False

    def __post_init__(self) -> None:
        for name in ("num_envs", "num_threads", "resolution", "width", "horizon"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"world.{name} is {getattr(self, name)}, expected 1 or more")
        check_share("world.repaint", self.repaint)
        if self.renderer not in RENDERERS:
            raise ValueError(f"unknown renderer '{self.renderer}'{nearest(self.renderer, RENDERERS)}")

    @property
    def picture(self) -> tuple[int, int]:
        """Height and width of a picture."""
        height = self.resolution or DEFAULT_RESOLUTION
        return height, self.width or height

    def seen_by(self, policy: Any) -> WorldSettings:
        """Return these settings with pictures of the size that a policy was made for, if none is given."""
        made_for = getattr(policy, "resolution", None)
        if self.resolution is not None or made_for is None:
            return self
        height, width = (made_for, None) if isinstance(made_for, int) else made_for
        return replace(self, resolution=height, width=self.width or width)
