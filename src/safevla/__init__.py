"""safevla: make vision-language-action robot policies safe, and prove it.

The names below are imported when they are first used, so that `import safevla` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "align": "safevla.align",
    "assure": "safevla.verbs",
    "elicit": "safevla.verbs",
    "load_policy": "safevla.policy.checkpoint",
    "load_scenarios": "safevla.tasks.sampling",
    "load_specification": "safevla.safety.specification",
    "make_vec": "safevla.tasks.gym",
    "sample_scenario": "safevla.tasks.sampling",
}
__all__ = ["__version__", *sorted(_EXPORTS)]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'safevla' has no attribute '{name}'")
