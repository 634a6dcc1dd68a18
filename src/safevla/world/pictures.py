"""What renderers share: checks of the pictures that they are asked for, and where a camera looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def check_size(height: int, width: int) -> None:
    """Raise ValueError unless a picture of this size has pixels."""
    if height < 1 or width < 1:
        raise ValueError(f"picture size {height} x {width} is empty; give a positive height and width")


def check_pictures(
    height: int, width: int, rgb: np.ndarray | None, depth: np.ndarray | None, ids: np.ndarray | None
) -> None:
    """Raise ValueError unless the arrays that are given have the shapes and types that renderers write."""
    for name, array, shape, dtype in (
        ("rgb", rgb, (height, width, 3), np.uint8),
        ("depth", depth, (height, width), np.float32),
        ("ids", ids, (height, width), np.int32),
    ):
        if array is not None and (array.shape != shape or array.dtype != dtype):
            given = f"{array.shape} {array.dtype}"
            raise ValueError(f"{name} is {given}; this renderer writes {shape} {np.dtype(dtype).name}")


def look_at(position: Sequence[float] | np.ndarray, target: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the (3, 3) rotation (columns right, up, backward) of a camera that looks at a point, upright.

    A camera that looks straight down or up has +y at the top of its picture.
    """
    backward = np.asarray(position, np.float64) - np.asarray(target, np.float64)
    length = np.linalg.norm(backward)
    if length == 0.0:
        raise ValueError("the camera is at the point that it should look at; move one of them")
    backward = backward / length
    up = np.array([0.0, 0.0, 1.0]) if abs(backward[2]) < 0.999 else np.array([0.0, 1.0, 0.0])
    right = np.cross(up, backward)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(backward, right), backward], axis=1)
