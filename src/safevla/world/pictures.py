"""What every renderer checks of the pictures that it is asked for."""

from __future__ import annotations

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
