"""What a policy remembers of a home: a map of what it has seen, drawn from its own maps, depth and odometry.

The maps that the encoder makes of each picture are laid onto the floor where their depth says they belong,
relative to where the episode began. The policy reads a window around itself, turned as it is turned, at three
scales. So it knows where it has been, what it has seen, where what it is asked for most likely is and where
something stood in its way, without having to work that out from a hundred earlier pictures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from safevla.policy.candidates import SIGHT_SIZE, Candidates, rays
from safevla.types import ACTION_ID, CELLS, DEPTH_SCALE, HEADS
from safevla.world.compiled import compiled

LAYERS = ("seen", "floor", "obstacle", "target", "visited", "blocked")
_SEEN, _FLOOR, _, _, _VISITED, _BLOCKED = range(len(LAYERS))
_DEPTH, _FLOOR_HEAD = (CELLS * CELLS + HEADS.index(name) for name in ("depth", "floor"))
_GRIPPER_HEAD = CELLS * CELLS + HEADS.index("gripper")
_AHEAD, _BACK = ACTION_ID["move_ahead"], ACTION_ID["move_back"]


@dataclass(frozen=True)
class MemoryConfig:
    """How a policy remembers where things are.

    Attributes:
        cells: sides of the cells of the maps, metres: fine for what stands in the way, coarse for the home.
        reach: how far from the start, along each axis, things are remembered, metres.
        window: side of what the policy reads of each map, in cells; it is in the middle.
        farthest: depth beyond which nothing is entered, metres.
        navigation: mount of the navigation camera: x ahead, y left, z up (m) of the base's axis on the floor,
            yaw (left) and pitch (down) in degrees.
        manipulation: mount of the other camera.
        field_of_view: vertical, of both, degrees.
    """

    cells: tuple[float, ...] = (0.1, 0.3, 1.0)
    reach: float = 18.0
    window: int = 12
    farthest: float = 8.0
    navigation: tuple[float, ...] = (-0.02, 0.105, 1.37, 0.0, 27.0)
    manipulation: tuple[float, ...] = (-0.06, 0.05, 1.37, -90.0, 33.0)
    field_of_view: float = 59.0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Layers of all maps, rows (from ahead to behind) and columns (from left to right) of a window."""
        return len(self.cells) * len(LAYERS), self.window, self.window

    @property
    def size(self) -> int:
        """Numbers that are told at each step: the windows, then where the target seems to be."""
        return math.prod(self.shape) + SIGHT_SIZE


class SpatialMemory:
    """Maps of N homes, each relative to where its episode began.

    Args:
        config: sizes and cameras.
        grid: rows and columns of the encoder's maps.
    """

    def __init__(self, config: MemoryConfig, grid: tuple[int, int]) -> None:
        self.config = config
        mounts = (config.navigation, config.manipulation)
        self._origins = np.array([mount[:3] for mount in mounts], np.float64)
        self._rays = np.stack([rays(mount, config.field_of_view, grid) for mount in mounts])
        self._candidates = Candidates(mounts, config.field_of_view, grid)
        sides = [2 * math.ceil(config.reach / cell) for cell in config.cells]
        self._scratch = [
            (np.zeros((side, side, 3), np.float32), np.zeros((side, side), bool)) for side in sides
        ]
        self._maps = self._empty(0)
        self._poses = np.zeros((0, 3))

    def _empty(self, homes: int) -> list[np.ndarray]:
        """Return maps (homes, side, side, layers) of each scale in which nothing is known."""
        return [np.zeros((homes, len(new), len(new), len(LAYERS)), np.float32) for _, new in self._scratch]

    def reset(self, mask: np.ndarray) -> None:
        """Forget the homes where mask (N,) is True."""
        if len(mask) != len(self._poses):
            self._maps = self._empty(len(mask))
            self._poses = np.zeros((len(mask), 3))
        for part in (*self._maps, self._poses):
            part[mask] = 0.0
        self._candidates.reset(mask)

    def observe(
        self, maps: np.ndarray, motion: np.ndarray, last_action: np.ndarray, homes: np.ndarray
    ) -> np.ndarray:
        """Enter what is seen now, and return what is known around each home's robot.

        Args:
            maps: (N, CAMERAS, CHANNELS, rows, columns) of the encoder.
            motion: (N, 6) what the last action moved, see `Observation.motion`.
            last_action: (N,).
            homes: (R,) which of the N; the others stay as they are.

        Returns:
            (N, size) float32, see `MemoryConfig.size`; zero for the other homes.
        """
        known = np.zeros((len(maps), self.config.size), np.float32)
        windows = math.prod(self.config.shape)
        for home in homes.tolist():
            pose = self._poses[home]
            _move(pose, motion[home].astype(np.float64))
            seen = maps[home].astype(np.float32)
            place = known[home, :windows].reshape(-1, len(LAYERS), *self.config.shape[1:])
            for scale, cell in enumerate(self.config.cells):
                layers, scratch = self._maps[scale], self._scratch[scale]
                _enter(
                    layers[home], *scratch, cell, pose, self._rays, self._origins, seen, self.config.farthest
                )
                _mark(layers[home], cell, pose, int(last_action[home]), float(motion[home, 0]))
                _read(layers[home], cell, pose, place[scale])
            self._candidates.observe(home, seen, pose, known[home, windows:])
        return known


@compiled
def _move(pose: np.ndarray, motion: np.ndarray) -> None:
    """Add a motion, in the frame of before it, to a pose (x, y, yaw)."""
    cosine, sine = math.cos(pose[2]), math.sin(pose[2])
    pose[0] += cosine * motion[0] - sine * motion[1]
    pose[1] += sine * motion[0] + cosine * motion[1]
    pose[2] += motion[2]


@compiled
def _enter(
    layers: np.ndarray,
    now: np.ndarray,
    new: np.ndarray,
    cell: float,
    pose: np.ndarray,
    rays: np.ndarray,
    origins: np.ndarray,
    maps: np.ndarray,
    farthest: float,
) -> None:
    """Lay the encoder's maps onto the floor: the most of a cell now, halfway from what it was before.

    `now` (side, side, 3) and `new` (side, side) are scratch, zero before and after.
    """
    side = layers.shape[0]
    cosine, sine = math.cos(pose[2]), math.sin(pose[2])
    touched = np.empty((rays.shape[0] * rays.shape[1] * rays.shape[2], 2), np.int64)
    count = 0
    for camera in range(rays.shape[0]):
        for row in range(rays.shape[1]):
            for column in range(rays.shape[2]):
                depth = math.exp(DEPTH_SCALE * maps[camera, _DEPTH, row, column])
                if depth > farthest or maps[camera, _GRIPPER_HEAD, row, column] > 0.5:
                    continue
                ahead = origins[camera, 0] + rays[camera, row, column, 0] * depth
                left = origins[camera, 1] + rays[camera, row, column, 1] * depth
                height = origins[camera, 2] + rays[camera, row, column, 2] * depth
                if height > 1.7:
                    continue
                i = math.floor((pose[0] + cosine * ahead - sine * left) / cell) + side // 2
                j = math.floor((pose[1] + sine * ahead + cosine * left) / cell) + side // 2
                if i < 0 or j < 0 or i >= side or j >= side:
                    continue
                if not new[i, j]:
                    new[i, j] = True
                    touched[count, 0], touched[count, 1] = i, j
                    count += 1
                floor = maps[camera, _FLOOR_HEAD, row, column]
                now[i, j, 0] = max(now[i, j, 0], floor)
                if height > 0.12:
                    now[i, j, 1] = max(now[i, j, 1], np.float32(1.0) - floor)
                for part in range(CELLS * CELLS):
                    now[i, j, 2] = max(now[i, j, 2], maps[camera, part, row, column])
    for index in range(count):
        i, j = touched[index, 0], touched[index, 1]
        share = np.float32(0.5) if layers[i, j, _SEEN] > 0.0 else np.float32(1.0)
        layers[i, j, _SEEN] = 1.0
        new[i, j] = False
        for part in range(3):
            layers[i, j, _FLOOR + part] += share * (now[i, j, part] - layers[i, j, _FLOOR + part])
            now[i, j, part] = 0.0


@compiled
def _mark(layers: np.ndarray, cell: float, pose: np.ndarray, last_action: int, moved: float) -> None:
    """Mark where the robot is, and what is before (or behind) it if its last move fell short."""
    side = layers.shape[0]
    i, j = math.floor(pose[0] / cell) + side // 2, math.floor(pose[1] / cell) + side // 2
    if 0 <= i < side and 0 <= j < side:
        layers[i, j, _VISITED] = 1.0
    if (last_action == _AHEAD and moved < 0.1) or (last_action == _BACK and moved > -0.1):
        way = 0.35 if last_action == _AHEAD else -0.35
        i = math.floor((pose[0] + way * math.cos(pose[2])) / cell) + side // 2
        j = math.floor((pose[1] + way * math.sin(pose[2])) / cell) + side // 2
        if 0 <= i < side and 0 <= j < side:
            layers[i, j, _BLOCKED] = 1.0


@compiled
def _read(layers: np.ndarray, cell: float, pose: np.ndarray, window: np.ndarray) -> None:
    """Fill the window (LAYERS, n, n) around the robot: the first row is ahead, the first column left."""
    side, size = layers.shape[0], window.shape[1]
    cosine, sine = math.cos(pose[2]), math.sin(pose[2])
    for row in range(size):
        ahead = (0.5 * size - row - 0.5) * cell
        for column in range(size):
            left = (0.5 * size - column - 0.5) * cell
            i = math.floor((pose[0] + cosine * ahead - sine * left) / cell) + side // 2
            j = math.floor((pose[1] + sine * ahead + cosine * left) / cell) + side // 2
            if 0 <= i < side and 0 <= j < side:
                for layer in range(layers.shape[2]):
                    window[layer, row, column] = layers[i, j, layer]
