"""The one way in which loops are compiled here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from numba import njit

Function = TypeVar("Function", bound=Callable)


def compiled(function: Function) -> Function:
    """Compile with numba: without the interpreter lock or fast-math, cached on disk."""
    result: Function = njit(nogil=True, cache=True, fastmath=False)(function)
    return result


def compiled_brief(function: Function) -> Function:
    """Compile a loop of microseconds; it keeps the lock, which would take longer to get back than it runs."""
    result: Function = njit(nogil=False, cache=True, fastmath=False)(function)
    return result


def compiled_with(*modules: ModuleType) -> Callable[[Function], Function]:
    """Compile a function that calls compiled functions of other modules.

    The cache on disk only notices changes of the file that a function is in. Functions of other files are
    compiled into it, so without this it would go on using them as they were.
    """
    contents = [Path(str(module.__file__)).read_bytes() for module in modules]
    stamp = hashlib.sha256(b"".join(contents)).hexdigest()

    def decorate(function: Function) -> Function:
        result = compiled(function)
        cache = getattr(getattr(result, "_cache", None), "_cache_file", None)
        if cache is not None and hasattr(cache, "_source_stamp"):
            cache._source_stamp = (cache._source_stamp, stamp)
        return result

    return decorate
