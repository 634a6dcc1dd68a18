"""safevla: make vision-language-action robot policies safe, and prove it.

The names below are imported when they are first used, so that `import safevla` stays fast.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from safevla.api import align as align
    from safevla.api import assure as assure
    from safevla.api import elicit as elicit
    from safevla.assure.demonstrations import load_demonstrations as load_demonstrations
    from safevla.policy.checkpoint import load_policy as load_policy
    from safevla.safety.instrument import instrument as instrument
    from safevla.safety.specification import load_specification as load_specification
    from safevla.tasks.gym import make_vec as make_vec
    from safevla.tasks.sampling import foreign_scenarios as foreign_scenarios
    from safevla.tasks.sampling import load_scenarios as load_scenarios
    from safevla.tasks.sampling import sample_scenario as sample_scenario

__version__ = "0.1.0"

_EXPORTS = {
    "foreign_scenarios": "safevla.tasks.sampling",
    "instrument": "safevla.safety.instrument",
    "load_demonstrations": "safevla.assure.demonstrations",
    "load_policy": "safevla.policy.checkpoint",
    "load_scenarios": "safevla.tasks.sampling",
    "load_specification": "safevla.safety.specification",
    "make_vec": "safevla.tasks.gym",
    "sample_scenario": "safevla.tasks.sampling",
}
# Verbs of safevla.api that are also the name of a module or folder: `safevla.assure(...)` calls the verb,
# `safevla.assure.report` is the module.
_VERBS = ("align", "assure", "elicit")
__all__ = ["__version__", *sorted([*_EXPORTS, *_VERBS])]


class _Verb(ModuleType):
    """A module that can be called: the function of its name in `safevla.api`."""

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module("safevla.api"), name)(*arguments, **settings)


class _Package(ModuleType):
    """This package: the modules named in _VERBS become callable as soon as they are imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _VERBS and type(value) is ModuleType:
            value.__class__ = _Verb
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name in _VERBS:
            return import_module(f"safevla.{name}")
        if name in _EXPORTS:
            return getattr(import_module(_EXPORTS[name]), name)
        raise AttributeError(f"module 'safevla' has no attribute '{name}'")


sys.modules[__name__].__class__ = _Package
