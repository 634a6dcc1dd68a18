"""The one way in which loops are compiled here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable)


def compiled(function: Function) -> Function:
    """Compile with numba: without the interpreter lock or fast-math, cached on disk."""
    result: Function = njit(nogil=True, cache=True, fastmath=False)(function)
    return result
