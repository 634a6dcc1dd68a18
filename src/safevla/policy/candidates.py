"""What may be what the instruction asks for: places that a policy has seen, each with its evidence.

One picture often takes something for the target that is not, above all from afar. So each place that once
looked like the target is kept, and weighed again in every picture that should show it: a view from near
counts for more than one from afar, and one that shows nothing of the target counts against it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from safevla.types import CELLS, DEPTH_SCALE, HEADS
from safevla.world.compiled import compiled

SIGHT_SIZE = 13  # evidence and place of the target in both pictures, and the best candidate's, with its age
SIGHTED = 0.15  # evidence from which on something may be the target
_PEAKS = 3  # things in a picture that may be the target
_KEPT = 8  # candidates that are kept of a home
_AT_ONCE = 3  # cells around a peak that are taken for the same thing
_ENOUGH = 30.0  # weight of all views together, in views from 1 m: beyond it the oldest fade
_FARTHEST = 8.0  # m: what is farther is not kept
_DEPTH = CELLS * CELLS + HEADS.index("depth")
# Columns of a candidate.
_WEIGHT, _LOGIT, _X, _Y, _Z, _AGE, _FIRM = range(7)


def rays(mount: Sequence[float], field_of_view: float, grid: tuple[int, int]) -> np.ndarray:
    """Return (rows, columns, 3): for 1 m of depth, how far a cell's centre is ahead, left and up.

    Args:
        mount: x ahead, y left, z up in metres, yaw (left) and pitch (down) in degrees.
        field_of_view: vertical, degrees.
        grid: rows and columns of cells.
    """
    height, width = grid
    ahead_axis, right_axis, up_axis = _axes(mount)
    focal = _focal(field_of_view, height)
    right = ((np.arange(width) + 0.5) - 0.5 * width)[None, :, None] / focal
    up = (0.5 * height - (np.arange(height) + 0.5))[:, None, None] / focal
    directions: np.ndarray = ahead_axis + right * right_axis + up * up_axis
    return directions


def _axes(mount: Sequence[float]) -> np.ndarray:
    """Return (3, 3): where a camera's ahead, right and up are in the robot's frame."""
    yaw, pitch = math.radians(mount[3]), math.radians(mount[4])
    ahead = np.array([math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), -math.sin(pitch)])
    right = np.array([math.sin(yaw), -math.cos(yaw), 0.0])
    return np.stack([ahead, right, np.cross(right, ahead)])


def _focal(field_of_view: float, rows: int) -> float:
    return 0.5 * rows / math.tan(math.radians(field_of_view) / 2.0)


class Candidates:
    """What may be the target in N homes.

    Args:
        mounts: of the cameras, see `rays`.
        field_of_view: vertical, of both, degrees.
        grid: rows and columns of the encoder's maps; each holds CELLS x CELLS cells.
    """

    def __init__(
        self, mounts: Sequence[Sequence[float]], field_of_view: float, grid: tuple[int, int]
    ) -> None:
        cells = (CELLS * grid[0], CELLS * grid[1])
        self._origins = np.array([mount[:3] for mount in mounts], np.float64)
        self._axes = np.stack([_axes(mount) for mount in mounts])
        self._rays = np.stack([rays(mount, field_of_view, cells) for mount in mounts])
        self._focal = _focal(field_of_view, cells[0])
        self._known = np.zeros((0, _KEPT, 7))

    def reset(self, mask: np.ndarray) -> None:
        """Forget the homes where mask (N,) is True."""
        if len(mask) != len(self._known):
            self._known = np.zeros((len(mask), _KEPT, 7))
        self._known[mask] = 0.0

    def observe(self, home: int, maps: np.ndarray, pose: np.ndarray, told: np.ndarray) -> None:
        """Weigh the candidates of a home by what is seen now, and tell which is best.

        Args:
            home: which of the N.
            maps: (CAMERAS, CHANNELS, rows, columns) float32 of the encoder.
            pose: (3,) x, y, yaw since the episode began.
            told: (SIGHT_SIZE,) is filled: evidence (a probability) and place (x, y, z from the robot, m) of
                what looks most like the target in each picture, then of the best candidate, with its age.
        """
        known = self._known[home]
        known[:, _AGE] += 1.0
        sightings = np.zeros((len(maps), _PEAKS, 4))
        for camera, picture in enumerate(maps):
            _sight(picture, self._rays[camera], self._origins[camera], sightings[camera])
            _note(known, sightings[camera], pose)
        for camera, picture in enumerate(maps):
            _weigh(known, picture, self._axes[camera], self._origins[camera], self._focal, pose)
        _tell(known, sightings[:, 0], pose, told)


@compiled
def _target(maps: np.ndarray, row: int, column: int) -> float:
    """Return the probability that a cell shows the target."""
    return float(maps[CELLS * (row % CELLS) + column % CELLS, row // CELLS, column // CELLS])


@compiled
def _depth(maps: np.ndarray, row: int, column: int) -> float:
    return math.exp(DEPTH_SCALE * maps[_DEPTH, row // CELLS, column // CELLS])


@compiled
def _sight(maps: np.ndarray, rays: np.ndarray, origin: np.ndarray, sightings: np.ndarray) -> None:
    """Fill evidence and place (x, y, z from the robot, m) of what looks most like the target, best first.

    A place is the mean over the cells around a peak, weighted by what they have above half of it.
    """
    rows, columns = rays.shape[:2]
    taken = np.zeros((rows, columns), np.bool_)
    for index in range(len(sightings)):
        best, at_row, at_column = SIGHTED, -1, -1
        for row in range(rows):
            for column in range(columns):
                value = _target(maps, row, column)
                if value > best and not taken[row, column]:
                    best, at_row, at_column = value, row, column
        if at_row < 0:
            return
        told = sightings[index]
        told[0] = best
        total = 0.0
        for row in range(max(at_row - _AT_ONCE, 0), min(at_row + _AT_ONCE + 1, rows)):
            for column in range(max(at_column - _AT_ONCE, 0), min(at_column + _AT_ONCE + 1, columns)):
                taken[row, column] = True
                weight = _target(maps, row, column) - 0.5 * best
                if weight <= 0.0:
                    continue
                total += weight
                depth = _depth(maps, row, column)
                for axis in range(3):
                    told[1 + axis] += weight * (origin[axis] + depth * rays[row, column, axis])
        for axis in range(3):
            told[1 + axis] /= total


@compiled
def _note(known: np.ndarray, sightings: np.ndarray, pose: np.ndarray) -> None:
    """Keep places of sightings: near a candidate they move it, others are new ones in place of the least."""
    cosine, sine = math.cos(pose[2]), math.sin(pose[2])
    for index in range(len(sightings)):
        evidence, ahead, left, z = sightings[index]
        distance = math.hypot(ahead, left)
        if evidence < SIGHTED or distance > _FARTHEST:
            continue
        x = pose[0] + cosine * ahead - sine * left
        y = pose[1] + sine * ahead + cosine * left
        at, nearest, least = -1, 0.3 + 0.1 * distance, 0
        for row in range(len(known)):
            if known[row, _WEIGHT] > 0.0:
                gap = math.hypot(known[row, _X] - x, known[row, _Y] - y)
                if gap < nearest:
                    at, nearest = row, gap
            if known[least, _WEIGHT] > 0.0 and (
                known[row, _WEIGHT] == 0.0 or known[row, _LOGIT] < known[least, _LOGIT]
            ):
                least = row
        if at < 0:
            if known[least, _WEIGHT] > 0.0 and known[least, _LOGIT] > _logit(evidence):
                continue
            at = least
            known[at, :] = 0.0
            known[at, _WEIGHT], known[at, _LOGIT] = 1e-6, _logit(evidence)
        firm = evidence / max(distance, 0.5)
        share = firm / (firm + known[at, _FIRM])
        known[at, _X] += share * (x - known[at, _X])
        known[at, _Y] += share * (y - known[at, _Y])
        known[at, _Z] += share * (z - known[at, _Z])
        known[at, _FIRM] = min(firm + known[at, _FIRM], 5.0)
        known[at, _AGE] = 0.0


@compiled
def _logit(probability: float) -> float:
    certain = min(max(probability, 0.002), 0.998)
    return math.log(certain / (1.0 - certain))


@compiled
def _weigh(
    known: np.ndarray, maps: np.ndarray, axes: np.ndarray, origin: np.ndarray, focal: float, pose: np.ndarray
) -> None:
    """Weigh each candidate that this picture should show by what the picture says where it should be.

    The evidence is a mean of logits, a view weighed by 1 / depth^4: on recorded episodes it told the target
    from other things better than with the square.
    """
    rows, columns = CELLS * maps.shape[1], CELLS * maps.shape[2]
    cosine, sine = math.cos(pose[2]), math.sin(pose[2])
    for index in range(len(known)):
        one = known[index]
        if one[_WEIGHT] == 0.0:
            continue
        x, y = one[_X] - pose[0], one[_Y] - pose[1]
        ahead, left, up = (
            cosine * x + sine * y - origin[0],
            cosine * y - sine * x - origin[1],
            one[_Z] - origin[2],
        )
        depth = axes[0, 0] * ahead + axes[0, 1] * left + axes[0, 2] * up
        if depth < 0.1:
            continue
        right = axes[1, 0] * ahead + axes[1, 1] * left + axes[1, 2] * up
        above = axes[2, 0] * ahead + axes[2, 1] * left + axes[2, 2] * up
        row = math.floor(0.5 * rows - focal * above / depth)
        column = math.floor(0.5 * columns + focal * right / depth)
        if row < 1 or column < 1 or row >= rows - 1 or column >= columns - 1:
            continue
        best, deepest = 0.0, 0.0
        for i in range(max(row - 2, 0), min(row + 3, rows)):
            for j in range(max(column - 2, 0), min(column + 3, columns)):
                best = max(best, _target(maps, i, j))
                deepest = max(deepest, _depth(maps, i, j))
        if deepest < depth - 0.5:
            continue  # something stands before it
        weight = 1.0 / max(depth, 0.5) ** 4
        one[_WEIGHT] = min(one[_WEIGHT] + weight, _ENOUGH)
        one[_LOGIT] += weight / one[_WEIGHT] * (_logit(best) - one[_LOGIT])


@compiled
def _tell(known: np.ndarray, sightings: np.ndarray, pose: np.ndarray, told: np.ndarray) -> None:
    """Fill `told` (SIGHT_SIZE,): both sightings, then the best candidate in the robot's frame and its age."""
    for camera in range(len(sightings)):
        told[4 * camera : 4 * camera + 4] = sightings[camera]
    best = -1
    for index in range(len(known)):
        if known[index, _WEIGHT] > 0.0 and (best < 0 or known[index, _LOGIT] > known[best, _LOGIT]):
            best = index
    if best >= 0:
        one = known[best]
        cosine, sine = math.cos(pose[2]), math.sin(pose[2])
        x, y = one[_X] - pose[0], one[_Y] - pose[1]
        told[8], told[9], told[10] = (
            1.0 / (1.0 + math.exp(-one[_LOGIT])),
            cosine * x + sine * y,
            cosine * y - sine * x,
        )
        told[11], told[12] = one[_Z], min(one[_AGE] / 50.0, 4.0)
